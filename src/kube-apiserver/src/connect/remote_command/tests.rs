use http::Method;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::tests::serve;
use super::*;
use crate::reply;

const FAILED: &[u8] =
    br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;

/// A stream as the kubelet sees it.
struct Frame {
    stream: u32,
    name: Option<String>,
    bytes: Vec<u8>,
    last: bool,
}

/// The kubelet's end of a connection.
struct Peer(TokioIo<Upgraded>);

impl Peer {
    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).await.ok()?;
        let mut bytes = vec![0; u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize];
        self.0.read_exact(&mut bytes).await.ok()?;
        if head[0] == 0 {
            let stream = u32::from_be_bytes(head[..4].try_into().unwrap());
            return Some(Frame { stream, name: None, bytes, last: head[4] == 1 });
        }
        let stream = u32::from_be_bytes(bytes[..4].try_into().unwrap());
        let text = String::from_utf8_lossy(&bytes[..bytes.len() - 5]).into_owned();
        let name = NAMES.iter().map(|(_, name)| *name).find(|name| text.ends_with(name)).unwrap().to_owned();
        Some(Frame { stream, name: Some(name), bytes: Vec::new(), last: false })
    }

    /// Takes on as many streams as are asked for.
    async fn accept(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            let frame = self.read().await.unwrap();
            let mut reply = b"\x80\x03\0\x02\0\0\0\x06".to_vec();
            reply.extend(frame.stream.to_be_bytes());
            reply.extend([0, 0]);
            self.0.write_all(&reply).await.unwrap();
            names.push(frame.name.unwrap());
        }
        names
    }

    async fn write(&mut self, stream: u8, bytes: &[u8], last: bool) {
        let mut frame = vec![0, 0, 0, stream];
        frame.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        frame[4] = u8::from(last);
        frame.extend(bytes);
        self.0.write_all(&frame).await.unwrap();
    }
}

/// A client of a server in front of a kubelet that behaves like this.
async fn client<F, R>(query: &'static str, kubelet: F) -> WebSocketStream<TcpStream>
where
    F: Fn(Peer) -> R + Copy + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let backend = serve(move |mut request: Request<Incoming>| async move {
        assert_eq!(request.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
        assert_eq!(request.headers()[UPGRADE], "SPDY/3.1");
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move { kubelet(Peer(TokioIo::new(upgraded.await.unwrap()))).await });
        let mut answer = Response::new(reply::full(""));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        answer
    })
    .await;
    connect(query, backend).await
}

async fn connect(query: &'static str, backend: std::net::SocketAddr) -> WebSocketStream<TcpStream> {
    let front = serve(move |request| async move {
        assert!(is_wanted(request.headers()));
        let target =
            Target { host: backend.ip().to_string(), port: backend.port(), tls: None, dial_limit: hop::DIAL_LIMIT };
        let info = RequestInfo::parse(&Method::GET, "/api/v1/namespaces/a/pods/b/exec", query);
        let answer = run(target, PathAndQuery::from_static("/exec/a/b/c"), &info, request);
        answer.unwrap_or_else(|status| error::respond(&status))
    })
    .await;
    let mut stream = TcpStream::connect(front).await.unwrap();
    let head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

async fn say(socket: &mut WebSocketStream<TcpStream>, channel: u8, bytes: &[u8]) {
    socket.send(message(channel, bytes)).await.unwrap();
}

/// All that comes on each channel until the connection is closed in order.
async fn hear(socket: &mut WebSocketStream<TcpStream>) -> [Vec<u8>; 4] {
    let mut heard: [Vec<u8>; 4] = Default::default();
    loop {
        match socket.next().await.expect("a close frame comes first").unwrap() {
            Message::Binary(bytes) => heard[usize::from(bytes[0])].extend(&bytes[1..]),
            Message::Close(frame) => {
                assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1000));
                return heard;
            }
            Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_end_of_the_input_reaches_the_command_and_its_exit_code_comes_back() {
    let mut socket = client("stdin=true&stdout=true&stderr=true", |mut peer| async move {
        assert_eq!(peer.accept(4).await, ["error", "stdin", "stdout", "stderr"]);
        let mut heard = Vec::new();
        loop {
            let frame = peer.read().await.unwrap();
            assert_eq!(frame.stream, 3);
            heard.extend(frame.bytes);
            if frame.last {
                break;
            }
        }
        peer.write(5, &heard.to_ascii_uppercase(), false).await;
        peer.write(7, b"oh", true).await;
        peer.write(5, b"!", true).await;
        peer.write(1, FAILED, true).await;
    })
    .await;
    say(&mut socket, 0, b"one ").await;
    say(&mut socket, 0, b"two").await;
    say(&mut socket, CLOSE, &[0]).await;
    say(&mut socket, 0, b"too late").await;
    let [_, out, err, result] = hear(&mut socket).await;
    assert_eq!((out.as_slice(), err.as_slice(), result.as_slice()), (&b"ONE TWO!"[..], &b"oh"[..], FAILED));
}

#[tokio::test]
async fn a_terminal_has_one_output_and_a_size() {
    let mut socket = client("stdin=1&stdout=1&stderr=1&tty=1", |mut peer| async move {
        assert_eq!(peer.accept(4).await, ["error", "stdin", "stdout", "resize"]);
        let size = peer.read().await.unwrap();
        assert_eq!((size.stream, size.bytes.as_slice()), (7, &br#"{"Width":80,"Height":24}"#[..]));
        peer.write(5, b"$ ", true).await;
        peer.write(1, br#"{"status":"Success"}"#, true).await;
    })
    .await;
    say(&mut socket, 4, br#"{"Width":80,"Height":24}"#).await;
    let [_, out, _, result] = hear(&mut socket).await;
    assert_eq!((out.as_slice(), result.as_slice()), (&b"$ "[..], &br#"{"status":"Success"}"#[..]));
}

#[tokio::test]
async fn much_goes_both_ways_at_once_and_pings_are_answered_meanwhile() {
    const MUCH: usize = 64;
    let mut socket = client("stdin=1&stdout=1", |mut peer| async move {
        peer.accept(3).await;
        while let Some(frame) = peer.read().await {
            peer.write(5, &frame.bytes, frame.last).await;
            if frame.last {
                break;
            }
        }
        peer.write(1, br#"{"status":"Success"}"#, true).await;
    })
    .await;
    socket.send(Message::Ping("p".into())).await.unwrap();
    let (mut to, from) = socket.split();
    let sending = tokio::spawn(async move {
        for number in 0..MUCH {
            to.send(message(0, &vec![u8::try_from(number).unwrap(); 128 * 1024])).await.unwrap();
        }
        to.send(message(CLOSE, &[0])).await.unwrap();
        to
    });
    let heard: Vec<Message> =
        from.map(Result::unwrap).take_while(|one| std::future::ready(!one.is_close())).collect().await;
    let all: usize = heard.iter().filter(|one| one.is_binary()).map(Message::len).sum();
    assert!(all > MUCH * 128 * 1024, "{all}");
    assert!(heard.iter().any(Message::is_pong));
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn output_counts_though_the_command_no_longer_reads() {
    let mut socket = client("stdin=1&stdout=1", |mut peer| async move {
        peer.accept(3).await;
        peer.write(5, b"done", true).await;
        peer.write(3, b"", true).await;
        assert!(peer.read().await.is_some_and(|frame| frame.stream == 3 && frame.last), "its own end is answered");
        peer.write(1, br#"{"status":"Success"}"#, true).await;
    })
    .await;
    let [_, out, _, result] = hear(&mut socket).await;
    assert_eq!((out.as_slice(), result.as_slice()), (&b"done"[..], &br#"{"status":"Success"}"#[..]));
}

#[tokio::test]
async fn what_goes_wrong_behind_the_upgrade_is_told_on_the_error_channel() {
    let refusing = serve(|_| async { reply::text(StatusCode::NOT_FOUND, "container not found (\"c\")\n") }).await;
    let [.., result] = hear(&mut connect("stdout=1", refusing).await).await;
    let text = String::from_utf8(result).unwrap();
    assert!(text.contains("Internal error occurred: unable to upgrade connection: container not found"), "{text}");

    let mut socket = client("stdout=1", |mut peer| async move {
        peer.accept(2).await;
        peer.write(3, b"half", false).await;
    })
    .await;
    let [_, out, _, result] = hear(&mut socket).await;
    assert_eq!(out, b"half");
    let text = String::from_utf8(result).unwrap();
    assert!(text.contains("ended without a result"), "{text}");
}

#[test]
fn a_command_without_any_stream_is_refused() {
    let ask =
        |query: &str| Channels::asked(&RequestInfo::parse(&Method::GET, "/api/v1/namespaces/a/pods/b/exec", query));
    assert_eq!(ask("command=x").err().map(|status| status.code()), Some(400));
    assert_eq!(ask("tty=true").err().map(|status| status.code()), Some(400));
    assert!(ask("stdin=true").is_ok());
}
