//! The endpoints of the `kubernetes` Service: the addresses of all API servers that are alive.
//!
//! Each server keeps a key under `masterleases` that expires unless it is written again. All servers watch these keys
//! and bring the endpoints in line with them, so that a new server is there at once and a dead one gone with its lease.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Object, Status, Value, value};
use storage::{EtcdWatch, ListOptions, StorageError, WatchEvent};

use super::bootstrap::stamp;
use crate::app::App;
use crate::error;
use crate::verbs::store::Cursor;

/// How long a server counts as alive after its last word.
const LIFETIME: Duration = Duration::from_secs(15);
/// How often a server says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a server that ends tries to say so.
const FAREWELL: Duration = Duration::from_secs(5);
const STAYS: &str = "this server stays an endpoint of the kubernetes Service until its lease ends";

/// Keeps this server among the endpoints until it is asked to end, then takes it out.
pub async fn run(app: Arc<App>) {
    if app.config.service.endpoint_reconciler_type == "none" {
        return;
    }
    let mut beat = tokio::time::interval(HEARTBEAT);
    let mut alive = Alive::default();
    loop {
        let done = tokio::select! {
            () = app.stopping.cancelled() => break,
            _ = beat.tick() => announce(&app, &mut alive).await,
            () = alive.changed(&app) => alive.reconcile(&app).await,
        };
        if let Err(status) = done {
            tracing::warn!(error = %status, "the endpoints of the kubernetes Service are not up to date");
        }
    }
    match tokio::time::timeout(FAREWELL, withdraw(&app, &mut alive)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "{STAYS}"),
        Err(_) => tracing::warn!("{STAYS}"),
    }
}

/// The servers that were alive at the last look, and a watch that tells of the next change.
#[derive(Default)]
struct Alive {
    servers: BTreeSet<IpAddr>,
    watch: Option<EtcdWatch>,
}

impl Alive {
    /// Returns when a server came or went; never if there is no watch, which the next heartbeat opens.
    async fn changed(&mut self, app: &App) {
        let folder = folder(app);
        loop {
            let Some(watch) = &mut self.watch else { return std::future::pending().await };
            let Ok(batch) = watch.next().await else {
                self.watch = None;
                continue;
            };
            let server = |key: &str| key.strip_prefix(&folder)?.parse::<IpAddr>().ok();
            let news = batch.events.iter().any(|event| match event {
                WatchEvent::Put(kv) => server(&kv.key).is_some_and(|server| !self.servers.contains(&server)),
                WatchEvent::Delete { key, .. } => server(key).is_some_and(|server| self.servers.contains(&server)),
            });
            if news {
                return;
            }
        }
    }

    /// Brings Endpoints and `EndpointSlice` in line with the servers that are alive.
    async fn reconcile(&mut self, app: &Arc<App>) -> Result<(), Status> {
        let folder = folder(app);
        let page = app.etcd.list(&folder, ListOptions::default()).await;
        let page = page.map_err(|error| error::from_storage(&error))?;
        if self.watch.is_none() {
            self.watch = app.etcd.watch(&folder, page.revision + 1).await.ok();
        }
        let alive = page.items.iter().filter_map(|kv| kv.key.strip_prefix(&folder)?.parse().ok());
        self.servers = alive.collect();
        let port = i64::from(app.config.advertise_port);
        write(app, ("", "endpoints"), endpoints(&self.servers, port)).await?;
        for (name, family) in [("kubernetes", true), ("kubernetes-ipv6", false)] {
            let of_family: BTreeSet<IpAddr> =
                self.servers.iter().filter(|ip| ip.is_ipv4() == family).copied().collect();
            if !of_family.is_empty() || family {
                let slice = slice(name, &of_family, (port, family));
                write(app, ("discovery.k8s.io", "endpointslices"), slice).await?;
            }
        }
        Ok(())
    }
}

fn folder(app: &App) -> String {
    format!("{}/masterleases/", app.config.etcd.etcd_prefix)
}

fn own_key(app: &App) -> String {
    format!("{}{}", folder(app), app.config.advertise_address)
}

async fn announce(app: &Arc<App>, alive: &mut Alive) -> Result<(), Status> {
    let key = own_key(app);
    let mut lease = Object::new("v1", "Endpoints");
    lease.set_at(&["subsets"], value!([{"addresses": [{"ip": app.config.advertise_address.to_string()}]}]));
    let value = crate::stored::encode(&lease);
    let storage = |error: StorageError| error::from_storage(&error);
    let (present, _) = app.etcd.get(&key).await.map_err(storage)?;
    let written = match present {
        Some(kv) => app.etcd.update(&key, value, kv.mod_revision, Some(LIFETIME)).await,
        None => app.etcd.create(&key, value, Some(LIFETIME)).await,
    };
    match written {
        Ok(_) | Err(StorageError::Conflict { .. } | StorageError::Exists { .. }) => {}
        Err(failed) => return Err(storage(failed)),
    }
    alive.reconcile(app).await
}

async fn withdraw(app: &Arc<App>, alive: &mut Alive) -> Result<(), Status> {
    let key = own_key(app);
    let (present, _) = app.etcd.get(&key).await.map_err(|error| error::from_storage(&error))?;
    if let Some(kv) = present {
        // A failed guard means that somebody else has written it; then it is not ours.
        let _ = app.etcd.delete(&key, kv.mod_revision).await;
    }
    alive.reconcile(app).await
}

fn endpoints(alive: &BTreeSet<IpAddr>, port: i64) -> Object {
    let mut object = Object::new("v1", "Endpoints");
    object.set_name("kubernetes");
    object.set_namespace("default");
    object.set_label("endpointslice.kubernetes.io/skip-mirror", "true");
    if !alive.is_empty() {
        let addresses: Value = alive.iter().map(|ip| value!({"ip": ip.to_string()})).collect();
        object.set_at(
            &["subsets"],
            value!([{"addresses": (addresses), "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]),
        );
    }
    object
}

fn slice(name: &str, alive: &BTreeSet<IpAddr>, (port, ipv4): (i64, bool)) -> Object {
    let mut object = Object::new("discovery.k8s.io/v1", "EndpointSlice");
    object.set_name(name);
    object.set_namespace("default");
    object.set_label("kubernetes.io/service-name", "kubernetes");
    object.set_at(&["addressType"], if ipv4 { "IPv4" } else { "IPv6" });
    let each = |ip: &IpAddr| value!({"addresses": [ip.to_string()], "conditions": {"ready": true}});
    object.set_at(&["endpoints"], alive.iter().map(each).collect::<Value>());
    object.set_at(&["ports"], value!([{"name": "https", "port": port, "protocol": "TCP"}]));
    object
}

/// Writes an object unless it says the same already.
async fn write(app: &Arc<App>, (group, plural): (&str, &str), wanted: Object) -> Result<(), Status> {
    let Some(store) = app.registry.stored(group, plural).and_then(|resource| resource.store.clone()) else {
        return Ok(());
    };
    let key = store.key(wanted.namespace(), wanted.name());
    let mut cursor = Cursor::open(&store, key.clone()).await?;
    loop {
        let Some(current) = cursor.current() else {
            let mut object = wanted.clone();
            stamp(&mut object);
            match store.create(&key, &object, None).await {
                Ok(_) => return Ok(()),
                Err(StorageError::Exists { .. }) => cursor.refresh().await?,
                Err(failed) => return Err(error::from_storage(&failed)),
            }
            continue;
        };
        let old = current.object();
        let mut new = wanted.clone();
        new.as_map_mut().insert("metadata", old.metadata().clone());
        for (key, value) in wanted.labels().strings() {
            new.set_label(key, value);
        }
        if new == old || cursor.write(&new, None).await?.is_some() {
            return Ok(());
        }
    }
}
