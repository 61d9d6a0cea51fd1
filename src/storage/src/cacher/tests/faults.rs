//! What happens to a cache and its watchers when etcd fails, forgets or holds what nobody can read.

use super::*;
use crate::Closed;
use tokio::net::TcpStream;

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
    // A write whose event never comes.
    let adopted: Result<_, DecodeError> = cache.adopt(&world.key("lost"), begin + 1000, || Ok(("x".to_owned(), 0)));
    adopted.unwrap();
    world.server.restart_empty().await;
    assert!(next(&mut watcher).await.is_none());
    assert_eq!(watcher.closed(), Some(Closed::HistoryLost));
    assert!(cache.snapshot().is_empty());
    assert!(cache.revision() < begin);
    assert!(cache.settled().await.is_ok(), "nobody waits for what is lost");
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
