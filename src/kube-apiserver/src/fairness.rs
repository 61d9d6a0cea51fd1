//! Priority and fairness: every request belongs to a flow of a priority level; levels have seats, flows take turns.
//!
//! What the objects `FlowSchema` and `PriorityLevelConfiguration` say is kept here ready to use. A request finds its
//! level by the first schema that fits, takes a seat, or waits in one of the queues its flow was dealt. Leases and nodes
//! have levels of their own by default, so heartbeats get through any load.

mod defaults;
mod feed;
mod schema;
mod seats;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apimachinery::{Object, Status};
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::LimitArgs;
use crate::metrics::{Counted, Metrics};
use crate::request_info::RequestInfo;
use crate::user::User;
use schema::Schema;
use seats::{Entry, Seats};

pub use feed::{first, follow};

/// The group of both kinds.
const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// All levels and flows of a server.
pub struct Fairness {
    schemas: ArcSwap<Vec<Schema>>,
    seats: Mutex<Seats>,
    /// How long a request waits at most.
    patience: Duration,
}

/// Where a request belongs.
#[derive(Clone)]
pub struct Place {
    schema: Arc<str>,
    level: Arc<str>,
    uids: (Arc<str>, Arc<str>),
    flow: u64,
}

/// A request's seats; given up when dropped.
pub struct Ticket {
    fairness: Arc<Fairness>,
    level: Arc<str>,
    seats: u32,
    _running: Counted,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.fairness.seats().leave(&self.level, self.seats);
    }
}

impl Fairness {
    /// As many seats as both flags together say, with the default levels until others are known.
    pub fn new(limits: &LimitArgs) -> Self {
        let total = limits.max_requests_inflight.saturating_add(limits.max_mutating_requests_inflight);
        let fairness = Self {
            schemas: ArcSwap::default(),
            seats: Mutex::new(Seats::new(u32::try_from(total).unwrap_or(u32::MAX))),
            patience: limits.request_timeout / 4,
        };
        fairness.configure(&defaults::schemas(), &defaults::levels());
        fairness
    }

    /// Takes over what the objects say.
    pub fn configure(&self, schemas: &[Object], levels: &[Object]) {
        let levels = schema::levels(levels);
        let mut known: Vec<Schema> = schemas.iter().filter_map(|object| Schema::read(object, &levels)).collect();
        known.sort_by(|a, b| a.order().cmp(&b.order()));
        self.seats().configure(levels.into_iter().map(|(name, level)| (name, level.spec)));
        self.schemas.store(Arc::new(known));
    }

    /// The level and flow of a request.
    pub fn place(&self, info: &RequestInfo, user: &User) -> Place {
        let schemas = self.schemas.load();
        let Some(schema) = schemas.iter().find(|schema| schema.fits(info, user)) else {
            let nowhere: Arc<str> = Arc::from("catch-all");
            return Place { schema: nowhere.clone(), level: nowhere, uids: (Arc::from(""), Arc::from("")), flow: 0 };
        };
        let mut hasher = DefaultHasher::new();
        schema.name.hash(&mut hasher);
        match schema.distinguisher() {
            Some(schema::Distinguisher::ByUser) => user.name.hash(&mut hasher),
            Some(schema::Distinguisher::ByNamespace) => info.namespace.hash(&mut hasher),
            None => {}
        }
        Place {
            schema: schema.name.clone(),
            level: schema.level.clone(),
            uids: (schema.uid.clone(), schema.level_uid.clone()),
            flow: hasher.finish(),
        }
    }

    /// Waits for seats.
    ///
    /// # Errors
    /// 429 if there are none for too long, or too many wait already.
    pub async fn enter(self: &Arc<Self>, place: &Place, seats: u32, metrics: &Metrics) -> Result<Ticket, Status> {
        let labels = (&*place.schema, &*place.level);
        let entry = self.seats().enter(&place.level, place.flow, seats);
        let seats = match entry {
            Entry::Seated(seats) => seats,
            Entry::Full => {
                metrics.flow_rejected(labels, "queue-full");
                return Err(refused());
            }
            Entry::Wait(waiting) => {
                let _queued = metrics.flow_waits(labels);
                let mut line = InLine { fairness: self, level: &place.level, id: Some(waiting.id) };
                let called = tokio::time::timeout(self.patience, waiting.called).await;
                let Ok(Ok(seats)) = called else {
                    // The level is gone, or the time is over.
                    metrics.flow_rejected(labels, "time-out");
                    return Err(refused());
                };
                line.id = None;
                self.seats().seated(waiting.id);
                seats
            }
        };
        Ok(Ticket {
            fairness: Arc::clone(self),
            level: place.level.clone(),
            seats,
            _running: metrics.flow_runs(labels),
        })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the queue when a waiting request is given up; a seat that was called in the meantime goes back.
struct InLine<'a> {
    fairness: &'a Fairness,
    level: &'a str,
    id: Option<u64>,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.fairness.seats().give_up(self.level, id);
        }
    }
}

impl Place {
    /// Tells the client where its request belonged.
    pub fn mark(&self, headers: &mut HeaderMap) {
        for (name, uid) in [(SCHEMA_UID, &self.uids.0), (LEVEL_UID, &self.uids.1)] {
            if let Ok(value) = HeaderValue::from_str(uid) {
                headers.insert(name, value);
            }
        }
    }
}

fn refused() -> Status {
    Status::too_many_requests("Too many requests, please try again later.", 1)
}

#[cfg(test)]
mod tests;
