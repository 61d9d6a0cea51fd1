//! Histograms without a lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, MetricEncoder, NoLabelSet};

/// Sums of times and sizes are kept in millionths.
const MILLIONTHS: u32 = 1_000_000;

/// The upper limits of the buckets; what is above goes to one more.
pub(super) struct Buckets<const N: usize>(pub(super) [f64; N]);

/// Counts by bucket; `FINE` parts of a whole are told apart in the sum.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize, const FINE: u32 = MILLIONTHS> {
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize, const FINE: u32> Default for Histogram<N, FINE> {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize, const FINE: u32> Histogram<N, FINE> {
    /// Takes in a value that is not negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no time or size comes near the limit")]
    pub(super) fn observe(&self, limits: &Buckets<N>, value: f64) {
        let at = limits.0.iter().position(|limit| value <= *limit);
        at.map_or(&self.above, |at| &self.counts[at]).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * f64::from(FINE)) as u64, Ordering::Relaxed);
    }

    /// Writes it, unless it is empty.
    pub(super) fn encode(
        &self,
        limits: &Buckets<N>,
        family: &mut MetricEncoder<'_>,
        labels: &impl EncodeLabelSet,
    ) -> fmt::Result {
        let Some(told) = self.told(limits) else { return Ok(()) };
        family.encode_family(labels)?.encode_histogram::<NoLabelSet>(told.sum, told.count, &told.buckets, None)
    }

    /// Writes one that is alone under its name, unless it is empty.
    pub(super) fn encode_alone(&self, limits: &Buckets<N>, family: &mut MetricEncoder<'_>) -> fmt::Result {
        let Some(told) = self.told(limits) else { return Ok(()) };
        family.encode_histogram::<NoLabelSet>(told.sum, told.count, &told.buckets, None)
    }

    /// What there is to write; nothing if it is empty.
    #[expect(clippy::cast_precision_loss, reason = "a sum for people")]
    fn told(&self, limits: &Buckets<N>) -> Option<Told> {
        let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(N + 1);
        for (limit, count) in limits.0.iter().zip(&self.counts) {
            buckets.push((*limit, count.load(Ordering::Relaxed)));
        }
        buckets.push((f64::INFINITY, self.above.load(Ordering::Relaxed)));
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum.load(Ordering::Relaxed) as f64 / f64::from(FINE);
        (count > 0).then_some(Told { sum, count, buckets })
    }
}

/// A histogram as it was at one time.
struct Told {
    sum: f64,
    count: u64,
    buckets: Vec<(f64, u64)>,
}
