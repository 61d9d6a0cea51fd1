//! How many objects there are, asked of the caches when somebody wants to know.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::registry::Registry;

/// Tells of all kinds that are stored.
pub(super) struct Objects(pub(super) Arc<Registry>);

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.0.all().iter().filter(|resource| resource.served.is_none());
        let counts: Vec<_> = counts
            .filter_map(|resource| {
                let count = u64::try_from(resource.store.as_ref()?.cacher.stats().objects).unwrap_or(u64::MAX);
                Some((resource.descriptor, count))
            })
            .collect();
        let about = "Objects by kind";
        // The second name is the one that 1.34 has replaced; dashboards know both.
        let mut family = encoder.encode_descriptor("apiserver_resource_objects", about, None, MetricType::Gauge)?;
        for (row, count) in &counts {
            let labels = [("group", row.group), ("resource", row.plural)];
            family.encode_family(&labels)?.encode_gauge(count)?;
        }
        let mut family = encoder.encode_descriptor("apiserver_storage_objects", about, None, MetricType::Gauge)?;
        for (row, count) in &counts {
            let name =
                if row.group.is_empty() { row.plural.to_owned() } else { format!("{}.{}", row.plural, row.group) };
            family.encode_family(&[("resource", name)])?.encode_gauge(count)?;
        }
        Ok(())
    }
}
