//! Private keys: generating, reading, signing.

use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256};

use crate::der::{self, oid};
use crate::{PkiError, pem};

/// A private key that can sign, ECDSA P-256 or (read only, for clusters made by kubeadm) RSA.
pub struct KeyPair {
    kind: Kind,
    pkcs8: Vec<u8>,
}

enum Kind {
    /// The same key twice: certificates want the ASN.1 form of a signature, tokens the fixed form.
    Ecdsa {
        asn1: Box<EcdsaKeyPair>,
        fixed: Box<EcdsaKeyPair>,
    },
    Rsa(Box<RsaKeyPair>),
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_rsa() { "KeyPair(RSA)" } else { "KeyPair(ECDSA P-256)" })
    }
}

impl KeyPair {
    /// Makes a fresh ECDSA P-256 key.
    pub fn generate() -> Result<Self, PkiError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| PkiError::Crypto)?;
        Self::from_ec_pkcs8(document.as_ref().to_vec())
    }

    /// Reads `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`, whichever comes first.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        for block in pem::parse(text)? {
            match block.label.as_str() {
                "PRIVATE KEY" => return Self::from_pkcs8(block.der),
                "EC PRIVATE KEY" => {
                    return Self::from_ec_pkcs8(wrap_pkcs8(oid::EC_PUBLIC_KEY, Some(oid::P256), &block.der));
                }
                "RSA PRIVATE KEY" => {
                    return Self::from_rsa_pkcs8(wrap_pkcs8(oid::RSA, None, &block.der));
                }
                _ => {}
            }
        }
        Err(PkiError::MissingPem { wanted: "PRIVATE KEY" })
    }

    fn from_pkcs8(der: Vec<u8>) -> Result<Self, PkiError> {
        if RsaKeyPair::from_pkcs8(&der).is_ok() { Self::from_rsa_pkcs8(der) } else { Self::from_ec_pkcs8(der) }
    }

    fn from_ec_pkcs8(der: Vec<u8>) -> Result<Self, PkiError> {
        let read = |algorithm| {
            EcdsaKeyPair::from_pkcs8(algorithm, &der, &SystemRandom::new())
                .map_err(|_| PkiError::UnsupportedKey { reason: "neither ECDSA P-256 nor RSA of 2048 bits or more" })
        };
        let asn1 = read(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let fixed = read(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        Ok(Self { kind: Kind::Ecdsa { asn1: Box::new(asn1), fixed: Box::new(fixed) }, pkcs8: der })
    }

    fn from_rsa_pkcs8(der: Vec<u8>) -> Result<Self, PkiError> {
        let key = RsaKeyPair::from_pkcs8(&der)
            .map_err(|_| PkiError::UnsupportedKey { reason: "RSA keys need 2048 bits or more" })?;
        Ok(Self { kind: Kind::Rsa(Box::new(key)), pkcs8: der })
    }

    /// Whether this is an RSA key.
    pub fn is_rsa(&self) -> bool {
        matches!(self.kind, Kind::Rsa(_))
    }

    /// The private key as PKCS #8 PEM.
    pub fn to_pem(&self) -> String {
        pem::encode("PRIVATE KEY", &self.pkcs8)
    }

    /// The public key as `PUBLIC KEY` PEM.
    pub fn public_key_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.public_key_der())
    }

    /// The public key as a DER `SubjectPublicKeyInfo`.
    pub fn public_key_der(&self) -> Vec<u8> {
        let algorithm = match &self.kind {
            Kind::Ecdsa { .. } => {
                der::sequence(&[&der::tlv(der::OID, oid::EC_PUBLIC_KEY), &der::tlv(der::OID, oid::P256)])
            }
            Kind::Rsa(_) => der::sequence(&[&der::tlv(der::OID, oid::RSA), &der::tlv(der::NULL, &[])]),
        };
        der::sequence(&[&algorithm, &der::bit_string(self.public_key_bits())])
    }

    fn public_key_bits(&self) -> &[u8] {
        match &self.kind {
            Kind::Ecdsa { asn1, .. } => asn1.public_key().as_ref(),
            Kind::Rsa(key) => key.public().as_ref(),
        }
    }

    /// The algorithm identifier of the signatures this key makes in certificates.
    pub(crate) fn signature_algorithm(&self) -> Vec<u8> {
        match self.kind {
            Kind::Ecdsa { .. } => der::sequence(&[&der::tlv(der::OID, oid::ECDSA_SHA256)]),
            Kind::Rsa(_) => der::sequence(&[&der::tlv(der::OID, oid::RSA_SHA256), &der::tlv(der::NULL, &[])]),
        }
    }

    /// A signature in the form certificates carry.
    pub(crate) fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        match &self.kind {
            Kind::Ecdsa { asn1, .. } => ecdsa(asn1, message),
            Kind::Rsa(key) => rsa(key, message),
        }
    }

    /// A signature in the form JSON web tokens carry.
    pub(crate) fn sign_token(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        match &self.kind {
            Kind::Ecdsa { fixed, .. } => ecdsa(fixed, message),
            Kind::Rsa(key) => rsa(key, message),
        }
    }
}

fn ecdsa(key: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, PkiError> {
    let signature = key.sign(&SystemRandom::new(), message).map_err(|_| PkiError::Crypto)?;
    Ok(signature.as_ref().to_vec())
}

fn rsa(key: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>, PkiError> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(|_| PkiError::Crypto)?;
    Ok(signature)
}

/// Puts the older key forms into the PKCS #8 envelope.
fn wrap_pkcs8(algorithm: &[u8], curve: Option<&[u8]>, key: &[u8]) -> Vec<u8> {
    let parameters = curve.map_or_else(|| der::tlv(der::NULL, &[]), |curve| der::tlv(der::OID, curve));
    let identifier = der::sequence(&[&der::tlv(der::OID, algorithm), &parameters]);
    der::sequence(&[&der::unsigned(&[0]), &identifier, &der::tlv(der::OCTET_STRING, key)])
}
