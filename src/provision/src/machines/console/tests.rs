use std::io::Write;

use super::*;

fn key(fill: u8) -> String {
    let bytes = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &[fill; 32]].concat();
    format!("ssh-ed25519 {}", STANDARD.encode(bytes))
}

fn told(key: &str) -> String {
    format!("boot\r\n{BEGIN}\r\n{key}\r\n{END}\r\nmore\r\n")
}

#[test]
fn the_last_whole_key_counts() {
    assert_eq!(find("nothing"), None);
    assert_eq!(find(&told(&key(1))), Some(key(1)));
    assert_eq!(find(&(told(&key(1)) + &told(&key(2)))), Some(key(2)));
    assert_eq!(find(&format!("{BEGIN}\r\n{}", key(1))), None);
}

#[test]
fn a_key_with_something_in_its_midst_is_no_key() {
    let whole = key(1);
    let (a, b) = whole.split_at(30);
    assert_eq!(find(&told(&format!("{a}[   1.0] random: ready{b}"))), None);
    assert_eq!(find(&told(&whole[..whole.len() - 8])), None);
    assert_eq!(find(&told("ssh-rsa AAAA")), None);
}

#[tokio::test]
async fn a_key_that_comes_later_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("console.log");
    let path = log.clone();
    let waiting = tokio::spawn(async move { host_key(&path, Duration::from_secs(20)).await });
    tokio::task::yield_now().await;
    std::fs::write(dir.path().join("other"), b"x").unwrap();
    let mut file = std::fs::File::create(&log).unwrap();
    for part in told(&key(3)).split_inclusive('\n') {
        file.write_all(part.as_bytes()).unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting.await.unwrap().unwrap(), key(3));
}

#[tokio::test]
async fn a_silent_machine_is_shown_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("console.log");
    std::fs::write(&log, "one\r\nKernel panic - not syncing: no init\r\n").unwrap();
    let silent = host_key(&log, Duration::from_millis(20)).await.unwrap_err();
    assert!(silent.to_string().contains("Kernel panic"), "{silent}");
}
