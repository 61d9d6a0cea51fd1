use std::convert::Infallible;
use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{Response as HttpResponse, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::hop::{DIAL_LIMIT, Target};
use super::*;
use crate::reply;

/// Serves one connection after the other with a handler, on a port of its own.
pub(super) async fn serve<F, R>(handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
        }
    });
    address
}

/// A kubelet that accepts SPDY, tells in a header what it was asked, and then shouts back.
async fn kubelet(mut request: Request<Incoming>) -> Response {
    let seen =
        format!("{} {} auth={}", request.method(), request.uri(), request.headers().contains_key("authorization"));
    if request.headers().get(UPGRADE).is_none_or(|protocol| protocol != "SPDY/3.1") {
        return reply::text(StatusCode::BAD_REQUEST, "no such protocol");
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count].to_ascii_uppercase()).await.unwrap();
        }
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    HttpResponse::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "SPDY/3.1")
        .header("x-seen", seen)
        .body(reply::full(""))
        .unwrap()
}

/// The server under test in front of that kubelet.
async fn front() -> SocketAddr {
    let backend = serve(kubelet).await;
    serve(move |request| async move {
        let target = Target { host: backend.ip().to_string(), port: backend.port(), tls: None, dial_limit: DIAL_LIMIT };
        let path = PathAndQuery::from_static("/exec/blue/web/a?command=sh");
        let answer = if tunnel::is_wanted(request.headers()) {
            tunnel::run(&target, path, request).await
        } else {
            upgrade::run(&target, path, request).await
        };
        answer.unwrap_or_else(|status| error::respond(&status))
    })
    .await
}

/// Sends a request and reads the head of the answer.
async fn open(address: SocketAddr, head: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\nhost: x\r\nauthorization: Bearer secret\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(answer).unwrap().to_lowercase())
}

#[tokio::test]
async fn bytes_pass_both_ways_after_the_upgrade_and_the_end_is_passed_on() {
    let head = "POST /anything HTTP/1.1\r\nconnection: upgrade\r\nupgrade: SPDY/3.1";
    let (mut stream, answer) = open(front().await, head).await;
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains("upgrade: spdy/3.1"), "{answer}");
    assert!(answer.contains("x-seen: post /exec/blue/web/a?command=sh auth=false"), "{answer}");
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"HELLO");
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye", "the other half stays open until the kubelet closes it");
}

#[tokio::test]
async fn refused_websocket_is_answered_so_that_clients_try_spdy() {
    let head = "GET /x HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGVzdA==\r\n\
                sec-websocket-version: 13\r\nsec-websocket-protocol: v5.channel.k8s.io";
    let (_, answer) = open(front().await, head).await;
    assert!(answer.starts_with("http/1.1 400"), "{answer}");
    let (_, answer) = open(front().await, "POST /x HTTP/1.1").await;
    assert!(answer.starts_with("http/1.1 400"), "{answer}");
}

#[tokio::test]
async fn websocket_messages_carry_the_bytes_of_spdy() {
    let head = "GET /x HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                sec-websocket-version: 13\r\nsec-websocket-protocol: SPDY/3.1+portforward.k8s.io";
    let (stream, answer) = open(front().await, head).await;
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: spdy/3.1+portforward.k8s.io"), "{answer}");
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    for text in ["one", "two"] {
        socket.send(Message::binary(text.as_bytes().to_vec())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_data(), text.to_ascii_uppercase().as_bytes());
    }
    socket.send(Message::Ping("p".into())).await.unwrap();
    assert!(matches!(socket.next().await.unwrap().unwrap(), Message::Pong(_)));
    socket.close(None).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        assert!(matches!(message, Message::Binary(_) | Message::Close(_)), "{message:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_with_a_status() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target { host: "127.0.0.1".into(), port: free.port(), tls: None, dial_limit: DIAL_LIMIT };
    let request = hop::request(
        &target,
        http::Method::GET,
        PathAndQuery::from_static("/"),
        &std::iter::once((http::header::ACCEPT, HeaderValue::from_static("*/*"))).collect(),
        reply::full(""),
    );
    let refused = hop::send(&target, request.unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), 500);
    assert!(refused.message().contains("error dialing backend"), "{}", refused.message());
}

/// Time stands still, so that only the limit can end the wait.
#[tokio::test(start_paused = true)]
async fn a_kubelet_that_says_nothing_is_given_up_after_the_time_of_the_flag() {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        kubelet: crate::config::KubeletArgs,
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let node = apimachinery::value!({
        "metadata": {"name": "n"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": (i64::from(port))}},
        },
    });
    let node = apimachinery::Object::try_from(node).unwrap();
    for (flag, expected) in [("--kubelet-timeout=7s", 7), ("--kubelet-timeout=0", 30), ("--v=0", 5)] {
        let flags: Vec<&str> = ["x", flag].into_iter().filter(|flag| *flag != "--v=0").collect();
        let args = <Flags as clap::Parser>::parse_from(flags).kubelet;
        let target = Kubelets::load(&args).unwrap().target(&node, true).unwrap();
        let path = PathAndQuery::from_static("/");
        let request = hop::request(&target, http::Method::GET, path, &http::HeaderMap::new(), reply::full(""));
        let began = tokio::time::Instant::now();
        let refused = hop::send(&target, request.unwrap()).await.unwrap_err();
        assert!(refused.message().contains("i/o timeout"), "{}", refused.message());
        assert_eq!(began.elapsed().as_secs(), expected, "{flag}");
    }
}
