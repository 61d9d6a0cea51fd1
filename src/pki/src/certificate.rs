//! What a certificate says: names, usages, expiry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::der::{self, oid};
use crate::{PkiError, pem};

/// A name beside the common name under which a certificate is valid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectAltName {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A mail address.
    Email(String),
    /// A URI.
    Uri(String),
}

impl SubjectAltName {
    /// An address if the text is one, else a host name.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Dns(text.to_owned()), Self::Ip)
    }

    pub(crate) fn to_der(&self) -> Vec<u8> {
        match self {
            Self::Email(text) => der::implicit(1, text.as_bytes()),
            Self::Dns(text) => der::implicit(2, text.as_bytes()),
            Self::Uri(text) => der::implicit(6, text.as_bytes()),
            Self::Ip(IpAddr::V4(ip)) => der::implicit(7, &ip.octets()),
            Self::Ip(IpAddr::V6(ip)) => der::implicit(7, &ip.octets()),
        }
    }

    fn from_general(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(text) => Some(Self::Dns((*text).to_owned())),
            GeneralName::RFC822Name(text) => Some(Self::Email((*text).to_owned())),
            GeneralName::URI(text) => Some(Self::Uri((*text).to_owned())),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|octets| Self::Ip(Ipv4Addr::from(octets).into())),
                16 => <[u8; 16]>::try_from(*bytes).ok().map(|octets| Self::Ip(Ipv6Addr::from(octets).into())),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<IpAddr> for SubjectAltName {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

/// What a certificate may be used for, in the words of the `certificates.k8s.io` API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Usage {
    /// `digital signature`
    DigitalSignature,
    /// `key encipherment`
    KeyEncipherment,
    /// `server auth`
    ServerAuth,
    /// `client auth`
    ClientAuth,
}

impl Usage {
    /// Reads the API's name of a usage.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "digital signature" => Some(Self::DigitalSignature),
            "key encipherment" => Some(Self::KeyEncipherment),
            "server auth" => Some(Self::ServerAuth),
            "client auth" => Some(Self::ClientAuth),
            _ => None,
        }
    }

    /// The API's name of the usage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DigitalSignature => "digital signature",
            Self::KeyEncipherment => "key encipherment",
            Self::ServerAuth => "server auth",
            Self::ClientAuth => "client auth",
        }
    }
}

/// The extensions that say what a leaf may be used for and under which names.
pub(crate) fn leaf_extensions(usages: &[Usage], names: &[SubjectAltName]) -> Vec<u8> {
    let mut bits = 0_u8;
    let mut purposes = Vec::new();
    for usage in usages {
        match usage {
            Usage::DigitalSignature => bits |= 0x80,
            Usage::KeyEncipherment => bits |= 0x20,
            Usage::ServerAuth => purposes.extend(der::tlv(der::OID, oid::SERVER_AUTH)),
            Usage::ClientAuth => purposes.extend(der::tlv(der::OID, oid::CLIENT_AUTH)),
        }
    }
    if bits == 0 {
        bits = 0x80;
    }
    let mut out = der::extension(oid::KEY_USAGE, true, &key_usage(bits));
    if !purposes.is_empty() {
        out.extend(der::extension(oid::EXTENDED_KEY_USAGE, false, &der::tlv(der::SEQUENCE, &purposes)));
    }
    out.extend(der::extension(oid::BASIC_CONSTRAINTS, true, &der::sequence(&[])));
    out.extend(alt_names_extension(names));
    out
}

/// The extension with the other names, or nothing if there are none.
pub(crate) fn alt_names_extension(names: &[SubjectAltName]) -> Vec<u8> {
    if names.is_empty() {
        return Vec::new();
    }
    let names: Vec<u8> = names.iter().flat_map(SubjectAltName::to_der).collect();
    der::extension(oid::SUBJECT_ALT_NAME, false, &der::tlv(der::SEQUENCE, &names))
}

/// The bit string of key usages; `bits` has `digitalSignature` as its highest bit.
pub(crate) fn key_usage(bits: u8) -> Vec<u8> {
    let unused = u8::try_from(bits.trailing_zeros().min(7)).expect("at most seven");
    der::tlv(der::BIT_STRING, &[unused, bits])
}

/// The facts of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject's common name, empty if it has none.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// The issuer's common name.
    pub issuer: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// The other names.
    pub sans: Vec<SubjectAltName>,
    /// Whether it may sign certificates.
    pub is_ca: bool,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        Self::from_der(&pem::first(text, "CERTIFICATE")?)
    }

    /// Reads a DER certificate.
    pub fn from_der(bytes: &[u8]) -> Result<Self, PkiError> {
        let certificate = parse(bytes)?;
        let timestamp = |seconds| Timestamp::from_second(seconds).map_err(|_| PkiError::ValidityOutOfRange);
        let validity = certificate.validity();
        Ok(Self {
            common_name: common_name(certificate.subject()).unwrap_or_default(),
            organizations: organizations(certificate.subject()),
            issuer: common_name(certificate.issuer()).unwrap_or_default(),
            not_before: timestamp(validity.not_before.timestamp())?,
            not_after: timestamp(validity.not_after.timestamp())?,
            sans: certificate
                .extensions()
                .iter()
                .flat_map(|extension| alt_names(extension.parsed_extension()))
                .collect(),
            is_ca: certificate.is_ca(),
        })
    }

    /// Whether the certificate is valid at a time.
    pub fn valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let (rest, certificate) =
        X509Certificate::from_der(bytes).map_err(|_| PkiError::Malformed { what: "certificate" })?;
    if rest.is_empty() { Ok(certificate) } else { Err(PkiError::Malformed { what: "certificate" }) }
}

pub(crate) fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().last().and_then(|value| value.as_str().ok()).map(str::to_owned)
}

pub(crate) fn organizations(name: &X509Name<'_>) -> Vec<String> {
    name.iter_organization().filter_map(|value| value.as_str().ok()).map(str::to_owned).collect()
}

pub(crate) fn alt_names(extension: &ParsedExtension<'_>) -> Vec<SubjectAltName> {
    match extension {
        ParsedExtension::SubjectAlternativeName(names) => {
            names.general_names.iter().filter_map(SubjectAltName::from_general).collect()
        }
        _ => Vec::new(),
    }
}
