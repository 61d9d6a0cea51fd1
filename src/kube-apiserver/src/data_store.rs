//! Whether etcd answers, looked up when somebody wants to know and not more often than that makes sense.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use storage::Etcd;

/// Askers within this time share one answer.
const SHARED_FOR: Duration = Duration::from_millis(500);
/// The longest an answer may take; load balancers and kubelets wait no longer than a few seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last word about etcd.
pub struct DataStore {
    etcd: Etcd,
    looked_at: tokio::sync::Mutex<Option<Instant>>,
    verdict: Mutex<Result<(), String>>,
}

impl DataStore {
    /// Nothing is known yet, which counts as bad.
    pub fn new(etcd: Etcd) -> Self {
        let verdict = Mutex::new(Err("not asked yet".to_owned()));
        Self { etcd, looked_at: tokio::sync::Mutex::default(), verdict }
    }

    /// Asks etcd, unless somebody just did.
    pub async fn look(&self) {
        let mut looked_at = self.looked_at.lock().await;
        if looked_at.is_some_and(|at| at.elapsed() < SHARED_FOR) {
            return;
        }
        let verdict = match tokio::time::timeout(PATIENCE, self.etcd.is_healthy()).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("etcd does not answer".to_owned()),
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        *looked_at = Some(Instant::now());
    }

    /// What the last look found.
    ///
    /// # Errors
    /// Why etcd is of no use.
    pub fn verdict(&self) -> Result<(), String> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
