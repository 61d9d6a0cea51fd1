//! Node ports: one bitmap in etcd, changed by guarded writes, in upstream's form and place.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use apimachinery::field::FieldError;
use apimachinery::{Object, Status, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::RngExt;
use storage::{KeyValue, StorageError};

use super::{Holdings, Refusal, cluster_ips, type_of};
use crate::app::App;
use crate::error;

pub(super) struct NodePorts {
    range: RangeInclusive<u16>,
    key: String,
}

/// The ports in use, and where that was read.
struct Bitmap {
    bits: Vec<u8>,
    revision: i64,
}

impl NodePorts {
    pub(super) fn new(range: RangeInclusive<u16>, prefix: &str) -> Self {
        Self { range, key: format!("{prefix}/ranges/servicenodeports") }
    }

    /// Gives a Service the ports it needs beyond those it holds.
    pub(super) async fn reserve(
        &self,
        app: &Arc<App>,
        service: &mut Object,
        held: &Holdings,
        taken: &mut BTreeSet<u16>,
    ) -> Result<(), Refusal> {
        if !wants_ports(service) {
            return Ok(());
        }
        let named = Holdings::of(service).ports;
        let new: BTreeSet<u16> = named.difference(&held.ports).copied().collect();
        let missing = count_missing(service);
        if new.is_empty() && missing == 0 {
            return Ok(());
        }
        for port in &new {
            if !self.range.contains(port) {
                return Err(Refusal::Field(FieldError::invalid(
                    "spec.ports[0].nodePort",
                    i64::from(*port),
                    format!(
                        "provided port is not in the valid range. The range of valid ports is {}-{}",
                        self.range.start(),
                        self.range.end()
                    ),
                )));
            }
        }
        let mut wanted = Ports { named: new, missing, chosen: Vec::new() };
        self.change(app, |bits| self.mark(bits, &mut wanted)).await?;
        taken.extend(&wanted.named);
        taken.extend(&wanted.chosen);
        fill_ports(service, &wanted.chosen);
        Ok(())
    }

    /// Marks ports as used; called again with another bitmap if somebody was faster.
    fn mark(&self, bits: &mut [u8], wanted: &mut Ports) -> Result<(), Refusal> {
        wanted.chosen.clear();
        for port in &wanted.named {
            if is_set(bits, self.offset(*port)) {
                return Err(Refusal::Field(FieldError::invalid(
                    "spec.ports[0].nodePort",
                    i64::from(*port),
                    "provided port is already allocated",
                )));
            }
            set(bits, self.offset(*port), true);
        }
        let size = usize::from(self.range.end() - self.range.start()) + 1;
        for _ in 0..wanted.missing {
            let start = rand::rng().random_range(0..size);
            let free = (0..size).map(|step| (start + step) % size).find(|offset| !is_set(bits, *offset));
            let Some(offset) = free else {
                return Err(Refusal::Failed(Status::internal("failed to allocate a nodePort: range is full")));
            };
            set(bits, offset, true);
            wanted.chosen.push(self.range.start() + u16::try_from(offset).unwrap_or(0));
        }
        Ok(())
    }

    pub(super) async fn release(&self, app: &Arc<App>, ports: &BTreeSet<u16>) {
        if ports.is_empty() {
            return;
        }
        let free = |bits: &mut [u8]| {
            for port in ports.iter().filter(|port| self.range.contains(port)) {
                set(bits, self.offset(*port), false);
            }
            Ok(())
        };
        if self.change(app, free).await.is_err() {
            tracing::warn!("node ports are not given back; the next repair does it");
        }
    }

    /// Takes the ports of Services that nobody has taken.
    pub(super) async fn adopt(&self, app: &Arc<App>) {
        let services = cluster_ips::services(app);
        let used: BTreeSet<u16> = services.iter().flat_map(|service| Holdings::of(service).ports).collect();
        let take = |bits: &mut [u8]| {
            for port in used.iter().filter(|port| self.range.contains(port)) {
                set(bits, self.offset(*port), true);
            }
            Ok(())
        };
        if self.change(app, take).await.is_err() {
            tracing::warn!("the node ports in use are not all marked as taken");
        }
    }

    /// The ports that are taken although no Service has them.
    pub(super) async fn without_service(&self, app: &Arc<App>, held: &BTreeSet<u16>) -> BTreeSet<u16> {
        let Ok((found, _)) = app.etcd.get(&self.key).await else { return BTreeSet::new() };
        let bits = self.read(found.as_ref()).bits;
        let taken = |port: &u16| is_set(&bits, self.offset(*port)) && !held.contains(port);
        self.range.clone().filter(taken).collect()
    }

    fn offset(&self, port: u16) -> usize {
        usize::from(port.saturating_sub(*self.range.start()))
    }

    /// One guarded change of the bitmap, tried until nobody is faster.
    async fn change(
        &self,
        app: &Arc<App>,
        mut change: impl FnMut(&mut [u8]) -> Result<(), Refusal> + Send,
    ) -> Result<(), Refusal> {
        let failed = |error: &StorageError| Refusal::Failed(error::from_storage(error));
        let (found, _) = app.etcd.get(&self.key).await.map_err(|error| failed(&error))?;
        let mut bitmap = self.read(found.as_ref());
        loop {
            let before = bitmap.bits.clone();
            change(&mut bitmap.bits)?;
            if bitmap.revision > 0 && bitmap.bits == before {
                return Ok(());
            }
            let value = self.write(&bitmap.bits);
            let written = if bitmap.revision == 0 {
                app.etcd.create(&self.key, value, None).await
            } else {
                app.etcd.update(&self.key, value, bitmap.revision, None).await
            };
            match written {
                Ok(_) => return Ok(()),
                Err(StorageError::Conflict { current } | StorageError::Exists { current }) => {
                    bitmap = self.read(current.as_deref());
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    fn read(&self, found: Option<&KeyValue>) -> Bitmap {
        let size = usize::from(self.range.end() - self.range.start()) / 8 + 1;
        let mut bits = found
            .and_then(|kv| serde_json::from_slice::<Object>(&kv.value).ok())
            .and_then(|object| STANDARD.decode(object.str_at(&["data"])).ok())
            .unwrap_or_default();
        bits.resize(size, 0);
        Bitmap { bits, revision: found.map_or(0, |kv| kv.mod_revision) }
    }

    fn write(&self, bits: &[u8]) -> Bytes {
        let mut object = Object::new("v1", "RangeAllocation");
        object.set_at(&["metadata"], Value::map());
        object.set_at(&["range"], format!("{}-{}", self.range.start(), self.range.end()));
        object.set_at(&["data"], STANDARD.encode(bits));
        crate::stored::encode(&object)
    }
}

struct Ports {
    named: BTreeSet<u16>,
    missing: usize,
    chosen: Vec<u16>,
}

fn is_set(bits: &[u8], offset: usize) -> bool {
    bits.get(offset / 8).is_some_and(|byte| byte & (1 << (offset % 8)) != 0)
}

fn set(bits: &mut [u8], offset: usize, on: bool) {
    if let Some(byte) = bits.get_mut(offset / 8) {
        if on {
            *byte |= 1 << (offset % 8);
        } else {
            *byte &= !(1 << (offset % 8));
        }
    }
}

/// True for a Service that is reached at ports of nodes.
pub(super) fn wants_ports(service: &Object) -> bool {
    match type_of(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service.at(&["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool) != Some(false)
        }
        _ => false,
    }
}

/// True for a Service whose load balancer asks each node for its health.
pub(super) fn wants_health_port(service: &Object) -> bool {
    type_of(service) == "LoadBalancer" && service.str_at(&["spec", "externalTrafficPolicy"]) == "Local"
}

fn has_number(port: &Value) -> bool {
    port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0
}

fn count_missing(service: &Object) -> usize {
    let ports = service.list_at(&["spec", "ports"]).iter().filter(|port| !has_number(port)).count();
    let health = wants_health_port(service) && service.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0) == 0;
    ports + usize::from(health)
}

fn fill_ports(service: &mut Object, chosen: &[u16]) {
    let mut chosen = chosen.iter().map(|port| i64::from(*port));
    if let Some(ports) = service.at_mut(&["spec", "ports"]).and_then(Value::as_list_mut) {
        for port in ports.iter_mut().filter(|port| !has_number(port)) {
            if let Some(number) = chosen.next() {
                port.set_at(&["nodePort"], number);
            }
        }
    }
    if wants_health_port(service)
        && let Some(number) = chosen.next()
    {
        service.set_at(&["spec", "healthCheckNodePort"], number);
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn ports() -> NodePorts {
        NodePorts::new(30000..=30009, "/registry")
    }

    #[test]
    fn ports_are_never_given_twice() {
        let ports = ports();
        let mut bits = vec![0; 2];
        let mut wanted = Ports { named: [30003].into(), missing: 9, chosen: Vec::new() };
        assert!(ports.mark(&mut bits, &mut wanted).is_ok());
        let all: BTreeSet<u16> = wanted.chosen.iter().copied().chain([30003]).collect();
        assert_eq!(all, (30000..=30009).collect());
        let mut more = Ports { named: BTreeSet::new(), missing: 1, chosen: Vec::new() };
        assert!(ports.mark(&mut bits, &mut more).is_err());
        let mut again = Ports { named: [30003].into(), missing: 0, chosen: Vec::new() };
        assert!(ports.mark(&mut bits, &mut again).is_err());
    }

    #[test]
    fn the_bitmap_survives_its_encoding() {
        let ports = ports();
        let value = ports.write(&[0b1001, 2]);
        let kv = KeyValue { key: String::new(), value, mod_revision: 7, create_revision: 7 };
        let read = ports.read(Some(&kv));
        assert_eq!((read.bits, read.revision), (vec![0b1001, 2], 7));
    }

    #[test]
    fn ports_and_health_port_are_filled() {
        let mut service = Object::try_from(value!({"spec": {
            "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "ports": [{"port": 80, "nodePort": 30001}, {"port": 81}],
        }}))
        .unwrap();
        assert_eq!(count_missing(&service), 2);
        fill_ports(&mut service, &[30002, 30003]);
        assert_eq!(service.i64_at(&["spec", "ports", "1", "nodePort"]), Some(30002));
        assert_eq!(service.i64_at(&["spec", "healthCheckNodePort"]), Some(30003));
    }
}
