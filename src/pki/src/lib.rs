//! The public key infrastructure of a cluster as pure functions over bytes.
//!
//! Authorities, leaf certificates, certificate requests, service account tokens and kubeconfigs go in and out as PEM or
//! text. The crate never reads a file, opens a socket or looks at the clock: the time is an argument, and only fresh keys
//! and serial numbers draw from the operating system's random source.
//!
//! Start at [`ca::CertificateAuthority`]; [`control_plane`] lists every certificate a control-plane node has.

pub mod ca;
pub mod certificate;
pub mod control_plane;
pub mod csr;
mod der;
pub mod jwt;
pub mod key;
pub mod kubeconfig;
mod pem;

pub use ca::{CertificateAuthority, KeyPairPem, LeafRequest};
pub use certificate::{SubjectAltName, Usage};
pub use key::KeyPair;

/// Why bytes could not be read, made or signed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The text holds no PEM block of the wanted kind.
    #[error("no {wanted} found in the PEM text")]
    MissingPem {
        /// The label looked for.
        wanted: &'static str,
    },
    /// The PEM or DER bytes are damaged.
    #[error("malformed {what}")]
    Malformed {
        /// What was being read.
        what: &'static str,
    },
    /// The key is of a kind or size that is not supported.
    #[error("unsupported key: {reason}")]
    UnsupportedKey {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A request was not signed by the key it names.
    #[error("the signature does not verify")]
    BadSignature,
    /// The certificate and the key do not belong together.
    #[error("the certificate does not belong to the key")]
    KeyMismatch,
    /// The certificate may not sign others.
    #[error("the certificate is not an authority")]
    NotAnAuthority,
    /// The wanted lifetime lies outside what a certificate can express.
    #[error("validity out of range")]
    ValidityOutOfRange,
    /// The operating system gave no random bytes, or signing failed.
    #[error("the cryptographic operation failed")]
    Crypto,
    /// A token is not of the form, algorithm or key asked for.
    #[error("invalid token: {reason}")]
    InvalidToken {
        /// What is wrong with it.
        reason: &'static str,
    },
}
