//! Reads a collection, in pages that all show one revision.

use std::sync::Arc;

use apimachinery::Status;
use storage::{ListOptions, Snapshot, StorageError};

use super::Call;
use super::get::PATIENCE;
use super::page::{self, From, Page};
use super::selection::Selection;
use crate::error;
use crate::metrics::EtcdOperation;
use crate::present;
use crate::registry::Store;
use crate::reply::Response;
use crate::stored::Stored;
use crate::table;

/// Objects of one revision, and where the rest of them begins.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) items: Vec<Arc<Stored>>,
    pub(super) revision: i64,
    /// The key of the last object given, if there are more.
    last: Option<String>,
    remaining: Option<usize>,
}

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    let form = call.accept()?;
    if !table::include_is_known(call.info.query.get("includeObject").unwrap_or_default()) {
        return Err(Status::bad_request("includeObject must be None, Metadata or Object"));
    }
    let selection = Selection::parse(call.resource, &call.info.query)?;
    let page = Page::parse(&call.info.query)?;
    let listed = read(call, &page, &selection).await?;
    let store = call.store()?;
    let next = listed.last.as_ref().map(|last| page::encode(listed.revision, &last[store.prefix.len()..]));
    let meta = present::meta(&listed.revision.to_string(), next.as_deref(), listed.remaining);
    Ok(present::list(call.resource, form, &meta, &listed.items, &call.info.query))
}

/// The objects of a page.
pub(super) async fn read(call: &Call<'_>, page: &Page, selection: &Selection) -> Result<Listed, Status> {
    let store = call.store()?;
    let folder = selection.folder(store, &call.info.namespace);
    match &page.from {
        From::Continued { revision, after } => {
            let key = format!("{}{after}", store.prefix);
            let pinned = Pinned { folder: &folder, revision: *revision, after: Some(key) };
            pinned.read(store, page.limit, selection).await.map_err(|error| continued_error(&error, after))
        }
        From::Exactly(revision) => {
            let snapshot = store.cacher.snapshot();
            if snapshot.revision == *revision {
                return from_snapshot(&snapshot, &folder, page.limit, selection);
            }
            let pinned = Pinned { folder: &folder, revision: *revision, after: None };
            pinned.read(store, page.limit, selection).await.map_err(|error| exact_error(&error, *revision))
        }
        from => {
            let snapshot = snapshot(store, from).await?;
            from_snapshot(&snapshot, &folder, page.limit, selection)
        }
    }
}

/// The state of the cache a list or watch begins with.
pub(super) async fn snapshot(store: &Store, from: &From) -> Result<Snapshot<Stored>, Status> {
    match from {
        From::Any => {
            store.cacher.ready().await;
            Ok(store.cacher.snapshot())
        }
        From::NotOlderThan(revision) => {
            store.cacher.wait_for(*revision, PATIENCE).await.map_err(|error| error::from_wait(&error))
        }
        _ => store.cacher.consistent().await.map_err(|error| error::from_storage(&error)),
    }
}

fn from_snapshot(
    snapshot: &Snapshot<Stored>,
    folder: &str,
    limit: usize,
    selection: &Selection,
) -> Result<Listed, Status> {
    let range = snapshot.range(folder).map_err(|error| error::from_read(&error))?;
    let mut matching = range.filter(|(_, object)| selection.matches(object));
    let mut listed = Listed { revision: snapshot.revision, ..Listed::default() };
    let taken = if limit == 0 { usize::MAX } else { limit };
    let mut last = None;
    for (key, object) in matching.by_ref().take(taken) {
        listed.items.push(Arc::clone(object));
        last = Some(key);
    }
    if limit > 0 && listed.items.len() == limit {
        let left = if selection.is_all() { matching.count() } else { usize::from(matching.next().is_some()) };
        if left > 0 {
            listed.last = last.map(str::to_owned);
            // With a selector the rest is not known, as upstream.
            listed.remaining = selection.is_all().then_some(left);
        }
    }
    Ok(listed)
}

/// A list read from etcd itself, at a revision the cache no longer shows.
struct Pinned<'a> {
    folder: &'a str,
    revision: i64,
    after: Option<String>,
}

/// How many keys are asked for at once when a selector may drop some.
const CHUNK: usize = 500;

impl Pinned<'_> {
    async fn read(mut self, store: &Store, limit: usize, selection: &Selection) -> Result<Listed, StorageError> {
        let mut listed = Listed { revision: self.revision, ..Listed::default() };
        loop {
            let chunk = if selection.is_all() && limit > 0 { limit } else { CHUNK };
            let options = ListOptions { limit: chunk, revision: self.revision, continue_after: self.after.take() };
            let page = store.cacher.etcd().list(self.folder, options);
            let page = store.times.of(EtcdOperation::List, page).await?;
            self.revision = page.revision;
            self.after = page.items.last().map(|item| item.key.clone());
            let more = page.more;
            if listed.take(store, page, limit, selection)? || !more {
                return Ok(listed);
            }
        }
    }
}

impl Listed {
    /// Takes in what matches; true if the limit is reached.
    fn take(
        &mut self,
        store: &Store,
        page: storage::Page,
        limit: usize,
        selection: &Selection,
    ) -> Result<bool, StorageError> {
        self.revision = page.revision;
        let count = page.items.len();
        for (index, item) in page.items.into_iter().enumerate() {
            let key = item.key.clone();
            let object = store.made_of(item)?;
            if !selection.matches(&object) {
                continue;
            }
            self.items.push(object);
            if self.items.len() == limit {
                self.last = (page.more || index + 1 < count).then_some(key);
                let rest = usize::try_from(page.remaining).unwrap_or(0);
                self.remaining = (selection.is_all() && page.more).then_some(rest);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Tells of lost history, with a token that goes on at the same place in the newest state.
fn continued_error(error: &StorageError, after: &str) -> Status {
    match error {
        StorageError::Compacted { .. } => Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list - objects that were \
             created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        )
        .with_continue(page::encode(page::INCONSISTENT, after)),
        other => error::from_storage(other),
    }
}

fn exact_error(error: &StorageError, revision: i64) -> Status {
    match error {
        StorageError::Compacted { .. } => {
            Status::expired(format!("The resourceVersion for the provided list is too old: {revision}"))
        }
        StorageError::FutureRevision => Status::too_large_resource_version(revision, 0),
        other => error::from_storage(other),
    }
}
