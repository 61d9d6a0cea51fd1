use super::*;

fn signer() -> TokenSigner {
    TokenSigner::new(KeyPair::generate().unwrap()).unwrap()
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn signed_claims_come_back() {
    let signer = signer();
    let token = signer.sign(br#"{"sub":"a"}"#).unwrap();
    let keys = [signer.verification_key().unwrap()];
    assert_eq!(verify(&token, &keys).unwrap(), br#"{"sub":"a"}"#);
    assert_eq!(unverified_claims(&token).unwrap(), br#"{"sub":"a"}"#);
}

#[test]
fn forged_tokens_are_refused() {
    let signer = signer();
    let keys = [signer.verification_key().unwrap()];
    let token = signer.sign(br#"{"sub":"a"}"#).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = encode(r#"{"sub":"root"}"#);
    let none = encode(r#"{"alg":"none"}"#);
    let hmac = encode(r#"{"alg":"HS256"}"#);
    for forged in [
        format!("{}.{claims}.{}", parts[0], parts[2]),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{}", parts[2]),
        format!("{hmac}.{claims}.{}", parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.x"),
        format!("{token}A"),
        String::new(),
        "..".to_owned(),
    ] {
        assert!(verify(&forged, &keys).is_err(), "{forged}");
    }
    assert!(verify(&token, &[self::signer().verification_key().unwrap()]).is_err());
    assert!(verify(&token, &[]).is_err());
}

#[test]
fn keys_are_read_from_public_and_private_pem_and_published() {
    let key = KeyPair::generate().unwrap();
    let text = format!("{}{}", key.public_key_pem(), key.to_pem());
    let keys = VerificationKey::all_from_pem(&text).unwrap();
    assert_eq!((keys.len(), keys[0].id() == keys[1].id()), (2, true));
    let published = serde_json::to_value(keys[0].to_jwk()).unwrap();
    assert_eq!(published["kty"], "EC");
    assert_eq!(published["alg"], "ES256");
    assert_eq!(published["kid"], keys[0].id());
    assert!(VerificationKey::all_from_pem("nothing").is_err());
}
