//! Servers on loopback ports, spoken to with real sockets.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::*;

async fn hello(request: Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let remote = request.extensions().get::<RemoteAddr>().is_some();
    Ok(http::Response::new(Full::new(Bytes::from(format!("remote={remote}")))))
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_knows_where_it_came_from() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let token = CancellationToken::new();
    let server = tokio::spawn(listener.serve_http(service_fn(hello), token.clone()));
    assert!(get(address, "/").await.ends_with("remote=true"));
    token.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_stop() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let token = CancellationToken::new();
    let (arrived, free) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arrival, held) = (arrived.clone(), free.clone());
    let service = service_fn(move |request| {
        let (arrival, held) = (arrival.clone(), held.clone());
        async move {
            arrival.notify_one();
            held.notified().await;
            hello(request).await
        }
    });
    let server = tokio::spawn(listener.serve_http(service, token.clone()));
    let request = tokio::spawn(async move { get(address, "/").await });
    arrived.notified().await;
    token.cancel();
    // The stop has begun once nobody accepts any more.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    free.notify_one();
    assert!(request.await.unwrap().contains("200 OK"));
    server.await.unwrap();
}

#[tokio::test]
async fn a_client_of_http2_is_told_to_leave_and_what_it_asked_before_is_answered() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let token = CancellationToken::new();
    let (arrived, free) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arrival, held) = (arrived.clone(), free.clone());
    let service = service_fn(move |request| {
        let (arrival, held) = (arrival.clone(), held.clone());
        async move {
            arrival.notify_one();
            held.notified().await;
            hello(request).await
        }
    });
    let server = tokio::spawn(listener.serve_http(service, token.clone()));
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = || Request::get("http://x/").body(Full::new(Bytes::new())).unwrap();
    let answer = tokio::spawn(sender.send_request(request()));
    arrived.notified().await;
    token.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    free.notify_one();
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    // The connection could go on for ever if the client were not told.
    connection.await.unwrap().unwrap();
    server.await.unwrap();
    assert!(sender.send_request(request()).await.is_err());
}

#[tokio::test]
async fn a_client_that_is_let_go_gets_its_answer_and_comes_back_by_another_connection() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let token = CancellationToken::new();
    let service = service_fn(|request: Request<Incoming>| async move {
        request.extensions().get::<LetGo>().unwrap().tell();
        hello(request).await
    });
    let server = tokio::spawn(listener.serve_http(service, token.clone()));
    for _ in 0..2 {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = made.unwrap();
        let connection = tokio::spawn(connection);
        let request = || Request::get("http://x/").body(Full::new(Bytes::new())).unwrap();
        assert_eq!(sender.send_request(request()).await.unwrap().status(), 200);
        connection.await.unwrap().unwrap();
        assert!(sender.send_request(request()).await.is_err());
    }
    token.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named_in_the_error() {
    let first = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Listener::bind(first.address()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", first.address()));
}

/// The most requests a server lets one connection of HTTP/2 have open, as its first frame says.
async fn streams(listener: Listener) -> Option<u32> {
    let address = listener.address();
    let token = CancellationToken::new();
    let server = tokio::spawn(listener.serve_http(service_fn(hello), token.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The preface and empty settings (RFC 9113, sections 3.4 and 6.5).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is that of the settings");
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    drop(stream);
    token.cancel();
    server.await.unwrap();
    let most = settings.chunks_exact(6).find(|setting| setting[..2] == [0, 3])?;
    Some(u32::from_be_bytes(most[2..].try_into().unwrap()))
}

#[tokio::test]
async fn a_connection_may_have_as_many_requests_open_as_was_set() {
    for (set, expected) in [(None, 250), (Some(0), 250), (Some(7), 7)] {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let listener = match set {
            Some(most) => listener.with_streams(most),
            None => listener,
        };
        assert_eq!(streams(listener).await, Some(expected), "{set:?}");
    }
}
