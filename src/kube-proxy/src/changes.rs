//! What changed and is not applied yet, and what a change leaves behind in connection tracking.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use netfilter::UdpFlows;
use tokio::sync::Notify;

use crate::fragment::Fragment;
use crate::service::ServiceName;

/// What changed since the last transaction.
#[derive(Default)]
pub(crate) struct Noted {
    changed: Mutex<Changed>,
    /// Wakes the one who waits.
    pub(crate) wake: Notify,
}

/// Names of what changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Services that changed themselves or whose endpoints did.
    pub services: BTreeSet<ServiceName>,
    /// Whether the node changed.
    pub node: bool,
}

impl Noted {
    /// Adds something and wakes the one who waits.
    pub(crate) fn note(&self, edit: impl FnOnce(&mut Changed)) {
        edit(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Adds again what could not be done; a retry looks at it.
    pub(crate) fn put_back(&self, changed: Changed) {
        let mut now = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        now.services.extend(changed.services);
        now.node |= changed.node;
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Changed {
        std::mem::take(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// UDP flows that would go on to an endpoint which is gone, or to no endpoint although there is one now.
pub fn stale_flows(old: Option<&Fragment>, new: Option<&Fragment>) -> Vec<UdpFlows> {
    let (none, mut stale) = (Fragment::default(), Vec::new());
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    let nobody = BTreeSet::new();
    for front in old.udp.keys().chain(new.udp.keys()).collect::<BTreeSet<_>>() {
        let before = old.udp.get(front).unwrap_or(&nobody);
        let after = new.udp.get(front).unwrap_or(&nobody);
        let base = UdpFlows {
            original_destination: front.address,
            original_port: Some(front.port),
            translated_destination: None,
        };
        stale.extend(before.difference(after).map(|ip| UdpFlows { translated_destination: Some(*ip), ..base.clone() }));
        if before.is_empty() && !after.is_empty() {
            stale.push(base);
        }
    }
    stale
}
