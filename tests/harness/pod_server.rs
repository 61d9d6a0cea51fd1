//! A web server as pods have them: it tells what it was asked, sends clients elsewhere, and shouts back over WebSocket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Serves on an address as part of the test's own runtime, with TLS if it is given a configuration; the answers bear `name`.
///
/// # Panics
/// When the address is not this machine's, or is taken.
pub async fn serve_as_pod(address: SocketAddr, name: &'static str, tls: Option<ServerConfig>) {
    let listener = TcpListener::bind(address).await.expect("the address is this machine's and free");
    let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            // Clients end connections as they like.
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => drop(connection(acceptor.accept(stream).await?, name).await),
                    None => drop(connection(stream, name).await),
                }
                io::Result::Ok(())
            });
        }
    });
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, name: &str) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |wanted: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value).next()
    };
    let path = head.split(' ').nth(1).unwrap_or_default();
    if let Some(key) = header("sec-websocket-key").filter(|_| path.starts_with("/shout")) {
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await?;
        return shout(stream).await.map_err(io::Error::other);
    }
    let mut body = vec![0; header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let said = format!("{head}{}", String::from_utf8_lossy(&body));
    let (code, place) = match path {
        "/elsewhere" => {
            ("302 Found", format!("location: http://{}/landed?x=1\r\n", header("host").unwrap_or_default()))
        }
        _ => ("202 Accepted", String::new()),
    };
    let answer = format!(
        "HTTP/1.1 {code}\r\nx-from: {name}\r\naccess-control-allow-origin: *\r\n{place}content-type: text/plain\r\n\
         content-length: {}\r\n\r\n{said}",
        said.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

async fn shout<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<(), Error> {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            socket.send(Message::text(text.to_uppercase())).await?;
        }
    }
    Ok(())
}
