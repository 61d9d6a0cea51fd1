//! Watchers: those who come back late, who are slow, who have nothing to hear, and who are many.

use super::*;
use crate::Closed;
use std::time::Instant;

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
async fn old_history_is_forgotten_though_nothing_happens() {
    let world = World::new().await;
    let ring_age = Duration::from_millis(200);
    let bookmark_every = Duration::from_millis(20);
    let cache =
        world.cache_with(CacheOptions { ring_min: 1, ring_age, bookmark_every, ..CacheOptions::default() }).await;
    let begin = cache.revision();
    for name in ["a", "b", "c"] {
        world.create(name, "0").await;
    }
    let forgotten = async {
        while cache.watch(&world.prefix, Since::Revision(begin)).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, forgotten).await.unwrap();
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
