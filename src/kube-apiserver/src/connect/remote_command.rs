//! exec and attach over a WebSocket whose streams can be closed one by one (`v5.channel.k8s.io`, KEP-4006).
//!
//! The WebSocket ends here. Kubelets and runtimes, ours and others, know SPDY: each channel becomes a SPDY stream, and the
//! client's half-close of its input becomes the end of that stream. As upstream, what goes wrong behind the upgrade is told
//! on the error channel, so that no client needs to try again with SPDY.

use std::time::Duration;

use apimachinery::Status;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use http::header::HeaderMap;
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::hop::{self, Target};
use super::spdy::{self, Event};
use super::{upgrade, websocket};
use crate::error;
use crate::reply::Response;
use crate::request_info::RequestInfo;

/// What clients call the protocol.
const PROTOCOL: &str = "v5.channel.k8s.io";
/// The newest that kubelets speak over SPDY; it tells exit codes.
const KUBELETS_PROTOCOL: &str = "v4.channel.k8s.io";

const ERROR: u8 = 3;
/// A message on this channel names another one, which ends.
const CLOSE: u8 = 255;
/// Each channel's name in SPDY, in the order in which the streams are opened.
const NAMES: [(u8, &str); 5] = [(ERROR, "error"), (0, "stdin"), (1, "stdout"), (2, "stderr"), (4, "resize")];

/// How long the other side may take to accept the streams, as upstream.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// How long a client may take to say goodbye, too.
const LINGER: Duration = Duration::from_secs(1);
/// The most that is told of a refusal.
const REFUSAL_LIMIT: usize = 64 * 1024;
const BUFFER: usize = 32 * 1024;

/// True if the client wants this protocol.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    websocket::offers(headers, PROTOCOL)
}

/// Accepts the WebSocket, then opens the kubelet's side and carries bytes between them.
pub(super) fn run(
    target: Target,
    path: PathAndQuery,
    info: &RequestInfo,
    mut request: Request<Incoming>,
) -> Result<Response, Status> {
    let channels = Channels::asked(info)?;
    let asked = upgrade::to_spdy(&target, path, KUBELETS_PROTOCOL)?;
    let response = websocket::accept(request.headers(), PROTOCOL)?;
    let client = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(client) = client.await else { return };
        let limits = WebSocketConfig::default().max_message_size(Some(spdy::MOST_BYTES));
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, Some(limits)).await;
        // Some clients wait for a first message before they believe in the connection.
        if socket.send(message(channels.lowest_output(), b"")).await.is_err() {
            return;
        }
        let (mut to_client, mut from_client) = socket.split();
        let failed = match open(&target, asked).await {
            Ok(backend) => carry(&channels, (&mut to_client, &mut from_client), backend).await.err(),
            Err(status) => Some(status),
        };
        if let Some(status) = failed {
            let _ = to_client.send(message(ERROR, &error::encode(&status))).await;
        }
        let _ = to_client.send(websocket::goodbye()).await;
        // Closing while something is unread would take back what was sent last.
        let rest = async { while let Some(Ok(_)) = from_client.next().await {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
    });
    Ok(response)
}

/// The kubelet's side of the connection.
async fn open(target: &Target, asked: Request<crate::reply::Body>) -> Result<Upgraded, Status> {
    let answer = hop::send(target, asked).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return hyper::upgrade::on(answer).await.map_err(Status::internal);
    }
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, REFUSAL_LIMIT).collect().await;
    let text = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let text = if text.trim().is_empty() { parts.status.as_str() } else { text.trim() };
    Err(Status::internal(format!("unable to upgrade connection: {text}")))
}

/// The channels of one command: the place of each gives the number of its stream.
struct Channels(Vec<(u8, &'static str)>);

impl Channels {
    fn asked(info: &RequestInfo) -> Result<Self, Status> {
        let terminal = info.query.flag("tty");
        let wanted = |name: &str| match name {
            "error" => true,
            "resize" => terminal,
            // A terminal has one output.
            "stderr" => !terminal && info.query.flag("stderr"),
            other => info.query.flag(other),
        };
        let channels: Vec<_> = NAMES.into_iter().filter(|(_, name)| wanted(name)).collect();
        if channels.iter().all(|(_, name)| matches!(*name, "error" | "resize")) {
            return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(Self(channels))
    }

    fn lowest_output(&self) -> u8 {
        self.0.iter().map(|(channel, _)| *channel).filter(|channel| matches!(channel, 1..=3)).min().unwrap_or(ERROR)
    }

    fn streams(&self) -> impl Iterator<Item = (u32, &'static str)> {
        (1..).step_by(2).zip(self.0.iter().map(|(_, name)| *name))
    }

    /// The stream for what a client sends on a channel.
    fn input(&self, channel: u8) -> Option<u32> {
        let place = self.0.iter().position(|(other, _)| *other == channel && matches!(channel, 0 | 4))?;
        u32::try_from(2 * place + 1).ok()
    }

    fn of(&self, stream: u32) -> Option<u8> {
        let place = usize::try_from(stream.checked_sub(1)? / 2).ok()?;
        self.0.get(place).map(|(channel, _)| *channel)
    }
}

/// Carries until the command has ended or either side is gone.
async fn carry<C, S, B>(
    channels: &Channels,
    (to_client, from_client): (&mut C, &mut S),
    backend: B,
) -> Result<(), Status>
where
    C: Sink<Message, Error = Error> + Unpin,
    S: Stream<Item = Result<Message, Error>> + Unpin,
    B: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let (read, write) = tokio::io::split(TokioIo::new(backend));
    let mut writer = spdy::Writer::new(write);
    for (stream, name) in channels.streams() {
        writer.open(stream, &[("streamtype", name)]).await.map_err(Status::internal)?;
    }
    let (accepted, all_accepted) = oneshot::channel();
    // A ping that finds no room is not answered; there is one in a few seconds.
    let (notes, asked) = mpsc::channel(8);
    let downwards = Downwards { channels, to_client, accepted: Some(accepted), notes };
    let upwards = upwards(channels, from_client, &mut writer, (all_accepted, asked));
    let done = tokio::select! {
        done = downwards.run(spdy::Reader::new(BufReader::with_capacity(BUFFER, read))) => done,
        // A client that is gone needs no answer.
        done = upwards => done,
    };
    let _ = writer.end().await;
    done
}

/// What the reader of the kubelet's side asks of the writer to it.
enum Note {
    Pong(u32),
    InputIsOver,
}

async fn upwards<S, W>(
    channels: &Channels,
    from_client: &mut S,
    writer: &mut spdy::Writer<W>,
    (all_accepted, mut notes): (oneshot::Receiver<()>, mpsc::Receiver<Note>),
) -> Result<(), Status>
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
    W: AsyncWrite + Unpin,
{
    // What comes before that is lost at the other side.
    if !matches!(tokio::time::timeout(OPEN_LIMIT, all_accepted).await, Ok(Ok(()))) {
        return Err(Status::internal("the kubelet did not accept the streams in time"));
    }
    let mut ended = Vec::new();
    // When the other side reads no more, what it has still to say counts, and the client has to be heard for its end.
    let mut deaf = false;
    loop {
        let (stream, bytes, last) = tokio::select! {
            Some(note) = notes.recv() => match note {
                Note::Pong(id) => {
                    deaf |= writer.pong(id).await.is_err();
                    continue;
                }
                Note::InputIsOver => (channels.input(0), Bytes::new(), true),
            },
            message = from_client.next() => match message {
                Some(Ok(Message::Binary(bytes))) => match bytes.first() {
                    Some(&CLOSE) => (bytes.get(1).and_then(|channel| channels.input(*channel)), Bytes::new(), true),
                    Some(&channel) => (channels.input(channel), bytes.slice(1..), false),
                    None => continue,
                },
                // Pings are answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => return Ok(()),
            },
        };
        let Some(stream) = stream.filter(|stream| !deaf && !ended.contains(stream)) else { continue };
        deaf = writer.data(stream, &bytes, last).await.is_err();
        if last {
            ended.push(stream);
        }
    }
}

struct Downwards<'a, C> {
    channels: &'a Channels,
    to_client: &'a mut C,
    /// Told when the last stream was accepted.
    accepted: Option<oneshot::Sender<()>>,
    notes: mpsc::Sender<Note>,
}

impl<C: Sink<Message, Error = Error> + Unpin> Downwards<'_, C> {
    async fn run<R: AsyncRead + Unpin>(mut self, mut reader: spdy::Reader<R>) -> Result<(), Status> {
        let mut waiting = self.channels.0.len();
        let mut open: Vec<u8> = self.channels.0.iter().map(|(channel, _)| *channel).collect();
        open.retain(|channel| matches!(channel, 1..=ERROR));
        let mut told = false;
        while !open.is_empty() {
            let (stream, last) = match reader.next().await {
                Ok(Some(Event::Data(stream, bytes, last))) => {
                    told |= self.pass_on(stream, &bytes).await?;
                    (stream, last)
                }
                Ok(Some(Event::Reset(stream))) => (stream, true),
                Ok(Some(Event::Accepted(_))) => {
                    waiting = waiting.saturating_sub(1);
                    if let Some(accepted) = self.accepted.take_if(|_| waiting == 0) {
                        let _ = accepted.send(());
                    }
                    continue;
                }
                Ok(Some(Event::Ping(id))) => {
                    let _ = self.notes.try_send(Note::Pong(id));
                    continue;
                }
                Ok(None) | Err(_) => break,
            };
            if last && let Some(channel) = self.channels.of(stream) {
                open.retain(|other| *other != channel);
                if channel == 0 {
                    let _ = self.notes.try_send(Note::InputIsOver);
                }
            }
        }
        if told { Ok(()) } else { Err(Status::internal("the connection to the kubelet ended without a result")) }
    }

    /// Sends bytes of a stream to the client. True if they tell how the command ended.
    async fn pass_on(&mut self, stream: u32, bytes: &[u8]) -> Result<bool, Status> {
        let outputs = 1..=ERROR;
        let Some(channel) = self.channels.of(stream).filter(|channel| outputs.contains(channel)) else {
            return Ok(false);
        };
        if bytes.is_empty() {
            return Ok(false);
        }
        self.to_client.send(message(channel, bytes)).await.map_err(Status::internal)?;
        Ok(channel == ERROR)
    }
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut text = BytesMut::with_capacity(1 + bytes.len());
    text.put_u8(channel);
    text.put_slice(bytes);
    Message::Binary(text.freeze())
}

#[cfg(test)]
mod tests;
