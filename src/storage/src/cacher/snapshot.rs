//! The state of a cache at one revision: a persistent map, so that a reader's copy costs one reference.

use super::codec::Undecodable;
use archery::ArcTK;
use rpds::RedBlackTreeMapSync;
use rpds::map::red_black_tree_map::RangeIter;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Why a cache cannot answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// The first fill is not done.
    #[error("cache is not filled yet")]
    NotReady,
    /// A value in the range read cannot be decoded.
    #[error(transparent)]
    Undecodable(Arc<Undecodable>),
}

/// A decoded value and where it stands in history.
pub(crate) struct Entry<T> {
    pub(crate) revision: i64,
    pub(crate) value: Arc<T>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { revision: self.revision, value: Arc::clone(&self.value) }
    }
}

/// A value that cannot be decoded, and what watchers knew of the object before.
pub(crate) struct Broken<T> {
    pub(crate) why: Arc<Undecodable>,
    pub(crate) last: Option<Arc<T>>,
}

impl<T> Clone for Broken<T> {
    fn clone(&self) -> Self {
        Self { why: Arc::clone(&self.why), last: self.last.clone() }
    }
}

/// Everything a cache knows at one revision.
pub(crate) struct State<T> {
    pub(crate) revision: i64,
    pub(crate) entries: RedBlackTreeMapSync<Arc<str>, Entry<T>>,
    pub(crate) broken: Arc<BTreeMap<Arc<str>, Broken<T>>>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { revision: 0, entries: RedBlackTreeMapSync::new_sync(), broken: Arc::default() }
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self { revision: self.revision, entries: self.entries.clone(), broken: Arc::clone(&self.broken) }
    }
}

impl<T> State<T> {
    /// How many keys etcd has, decodable or not.
    pub(crate) fn len(&self) -> usize {
        self.entries.size() + self.broken.len()
    }
}

/// An unchanging view of a cache at one revision.
pub struct Snapshot<T> {
    /// Everything up to this revision is in, nothing after it.
    pub revision: i64,
    state: Arc<State<T>>,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self { revision: self.revision, state: Arc::clone(&self.state) }
    }
}

impl<T> Snapshot<T> {
    pub(crate) fn new(state: Arc<State<T>>) -> Self {
        Self { revision: state.revision, state }
    }

    /// The same state, proven to be still the state at a later revision.
    pub(crate) fn proven_at(state: Arc<State<T>>, revision: i64) -> Self {
        Self { revision: revision.max(state.revision), state }
    }

    /// The value of one key.
    pub fn get(&self, key: &str) -> Result<Option<Arc<T>>, ReadError> {
        self.check(key)?;
        Ok(self.state.entries.get(key).map(|entry| Arc::clone(&entry.value)))
    }

    /// The values under `prefix` in key order: everything below it if it ends in `/`, else exactly this key.
    ///
    /// # Errors
    /// [`ReadError::Undecodable`] when the range holds a value that cannot be decoded: a list with a hole would
    /// look like a deletion.
    pub fn range(&self, prefix: &str) -> Result<Range<'_, T>, ReadError> {
        self.range_after(prefix, None)
    }

    /// [`Snapshot::range`], going on after the key `after`: the way to read a list in pages.
    pub fn range_after(&self, prefix: &str, after: Option<&str>) -> Result<Range<'_, T>, ReadError> {
        self.check(prefix)?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(Box::from(after)),
            _ => Bound::Included(Box::from(prefix)),
        };
        let inner = self.state.entries.range(From(start));
        Ok(Range { inner, prefix: prefix.into() })
    }

    /// How many objects the whole cache holds.
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether the whole cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self, prefix: &str) -> Result<(), ReadError> {
        if self.state.revision == 0 {
            return Err(ReadError::NotReady);
        }
        if self.state.broken.is_empty() {
            return Ok(());
        }
        let mut from = self.state.broken.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        match from.next() {
            Some((key, broken)) if covers(prefix, key) => Err(ReadError::Undecodable(Arc::clone(&broken.why))),
            _ => Ok(()),
        }
    }
}

impl<T> std::fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("revision", &self.revision)
            .field("objects", &self.len())
            .finish_non_exhaustive()
    }
}

/// Whether `key` lies under `prefix` in the sense of [`Snapshot::range`].
pub(crate) fn covers(prefix: &str, key: &str) -> bool {
    if prefix.ends_with('/') || prefix.is_empty() { key.starts_with(prefix) } else { key == prefix }
}

/// The keys from here to the end.
struct From(Bound<Box<str>>);

impl RangeBounds<str> for From {
    fn start_bound(&self) -> Bound<&str> {
        match &self.0 {
            Bound::Included(key) => Bound::Included(key),
            Bound::Excluded(key) => Bound::Excluded(key),
            Bound::Unbounded => Bound::Unbounded,
        }
    }

    fn end_bound(&self) -> Bound<&str> {
        Bound::Unbounded
    }
}

/// The values of a range in key order.
pub struct Range<'a, T> {
    inner: RangeIter<'a, Arc<str>, Entry<T>, From, str, ArcTK>,
    prefix: Box<str>,
}

impl<'a, T> Iterator for Range<'a, T> {
    type Item = (&'a str, &'a Arc<T>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, entry) = self.inner.next()?;
        covers(&self.prefix, key).then_some((&**key, &entry.value))
    }
}
