//! Against a server on loopback that misbehaves on purpose.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use super::*;

const BODY: &[u8] = b"the bytes of an image, long enough to be cut in the middle of it";

/// What the server does with the n-th request.
type Behaviour = fn(usize, Option<usize>) -> Vec<u8>;

struct Server {
    url: String,
    ranges: Arc<Mutex<Vec<Option<usize>>>>,
    served: Arc<AtomicUsize>,
}

async fn serve(behaviour: Behaviour) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/image.qcow2", listener.local_addr().unwrap());
    let (ranges, served) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicUsize>::default());
    let (seen, count) = (Arc::clone(&ranges), Arc::clone(&served));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let text = String::from_utf8(request).unwrap().to_ascii_lowercase();
            let range = text.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
            seen.lock().unwrap().push(range);
            let answer = behaviour(count.fetch_add(1, Ordering::SeqCst), range);
            stream.write_all(&answer).await.unwrap();
        }
    });
    Server { url, ranges, served }
}

fn whole() -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", BODY.len()).as_bytes(), BODY]
        .concat()
}

fn rest(from: usize) -> Vec<u8> {
    let (len, last) = (BODY.len() - from, BODY.len() - 1);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{last}/{}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n",
        BODY.len()
    );
    [head.as_bytes(), &BODY[from..]].concat()
}

fn cut(mut answer: Vec<u8>) -> Vec<u8> {
    answer.truncate(answer.len() - 20);
    answer
}

fn image(server: &Server) -> CloudImage {
    // Without a provider reqwest cannot make a client at all; main installs it in the program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    CloudImage { url: server.url.clone(), sha256: hex::encode(Sha256::digest(BODY)) }
}

#[tokio::test]
async fn an_image_is_fetched_once() {
    let (server, dir) = (serve(|_, _| whole()).await, tempfile::tempdir().unwrap());
    let told = Mutex::new(Vec::new());
    for _ in 0..2 {
        let path = fetch(&image(&server), dir.path(), &|p| told.lock().unwrap().push(p)).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), BODY);
    }
    assert_eq!(server.served.load(Ordering::SeqCst), 1);
    let all = BODY.len() as u64;
    assert_eq!(told.lock().unwrap().last(), Some(&Progress::Bytes { done: all, total: Some(all) }));
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    let behaviour: Behaviour = |n, range| if n == 0 { cut(whole()) } else { rest(range.unwrap()) };
    let (server, dir) = (serve(behaviour).await, tempfile::tempdir().unwrap());
    let path = fetch(&image(&server), dir.path(), &|_| {}).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BODY);
    assert_eq!(*server.ranges.lock().unwrap(), [None, Some(BODY.len() - 20)]);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start() {
    let behaviour: Behaviour = |n, _| if n == 0 { cut(whole()) } else { whole() };
    let (server, dir) = (serve(behaviour).await, tempfile::tempdir().unwrap());
    let path = fetch(&image(&server), dir.path(), &|_| {}).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BODY);
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_nothing_is_kept() {
    let (server, dir) = (serve(|_, _| whole()).await, tempfile::tempdir().unwrap());
    let wrong = CloudImage { sha256: "0".repeat(64), ..image(&server) };
    let refused = fetch(&wrong, dir.path(), &|_| {}).await.unwrap_err();
    assert!(matches!(refused, DownloadError::Mismatch { .. }), "{refused}");
    assert!(refused.cure().unwrap().contains("SHA256SUMS"));
    let kept = std::fs::read_dir(dir.path().join("downloads")).unwrap();
    assert!(kept.flatten().all(|e| e.file_name().to_string_lossy().ends_with(".lock")));
}

#[tokio::test]
async fn a_transfer_that_always_breaks_ends_with_what_came() {
    let behaviour: Behaviour = |_, range| match range {
        None => cut(whole()),
        Some(from) => {
            let mut answer = rest(from);
            answer.truncate(answer.len() - (BODY.len() - from));
            answer
        }
    };
    let (server, dir) = (serve(behaviour).await, tempfile::tempdir().unwrap());
    let refused = fetch(&image(&server), dir.path(), &|_| {}).await.unwrap_err();
    assert!(refused.cure().unwrap().contains("goes on where it stopped"), "{refused}");
    assert_eq!(server.served.load(Ordering::SeqCst), ATTEMPTS as usize);
}

#[tokio::test]
async fn a_missing_image_is_not_asked_for_again() {
    let behaviour: Behaviour =
        |_, _| b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
    let (server, dir) = (serve(behaviour).await, tempfile::tempdir().unwrap());
    let refused = fetch(&image(&server), dir.path(), &|_| {}).await.unwrap_err();
    assert!(matches!(refused, DownloadError::Refused { .. }), "{refused}");
    assert_eq!(server.served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_checksum_that_is_none_is_refused_before_any_byte() {
    let (server, dir) = (serve(|_, _| whole()).await, tempfile::tempdir().unwrap());
    let wrong = CloudImage { sha256: "sha256:abc".into(), ..image(&server) };
    assert!(matches!(fetch(&wrong, dir.path(), &|_| {}).await, Err(DownloadError::BadChecksum(_))));
    assert_eq!(server.served.load(Ordering::SeqCst), 0);
}
