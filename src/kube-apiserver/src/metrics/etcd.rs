//! How long etcd takes, by kind and by what it is asked for.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::histogram::{Buckets, Histogram};
use super::requests::SECONDS;
use crate::registry::Registry;

const LIMITS: &Buckets<23> = &SECONDS;
/// Upstream's words, in the order of [`EtcdOperation`].
const WORDS: [&str; 5] = ["get", "list", "create", "update", "delete"];

/// What etcd is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdOperation {
    /// One object.
    Get,
    /// A page of objects.
    List,
    /// To keep a new one.
    Create,
    /// To replace one.
    Update,
    /// To remove one.
    Delete,
}

/// The times of one kind. Most kinds are asked for little, so that there is a place only for what was asked.
#[derive(Debug, Default)]
pub struct EtcdTimes([OnceLock<Box<Histogram<23>>>; 5]);

impl EtcdTimes {
    /// Waits for an answer and counts how long that took, whatever it was.
    pub async fn of<T>(&self, operation: EtcdOperation, answer: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let answer = answer.await;
        let times = self.0[operation as usize].get_or_init(Box::default);
        times.observe(LIMITS, began.elapsed().as_secs_f64());
        answer
    }
}

/// Tells of all kinds.
pub(super) struct EtcdRequests(pub(super) Arc<Registry>);

impl fmt::Debug for EtcdRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EtcdRequests")
    }
}

impl Collector for EtcdRequests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let about = "How long etcd took to answer, in seconds";
        let name = "etcd_request_duration_seconds";
        let mut family = encoder.encode_descriptor(name, about, None, MetricType::Histogram)?;
        for resource in self.0.all().iter().filter(|resource| resource.served.is_none()) {
            let Some(store) = &resource.store else { continue };
            let row = resource.descriptor;
            for (operation, times) in WORDS.iter().zip(&store.times.0) {
                if let Some(times) = times.get() {
                    let labels = [("group", row.group), ("operation", *operation), ("resource", row.plural)];
                    times.encode(LIMITS, &mut family, &labels)?;
                }
            }
        }
        Ok(())
    }
}
