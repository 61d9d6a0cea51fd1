//! Our key, and the keys of hosts.

use std::fmt;
use std::sync::Arc;

use russh::keys::ssh_key::{self, Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use crate::error::SshError;

/// The key that we log in with.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<PrivateKey>);

/// The public key of a host, known before the first connection.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey(pub(crate) PublicKey);

impl Identity {
    /// Makes a new Ed25519 key from the operating system's randomness.
    pub fn generate(comment: &str) -> Self {
        let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)
            .expect("an Ed25519 key can be made from any randomness");
        key.set_comment(comment);
        Self(Arc::new(key))
    }

    /// Reads a private key in OpenSSH's format; `what` names it in errors.
    pub fn from_openssh(what: &str, pem: &str) -> Result<Self, SshError> {
        let refuse = |source| SshError::Key { what: what.to_owned(), source };
        let key = PrivateKey::from_openssh(pem).map_err(refuse)?;
        // Nobody is there who could be asked for the passphrase.
        if key.is_encrypted() { Err(refuse(ssh_key::Error::Encrypted)) } else { Ok(Self(Arc::new(key))) }
    }

    /// The private key in OpenSSH's format, for a file that only its owner can read.
    pub fn to_openssh(&self) -> String {
        self.0.to_openssh(LineEnding::LF).expect("a key in memory can be written").to_string()
    }

    /// The line for `authorized_keys`.
    pub fn public(&self) -> String {
        self.0.public_key().to_openssh().expect("a key in memory can be written")
    }
}

impl HostKey {
    /// Reads a line such as `ssh-ed25519 AAAA… comment`; `what` names it in errors.
    pub fn parse(what: &str, line: &str) -> Result<Self, SshError> {
        let key =
            PublicKey::from_openssh(line.trim()).map_err(|source| SshError::Key { what: what.to_owned(), source })?;
        Ok(Self(key))
    }

    /// The fingerprint as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The key without its comment, for `known_hosts`.
    pub fn line(&self) -> String {
        let mut key = self.0.clone();
        key.set_comment("");
        key.to_openssh().expect("a key in memory can be written").trim_end().to_owned()
    }

    pub(crate) fn matches(&self, shown: &PublicKey) -> bool {
        self.0.key_data() == shown.key_data()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.fingerprint(HashAlg::Sha256).to_string()).finish()
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostKey").field(&self.fingerprint()).finish()
    }
}
