//! The real host: one SSH connection that everything shares.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, Sig, cipher};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::error::SshError;
use crate::host::{File, Host, Input, Script, Uploaded, quote};
use crate::keys::{HostKey, Identity};
use crate::output::{Ended, Piece, Sink};
use crate::upload;

/// AES first: processors have instructions for it, and where they are emulated it still is 2.7 times as fast as `ChaCha20`.
const CIPHERS: &[cipher::Name] =
    &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_128_CTR];
/// How much of a file is in memory at once, for each host that it is sent to.
const PIECE: usize = 64 << 10;
const KEEPALIVE: Duration = Duration::from_secs(10);
/// So many questions may stay without an answer: an emulated machine among many may be kept from its processor for long.
const SIGNS: usize = 9;

/// Whom we talk to, and how we know that it is them.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name of the machine, for messages.
    pub name: String,
    /// The user to log in as.
    pub user: String,
    /// The key that the host must show.
    pub host_key: HostKey,
    /// The key that we log in with.
    pub identity: Identity,
}

/// An open connection; cheap to share, closed when dropped.
pub struct Connection {
    name: String,
    handle: Handle<KnownKey>,
    root: bool,
}

/// A command on the host, which is told to stop unless it has ended: also when nobody waits for it any more.
struct Remote(Option<ChannelWriteHalf<client::Msg>>);

impl Remote {
    fn writer(&self) -> &ChannelWriteHalf<client::Msg> {
        self.0.as_ref().expect("it is taken away at the end only")
    }

    fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let (Some(writer), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            // The host may have gone, and its command with it.
            let _ = writer.signal(Sig::TERM).await;
            let _ = writer.close().await;
        });
    }
}

/// Accepts one key and remembers any other that was shown.
struct KnownKey {
    known: HostKey,
    seen: Arc<Mutex<Option<String>>>,
}

impl client::Handler for KnownKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Ok(false);
        };
        if self.known.matches(key) {
            return Ok(true);
        }
        let fingerprint = HostKey(key.clone()).fingerprint();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
        Ok(false)
    }
}

impl Connection {
    /// Opens a connection over `stream`, which may be a TCP socket, a tunnel or a pipe.
    ///
    /// # Errors
    /// [`SshError::HostKeyChanged`] before anything of ours is sent; [`SshError::Refused`] if our key is not accepted.
    pub async fn open<S>(stream: S, endpoint: &Endpoint) -> Result<Self, SshError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let host = || endpoint.name.clone();
        let seen = Arc::new(Mutex::new(None));
        let handler = KnownKey { known: endpoint.host_key.clone(), seen: Arc::clone(&seen) };
        let preferred = Preferred { cipher: Cow::Borrowed(CIPHERS), ..Preferred::DEFAULT };
        let config = client::Config {
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: SIGNS,
            nodelay: true,
            preferred,
            ..Default::default()
        };
        let opened = client::connect_stream(Arc::new(config), stream, handler).await;
        let mut handle = opened.map_err(|source| match seen.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(seen) => SshError::HostKeyChanged { host: host(), known: endpoint.host_key.fingerprint(), seen },
            None => SshError::Transport { host: host(), source },
        })?;
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&endpoint.identity.0), None);
        let login = handle.authenticate_publickey(&endpoint.user, key).await;
        if !login.map_err(|source| SshError::Transport { host: host(), source })?.success() {
            return Err(SshError::Refused { host: host(), user: endpoint.user.clone() });
        }
        Ok(Self { name: endpoint.name.clone(), handle, root: endpoint.user == "root" })
    }

    /// Whether the other side has gone.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// A connection to a port that this host reaches.
    pub async fn tunnel(
        &self,
        address: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, SshError> {
        let channel = self.handle.channel_open_direct_tcpip(address, u32::from(port), "127.0.0.1", 0).await;
        let channel = channel.map_err(|source| SshError::Transport { host: self.name.clone(), source })?;
        Ok(channel.into_stream())
    }

    /// Says good-bye; dropping the connection does without.
    pub async fn close(self) {
        // The other side may be gone already, which is what we want.
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
    }

    async fn execute(&self, script: &Script, sink: &mut dyn Sink) -> Result<Ended, SshError> {
        let transport = |source| SshError::Transport { host: self.name.clone(), source };
        let channel = self.handle.channel_open_session().await.map_err(transport)?;
        let (mut reader, writer) = channel.split();
        let mut command = Remote(Some(writer));
        let writer = command.writer();
        writer.exec(true, self.command_line(script)).await.map_err(transport)?;
        let feed = async {
            if let Err(error) = feed(writer, &script.stdin).await {
                return error;
            }
            let _ = writer.eof().await;
            std::future::pending().await
        };
        let ended = tokio::select! {
            // What is here cannot be read: what the script got is not all.
            source = feed => return Err(transport(russh::Error::IO(source))),
            ended = tokio::time::timeout(script.limit, hand_on(&mut reader, sink)) => ended,
        };
        let said = || (self.name.clone(), script.title().to_owned());
        let ended = match ended {
            Ok(Ok(ended)) => ended,
            Ok(Err(source)) => {
                let (host, command) = said();
                return Err(SshError::Sink { host, command, source });
            }
            Err(_) => {
                let (host, command) = said();
                return Err(SshError::TimedOut { host, command, limit: script.limit });
            }
        };
        command.has_ended();
        ended.ok_or_else(|| transport(russh::Error::Disconnect))
    }

    fn command_line(&self, script: &Script) -> String {
        let sudo = if self.root { "" } else { "sudo -n " };
        format!("{sudo}sh -euc {}", quote(&script.text))
    }
}

impl Host for Connection {
    fn name(&self) -> &str {
        &self.name
    }

    fn stream<'a>(&'a self, script: &'a Script, sink: &'a mut dyn Sink) -> BoxFuture<'a, Result<Ended, SshError>> {
        Box::pin(self.execute(script, sink))
    }

    fn upload<'a>(&'a self, files: &'a [File]) -> BoxFuture<'a, Result<Uploaded, SshError>> {
        Box::pin(upload::upload(self, files))
    }
}

/// Writes what the script reads. A script may end without reading everything; its status says whether that matters.
async fn feed(writer: &ChannelWriteHalf<client::Msg>, input: &Input) -> std::io::Result<()> {
    match input {
        Input::Bytes(bytes) => {
            let _ = writer.data_bytes(bytes.clone()).await;
        }
        Input::File(path) => {
            let mut file = tokio::fs::File::open(path).await?;
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                if (&mut file).take(PIECE as u64).read_to_end(&mut piece).await? == 0
                    || writer.data_bytes(piece).await.is_err()
                {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Hands everything to the sink; how the command ended, or nothing if the connection did first.
async fn hand_on(reader: &mut ChannelReadHalf, sink: &mut dyn Sink) -> std::io::Result<Option<Ended>> {
    let mut ended = None;
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => sink.take(Piece::Stdout(data)).await?,
            ChannelMsg::ExtendedData { data, .. } => sink.take(Piece::Stderr(data)).await?,
            ChannelMsg::ExitStatus { exit_status } => ended = Some(Ended::Status(exit_status)),
            ChannelMsg::ExitSignal { signal_name, .. } => ended = Some(Ended::Signal(format!("{signal_name:?}"))),
            _ => {}
        }
    }
    Ok(ended)
}
