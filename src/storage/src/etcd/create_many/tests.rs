use super::*;
use crate::testing::{EtcdServer, fresh_prefix};

fn entries(prefix: &str, count: usize, size: usize) -> Vec<(String, Bytes)> {
    let value = |n: usize| {
        let mut value = format!("{prefix} value {n} ").into_bytes();
        value.resize(value.len().max(size), b'.');
        Bytes::from(value)
    };
    (0..count).map(|n| (format!("{prefix}{n:04}"), value(n))).collect()
}

async fn stored(etcd: &Etcd, prefix: &str) -> Vec<(String, Bytes)> {
    let mut stored = Vec::new();
    etcd.list_all(prefix, 0, |kv| stored.push((kv.key, kv.value))).await.unwrap();
    stored
}

#[tokio::test]
async fn many_keys_cost_as_many_commits_as_etcd_needs_transactions() {
    let server = EtcdServer::start().await;
    let etcd = server.connect().await;
    let check = async |count: usize, size: usize, commits: i64| {
        let prefix = fresh_prefix();
        let wanted = entries(&prefix, count, size);
        let before = etcd.current_revision().await.unwrap();
        let made = etcd.create_many(&wanted).await.unwrap();
        assert_eq!(etcd.current_revision().await.unwrap(), before + commits, "{count} values of {size} bytes");
        let revision = |made: &Creation| matches!(made, Creation::Done(at) if *at > before && *at <= before + commits);
        assert!(made.len() == count && made.iter().all(revision), "{made:?}");
        assert_eq!(stored(&etcd, &prefix).await, wanted);
    };
    check(0, 10, 0).await;
    check(1, 10, 1).await;
    check(MOST_KEYS, 1000, 1).await;
    check(MOST_KEYS + 1, 10, 2).await;
    check(1000, 10, 8).await;
    // More bytes than one request takes; then values that fill one each.
    check(20, 100 << 10, 2).await;
    check(3, 1 << 20, 3).await;
}

#[tokio::test]
async fn what_is_taken_is_told_and_left_alone_and_the_rest_is_stored() {
    let server = EtcdServer::start().await;
    let etcd = server.connect().await;
    let prefix = fresh_prefix();
    let wanted = entries(&prefix, 300, 10);
    let taken = [0, 5, 127, 128, 299];
    let mut at = Vec::new();
    for n in taken {
        at.push(etcd.create(&wanted[n].0, Bytes::from(format!("theirs {n}")), None).await.unwrap());
    }
    let before = etcd.current_revision().await.unwrap();
    let made = etcd.create_many(&wanted).await.unwrap();
    assert!(etcd.current_revision().await.unwrap() <= before + 4);
    for (n, creation) in made.iter().enumerate() {
        match (creation, taken.iter().position(|t| *t == n)) {
            (Creation::Done(revision), None) => assert!(*revision > before),
            (Creation::Taken(kv), Some(which)) => {
                assert_eq!((kv.key.as_str(), kv.mod_revision), (wanted[n].0.as_str(), at[which]));
                assert_eq!(kv.value, format!("theirs {n}").into_bytes());
            }
            _ => panic!("{n}: {creation:?}"),
        }
    }
    let stored = stored(&etcd, &prefix).await;
    assert_eq!(stored.len(), wanted.len());
    assert!(stored.iter().enumerate().all(|(n, (_, value))| taken.contains(&n) == value.starts_with(b"theirs")));
    // Again, with everything taken: nothing is written.
    let before = etcd.current_revision().await.unwrap();
    let again = etcd.create_many(&wanted).await.unwrap();
    assert!(again.iter().all(|creation| matches!(creation, Creation::Taken(_))));
    assert_eq!(etcd.current_revision().await.unwrap(), before);
}

#[tokio::test]
async fn of_several_who_store_the_same_keys_one_wins_each() {
    let server = EtcdServer::start().await;
    let prefix = fresh_prefix();
    let mut racers = Vec::new();
    for racer in 0..4 {
        let etcd = server.connect().await;
        let mut wanted = entries(&prefix, 300, 10);
        // Each begins elsewhere, so that nobody finds all of a transaction free or taken.
        wanted.rotate_left(racer * 70);
        for (_, value) in &mut wanted {
            *value = Bytes::from([value, format!("by {racer}").as_bytes()].concat());
        }
        racers.push(tokio::spawn(async move {
            let made = etcd.create_many(&wanted).await.unwrap();
            let mine = wanted.into_iter().zip(made);
            mine.filter(|(_, creation)| matches!(creation, Creation::Done(_)))
                .map(|(entry, _)| entry)
                .collect::<Vec<_>>()
        }));
    }
    let mut won = Vec::new();
    for racer in racers {
        won.extend(racer.await.unwrap());
    }
    won.sort();
    assert_eq!(won, stored(&server.connect().await, &prefix).await);
    assert_eq!(won.len(), 300);
}

#[tokio::test]
async fn a_value_that_fits_nowhere_is_told_and_what_came_before_stays() {
    let server = EtcdServer::start().await;
    let etcd = server.connect().await;
    let prefix = fresh_prefix();
    let mut wanted = entries(&prefix, MOST_KEYS, 10);
    wanted.extend(entries(&format!("{prefix}large"), 1, 3 << 20));
    let failed = etcd.create_many(&wanted).await;
    assert!(matches!(failed, Err(StorageError::TooLarge)), "{failed:?}");
    assert_eq!(stored(&etcd, &prefix).await, wanted[..MOST_KEYS]);
}

#[test]
fn a_request_is_full_by_keys_or_by_bytes_and_never_empty() {
    let check = |sizes: &[usize], expected| assert_eq!(fitting(sizes.iter().copied()), expected, "{sizes:?}");
    check(&[1], 1);
    check(&[MOST_BYTES + 1, 1], 1);
    check(&[MOST_BYTES - 1, 1, 1], 2);
    check(&[1; 200], MOST_KEYS);
}
