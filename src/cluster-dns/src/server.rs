//! The sockets: datagrams and streams on the DNS port.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::respond::{Responder, Step, Transport};

/// The largest question that is read.
const QUESTION: usize = 4096;
/// How long a stream may stay silent.
const IDLE: Duration = Duration::from_secs(10);
/// How many streams may be open.
const STREAMS: usize = 1000;
/// How many datagrams may wait for other servers.
const WAITING: usize = 2000;

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the operating system said.
    #[source]
    pub source: std::io::Error,
}

/// The bound sockets.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds both transports; an unspecified address means both families where the host has both.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        if address.ip().is_unspecified() {
            let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
            if let Ok(sockets) = Self::bind_exactly(both).await {
                return Ok(sockets);
            }
            return Self::bind_exactly(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))).await;
        }
        Self::bind_exactly(address).await
    }

    async fn bind_exactly(address: SocketAddr) -> Result<Self, BindError> {
        let wrong = |source| BindError { address, source };
        let tcp = TcpListener::bind(address).await.map_err(wrong)?;
        let same = tcp.local_addr().map_err(wrong)?;
        let udp = UdpSocket::bind(same).await.map_err(wrong)?;
        Ok(Self { udp, tcp })
    }

    /// The address with the port that was really bound.
    pub fn address(&self) -> Result<SocketAddr, std::io::Error> {
        self.tcp.local_addr()
    }

    /// Serves both transports until the token is cancelled.
    pub async fn serve(self, responder: Responder, token: CancellationToken) {
        let streams = tokio::spawn(accept(self.tcp, responder.clone(), token.clone()));
        datagrams(Arc::new(self.udp), responder, token).await;
        // It ends by the same token.
        let _ = streams.await;
    }
}

async fn datagrams(socket: Arc<UdpSocket>, responder: Responder, token: CancellationToken) {
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut buffer = [0; QUESTION];
    loop {
        let received = tokio::select! {
            () = token.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        // An error here is about an earlier answer that did not arrive.
        let Ok((size, from)) = received else { continue };
        match responder.begin(&buffer[..size], Transport::Udp) {
            Step::Ignore => {}
            Step::Reply(packet) => send(&socket, &packet, from).await,
            Step::Ask(pending) => {
                // Beyond the bound the client's own repetition is the queue.
                let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else {
                    continue;
                };
                let (socket, responder) = (Arc::clone(&socket), responder.clone());
                tokio::spawn(async move {
                    if let Some(packet) = responder.finish(*pending).await {
                        send(&socket, &packet, from).await;
                    }
                    drop(permit);
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(packet, to).await {
        tracing::debug!(%to, %error, "answer not sent");
    }
}

async fn accept(listener: TcpListener, responder: Responder, token: CancellationToken) {
    let streams = Arc::new(Semaphore::new(STREAMS));
    loop {
        let Ok(permit) = Arc::clone(&streams).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (responder, token) = (responder.clone(), token.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = token.cancelled() => {}
                        _ = converse(stream, responder) => {}
                    }
                    drop(permit);
                });
            }
            // Out of descriptors: give others time to close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, responder: Responder) -> std::io::Result<()> {
    loop {
        let question =
            tokio::time::timeout(IDLE, read(&mut stream)).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        let packet = match responder.begin(&question, Transport::Tcp) {
            Step::Ignore => return Ok(()),
            Step::Reply(packet) => Some(packet),
            Step::Ask(pending) => responder.finish(*pending).await,
        };
        let Some(packet) = packet else { return Ok(()) };
        let size = u16::try_from(packet.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
        stream.write_all(&[&size.to_be_bytes(), packet.as_slice()].concat()).await?;
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let size = usize::from(stream.read_u16().await?);
    if size > QUESTION {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; size];
    stream.read_exact(&mut question).await?;
    Ok(question)
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;
    use crate::forward::Forwarder;
    use crate::records::Target;
    use crate::zone::Zone;

    async fn server() -> (SocketAddr, CancellationToken) {
        let mut zone = Zone::new(&Name::from_ascii("cluster.local.").unwrap());
        let web = Target::Cluster { ips: vec!["10.96.0.20".parse().unwrap()], ports: Vec::new(), backends: Vec::new() };
        zone.set(("shop".to_owned(), "web".to_owned()), Some(web));
        let responder = Responder::new(Arc::new(RwLock::new(zone)), Forwarder::new(Vec::new()));
        let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, token) = (sockets.address().unwrap(), CancellationToken::new());
        tokio::spawn(sockets.serve(responder, token.clone()));
        (address, token)
    }

    fn question(name: &str) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    #[tokio::test]
    async fn it_answers_datagrams_and_streams() {
        let (address, token) = server().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        let mut buffer = [0; 1500];
        for (name, code) in [
            ("web.shop.svc.cluster.local.", ResponseCode::NoError),
            ("none.shop.svc.cluster.local.", ResponseCode::NXDomain),
            ("www.example.", ResponseCode::ServFail),
        ] {
            socket.send(b"rubbish").await.unwrap();
            socket.send(&question(name)).await.unwrap();
            let size = socket.recv(&mut buffer).await.unwrap();
            let answer = Message::from_vec(&buffer[..size]).unwrap();
            assert_eq!((answer.metadata.id, answer.metadata.response_code), (7, code), "{name}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            let packet = question("web.shop.svc.cluster.local.");
            stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
            stream.write_all(&packet).await.unwrap();
            let size = usize::from(stream.read_u16().await.unwrap());
            stream.read_exact(&mut buffer[..size]).await.unwrap();
            assert_eq!(Message::from_vec(&buffer[..size]).unwrap().answers.len(), 1);
        }
        token.cancel();
    }
}
