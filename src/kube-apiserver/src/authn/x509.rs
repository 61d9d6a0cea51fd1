//! Users by client certificate: the common name is the user, the organizations are the groups.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use component_base::serving::PeerCertificates;
use component_base::tls::ClientVerifier;
use jiff::Timestamp;
use pki::certificate::CertificateInfo;
use sha2::{Digest, Sha256};

use super::AuthnError;
use crate::metrics::Lifetimes;
use crate::user::User;

/// How many verified certificates are remembered; more than a cluster has clients.
const REMEMBERED: usize = 4096;

/// Verifies chains against one set of authorities and remembers the answer.
pub struct ClientCertificates {
    verifier: ClientVerifier,
    known: Mutex<HashMap<[u8; 32], Known>>,
    lifetimes: Arc<Lifetimes>,
}

/// What a verified leaf says, and the user that makes of its owner.
#[derive(Clone)]
struct Known {
    info: Arc<CertificateInfo>,
    user: Option<Arc<User>>,
}

impl Known {
    fn new(info: CertificateInfo, digest: &[u8]) -> Self {
        let user = (!info.common_name.is_empty()).then(|| {
            let mut user = User::new(info.common_name.clone(), info.organizations.iter().cloned());
            let key = "authentication.kubernetes.io/credential-id".to_owned();
            user.extra.insert(key, vec![format!("X509SHA256={}", hex::encode(digest))]);
            Arc::new(user)
        });
        Self { info: Arc::new(info), user }
    }
}

impl ClientCertificates {
    /// Reads the authorities.
    pub fn load(path: &Path) -> Result<Self, AuthnError> {
        let verifier = ClientVerifier::new(vec![path.to_owned()])
            .map_err(|source| AuthnError::Authority { path: path.to_owned(), source: Box::new(source) })?;
        Ok(Self { verifier, known: Mutex::default(), lifetimes: Arc::default() })
    }

    /// What the leaf of a chain says, if the chain is good now.
    pub fn verified(&self, chain: &PeerCertificates) -> Option<Arc<CertificateInfo>> {
        self.known(chain, Timestamp::now()).map(|known| known.info)
    }

    /// The user of a chain.
    pub fn user(&self, chain: &PeerCertificates) -> Option<User> {
        let now = Timestamp::now();
        let known = self.known(chain, now)?;
        self.lifetimes.observe(known.info.not_after.as_second() - now.as_second());
        known.user.map(Arc::unwrap_or_clone)
    }

    /// How long the certificates of users still live.
    pub fn lifetimes(&self) -> Arc<Lifetimes> {
        Arc::clone(&self.lifetimes)
    }

    fn known(&self, chain: &PeerCertificates, now: Timestamp) -> Option<Known> {
        let leaf = chain.0.first()?;
        let digest: [u8; 32] = Sha256::digest(leaf).into();
        let all = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = all().get(&digest).cloned();
        if let Some(known) = remembered {
            return known.info.valid_at(now).then_some(known);
        }
        self.verifier.verify(&chain.0).ok()?;
        let known = Known::new(CertificateInfo::from_der(leaf).ok()?, &digest);
        let mut all = all();
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(digest, known.clone());
        Some(known)
    }
}
