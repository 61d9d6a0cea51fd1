//! Addresses and ports of Services, and what must be there before anybody can ask for anything.
//!
//! An address or port is taken in etcd before the Service that uses it is written, and given back if that write
//! fails: two servers cannot hand out the same one.

pub mod bootstrap;
mod carry_over;
mod cluster_ips;
pub mod endpoints;
mod networks;
mod node_ports;
pub mod repair;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use api::ResourceDescriptor;
use apimachinery::field::FieldError;
use apimachinery::{Object, Status, Value};

use crate::app::App;
use crate::config::ServiceArgs;
use crate::registry::Resource;

pub use carry_over::carry_over;
use cluster_ips::ClusterIps;
use node_ports::NodePorts;

/// Hands out cluster IPs and node ports.
pub struct Allocators {
    ips: ClusterIps,
    ports: NodePorts,
}

/// What was taken for a write that has not happened yet.
#[must_use = "a reservation is kept or released"]
pub struct Reservation {
    app: Option<Arc<App>>,
    ips: Vec<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Reservation {
    fn none() -> Self {
        Self { app: None, ips: Vec::new(), ports: BTreeSet::new() }
    }

    /// The write happened.
    pub fn keep(self) {}

    /// The write did not happen.
    pub async fn release(self) {
        if let Some(app) = self.app {
            app.allocators.ips.release(&app, &self.ips).await;
            app.allocators.ports.release(&app, &self.ports).await;
        }
    }
}

fn is_service(descriptor: &ResourceDescriptor) -> bool {
    descriptor.group.is_empty() && descriptor.plural == "services"
}

impl Allocators {
    /// Allocators for the ranges of the flags.
    pub fn new(args: &ServiceArgs, prefix: &str) -> Self {
        Self {
            ips: ClusterIps::new(&args.service_cluster_ip_range),
            ports: NodePorts::new(args.service_node_port_range.0.clone(), prefix),
        }
    }

    /// Takes what a new Service needs and writes it into the object.
    ///
    /// # Errors
    /// 422 if what the Service asks for cannot be had.
    pub async fn reserve_create(
        &self,
        app: &Arc<App>,
        resource: &Resource,
        service: &mut Object,
    ) -> Result<Reservation, Status> {
        if !is_service(resource.descriptor) {
            return Ok(Reservation::none());
        }
        self.reserve(app, service, &Holdings::default()).await
    }

    /// Takes what a changed Service needs beyond what it has.
    ///
    /// # Errors
    /// 422 if what the Service asks for cannot be had.
    pub async fn reserve_update(
        &self,
        app: &Arc<App>,
        resource: &Resource,
        new: &mut Object,
        old: &Object,
    ) -> Result<Reservation, Status> {
        if !is_service(resource.descriptor) {
            return Ok(Reservation::none());
        }
        self.reserve(app, new, &Holdings::of(old)).await
    }

    async fn reserve(&self, app: &Arc<App>, service: &mut Object, held: &Holdings) -> Result<Reservation, Status> {
        let mut reservation = Reservation { app: Some(Arc::clone(app)), ..Reservation::none() };
        let outcome = match self.ips.reserve(app, service, held, &mut reservation.ips).await {
            Ok(()) => self.ports.reserve(app, service, held, &mut reservation.ports).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(reservation),
            Err(error) => {
                reservation.release().await;
                Err(error.into_status(service))
            }
        }
    }

    /// Gives back what a changed Service no longer uses.
    pub async fn release_unused(&self, app: &Arc<App>, resource: &Resource, new: &Object, old: &Object) {
        if is_service(resource.descriptor) {
            let (new, old) = (Holdings::of(new), Holdings::of(old));
            let ips: Vec<IpAddr> = old.ips.difference(&new.ips).copied().collect();
            self.ips.release(app, &ips).await;
            self.ports.release(app, &old.ports.difference(&new.ports).copied().collect()).await;
        }
    }

    /// Gives back what a deleted Service used.
    pub async fn release(&self, app: &Arc<App>, resource: &Resource, service: &Object) {
        if is_service(resource.descriptor) {
            let held = Holdings::of(service);
            self.ips.release(app, &held.ips.iter().copied().collect::<Vec<_>>()).await;
            self.ports.release(app, &held.ports).await;
        }
    }

    /// Takes what existing Services use and nobody has taken, as after a change of ranges or a restore.
    pub async fn adopt(&self, app: &Arc<App>) {
        self.ips.adopt(app).await;
        self.ports.adopt(app).await;
    }
}

/// The addresses and ports a Service has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    ips: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Holdings {
    fn of(service: &Object) -> Self {
        let listed = service.list_at(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
        let first = std::iter::once(service.str_at(&["spec", "clusterIP"]));
        let ports = service.list_at(&["spec", "ports"]).iter();
        let ports = ports.filter_map(|port| port.get("nodePort")?.as_i64());
        let health = service.i64_at(&["spec", "healthCheckNodePort"]);
        Self {
            ips: listed.chain(first).filter_map(|text| text.parse().ok()).collect(),
            ports: ports.chain(health).filter_map(|port| u16::try_from(port).ok().filter(|port| *port > 0)).collect(),
        }
    }
}

/// Why a Service cannot have what it asks for.
enum Refusal {
    Field(FieldError),
    Failed(Status),
}

impl Refusal {
    fn into_status(self, service: &Object) -> Status {
        match self {
            Self::Field(error) => Status::invalid("", "Service", service.name(), vec![error]),
            Self::Failed(status) => status,
        }
    }
}

/// The type of a Service.
fn type_of(service: &Object) -> &str {
    match service.str_at(&["spec", "type"]) {
        "" => "ClusterIP",
        other => other,
    }
}
