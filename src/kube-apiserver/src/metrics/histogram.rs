//! Histograms without a lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, MetricEncoder, NoLabelSet};

/// Sums are kept in millionths.
const FINE: f64 = 1e6;

/// The upper limits of the buckets; what is above goes to one more.
pub(super) struct Buckets<const N: usize>(pub(super) [f64; N]);

/// Counts by bucket.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    /// Takes in a value that is not negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no time or size comes near the limit")]
    pub(super) fn observe(&self, limits: &Buckets<N>, value: f64) {
        let at = limits.0.iter().position(|limit| value <= *limit);
        at.map_or(&self.above, |at| &self.counts[at]).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * FINE) as u64, Ordering::Relaxed);
    }

    /// Writes it, unless it is empty.
    #[expect(clippy::cast_precision_loss, reason = "a sum for people")]
    pub(super) fn encode(
        &self,
        limits: &Buckets<N>,
        family: &mut MetricEncoder<'_>,
        labels: &impl EncodeLabelSet,
    ) -> fmt::Result {
        let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(N + 1);
        for (limit, count) in limits.0.iter().zip(&self.counts) {
            buckets.push((*limit, count.load(Ordering::Relaxed)));
        }
        buckets.push((f64::MAX, self.above.load(Ordering::Relaxed)));
        let count = buckets.iter().map(|(_, count)| count).sum();
        if count == 0 {
            return Ok(());
        }
        let sum = self.sum.load(Ordering::Relaxed) as f64 / FINE;
        family.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}
