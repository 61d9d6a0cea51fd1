//! Commands and ports over SPDY/3.1.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use reqwest::Url;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::process::{ChildStdin, Command};
use tokio::sync::Mutex;
use tokio_rustls::server::TlsStream;

type Stream = TlsStream<TcpStream>;

const SYN_STREAM: u8 = 1;
const PING: u8 = 6;
/// The header block of an answer that says nothing: zlib with SPDY's dictionary, stored, flushed.
const ZLIB_HEAD: [u8; 6] = [0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2];
const NO_HEADERS: [u8; 14] = [0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

enum Frame {
    Opened,
    Data(u32, Vec<u8>, bool),
    Other,
}

#[derive(Clone)]
struct Sender(Arc<Mutex<(WriteHalf<Stream>, bool)>>);

impl Sender {
    async fn data(&self, stream: u32, bytes: &[u8], last: bool) -> io::Result<()> {
        let mut head = stream.to_be_bytes().to_vec();
        head.extend(u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes());
        head[4] = u8::from(last);
        self.send(&[&head, bytes]).await
    }

    async fn accept(&self, stream: u32) -> io::Result<()> {
        let first = !std::mem::replace(&mut self.0.lock().await.1, true);
        let head: &[u8] = if first { &ZLIB_HEAD } else { &[] };
        let length = u8::try_from(4 + head.len() + NO_HEADERS.len()).map_err(io::Error::other)?;
        self.send(&[&[0x80, 3, 0, 2, 0, 0, 0, length], &stream.to_be_bytes(), head, &NO_HEADERS]).await
    }

    async fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        let to = &mut self.0.lock().await.0;
        to.write_all(&parts.concat()).await?;
        to.flush().await
    }
}

fn split(stream: Stream) -> (ReadHalf<Stream>, Sender) {
    let (from, to) = tokio::io::split(stream);
    (from, Sender(Arc::new(Mutex::new((to, false)))))
}

/// The next frame; streams are accepted and pings answered on the way.
async fn next(from: &mut ReadHalf<Stream>, sender: &Sender) -> io::Result<Frame> {
    let mut head = [0; 8];
    from.read_exact(&mut head).await?;
    let mut bytes = vec![0; u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize];
    from.read_exact(&mut bytes).await?;
    if head[0] & 0x80 == 0 {
        let stream = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        return Ok(Frame::Data(stream, bytes, head[4] & 1 == 1));
    }
    match head[3] {
        SYN_STREAM => {
            let stream = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            sender.accept(stream).await?;
            Ok(Frame::Opened)
        }
        PING => {
            sender.send(&[&head, &bytes]).await?;
            Ok(Frame::Other)
        }
        _ => Ok(Frame::Other),
    }
}

/// Runs the command in the query, as its streams say.
pub(super) async fn run(stream: Stream, url: &Url) -> io::Result<()> {
    let on = |name: &str| url.query_pairs().any(|(key, value)| key == name && value == "1");
    let terminal = on("tty");
    let wanted =
        [("error", true), ("input", on("input")), ("output", on("output")), ("errors", on("error") && !terminal)];
    let names: Vec<&str> = wanted.iter().filter(|(_, wanted)| *wanted).map(|(name, _)| *name).collect();
    let number =
        |name: &str| names.iter().position(|other| *other == name).and_then(|at| u32::try_from(2 * at + 1).ok());
    let (mut from, sender) = split(stream);
    // The size of a terminal comes last.
    let mut waiting = names.len() + usize::from(terminal);
    while waiting > 0 {
        if let Frame::Opened = next(&mut from, &sender).await? {
            waiting -= 1;
        }
    }
    let mut words: Vec<String> =
        url.query_pairs().filter(|(key, _)| key == "command").map(|(_, word)| word.into_owned()).collect();
    if words.is_empty() {
        words = ["tr", "a-z", "A-Z"].map(str::to_owned).to_vec();
    }
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let input = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let feeding = feed(&mut from, &sender, (input, number("input")), terminal);
    tokio::pin!(feeding);
    let status = tokio::select! {
        status = async {
            tokio::try_join!(
                pass_on(stdout, &sender, number("output")),
                pass_on(stderr, &sender, number("errors"))
            )?;
            child.wait().await
        } => status?,
        // The client is gone.
        gone = &mut feeding => return gone,
    };
    for stream in [number("output"), number("errors")].into_iter().flatten() {
        sender.data(stream, b"", true).await?;
    }
    sender.data(1, &result(status), true).await?;
    // The client closes when it has read all of that.
    feeding.await
}

async fn pass_on(from: Option<impl AsyncRead + Unpin>, sender: &Sender, to: Option<u32>) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if let Some(stream) = to {
            sender.data(stream, &buffer[..count], false).await?;
        }
    }
}

/// Gives the command what the client sends; a terminal's size is one more line to read.
async fn feed(
    from: &mut ReadHalf<Stream>,
    sender: &Sender,
    (mut input, stream): (Option<ChildStdin>, Option<u32>),
    terminal: bool,
) -> io::Result<()> {
    loop {
        let Frame::Data(number, bytes, last) = next(from, sender).await? else { continue };
        let is_input = Some(number) == stream;
        if (is_input || terminal)
            && let Some(pipe) = &mut input
        {
            // A command need not read.
            let _ = pipe.write_all(&bytes).await;
            let _ = pipe.flush().await;
        }
        if is_input && last {
            input = None;
        }
    }
}

fn result(status: ExitStatus) -> Vec<u8> {
    let code = status.code().unwrap_or(-1);
    let said = if code == 0 {
        json!({"metadata": {}, "status": "Success"})
    } else {
        json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
    };
    said.to_string().into_bytes()
}

/// Says what comes on the second of each pair of streams again, in upper case.
pub(super) async fn echo(stream: Stream) -> io::Result<()> {
    let (mut from, sender) = split(stream);
    loop {
        let Frame::Data(number, bytes, last) = next(&mut from, &sender).await? else { continue };
        if number % 4 == 3 {
            sender.data(number, &bytes.to_ascii_uppercase(), last).await?;
        } else if last {
            sender.data(number, b"", true).await?;
        }
    }
}
