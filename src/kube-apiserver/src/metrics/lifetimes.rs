//! How long client certificates still live when they are used.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::histogram::{Buckets, Histogram};

/// Upstream's limits, in seconds: from now to a year.
const SECONDS: Buckets<14> = Buckets([
    0.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
]);

/// The seconds certificates had left, one entry for each request. Whole seconds do: in millionths the sum would soon be
/// more than there is room for.
#[derive(Debug, Default)]
pub struct Lifetimes(Histogram<14, 1>);

impl Lifetimes {
    /// Counts the use of a certificate.
    pub fn observe(&self, seconds: i64) {
        #[expect(clippy::cast_precision_loss, reason = "no certificate lives that long")]
        self.0.observe(&SECONDS, seconds.max(0) as f64);
    }
}

/// Tells of the lifetimes.
#[derive(Debug)]
pub(super) struct CertificateLifetimes(pub(super) Arc<Lifetimes>);

impl Collector for CertificateLifetimes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let name = "apiserver_client_certificate_expiration_seconds";
        let about = "How long client certificates that were used still live, in seconds";
        let mut family = encoder.encode_descriptor(name, about, None, MetricType::Histogram)?;
        self.0.0.encode_alone(&SECONDS, &mut family)
    }
}
