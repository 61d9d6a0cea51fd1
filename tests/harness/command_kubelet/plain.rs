//! What a kubelet answers without an upgrade: logs, and anything else by saying what it was asked.

use std::io;

use reqwest::Url;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

/// Two lines; who follows gets the second one when the test says so.
pub(super) async fn log(mut stream: TlsStream<TcpStream>, url: &Url, go_on: &Notify) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    let tail = url.query_pairs().find(|(key, _)| key == "tailLines").map(|(_, lines)| lines.into_owned());
    if tail.as_deref() != Some("1") {
        stream.write_all(b"6\r\nfirst\n\r\n").await?;
        stream.flush().await?;
    }
    if url.query_pairs().any(|(key, value)| key == "follow" && value == "true") {
        go_on.notified().await;
    }
    stream.write_all(b"7\r\nsecond\n\r\n0\r\n\r\n").await?;
    stream.shutdown().await
}

/// The head of the request, as the body of the answer.
pub(super) async fn mirror(mut stream: TlsStream<TcpStream>, head: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 202 Accepted\r\nx-from: kubelet\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{head}",
        head.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
