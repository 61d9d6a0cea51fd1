mod faults;
mod watchers;

use super::*;
use crate::testing::{EtcdServer, fresh_prefix};
use crate::{CacheEvent, DecodeError, WaitError};
use bytes::Bytes;
use rand::RngExt;
use std::collections::BTreeMap;

/// What the tests store: the text of a value, and its revision.
type Item = (String, i64);
type Cache = Arc<Cacher<Item>>;

struct TextCodec;

impl Codec<Item> for TextCodec {
    fn decode(&self, _key: &str, value: Bytes, revision: i64) -> Result<Item, DecodeError> {
        let text = String::from_utf8(value.to_vec())?;
        Ok((text, revision))
    }

    fn deleted(&self, last: &Arc<Item>, revision: i64) -> Arc<Item> {
        Arc::new((last.0.clone(), revision))
    }
}

struct World {
    server: EtcdServer,
    etcd: Etcd,
    prefix: String,
    token: CancellationToken,
}

impl World {
    async fn new() -> Self {
        let server = EtcdServer::start().await;
        let etcd = server.connect().await;
        let token = CancellationToken::new();
        Self { server, etcd, prefix: fresh_prefix(), token }
    }

    async fn cache(&self) -> Cache {
        self.cache_with(CacheOptions::default()).await
    }

    async fn cache_with(&self, options: CacheOptions) -> Cache {
        let token = self.token.clone();
        let cache = Cacher::start_with(self.etcd.clone(), &self.prefix, TextCodec, options, token);
        cache.ready().await;
        cache
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn create(&self, name: &str, value: &str) -> i64 {
        let value = Bytes::copy_from_slice(value.as_bytes());
        self.etcd.create(&self.key(name), value, None).await.unwrap()
    }

    async fn update(&self, name: &str, value: &str, expected: i64) -> i64 {
        let value = Bytes::copy_from_slice(value.as_bytes());
        self.etcd.update(&self.key(name), value, expected, None).await.unwrap()
    }

    async fn delete(&self, name: &str, expected: i64) -> i64 {
        self.etcd.delete(&self.key(name), expected).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// Long, for the sake of a busy machine; nobody waits as long as that on an idle one.
const SOON: Duration = Duration::from_mins(1);

async fn next(watcher: &mut Watcher<Item>) -> Option<CacheEvent<Item>> {
    tokio::time::timeout(SOON, watcher.next()).await.expect("an event comes soon")
}

/// An event in one line: `+a=1@5`, `~a=1→2@6`, `-a=2@7`.
fn show(event: &CacheEvent<Item>) -> String {
    match event {
        CacheEvent::Put { revision, new, old: None } => format!("+{}@{revision}", new.0),
        CacheEvent::Put { revision, new, old: Some(old) } => format!("~{}>{}@{revision}", old.0, new.0),
        CacheEvent::Delete { revision, old } => format!("-{}@{revision}", old.0),
        CacheEvent::Bookmark { revision } => format!("!@{revision}"),
    }
}

fn contents(snapshot: &Snapshot<Item>, prefix: &str) -> Vec<String> {
    let range = snapshot.range(prefix).unwrap();
    range.map(|(key, item)| format!("{}={}", &key[prefix.len()..], item.0)).collect()
}

#[tokio::test]
async fn readers_and_watchers_see_writes_in_order() {
    let world = World::new().await;
    let a = world.create("ns/a", "1").await;
    let cache = world.cache().await;
    assert_eq!(cache.get(&world.key("ns/a")).unwrap().unwrap().0, "1");
    assert_eq!(cache.get(&world.key("ns/b")).unwrap(), None);

    let mut all = cache.watch(&world.prefix, Since::Now).unwrap();
    let mut one = cache.watch(&world.key("ns/a"), Since::Now).unwrap();
    let mut other = cache.watch(&world.key("other/"), Since::Now).unwrap();
    let b = world.create("ns/ab", "x").await;
    let a2 = world.update("ns/a", "2", a).await;
    let a3 = world.delete("ns/a", a2).await;
    let o = world.create("other/a", "o").await;

    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(show(&next(&mut all).await.unwrap()));
    }
    assert_eq!(seen, [format!("+x@{b}"), format!("~1>2@{a2}"), format!("-2@{a3}"), format!("+o@{o}")]);
    // A name without a slash at its end means this object, not all that start alike.
    assert_eq!(show(&next(&mut one).await.unwrap()), format!("~1>2@{a2}"));
    assert_eq!(show(&next(&mut one).await.unwrap()), format!("-2@{a3}"));
    assert_eq!(show(&next(&mut other).await.unwrap()), format!("+o@{o}"));
    assert!(one.try_next().is_none());

    let snapshot = cache.wait_for(o, SOON).await.unwrap();
    assert_eq!(contents(&snapshot, &world.prefix), ["ns/ab=x", "other/a=o"]);
    assert_eq!(contents(&snapshot, &world.key("ns/")), ["ab=x"]);
    let after = snapshot.range_after(&world.prefix, Some(&world.key("ns/ab"))).unwrap();
    assert_eq!(after.count(), 1);

    // The deleted object carries the revision of its deletion.
    let mut again = cache.watch(&world.prefix, Since::Revision(a2)).unwrap();
    let CacheEvent::Delete { old, .. } = next(&mut again).await.unwrap() else { panic!() };
    assert_eq!(old.1, a3);
    assert_eq!(cache.stats().watchers, 4);
    drop((all, one, other, again));
    assert_eq!(cache.stats().watchers, 0);
}

/// What random writes led to: each event as [`show`] prints it with its revision, and what is left.
#[derive(Default)]
struct History {
    events: Vec<(String, i64)>,
    live: BTreeMap<String, (String, i64)>,
}

impl History {
    async fn write(&mut self, world: &World, value: &str) {
        let mut rng = rand::rng();
        let name = format!("ns{}/{:02}", rng.random_range(0..3), rng.random_range(0..20));
        let (event, revision) = match self.live.remove(&name) {
            None => {
                let revision = world.create(&name, value).await;
                (format!("+{value}@{revision}"), revision)
            }
            Some((old, expected)) if rng.random_bool(0.3) => {
                let revision = world.delete(&name, expected).await;
                self.events.push((format!("-{old}@{revision}"), revision));
                return;
            }
            Some((old, expected)) => {
                let revision = world.update(&name, value, expected).await;
                (format!("~{old}>{value}@{revision}"), revision)
            }
        };
        self.events.push((event, revision));
        self.live.insert(name, (value.to_owned(), revision));
    }
}

#[tokio::test]
async fn a_thousand_random_writes_arrive_without_gap_and_the_cache_equals_etcd() {
    let world = World::new().await;
    let cache = world.cache().await;
    let begin = cache.revision();
    let mut early = cache.watch(&world.prefix, Since::Revision(begin)).unwrap();
    let mut history = History::default();
    for n in 0..1000 {
        history.write(&world, &n.to_string()).await;
    }
    for (event, _) in &history.events {
        assert_eq!(show(&next(&mut early).await.unwrap()), *event);
    }
    // Resuming anywhere continues exactly there.
    for at in (0..999).step_by(50) {
        let since = Since::Revision(history.events[at].1);
        let mut late = cache.watch(&world.prefix, since).unwrap();
        for (event, _) in &history.events[at + 1..] {
            assert_eq!(show(&next(&mut late).await.unwrap()), *event);
        }
        assert!(late.try_next().is_none());
    }
    let snapshot = cache.consistent().await.unwrap();
    let left = history.live.iter();
    let expected: Vec<_> = left.map(|(name, (value, _))| format!("{name}={value}")).collect();
    assert_eq!(contents(&snapshot, &world.prefix), expected);
    let mut stored = Vec::new();
    let take = |kv: crate::KeyValue| stored.push((kv.key, kv.mod_revision));
    world.etcd.list_all(&world.prefix, snapshot.revision, take).await.unwrap();
    let range = snapshot.range(&world.prefix).unwrap();
    let cached: Vec<_> = range.map(|(key, item)| (key.to_owned(), item.1)).collect();
    assert_eq!(cached, stored);
}

#[tokio::test]
async fn a_consistent_read_is_never_older_than_the_last_write_of_anyone() {
    let world = World::new().await;
    let cache = world.cache().await;
    let writer = world.server.connect().await;
    let mut revision = world.create("a", "0").await;
    for n in 1..50 {
        let value = Bytes::from(n.to_string());
        revision = writer.update(&world.key("a"), value, revision, None).await.unwrap();
        // A write elsewhere moves the store on without an event for this cache.
        writer.create(&format!("/elsewhere/{n}"), Bytes::new(), None).await.unwrap();
        let snapshot = cache.consistent().await.unwrap();
        assert!(snapshot.revision > revision);
        assert_eq!(snapshot.get(&world.key("a")).unwrap().unwrap().0, n.to_string());
    }
    writer.delete(&world.key("a"), revision).await.unwrap();
    assert!(cache.consistent().await.unwrap().is_empty());

    // A revision of another resource is reached too; one of the future is not.
    let elsewhere = writer.create("/elsewhere/x", Bytes::new(), None).await.unwrap();
    let snapshot = cache.wait_for(elsewhere, SOON).await.unwrap();
    assert!(snapshot.revision >= elsewhere);
    let future = cache.wait_for(elsewhere + 50, Duration::from_millis(300)).await;
    assert!(matches!(future, Err(WaitError::TooLarge { .. })), "{future:?}");
}

#[tokio::test]
async fn one_key_is_read_as_it_is_now() {
    let world = World::new().await;
    let cache = world.cache().await;
    let writer = world.server.connect().await;
    let key = world.key("a");
    assert_eq!(cache.latest(&key).await.unwrap().0, None);
    let mut revision = world.create("a", "0").await;
    for n in 1..50 {
        let value = Bytes::from(n.to_string());
        revision = writer.update(&key, value, revision, None).await.unwrap();
        let (item, at) = cache.latest(&key).await.unwrap();
        assert!(at >= revision);
        assert_eq!(*item.unwrap(), (n.to_string(), revision));
    }
    writer.delete(&key, revision).await.unwrap();
    assert_eq!(cache.latest(&key).await.unwrap().0, None);
    let bad = Bytes::from_static(b"\xff");
    writer.create(&key, bad, None).await.unwrap();
    assert!(matches!(cache.latest(&key).await, Err(crate::LatestError::Read(_))));
}

#[tokio::test]
async fn a_settled_cache_shows_all_that_was_written_through_it() {
    let world = World::new().await;
    let cache = world.cache().await;
    for number in 0..50 {
        let name = format!("n{number}");
        let revision = world.create(&name, "x").await;
        let made: Result<_, DecodeError> = cache.adopt(&world.key(&name), revision, || Ok(("x".to_owned(), revision)));
        made.unwrap();
        // Its event may be on the way still.
        assert!(cache.settled().await.unwrap().get(&world.key(&name)).unwrap().is_some(), "{number}");
    }
}

#[tokio::test]
async fn what_a_writer_made_is_what_the_cache_keeps() {
    let world = World::new().await;
    let cache = world.cache().await;
    let mut watcher = cache.watch(&world.prefix, Since::Now).unwrap();
    let mut shared = 0;
    for n in 0..50 {
        let (key, name) = (world.key(&n.to_string()), n.to_string());
        let revision = world.create(&name, "x").await;
        let made: Result<_, DecodeError> = cache.adopt(&key, revision, || Ok(("x".to_owned(), revision)));
        let made = made.unwrap();
        let CacheEvent::Put { new, .. } = next(&mut watcher).await.unwrap() else { panic!("no put") };
        assert_eq!(*new, *made);
        shared += usize::from(Arc::ptr_eq(&new, &made));
        // A value for another revision is not taken.
        let other: Result<_, DecodeError> = cache.adopt(&key, revision + 1000, || Ok(("y".to_owned(), 0)));
        assert_eq!(*other.unwrap(), ("y".to_owned(), 0));
        assert!(cache.get(&key).unwrap().is_some_and(|kept| Arc::ptr_eq(&kept, &new)));
    }
    assert!(shared > 0);
    let failed: Result<Arc<Item>, &str> = cache.adopt("nowhere", 1, || Err("no"));
    assert_eq!(failed.unwrap_err(), "no");
}
