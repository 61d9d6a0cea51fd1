use super::*;
use crate::testing::{EtcdServer, fresh_prefix};
use crate::{ListOptions, WatchEvent};
use bytes::Bytes;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn progress_is_trusted_from_the_repaired_versions_on() {
    let check = |version, expected| {
        assert_eq!(probe::progress_is_dependable(version), expected, "{version}");
    };
    check("3.4.23", false);
    check("3.4.30", false);
    check("3.4.31", true);
    check("3.5.12", false);
    check("3.5.13", true);
    check("3.5.16", true);
    check("3.6.0", true);
    check("3.7.0-alpha.1", true);
    check("4.0.0", true);
    check("3.3.27", false);
    check("nonsense", false);
}

#[tokio::test]
async fn writes_are_guarded_and_a_refusal_shows_the_present_value() {
    let server = EtcdServer::start().await;
    let etcd = server.connect().await;
    let key = fresh_prefix() + "a";

    let first = etcd.create(&key, bytes("one"), None).await.unwrap();
    let exists = etcd.create(&key, bytes("two"), None).await.unwrap_err();
    let StorageError::Exists { current: Some(kv) } = exists else { panic!("{exists:?}") };
    assert_eq!((&kv.value[..], kv.mod_revision), (&b"one"[..], first));

    let second = etcd.update(&key, bytes("two"), first, None).await.unwrap();
    assert!(second > first);
    for stale in [etcd.update(&key, bytes("three"), first, None).await, etcd.delete(&key, first).await] {
        let stale = stale.unwrap_err();
        let StorageError::Conflict { current: Some(kv) } = stale else { panic!("{stale:?}") };
        assert_eq!((&kv.value[..], kv.mod_revision), (&b"two"[..], second));
    }

    let removed = etcd.delete(&key, second).await.unwrap();
    assert!(removed > second);
    assert_eq!(etcd.get(&key).await.unwrap(), (None, removed));
    let gone = etcd.update(&key, bytes("x"), second, None).await;
    assert!(matches!(gone, Err(StorageError::Conflict { current: None })));
    let gone = etcd.delete(&key, second).await;
    assert!(matches!(gone, Err(StorageError::Conflict { current: None })));

    let (then, at) = etcd.get_at(&key, first).await.unwrap();
    assert_eq!((&then.unwrap().value[..], at), (&b"one"[..], first));
    let future = etcd.get_at(&key, removed + 100).await;
    assert!(matches!(future, Err(StorageError::FutureRevision)));
    let huge = Bytes::from(vec![0; 3 << 20]);
    let huge = etcd.create(&key, huge, None).await;
    assert!(matches!(huge, Err(StorageError::TooLarge)), "{huge:?}");
}

#[tokio::test]
async fn pages_show_one_revision_whatever_is_written_meanwhile() {
    let server = EtcdServer::start().await;
    let etcd = server.connect().await;
    let prefix = fresh_prefix();
    for n in 0..25 {
        let key = format!("{prefix}{n:02}");
        etcd.create(&key, bytes("old"), None).await.unwrap();
    }
    // A neighbour whose key starts alike but lies outside.
    let outside = prefix.trim_end_matches('/').to_owned() + "0";
    etcd.create(&outside, bytes("x"), None).await.unwrap();

    let mut options = ListOptions { limit: 10, ..ListOptions::default() };
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = etcd.list(&prefix, options.clone()).await.unwrap();
        sizes.push((page.items.len(), page.remaining, page.more));
        options.revision = page.revision;
        options.continue_after = page.items.last().map(|kv| kv.key.clone());
        seen.extend(page.items);
        // Between two pages: a change and a removal ahead, an insertion behind.
        let ahead = seen.len() + 1;
        let key = format!("{prefix}{ahead:02}");
        if let (Some(kv), _) = etcd.get(&key).await.unwrap() {
            etcd.delete(&key, kv.mod_revision).await.unwrap();
        }
        let inserted = format!("{prefix}{:02}x", ahead + 1);
        etcd.create(&inserted, bytes("new"), None).await.unwrap();
        if !page.more {
            break;
        }
    }
    assert_eq!(sizes, [(10, 15, true), (10, 5, true), (5, 0, false)]);
    let keys: Vec<_> = seen.iter().map(|kv| kv.key.clone()).collect();
    let expected: Vec<_> = (0..25).map(|n| format!("{prefix}{n:02}")).collect();
    assert_eq!(keys, expected);
    assert!(seen.iter().all(|kv| &kv.value[..] == b"old"));
}

#[tokio::test]
async fn values_with_a_time_to_live_share_a_lease_and_vanish() {
    let server = EtcdServer::start().await;
    let etcd = server.connect().await;
    let prefix = fresh_prefix();
    let ttl = Some(Duration::from_secs(1));
    let start = Instant::now();
    for n in 0..5 {
        let key = format!("{prefix}{n}");
        etcd.create(&key, bytes("event"), ttl).await.unwrap();
    }
    let mut kv = etcd.inner.members.all()[0].kv.clone();
    let options = GetOptions::new().with_prefix();
    let stored = kv.get(prefix.as_str(), Some(options)).await.unwrap();
    let leases: std::collections::HashSet<_> = stored.kvs().iter().map(etcd_client::KeyValue::lease).collect();
    assert!(!leases.contains(&0));
    assert!(leases.len() <= 2, "{leases:?}");

    let from = etcd.current_revision().await.unwrap() + 1;
    let mut watch = etcd.watch(&prefix, from).await.unwrap();
    let mut removed = 0;
    while removed < 5 {
        let batch = tokio::time::timeout(Duration::from_mins(1), watch.next());
        for event in batch.await.expect("leases end").unwrap().events {
            assert!(matches!(event, WatchEvent::Delete { .. }));
            removed += 1;
        }
    }
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn compacted_history_is_told_apart() {
    let server = EtcdServer::start().await;
    let etcd = server.connect().await;
    let prefix = fresh_prefix();
    let key = prefix.clone() + "a";
    let mut revision = etcd.create(&key, bytes("0"), None).await.unwrap();
    let first = revision;
    for n in 1..10 {
        revision = etcd.update(&key, bytes(&n.to_string()), revision, None).await.unwrap();
    }
    etcd.compact(revision).await.unwrap();
    // Twice is as good as once: another API server may have been faster.
    etcd.compact(revision).await.unwrap();

    let options = ListOptions { revision: first, ..ListOptions::default() };
    let listed = etcd.list(&prefix, options).await;
    assert!(matches!(listed, Err(StorageError::Compacted { .. })), "{listed:?}");
    let watched = match etcd.watch(&prefix, first).await {
        Ok(mut watch) => watch.next().await.map(drop),
        Err(error) => Err(error),
    };
    let Err(StorageError::Compacted { oldest }) = watched else { panic!("{watched:?}") };
    assert_eq!(oldest, revision);
}

#[tokio::test]
async fn of_many_api_servers_one_compacts_at_a_time() {
    let server = EtcdServer::start().await;
    let one = server.connect().await;
    let two = server.connect().await;
    let token = CancellationToken::new();
    let every = Duration::from_millis(150);
    let tasks = [one.clone(), two].map(|etcd| {
        let token = token.clone();
        tokio::spawn(async move { etcd.compact_every(every, token).await })
    });
    let key = fresh_prefix() + "a";
    let first = one.create(&key, bytes("0"), None).await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut revision = first;
    // A read of old history fails once it is compacted; the present is never touched.
    loop {
        revision = one.update(&key, bytes("x"), revision, None).await.unwrap();
        match one.get_at(&key, first).await {
            Ok(_) => assert!(Instant::now() < deadline, "nothing was compacted"),
            Err(StorageError::Compacted { .. }) => break,
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    token.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    let compacted = one.compacted_revision().await.unwrap();
    assert!(compacted >= first && compacted <= revision, "{first} {compacted} {revision}");
    let (marker, _) = one.get(crate::COMPACT_REVISION_KEY).await.unwrap();
    assert!(marker.is_some());
}

#[tokio::test]
async fn callers_share_reads_of_the_revision_but_never_get_an_older_one() {
    let server = EtcdServer::start().await;
    let etcd = server.connect().await;
    let prefix = fresh_prefix();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let (etcd, key) = (etcd.clone(), format!("{prefix}{n}"));
            tokio::spawn(async move {
                let written = etcd.create(&key, bytes("x"), None).await.unwrap();
                assert!(etcd.current_revision().await.unwrap() >= written);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn an_absent_server_is_an_error_within_the_timeout() {
    let mut server = EtcdServer::start().await;
    let mut config = EtcdConfig::new([server.endpoint()]);
    config.request_timeout = Duration::from_secs(1);
    let etcd = Etcd::connect(config.clone()).await.unwrap();
    server.kill();
    let start = Instant::now();
    let error = etcd.is_healthy().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(Etcd::connect(config).await.is_err());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    server.restart().await;
    let deadline = Instant::now() + Duration::from_mins(1);
    while let Err(error) = etcd.is_healthy().await {
        assert!(error.is_transient() && Instant::now() < deadline, "{error:?}");
    }
}
