//! Noticing that somebody else wrote to the proxy's tables, such as `nft flush ruleset`.

use netfilter::TableMonitor;

use crate::table::TABLE;

/// Tells the transactions of others from the proxy's own.
#[derive(Debug, Default)]
pub struct Drift {
    monitor: Option<TableMonitor>,
}

impl Drift {
    /// Listens from now on, in the network namespace of this thread.
    pub fn watch() -> Self {
        let monitor = TableMonitor::start(TABLE);
        if let Err(error) = &monitor {
            tracing::warn!(%error, "rules that others remove are not noticed");
        }
        Self { monitor: monitor.ok() }
    }

    /// Waits until somebody has written. To be asked only while the proxy itself writes nothing.
    pub(crate) async fn disturbed(&mut self) {
        let Some(monitor) = &mut self.monitor else { return std::future::pending().await };
        if let Err(error) = monitor.changed().await {
            tracing::warn!(%error, "rules that others remove are not noticed any more");
            self.monitor = None;
        }
    }

    /// Whether somebody wrote while the proxy made `own` transactions.
    pub(crate) fn others_wrote(&mut self, own: usize) -> bool {
        self.monitor.as_mut().is_some_and(|monitor| monitor.seen() > own)
    }
}
