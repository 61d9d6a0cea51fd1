use super::*;
use crate::testing::{EtcdServer, fresh_prefix};
use crate::{CacheEvent, Closed, DecodeError, WaitError};
use bytes::Bytes;
use rand::RngExt;
use std::collections::BTreeMap;
use std::time::Instant;
use tokio::net::TcpStream;

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

/// A line to etcd that can be cut.
struct Line {
    endpoint: String,
    up: watch::Sender<bool>,
}

impl Line {
    async fn to(server: &EtcdServer) -> Self {
        let target = server.endpoint().trim_start_matches("http://").to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (up, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(Self::carry(near, target.clone(), state.clone()));
            }
        });
        Self { endpoint, up }
    }

    async fn carry(mut near: TcpStream, target: String, mut state: watch::Receiver<bool>) {
        let Ok(mut far) = TcpStream::connect(target).await else {
            return;
        };
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = state.wait_for(|up| !up) => {}
        }
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
async fn a_revision_that_left_the_ring_is_expired() {
    let world = World::new().await;
    let options = CacheOptions { ring_min: 10, ring_max: 10, ..CacheOptions::default() };
    let cache = world.cache_with(options).await;
    let begin = cache.revision();
    let mut revision = world.create("a", "0").await;
    let mut revisions = vec![revision];
    for n in 1..30 {
        revision = world.update("a", &n.to_string(), revision).await;
        revisions.push(revision);
    }
    cache.wait_for(revision, SOON).await.unwrap();
    let expired = cache.watch(&world.prefix, Since::Revision(begin)).unwrap_err();
    assert_eq!(expired.oldest, revisions[19]);
    assert!(cache.watch(&world.prefix, Since::Revision(revisions[18])).is_err());
    let mut kept = cache.watch(&world.prefix, Since::Revision(revisions[19])).unwrap();
    assert_eq!(next(&mut kept).await.unwrap().revision(), revisions[20]);
    // From before the cache was filled nothing is known.
    assert!(cache.watch(&world.prefix, Since::Revision(1)).is_err());
}

#[tokio::test]
async fn a_slow_watcher_is_closed_and_resumes_without_loss() {
    let world = World::new().await;
    let options = CacheOptions { queue: 8, ..CacheOptions::default() };
    let cache = world.cache_with(options).await;
    let mut slow = cache.watch(&world.prefix, Since::Now).unwrap();
    let mut last = 0;
    for n in 0..30 {
        last = world.create(&format!("{n:02}"), &n.to_string()).await;
    }
    cache.wait_for(last, SOON).await.unwrap();
    assert_eq!(cache.stats().slow_watchers, 1);
    let mut seen = Vec::new();
    while let Some(event) = next(&mut slow).await {
        seen.push(event.revision());
    }
    assert_eq!(slow.closed(), Some(Closed::Slow));
    assert_eq!(seen.len(), 8);
    let mut again = cache.watch(&world.prefix, Since::Revision(seen[7])).unwrap();
    for _ in 8..30 {
        let event = next(&mut again).await.unwrap();
        assert!(event.revision() > *seen.last().unwrap());
        seen.push(event.revision());
    }
    assert_eq!(seen.len(), 30);
}

#[tokio::test]
async fn a_crash_of_etcd_costs_watchers_nothing() {
    let mut world = World::new().await;
    let a = world.create("a", "1").await;
    let cache = world.cache().await;
    let mut watcher = cache.watch(&world.prefix, Since::Now).unwrap();
    let a2 = world.update("a", "2", a).await;
    assert_eq!(show(&next(&mut watcher).await.unwrap()), format!("~1>2@{a2}"));
    world.server.kill();
    assert_eq!(cache.get(&world.key("a")).unwrap().unwrap().0, "2");
    world.server.restart().await;
    let writer = world.server.connect().await;
    let a3 = writer.update(&world.key("a"), Bytes::from_static(b"3"), a2, None).await.unwrap();
    assert_eq!(show(&next(&mut watcher).await.unwrap()), format!("~2>3@{a3}"));
    assert_eq!(cache.stats().fills, 1);
    assert_eq!(watcher.closed(), None);
}

#[tokio::test]
async fn deletes_that_were_compacted_away_while_the_watch_was_down_still_arrive() {
    let world = World::new().await;
    let gone = world.create("gone", "g").await;
    world.create("same", "s").await;
    let changed = world.create("changed", "c1").await;
    let again = world.create("again", "r1").await;
    let line = Line::to(&world.server).await;
    let etcd = Etcd::connect(crate::EtcdConfig::new([&line.endpoint])).await.unwrap();
    let cache = Cacher::start(etcd, &world.prefix, TextCodec, world.token.clone());
    cache.ready().await;
    let begin = cache.revision();
    let mut watcher = cache.watch(&world.prefix, Since::Now).unwrap();

    // The cache loses its etcd, history moves on and is compacted before it comes back.
    line.up.send_replace(false);
    world.delete("gone", gone).await;
    let changed = world.update("changed", "c2", changed).await;
    world.delete("again", again).await;
    let again = world.create("again", "r2").await;
    let new = world.create("new", "n").await;
    world.etcd.compact(new).await.unwrap();
    line.up.send_replace(true);

    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(show(&next(&mut watcher).await.unwrap()));
    }
    assert_eq!(
        seen,
        [
            format!("~c1>c2@{changed}"),
            format!("-r1@{}", again - 1),
            format!("+r2@{again}"),
            format!("-g@{new}"),
            format!("+n@{new}"),
        ]
    );
    assert_eq!(cache.stats().fills, 2);
    let snapshot = cache.consistent().await.unwrap();
    assert_eq!(contents(&snapshot, &world.prefix), ["again=r2", "changed=c2", "new=n", "same=s"]);
    // The old revision can still be resumed: the difference is in the ring.
    let mut resumed = cache.watch(&world.prefix, Since::Revision(begin)).unwrap();
    assert_eq!(show(&next(&mut resumed).await.unwrap()), seen[0]);
}

#[tokio::test]
async fn a_store_that_lost_its_history_ends_all_watches() {
    let mut world = World::new().await;
    for n in 0..20 {
        world.create(&format!("{n}"), "x").await;
    }
    let cache = world.cache().await;
    let begin = cache.revision();
    let mut watcher = cache.watch(&world.prefix, Since::Now).unwrap();
    world.server.restart_empty().await;
    assert!(next(&mut watcher).await.is_none());
    assert_eq!(watcher.closed(), Some(Closed::HistoryLost));
    assert!(cache.snapshot().is_empty());
    assert!(cache.revision() < begin);
    let writer = world.server.connect().await;
    let mut fresh = cache.watch(&world.prefix, Since::Now).unwrap();
    let revision = writer.create(&world.key("a"), Bytes::from_static(b"a"), None).await.unwrap();
    assert_eq!(show(&next(&mut fresh).await.unwrap()), format!("+a@{revision}"));
}

#[tokio::test]
async fn a_value_that_cannot_be_decoded_is_named_and_never_skipped() {
    let world = World::new().await;
    let bad = Bytes::from_static(b"\xff\xfe");
    let good = world.create("ns/good", "1").await;
    let cache = world.cache().await;
    let mut whole = cache.watch(&world.prefix, Since::Now).unwrap();
    let mut elsewhere = cache.watch(&world.key("other/"), Since::Now).unwrap();
    let broken = world.etcd.update(&world.key("ns/good"), bad, good, None).await.unwrap();
    assert!(next(&mut whole).await.is_none());
    assert_eq!(whole.closed(), Some(Closed::Undecodable));
    assert!(elsewhere.try_next().is_none() && elsewhere.closed().is_none());

    let snapshot = cache.wait_for(broken, SOON).await.unwrap();
    let error = snapshot.range(&world.prefix).err().expect("a list with a hole is an error");
    let ReadError::Undecodable(why) = error else { panic!() };
    assert_eq!((why.key.as_str(), why.revision), (world.key("ns/good").as_str(), broken));
    assert!(snapshot.get(&world.key("ns/good")).is_err());
    assert!(snapshot.range(&world.key("other/")).is_ok());
    assert_eq!(cache.stats().undecodable, 1);
    // Nobody resumes across it, or the stale state would live on in a client.
    assert!(cache.watch(&world.prefix, Since::Revision(good)).is_err());

    // It can be removed, and watchers hear of it with the last state that was known.
    let mut after = cache.watch(&world.prefix, Since::Now).unwrap();
    let removed = world.delete("ns/good", broken).await;
    assert_eq!(show(&next(&mut after).await.unwrap()), format!("-1@{removed}"));
    assert!(cache.snapshot().range(&world.prefix).is_ok());

    // A second cache meets a broken value in its first fill.
    world.etcd.create(&world.key("x"), Bytes::from_static(b"\xff"), None).await.unwrap();
    let second = world.cache().await;
    assert!(second.snapshot().range(&world.prefix).is_err());
    assert_eq!(second.snapshot().len(), 1);
}

#[tokio::test]
async fn quiet_watchers_get_bookmarks_that_never_overtake_events() {
    let world = World::new().await;
    let options = CacheOptions { bookmark_every: Duration::from_millis(30), ..CacheOptions::default() };
    let cache = world.cache_with(options).await;
    let mut watcher = cache.watch(&world.prefix, Since::Now).unwrap();
    let mut last = 0;
    let mut seen = 0;
    let mut bookmarks = 0;
    let writer = async {
        for n in 0..100 {
            world.create(&format!("{n}"), "x").await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let reader = async {
        while seen < 100 || bookmarks == 0 {
            let event = next(&mut watcher).await.unwrap();
            assert!(event.revision() >= last, "{} after {last}", event.revision());
            if let CacheEvent::Bookmark { .. } = event {
                bookmarks += 1;
            } else {
                assert!(event.revision() > last, "an event at or below a bookmark");
                seen += 1;
            }
            last = event.revision();
        }
    };
    tokio::join!(writer, reader);
}

#[tokio::test]
async fn many_watchers_share_each_event() {
    let world = World::new().await;
    let cache = world.cache().await;
    let watchers: Vec<_> = (0..1000).map(|_| cache.watch(&world.prefix, Since::Now).unwrap()).collect();
    let start = Instant::now();
    world.create("a", "1").await;
    let mut objects = Vec::new();
    for mut watcher in watchers {
        let Some(CacheEvent::Put { new, .. }) = next(&mut watcher).await else { panic!() };
        objects.push(new);
    }
    assert!(objects.windows(2).all(|pair| Arc::ptr_eq(&pair[0], &pair[1])));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_stopped_cache_ends_its_watchers() {
    let world = World::new().await;
    let cache = world.cache().await;
    let mut watcher = cache.watch(&world.prefix, Since::Now).unwrap();
    world.token.cancel();
    assert!(next(&mut watcher).await.is_none());
    assert_eq!(watcher.closed(), Some(Closed::Stopped));
    assert!(cache.watch(&world.prefix, Since::Now).is_err());
}

#[tokio::test]
async fn what_is_made_of_an_event_is_made_once_for_all_its_watchers() {
    let world = World::new().await;
    let cache = world.cache().await;
    let mut watchers: Vec<_> = (0..3).map(|_| cache.watch(&world.prefix, Since::Now).unwrap()).collect();
    world.create("a", "0").await;
    world.create("b", "0").await;
    let mut made = Vec::new();
    for watcher in &mut watchers {
        for form in [0, 5] {
            let delivery = watcher.next_delivery().await.unwrap();
            let bytes = delivery.shared(form, || {
                made.push((delivery.revision(), form));
                Bytes::from(delivery.revision().to_string())
            });
            assert_eq!(*bytes, delivery.revision().to_string());
        }
    }
    assert_eq!(made.len(), 2, "{made:?}");
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
