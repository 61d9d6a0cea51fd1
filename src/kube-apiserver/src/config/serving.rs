//! The flags of serving the API.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use component_base::flags::{boolean, duration};
use component_base::tls::{CipherSuite, MinVersion, NamedFiles, TlsSettings};
use http::HeaderValue;

/// Where and how the API is served.
#[derive(Args, Clone, Debug)]
pub struct ServingArgs {
    /// The address members of the cluster reach this server at.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// The address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port to listen on.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// The server's certificate.
    #[arg(long)]
    pub tls_cert_file: PathBuf,
    /// The server's key.
    #[arg(long)]
    pub tls_private_key_file: PathBuf,
    /// The oldest version of TLS that is spoken.
    #[arg(long, default_value = "VersionTLS12", value_parser = MinVersion::parse)]
    pub tls_min_version: MinVersion,
    /// The cipher suites of TLS 1.2; all that are safe if none is named. Those of 1.3 cannot be chosen.
    #[arg(long, value_delimiter = ',', value_parser = CipherSuite::parse)]
    pub tls_cipher_suites: Vec<CipherSuite>,
    /// A further certificate with its key for some names, as `cert,key[:name,name]`; may be repeated.
    #[arg(long, value_parser = NamedFiles::parse)]
    pub tls_sni_cert_key: Vec<NamedFiles>,
    /// Only HTTP/1.1 is spoken.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub disable_http2_serving: bool,
    /// The requests one connection of HTTP/2 may have open; 0 is 250.
    #[arg(long, default_value_t = 0)]
    pub http2_max_streams_per_connection: u32,
    /// What answers tell browsers of HTTPS: `max-age=SECONDS`, `includeSubDomains`, `preload`.
    #[arg(long, value_delimiter = ',', value_parser = hsts_directive)]
    pub strict_transport_security_directives: Vec<String>,
    /// How long `/readyz` fails before the server stops to listen.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub shutdown_delay_duration: Duration,
}

impl ServingArgs {
    /// What is offered in handshakes.
    pub fn tls_settings(&self) -> TlsSettings {
        TlsSettings {
            min_version: self.tls_min_version,
            cipher_suites: self.tls_cipher_suites.clone(),
            named: self.tls_sni_cert_key.clone(),
            without_http2: self.disable_http2_serving,
        }
    }

    /// The header of all answers that keeps browsers on HTTPS; none without directives.
    pub fn strict_transport_security(&self) -> Option<HeaderValue> {
        let directives = &self.strict_transport_security_directives;
        if directives.is_empty() { None } else { HeaderValue::try_from(directives.join("; ")).ok() }
    }
}

/// A directive of RFC 6797, section 6.1.
fn hsts_directive(text: &str) -> Result<String, String> {
    let age = text.strip_prefix("max-age=").is_some_and(|age| age.parse::<u64>().is_ok());
    if age || matches!(text, "includeSubDomains" | "preload") {
        Ok(text.to_owned())
    } else {
        Err("expected max-age=SECONDS, includeSubDomains or preload".to_owned())
    }
}
