//! All kinds the server has, and the metadata of all their objects: one watch for each kind, shared by the controllers
//! that do not care what an object is.
//!
//! Kinds come and go with custom resource definitions and API services. Both are objects like others, so their own
//! watches tell when to ask the server for its kinds again; nothing looks from time to time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use controller_runtime::{Event, Informer, Requeue, Store, WorkQueue, run_workers};
use futures::future::join_all;
use kube::api::PartialObjectMeta;
use kube::core::DynamicObject;
use kube::{Api, Client};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use crate::discovery::{Discovered, Discovery, discover};
use crate::ownership::is_deleting;

/// An object of any kind, as far as it is the same for all.
pub(crate) type Meta = PartialObjectMeta<DynamicObject>;

/// Events are many, short-lived and own nothing.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

/// The kinds whose objects make kinds.
const MAKERS: [(&str, &str); 2] =
    [("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];

/// How long the first lists are waited for.
const FIRST_LISTS: Duration = Duration::from_secs(30);

/// How often a kind that was defined is looked for in vain, slower each time, some twenty seconds in all: a definition
/// may be written before each server serves it, and one in conflict with another is never served.
const PATIENCE: u32 = 12;

type Handler = Arc<dyn Fn(&Arc<Discovered>, &Event<Meta>) + Send + Sync>;

/// A handle to all kinds; nothing is watched before the first [`Kinds::ready`].
#[derive(Clone)]
pub(crate) struct Kinds(Arc<Shared>);

struct Shared {
    reader: Client,
    /// Reads metadata.
    objects: Client,
    token: CancellationToken,
    started: OnceCell<()>,
    /// Whether the server has said once what kinds it has.
    known: watch::Sender<bool>,
    /// Holds its one item while the kinds have to be looked at again.
    changed: WorkQueue<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    followed: BTreeMap<String, Followed>,
    discovery: Discovery,
    handlers: Vec<Handler>,
}

struct Followed {
    kind: Arc<Discovered>,
    store: Store<Meta>,
    token: CancellationToken,
}

impl Kinds {
    /// Reads the kinds with one client and the metadata of objects with another; ends with the token.
    pub(crate) fn new((reader, objects): (Client, Client), token: CancellationToken) -> Self {
        let changed = WorkQueue::new("kinds");
        Self(Arc::new(Shared {
            reader,
            objects,
            token,
            started: OnceCell::new(),
            known: watch::Sender::new(false),
            changed,
            state: Mutex::default(),
        }))
    }

    /// Waits until all kinds are followed.
    pub(crate) async fn ready(&self) {
        self.0.started.get_or_init(|| self.start()).await;
    }

    async fn start(&self) {
        self.0.changed.add(());
        let (looking, closing) = (self.clone(), self.clone());
        tokio::spawn(run_workers(self.0.changed.clone(), 1, move |()| looking.clone().look()));
        tokio::spawn(async move {
            closing.0.token.cancelled().await;
            closing.0.changed.close();
        });
        let listed = async {
            // The sender lives as long as this handle, so this wait ends only with success.
            let _ = self.0.known.subscribe().wait_for(|known| *known).await;
            let followed = self.followed();
            join_all(followed.iter().map(|(_, store)| store.synced())).await;
        };
        // A kind whose watch cannot start must not stop the work on all others.
        tokio::select! {
            () = self.0.token.cancelled() => {}
            outcome = tokio::time::timeout(FIRST_LISTS, listed) => if outcome.is_err() {
                tracing::warn!("some kinds cannot be watched; objects are checked against the server");
            }
        }
    }

    /// Calls a function for every object there is and for every event, of all kinds there are and will be.
    pub(crate) fn on_event(&self, handler: impl Fn(&Arc<Discovered>, &Event<Meta>) + Send + Sync + 'static) {
        let handler: Handler = Arc::new(handler);
        let followed = {
            let mut state = self.state();
            state.handlers.push(Arc::clone(&handler));
            state.stores()
        };
        for (kind, store) in followed {
            attach(&kind, &store, &handler);
        }
    }

    /// All kinds that are watched, and their objects.
    pub(crate) fn followed(&self) -> Vec<(Arc<Discovered>, Store<Meta>)> {
        self.state().stores()
    }

    /// What the server said last.
    pub(crate) fn discovery(&self) -> Discovery {
        self.state().discovery.clone()
    }

    /// The first watched kind that fulfils a condition.
    pub(crate) fn find(&self, wanted: impl Fn(&Discovered) -> bool) -> Option<(Arc<Discovered>, Store<Meta>)> {
        let state = self.state();
        let found = state.followed.values().find(|followed| wanted(&followed.kind));
        found.map(|followed| (Arc::clone(&followed.kind), followed.store.clone()))
    }

    /// Asks the server for its kinds, and follows those that are new and no longer those that are gone.
    pub(crate) async fn refresh(&self) -> Result<(), kube::Error> {
        let discovery = discover(&self.0.reader).await?;
        let mut new = Vec::new();
        let handlers = {
            let mut state = self.state();
            let served: BTreeMap<String, &Arc<Discovered>> = discovery
                .kinds
                .iter()
                .filter(|kind| kind.can(&["delete", "list", "watch"]) && !kind.is_one_of(&IGNORED))
                .map(|kind| (kind.path(), kind))
                .collect();
            for (path, kind) in &served {
                if !state.followed.contains_key(path) {
                    let followed = self.follow(kind);
                    new.push((Arc::clone(kind), followed.store.clone()));
                    state.followed.insert(path.clone(), followed);
                }
            }
            // A group that does not answer now may still have its kinds.
            state.followed.retain(|path, followed| {
                let stays = served.contains_key(path) || discovery.is_silent(&followed.kind.resource.group);
                if !stays {
                    followed.token.cancel();
                }
                stays
            });
            state.discovery = discovery;
            state.handlers.clone()
        };
        for (kind, store) in &new {
            for handler in &handlers {
                attach(kind, store, handler);
            }
            if kind.is_one_of(&MAKERS) {
                let changed = self.0.changed.clone();
                store.on_event(move |_| changed.add(()));
            }
        }
        self.0.known.send_replace(true);
        Ok(())
    }

    fn follow(&self, kind: &Arc<Discovered>) -> Followed {
        let token = self.0.token.child_token();
        let api: Api<Meta> = Api::all_with(self.0.objects.clone(), &kind.resource);
        let store = Informer::new(api).trim(trim).start(token.clone());
        Followed { kind: Arc::clone(kind), store, token }
    }

    async fn look(self) -> Result<Requeue, kube::Error> {
        self.refresh().await?;
        let discovery = self.discovery();
        if !discovery.silent.is_empty() {
            tracing::debug!(groups = ?discovery.silent, "some groups do not answer");
            return Ok(Requeue::RateLimited);
        }
        let vain = self.0.changed.failures(&()) >= PATIENCE || self.defined().all(|name| discovery.serves(&name));
        Ok(if vain { Requeue::No } else { Requeue::RateLimited })
    }

    /// The kinds that definitions promise, as `plural.group`.
    fn defined(&self) -> impl Iterator<Item = String> {
        let definitions = self.find(|kind| kind.is_one_of(&MAKERS[..1])).map(|(_, store)| store.list());
        let lasting =
            definitions.unwrap_or_default().into_iter().filter(|definition| !is_deleting(definition.as_ref()));
        lasting.filter_map(|definition| definition.metadata.name.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stores(&self) -> Vec<(Arc<Discovered>, Store<Meta>)> {
        self.followed.values().map(|followed| (Arc::clone(&followed.kind), followed.store.clone())).collect()
    }
}

fn attach(kind: &Arc<Discovered>, store: &Store<Meta>, handler: &Handler) {
    let (kind, handler) = (Arc::clone(kind), Arc::clone(handler));
    store.on_event(move |event| handler(&kind, event));
}

/// All that is asked of metadata here is who and whose.
fn trim(object: &mut Meta) {
    object.metadata.labels = None;
    object.metadata.annotations = None;
}

#[cfg(test)]
mod tests;
