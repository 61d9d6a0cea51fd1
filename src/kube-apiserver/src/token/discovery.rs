//! What other parties need to verify this cluster's tokens: `/.well-known/openid-configuration` and `/openid/v1/jwks`.

use pki::jwt::VerificationKey;
use serde_json::json;

/// Where the keys are.
pub const KEYS_PATH: &str = "/openid/v1/jwks";
/// Where the configuration is.
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";

/// The `OpenID` provider configuration; `keys_uri` overrides where the keys are found.
pub fn configuration(issuer: &str, keys_uri: Option<&str>, keys: &[VerificationKey]) -> Vec<u8> {
    let mut algorithms: Vec<&str> = keys.iter().map(VerificationKey::algorithm).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let keys_uri = keys_uri.map_or_else(|| format!("{}{KEYS_PATH}", issuer.trim_end_matches('/')), str::to_owned);
    let document = json!({
        "issuer": issuer,
        "jwks_uri": keys_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    });
    document.to_string().into_bytes()
}

/// The key set (RFC 7517); its media type is `application/jwk-set+json`.
pub fn keys(keys: &[VerificationKey]) -> Vec<u8> {
    let mut published: Vec<_> = Vec::new();
    for key in keys.iter().map(VerificationKey::to_jwk) {
        if !published.iter().any(|other: &pki::jwt::JsonWebKey| other.kid == key.kid) {
            published.push(key);
        }
    }
    json!({ "keys": published }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_agree_with_each_other_and_list_each_key_once() {
        let key = pki::KeyPair::generate().unwrap();
        let all = VerificationKey::all_from_pem(&format!("{}{}", key.public_key_pem(), key.to_pem())).unwrap();
        let parse = |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        let document = parse(configuration("https://k/", None, &all));
        assert_eq!(document["jwks_uri"], "https://k/openid/v1/jwks");
        assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
        let set = parse(keys(&all));
        assert_eq!(set["keys"].as_array().unwrap().len(), 1);
        assert_eq!(set["keys"][0]["crv"], "P-256");
    }
}
