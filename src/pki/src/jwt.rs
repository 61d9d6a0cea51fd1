//! JSON web tokens of service accounts: signing, verifying, publishing the keys.
//!
//! # Guarantees
//! The algorithm is the key's, never the token's wish: a token whose header names another one (or `none`) is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::{KeyPair, PkiError, certificate, pem};

/// Longer tokens are refused unread.
const MAX_LENGTH: usize = 64 * 1024;

/// Signs tokens.
#[derive(Debug)]
pub struct TokenSigner {
    key: KeyPair,
    header: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    kid: String,
}

impl TokenSigner {
    /// A signer from a private key in PEM.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        Self::new(KeyPair::from_pem(text)?)
    }

    /// A signer from a key.
    pub fn new(key: KeyPair) -> Result<Self, PkiError> {
        let public = VerificationKey::from_der(&key.public_key_der())?;
        let header = Header { alg: public.algorithm().to_owned(), kid: public.id };
        let header = serde_json::to_vec(&header).map_err(|_| PkiError::Malformed { what: "token header" })?;
        Ok(Self { key, header: URL_SAFE_NO_PAD.encode(header) })
    }

    /// Signs claims that are already JSON.
    pub fn sign(&self, claims: &[u8]) -> Result<String, PkiError> {
        let mut token = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign_token(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    /// The key that verifies what this signer signs.
    pub fn verification_key(&self) -> Result<VerificationKey, PkiError> {
        VerificationKey::from_der(&self.key.public_key_der())
    }
}

/// The public half of a token key.
#[derive(Debug, Clone)]
pub struct VerificationKey {
    id: String,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    Ecdsa { point: Vec<u8> },
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

/// One key of a published key set.
#[derive(Debug, Clone, Serialize)]
pub struct JsonWebKey {
    /// What it is for: `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// Family.
    pub kty: &'static str,
    /// Identifier, as in token headers.
    pub kid: String,
    /// Algorithm.
    pub alg: &'static str,
    /// Curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<&'static str>,
    /// Point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
}

impl VerificationKey {
    /// Every key of a PEM text; public keys, certificates and private keys are all accepted.
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, PkiError> {
        let mut keys = Vec::new();
        for block in pem::parse(text)? {
            match block.label.as_str() {
                "PUBLIC KEY" => keys.push(Self::from_der(&block.der)?),
                "CERTIFICATE" => keys.push(Self::from_der(certificate::parse(&block.der)?.public_key().raw)?),
                "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => {
                    let key = KeyPair::from_pem(&pem::encode(&block.label, &block.der))?;
                    keys.push(Self::from_der(&key.public_key_der())?);
                }
                _ => {}
            }
        }
        if keys.is_empty() { Err(PkiError::MissingPem { wanted: "PUBLIC KEY" }) } else { Ok(keys) }
    }

    /// A key from its DER `SubjectPublicKeyInfo`.
    pub fn from_der(spki: &[u8]) -> Result<Self, PkiError> {
        const MALFORMED: PkiError = PkiError::Malformed { what: "public key" };
        let (_, info) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| MALFORMED)?;
        let bits = info.subject_public_key.data.to_vec();
        let material = match info.parsed().map_err(|_| MALFORMED)? {
            PublicKey::EC(_) if bits.len() == 65 && bits[0] == 4 => Material::Ecdsa { point: bits },
            PublicKey::RSA(key) => {
                let strip = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
                Material::Rsa { modulus: strip(key.modulus), exponent: strip(key.exponent) }
            }
            _ => {
                return Err(PkiError::UnsupportedKey { reason: "token keys are ECDSA P-256 or RSA" });
            }
        };
        Ok(Self { id: URL_SAFE_NO_PAD.encode(Sha256::digest(spki)), material })
    }

    /// A key as another party publishes it (RFC 7517); none if it is for something else.
    pub fn from_jwk(key: &serde_json::Value) -> Option<Self> {
        let text = |field: &str| key.get(field).and_then(serde_json::Value::as_str);
        let bytes = |field: &str| URL_SAFE_NO_PAD.decode(text(field)?).ok();
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let material = match text("kty")? {
            "EC" if text("crv") == Some("P-256") => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                (x.len() == 32 && y.len() == 32).then(|| Material::Ecdsa { point: [&[4][..], &x, &y].concat() })?
            }
            "RSA" => Material::Rsa { modulus: bytes("n")?, exponent: bytes("e")? },
            _ => return None,
        };
        let key = Self { id: text("kid").unwrap_or_default().to_owned(), material };
        text("alg").is_none_or(|algorithm| algorithm == key.algorithm()).then_some(key)
    }

    /// The identifier that token headers carry.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The only algorithm this key accepts.
    pub fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Ecdsa { .. } => "ES256",
            Material::Rsa { .. } => "RS256",
        }
    }

    /// The form published to other parties.
    pub fn to_jwk(&self) -> JsonWebKey {
        let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let (kty, crv, x, y, n, e) = match &self.material {
            Material::Ecdsa { point } => ("EC", Some("P-256"), encode(&point[1..33]), encode(&point[33..]), None, None),
            Material::Rsa { modulus, exponent } => ("RSA", None, None, None, encode(modulus), encode(exponent)),
        };
        JsonWebKey { usage: "sig", kty, kid: self.id.clone(), alg: self.algorithm(), crv, x, y, n, e }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            Material::Ecdsa { point } => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.is_ok()
    }
}

/// Whether a text has the three parts of a token; says nothing about its truth.
pub fn looks_like_token(text: &str) -> bool {
    text.split('.').count() == 3 && text.split('.').all(|part| !part.is_empty())
}

/// The claims of a token **without any verification**, to find out who should verify it.
pub fn unverified_claims(token: &str) -> Option<Vec<u8>> {
    if token.len() > MAX_LENGTH {
        return None;
    }
    URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()
}

/// Verifies the signature over the whole token with any of the keys and gives the claims as JSON bytes.
pub fn verify(token: &str, keys: &[VerificationKey]) -> Result<Vec<u8>, PkiError> {
    let invalid = |reason| PkiError::InvalidToken { reason };
    if token.len() > MAX_LENGTH {
        return Err(invalid("too long"));
    }
    let (message, signature) = token.rsplit_once('.').ok_or(invalid("not three parts"))?;
    let (header, claims) = message.split_once('.').ok_or(invalid("not three parts"))?;
    if claims.contains('.') {
        return Err(invalid("not three parts"));
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| invalid("not base64url"));
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| invalid("malformed header"))?;
    let signature = decode(signature)?;
    let fits =
        |key: &&VerificationKey| key.algorithm() == header.alg && (header.kid.is_empty() || header.kid == key.id);
    if keys.iter().filter(fits).any(|key| key.verify(message.as_bytes(), &signature)) {
        decode(claims)
    } else {
        Err(invalid("no key verifies the signature"))
    }
}

#[cfg(test)]
mod tests;
