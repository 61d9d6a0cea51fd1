//! Certificate authorities: making, reading, issuing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use x509_parser::extensions::ParsedExtension;

use crate::certificate::{self, SubjectAltName, Usage};
use crate::csr::CertificateRequest;
use crate::der::{self, oid};
use crate::{KeyPair, PkiError, pem};

/// Certificates start this much before `now`, for machines whose clocks lag behind.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// A certificate and its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPairPem {
    /// The certificate.
    pub cert_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for KeyPairPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPairPem").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

/// What a leaf certificate should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafRequest {
    /// The user or host name.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
    /// The names a server is reached by.
    pub sans: Vec<SubjectAltName>,
    /// What it may be used for.
    pub usages: Vec<Usage>,
    /// How long it is valid, cut to the authority's own end.
    pub lifetime: Duration,
}

/// A certificate with the right and the key to sign others.
#[derive(Debug)]
pub struct CertificateAuthority {
    key: KeyPair,
    cert_pem: String,
    subject: Vec<u8>,
    key_id: Vec<u8>,
    not_after: Timestamp,
}

/// Whom a leaf certificate is for.
struct Holder<'a> {
    subject: &'a [u8],
    public_key: &'a [u8],
    sans: &'a [SubjectAltName],
}

/// The fields of a certificate that differ between authority and leaf.
struct Body<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    public_key: &'a [u8],
    not_before: Timestamp,
    not_after: Timestamp,
    extensions: Vec<u8>,
}

impl CertificateAuthority {
    /// Makes a self-signed authority with a fresh key.
    pub fn generate(common_name: &str, now: Timestamp, lifetime: Duration) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let subject = der::name(common_name, &[]);
        let public_key = key.public_key_der();
        let key_id = key_id(&public_key);
        let mut extensions = der::extension(oid::KEY_USAGE, true, &certificate::key_usage(0x80 | 0x20 | 0x04 | 0x02));
        extensions.extend(der::extension(
            oid::BASIC_CONSTRAINTS,
            true,
            &der::sequence(&[&der::tlv(der::BOOLEAN, &[0xff])]),
        ));
        extensions.extend(der::extension(oid::SUBJECT_KEY_ID, false, &der::tlv(der::OCTET_STRING, &key_id)));
        if !common_name.is_empty() {
            extensions.extend(certificate::alt_names_extension(&[SubjectAltName::Dns(common_name.to_owned())]));
        }
        let body = Body {
            issuer: &subject,
            subject: &subject,
            public_key: &public_key,
            not_before: now - BACKDATE,
            not_after: after(now, lifetime)?,
            extensions,
        };
        let not_after = body.not_after;
        let cert_pem = sign(&body, &key)?;
        Ok(Self { key, cert_pem, subject, key_id, not_after })
    }

    /// Reads an authority; the key must be the certificate's.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem)?;
        let bytes = pem::first(cert_pem, "CERTIFICATE")?;
        let parsed = certificate::parse(&bytes)?;
        if parsed.public_key().raw != key.public_key_der() {
            return Err(PkiError::KeyMismatch);
        }
        if !parsed.is_ca() {
            return Err(PkiError::NotAnAuthority);
        }
        let stated = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            key_id: stated.unwrap_or_else(|| key_id(parsed.public_key().raw)),
            subject: parsed.subject().as_raw().to_vec(),
            not_after: Timestamp::from_second(parsed.validity().not_after.timestamp())
                .map_err(|_| PkiError::ValidityOutOfRange)?,
            cert_pem: pem::encode("CERTIFICATE", &bytes),
            key,
        })
    }

    /// The authority's certificate as PEM.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's private key as PEM.
    pub fn key_pem(&self) -> String {
        self.key.to_pem()
    }

    /// Certificate and key together, as they are stored.
    pub fn to_pem(&self) -> KeyPairPem {
        KeyPairPem { cert_pem: self.cert_pem.clone(), key_pem: self.key_pem() }
    }

    /// The end of the authority's validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Issues a leaf certificate with a fresh key.
    pub fn issue(&self, request: &LeafRequest, now: Timestamp) -> Result<KeyPairPem, PkiError> {
        let key = KeyPair::generate()?;
        let cert_pem = self.issue_for(request, &key.public_key_der(), now)?;
        Ok(KeyPairPem { cert_pem, key_pem: key.to_pem() })
    }

    /// Issues a leaf certificate for a public key (DER `SubjectPublicKeyInfo`) whose private half stays elsewhere.
    pub fn issue_for(&self, request: &LeafRequest, public_key: &[u8], now: Timestamp) -> Result<String, PkiError> {
        let subject = der::name(&request.common_name, &request.organizations);
        let holder = Holder { subject: &subject, public_key, sans: &request.sans };
        self.sign_leaf(&holder, &request.usages, request.lifetime, now)
    }

    /// Signs a certificate request: subject, key and names are the request's, usages and lifetime the caller's.
    /// Whether the request *may* have them is the approver's decision, made before.
    pub fn sign_csr(
        &self,
        csr_pem: &str,
        usages: &[Usage],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let request = CertificateRequest::from_pem(csr_pem)?;
        let holder = Holder { subject: &request.subject, public_key: &request.public_key, sans: &request.sans };
        self.sign_leaf(&holder, usages, lifetime, now)
    }

    fn sign_leaf(
        &self,
        holder: &Holder<'_>,
        usages: &[Usage],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let mut extensions = certificate::leaf_extensions(usages, holder.sans);
        let authority = der::tlv(der::SEQUENCE, &der::implicit(0, &self.key_id));
        extensions.extend(der::extension(oid::AUTHORITY_KEY_ID, false, &authority));
        let body = Body {
            issuer: &self.subject,
            subject: holder.subject,
            public_key: holder.public_key,
            not_before: now - BACKDATE,
            not_after: after(now, lifetime)?.min(self.not_after),
            extensions,
        };
        sign(&body, &self.key)
    }
}

fn sign(body: &Body<'_>, key: &KeyPair) -> Result<String, PkiError> {
    let mut serial = [0_u8; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| PkiError::Crypto)?;
    // Positive and never zero.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let certificate = der::sequence(&[
        &der::explicit(0, &der::unsigned(&[2])),
        &der::unsigned(&serial),
        &key.signature_algorithm(),
        body.issuer,
        &der::sequence(&[&der::time(body.not_before)?, &der::time(body.not_after)?]),
        body.subject,
        body.public_key,
        &der::explicit(3, &der::tlv(der::SEQUENCE, &body.extensions)),
    ]);
    let signature = key.sign_asn1(&certificate)?;
    let signed = der::sequence(&[&certificate, &key.signature_algorithm(), &der::bit_string(&signature)]);
    Ok(pem::encode("CERTIFICATE", &signed))
}

fn after(now: Timestamp, lifetime: Duration) -> Result<Timestamp, PkiError> {
    let lifetime = SignedDuration::try_from(lifetime).map_err(|_| PkiError::ValidityOutOfRange)?;
    now.checked_add(lifetime).map_err(|_| PkiError::ValidityOutOfRange)
}

fn key_id(public_key: &[u8]) -> Vec<u8> {
    Sha256::digest(public_key)[..20].to_vec()
}

#[cfg(test)]
mod tests;
