//! Holds what clients were told against what etcd says has happened.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::clients::{Kind, Outcome, Seen};

/// One change of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: String,
    /// The mark of the write that made this state; none if the object is gone.
    pub(super) mark: Option<String>,
    uid: Option<String>,
}

impl Change {
    pub(super) fn new(name: &str, object: Option<&Value>) -> Self {
        let text = |pointer: &str| Some(object?.pointer(pointer)?.as_str().unwrap_or_default().to_owned());
        Self {
            name: name.to_owned(),
            mark: object.map(|_| text("/data/mark").unwrap_or_default()),
            uid: text("/metadata/uid"),
        }
    }
}

/// All changes by their revision.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<i64, Change>);

impl History {
    pub(super) fn push(&mut self, revision: i64, change: Change) {
        assert!(self.0.last_key_value().is_none_or(|(last, _)| *last < revision), "etcd itself goes back");
        self.0.insert(revision, change);
    }

    /// The change of an object before a revision.
    fn before(&self, name: &str, revision: i64) -> Option<(i64, &Change)> {
        self.0.range(..revision).rev().find(|(_, change)| change.name == name).map(|(at, change)| (*at, change))
    }
}

/// Panics with the first thing that cannot be.
pub(super) fn check(history: &History, outcomes: &[Outcome], seen: &[Seen]) {
    let mut places: HashMap<&str, i64> = HashMap::new();
    for (revision, change) in &history.0 {
        if let Some(mark) = change.mark.as_deref().filter(|mark| !mark.is_empty()) {
            let again = places.insert(mark, *revision);
            assert!(again.is_none(), "the write {mark} happened at {again:?} and again at {revision}");
        }
    }
    for outcome in outcomes {
        check_outcome(history, outcome, places.get(outcome.mark.as_str()).copied());
    }
    let marks: HashSet<&str> = outcomes.iter().map(|outcome| outcome.mark.as_str()).collect();
    for (mark, revision) in &places {
        assert!(marks.contains(mark), "nobody made the write {mark} at {revision}");
    }
    check_watches(history, seen);
}

fn check_outcome(history: &History, outcome: &Outcome, place: Option<i64>) {
    let Some(code) = outcome.code else { return };
    match code {
        200..300 if outcome.kind == Kind::Delete => {
            let gone = history.0.iter().any(|(revision, change)| {
                let before = history.before(&outcome.name, *revision);
                change.name == outcome.name
                    && change.mark.is_none()
                    && before.is_some_and(|(_, before)| before.uid == outcome.uid)
            });
            assert!(gone, "an acknowledged delete is not in the history: {outcome:?}");
        }
        200..300 => {
            let revision = place.unwrap_or_else(|| panic!("an acknowledged write is lost: {outcome:?}"));
            assert_eq!(Some(revision), outcome.revision, "{outcome:?}");
            let before = history.before(&outcome.name, revision);
            let alive = before.filter(|(_, change)| change.mark.is_some());
            match outcome.kind {
                Kind::Create => assert!(alive.is_none(), "{outcome:?} made what was there: {alive:?}"),
                Kind::Replace => assert_eq!(alive.map(|(at, _)| at), outcome.expected, "{outcome:?}"),
                _ => assert!(alive.is_some(), "{outcome:?} changed what was not there"),
            }
        }
        // The server said that it did not do it.
        400 | 404 | 409 | 422 | 429 => assert_eq!(place, None, "a refused write happened: {outcome:?}"),
        // It did not know.
        _ => {}
    }
}

/// Every watch shows every change from where it began to where it ended, once, in order.
fn check_watches(history: &History, seen: &[Seen]) {
    let mut segments = 0;
    for part in seen {
        let Seen::Segment { from, events } = part else { continue };
        segments += 1;
        let Some((last, _)) = events.last() else { continue };
        let wanted: Vec<(i64, &Change)> = history.0.range(from + 1..=*last).map(|(at, change)| (*at, change)).collect();
        let told: Vec<(i64, &Change)> = events.iter().map(|(at, change)| (*at, change)).collect();
        let bare = |list: &[(i64, &Change)]| -> Vec<(i64, String, Option<String>)> {
            list.iter().map(|(at, change)| (*at, change.name.clone(), change.mark.clone())).collect()
        };
        assert_eq!(bare(&told), bare(&wanted), "a watch from {from} on");
    }
    assert!(segments > 0, "nobody watched");
}
