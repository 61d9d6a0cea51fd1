//! Certificate requests: making them (kubelet) and reading them (signers, approvers).

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::certificate::{self, SubjectAltName};
use crate::der::{self, oid};
use crate::{KeyPair, PkiError, pem};

/// The facts of a certificate request whose signature has been checked.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    /// The subject's common name, empty if it has none.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// The other names asked for.
    pub sans: Vec<SubjectAltName>,
    pub(crate) subject: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
}

impl CertificateRequest {
    /// Reads a request and verifies that its sender holds the key. A request to become an authority is refused.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        const MALFORMED: PkiError = PkiError::Malformed { what: "certificate request" };
        let bytes = pem::first(text, "CERTIFICATE REQUEST")?;
        let (rest, request) = X509CertificationRequest::from_der(&bytes).map_err(|_| MALFORMED)?;
        if !rest.is_empty() {
            return Err(MALFORMED);
        }
        request.verify_signature().map_err(|_| PkiError::BadSignature)?;
        let mut sans = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            if matches!(extension, ParsedExtension::BasicConstraints(constraints) if constraints.ca) {
                return Err(PkiError::Malformed { what: "certificate request: asks to be an authority" });
            }
            sans.extend(certificate::alt_names(extension));
        }
        let info = &request.certification_request_info;
        Ok(Self {
            common_name: certificate::common_name(&info.subject).unwrap_or_default(),
            organizations: certificate::organizations(&info.subject),
            sans,
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
        })
    }
}

/// Makes a signed request as PEM.
pub fn create(
    common_name: &str,
    organizations: &[String],
    sans: &[SubjectAltName],
    key: &KeyPair,
) -> Result<String, PkiError> {
    let names = certificate::alt_names_extension(sans);
    let attributes = if names.is_empty() {
        der::explicit(0, &[])
    } else {
        let values = der::tlv(der::SET, &der::tlv(der::SEQUENCE, &names));
        der::explicit(0, &der::sequence(&[&der::tlv(der::OID, oid::EXTENSION_REQUEST), &values]))
    };
    let info = der::sequence(&[
        &der::unsigned(&[0]),
        &der::name(common_name, organizations),
        &key.public_key_der(),
        &attributes,
    ]);
    let signature = key.sign_asn1(&info)?;
    let request = der::sequence(&[&info, &key.signature_algorithm(), &der::bit_string(&signature)]);
    Ok(pem::encode("CERTIFICATE REQUEST", &request))
}
