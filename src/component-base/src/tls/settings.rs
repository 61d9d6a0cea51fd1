//! What a server offers in a handshake, in the words of Go's flags.

use std::net::IpAddr;
use std::path::PathBuf;

use rustls::crypto::CryptoProvider;
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion, version};

use super::provider;

/// What a server offers besides its certificate; the default is all that is safe.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// The oldest version.
    pub min_version: MinVersion,
    /// The suites of TLS 1.2; all if there is none. Those of 1.3 are all offered whatever stands here, as Go does.
    pub cipher_suites: Vec<CipherSuite>,
    /// More certificates, for those who ask for a name of them.
    pub named: Vec<NamedFiles>,
    /// HTTP/1.1 only.
    pub without_http2: bool,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MinVersion {
    /// Reads Go's name of a version; an empty text is the default.
    ///
    /// # Errors
    /// For a version that is too old or not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" | "VersionTLS12" => Ok(Self::Tls12),
            "VersionTLS13" => Ok(Self::Tls13),
            "VersionTLS10" | "VersionTLS11" => {
                Err("nothing older than TLS 1.2 is spoken: use VersionTLS12 or VersionTLS13".to_owned())
            }
            _ => Err("unknown tls version: use VersionTLS12 or VersionTLS13".to_owned()),
        }
    }
}

/// A cipher suite that can be offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CipherSuite(SupportedCipherSuite);

impl CipherSuite {
    /// Reads Go's name of a suite.
    ///
    /// # Errors
    /// For one that is not offered here; the text lists those that are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let suites = CryptoProvider::clone(&provider()).cipher_suites;
        let found = suites.iter().find(|suite| names(**suite).iter().any(|name| name == text));
        found.map(|suite| Self(*suite)).ok_or_else(|| {
            let known: Vec<String> = suites.iter().filter_map(|suite| names(*suite).into_iter().next()).collect();
            format!("cipher suite {text} is not supported or does not exist: use some of {}", known.join(", "))
        })
    }
}

/// Go's names of a suite, the older one last.
fn names(suite: SupportedCipherSuite) -> Vec<String> {
    let name = suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_");
    let older = name.strip_suffix("_CHACHA20_POLY1305_SHA256").filter(|rest| rest.contains("_WITH"));
    let older = older.map(|rest| format!("{rest}_CHACHA20_POLY1305"));
    std::iter::once(name).chain(older).collect()
}

/// A certificate, its key, and the names it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFiles {
    /// Certificate chain, leaf first (PEM).
    pub cert: PathBuf,
    /// Private key of the leaf (PEM).
    pub key: PathBuf,
    /// The names, where `*` stands for one label; those of the certificate if there is none.
    pub names: Vec<String>,
}

impl NamedFiles {
    /// Reads `cert,key` or `cert,key:name,name`.
    ///
    /// # Errors
    /// For another form, and for addresses: a client that goes by address names nobody in its handshake.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (files, names) = match text.split_once(':') {
            Some((files, names)) => (files, Some(names)),
            None => (text, None),
        };
        let wrong = || "expected the paths of a certificate and its key, such as a.crt,a.key:*.a.example".to_owned();
        let (cert, key) = files.split_once(',').ok_or_else(wrong)?;
        let (cert, key) = (cert.trim(), key.trim());
        if cert.is_empty() || key.is_empty() || key.contains(',') {
            return Err(wrong());
        }
        let names: Vec<String> =
            names.into_iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
        if names.iter().any(String::is_empty) {
            return Err("a name is empty".to_owned());
        }
        if let Some(address) = names.iter().find(|name| name.parse::<IpAddr>().is_ok()) {
            return Err(format!("clients that go by the address {address} name it in no handshake: leave it out"));
        }
        Ok(Self { cert: cert.into(), key: key.into(), names })
    }
}

impl TlsSettings {
    /// The suites, those first that cost least where processors have instructions for AES, as Go has it.
    pub(super) fn provider(&self) -> CryptoProvider {
        let mut provider = CryptoProvider::clone(&provider());
        provider.cipher_suites.sort_by_key(|suite| {
            let name = suite.suite().as_str().unwrap_or_default();
            ["AES_128", "AES_256"].iter().position(|cipher| name.contains(cipher)).unwrap_or(usize::MAX)
        });
        if !self.cipher_suites.is_empty() {
            provider.cipher_suites.retain(|suite| {
                suite.version().version == ProtocolVersion::TLSv1_3 || self.cipher_suites.contains(&CipherSuite(*suite))
            });
        }
        provider
    }

    /// The versions.
    pub(super) fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static NEW: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self.min_version {
            MinVersion::Tls12 => &NEW,
            MinVersion::Tls13 => &NEW[..1],
        }
    }

    /// The protocols above TLS.
    pub(super) fn protocols(&self) -> Vec<Vec<u8>> {
        let http2 = (!self.without_http2).then(|| b"h2".to_vec());
        http2.into_iter().chain([b"http/1.1".to_vec()]).collect()
    }
}

#[cfg(test)]
mod tests;
