//! The keys of an issuer, as it publishes them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use pki::jwt::{self, VerificationKey};
use reqwest::{Certificate, Client};
use serde::Deserialize;

use crate::authn::configuration::IssuerConfig;

/// How long an answer of an issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A key nobody knows makes us ask again, but not more often than this.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// More than any issuer publishes.
const MOST_BYTES: usize = 1024 * 1024;

/// Why the keys of an issuer are not known.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The authority of its certificate cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client cannot be set up.
    #[error("cannot set up the client of {url}")]
    Client {
        /// The issuer.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It does not answer.
    #[error("cannot fetch {url}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It answers with something else.
    #[error("{url} answers with {what}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// The keys known, and where to get more.
pub(super) struct Keys {
    url: String,
    discovery: String,
    client: Client,
    algorithms: Vec<String>,
    known: ArcSwap<Vec<VerificationKey>>,
    asked: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    pub(super) fn new(issuer: &IssuerConfig) -> Result<Self, OidcError> {
        // The client asks the process for its cryptography; another part may have been first to say.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        let wrong = |source| OidcError::Client { url: issuer.url.clone(), source };
        if let Some(pem) = &issuer.certificate_authority {
            client = client.tls_certs_only(Certificate::from_pem_bundle(pem.as_bytes()).map_err(wrong)?);
        }
        let discovery = issuer
            .discovery_url
            .clone()
            .unwrap_or_else(|| format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/')));
        Ok(Self {
            url: issuer.url.clone(),
            discovery,
            client: client.build().map_err(wrong)?,
            algorithms: issuer.algorithms.clone(),
            known: ArcSwap::default(),
            asked: tokio::sync::Mutex::default(),
        })
    }

    /// The claims of a token; none if no key of the issuer has signed it.
    pub(super) async fn verify(&self, token: &str) -> Result<Option<Vec<u8>>, OidcError> {
        let before = self.known.load_full();
        if let Ok(claims) = jwt::verify(token, &before) {
            return Ok(Some(claims));
        }
        self.renew(&before).await?;
        Ok(jwt::verify(token, &self.known.load()).ok())
    }

    /// Fetches the keys unless somebody just did.
    async fn renew(&self, before: &Arc<Vec<VerificationKey>>) -> Result<(), OidcError> {
        let mut asked = self.asked.lock().await;
        let recent = asked.is_some_and(|at| at.elapsed() < ASK_EVERY);
        if recent || !Arc::ptr_eq(before, &self.known.load_full()) {
            return Ok(());
        }
        *asked = Some(Instant::now());
        let discovery: Discovery = self.fetch(&self.discovery).await?;
        if discovery.issuer != self.url {
            return Err(OidcError::Answer { url: self.discovery.clone(), what: "the name of another issuer" });
        }
        let set: KeySet = self.fetch(&discovery.jwks_uri).await?;
        let wanted = |key: &VerificationKey| {
            self.algorithms.is_empty() || self.algorithms.iter().any(|algorithm| algorithm == key.algorithm())
        };
        let keys: Vec<VerificationKey> = set.keys.iter().filter_map(VerificationKey::from_jwk).filter(wanted).collect();
        if keys.is_empty() {
            return Err(OidcError::Answer { url: discovery.jwks_uri, what: "no key that can be used" });
        }
        self.known.store(Arc::new(keys));
        Ok(())
    }

    async fn fetch<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, OidcError> {
        let failed = |source| OidcError::Fetch { url: url.to_owned(), source };
        let wrong = |what| OidcError::Answer { url: url.to_owned(), what };
        let mut response = self.client.get(url).send().await.map_err(failed)?.error_for_status().map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(wrong("more than can be"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|_| wrong("something else than JSON of the expected form"))
    }
}
