//! Recording stand-ins for the kernel, for tests of those who use this crate.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::conntrack::{Conntrack, ConntrackError, UdpFlows};
use crate::nftables::{Family, Nftables, NftablesError};
use crate::routes::{Route, Routes, RoutesError};

#[derive(Debug, Default)]
struct Record {
    transactions: Vec<String>,
    tables: Vec<((Family, String), String)>,
    refuse_next: bool,
    forgotten: Vec<UdpFlows>,
    routes: BTreeSet<Route>,
}

/// One pretended host; clones share what they record.
#[derive(Debug, Clone, Default)]
pub struct FakeHost {
    record: Arc<Mutex<Record>>,
}

impl FakeHost {
    /// A host with nothing configured.
    pub fn new() -> Self {
        Self::default()
    }

    /// The transactions applied so far, oldest first.
    pub fn transactions(&self) -> Vec<String> {
        self.lock().transactions.clone()
    }

    /// The UDP flows that were to be forgotten so far.
    pub fn forgotten(&self) -> Vec<UdpFlows> {
        self.lock().forgotten.clone()
    }

    /// Makes the next transaction or route fail.
    pub fn refuse_next(&self) {
        self.lock().refuse_next = true;
    }

    /// Sets what [`Nftables::list_table`] answers for a table.
    pub fn put_table(&self, family: Family, table: &str, json: &str) {
        self.lock().tables.push(((family, table.to_owned()), json.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nftables for FakeHost {
    async fn apply(&self, transaction: &str) -> Result<(), NftablesError> {
        let mut record = self.lock();
        if std::mem::take(&mut record.refuse_next) {
            return Err(NftablesError::Refused { detail: "refused by the test".to_owned() });
        }
        record.transactions.push(transaction.to_owned());
        Ok(())
    }

    async fn list_table(&self, family: Family, table: &str) -> Result<Option<String>, NftablesError> {
        let record = self.lock();
        let row = record.tables.iter().rev().find(|((f, t), _)| *f == family && t == table);
        Ok(row.map(|(_, json)| json.clone()))
    }
}

impl Conntrack for FakeHost {
    async fn forget_udp(&self, flows: &UdpFlows) -> Result<(), ConntrackError> {
        self.lock().forgotten.push(flows.clone());
        Ok(())
    }
}

impl Routes for FakeHost {
    fn list(&self) -> Result<Vec<Route>, RoutesError> {
        Ok(self.lock().routes.iter().cloned().collect())
    }

    fn replace(&self, route: &Route) -> Result<(), RoutesError> {
        let mut record = self.lock();
        if std::mem::take(&mut record.refuse_next) {
            return Err(RoutesError::Refused {
                route: route.clone(),
                source: std::io::ErrorKind::HostUnreachable.into(),
            });
        }
        record.routes.retain(|r| r.destination != route.destination);
        record.routes.insert(route.clone());
        Ok(())
    }

    fn remove(&self, route: &Route) -> Result<(), RoutesError> {
        self.lock().routes.remove(route);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_records_and_refuses_once() {
        let host = FakeHost::new();
        host.refuse_next();
        assert!(host.apply("one").await.is_err());
        host.apply("two").await.unwrap();
        assert_eq!(host.transactions(), ["two"]);
    }

    #[test]
    fn a_route_moves_to_its_new_gateway() {
        let host = FakeHost::new();
        let destination = "10.244.1.0/24".parse().unwrap();
        for gateway in ["10.0.0.1", "10.0.0.2"] {
            let route = Route { destination, gateway: gateway.parse().unwrap() };
            host.replace(&route).unwrap();
        }
        let routes = host.list().unwrap();
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].gateway.to_string(), "10.0.0.2");
    }
}
