//! Passing on names of others to the resolvers of the host.
//!
//! Equal questions under way share one exchange. That saves packets, and it ends a loop: a question
//! that comes back to us waits for itself until the time is over, instead of going round.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::cache::{Cache, Key};

/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many exchanges may be under way.
const AT_ONCE: usize = 1000;
/// The largest packet we ask for: no fragments on any usual path.
const PAYLOAD: u16 = 1232;

type Exchange = Shared<BoxFuture<'static, Option<Arc<Message>>>>;

/// Why a resolver gave no answer.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("no answer in time")]
    Timeout,
    #[error("cannot talk to the resolver")]
    Io(#[from] std::io::Error),
    #[error("the message is malformed")]
    Message,
}

/// The forwarder.
#[derive(Clone)]
pub struct Forwarder {
    shared: Arc<Inner>,
}

struct Inner {
    upstreams: Vec<SocketAddr>,
    cache: Cache,
    under_way: Mutex<HashMap<Key, Exchange>>,
    permits: Semaphore,
}

impl Forwarder {
    /// A forwarder to some resolvers, asked in order.
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        let shared =
            Inner { upstreams, cache: Cache::default(), under_way: Mutex::default(), permits: Semaphore::new(AT_ONCE) };
        Self { shared: Arc::new(shared) }
    }

    /// The answer to a question, from the cache or a resolver; `None` if nobody answers.
    pub async fn ask(&self, query: &Query) -> Option<Arc<Message>> {
        let key = (query.name().to_lowercase(), query.query_type());
        if let Some(kept) = self.shared.cache.get(&key, Instant::now()) {
            return Some(Arc::new(kept));
        }
        if self.shared.upstreams.is_empty() {
            return None;
        }
        let exchange = {
            let mut under_way = self.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way
                .entry(key.clone())
                .or_insert_with(|| {
                    // A task of its own: the answer is kept even if the one who asked gives up.
                    let task = tokio::spawn(Arc::clone(&self.shared).exchange(query.clone(), key));
                    async move { task.await.ok().flatten() }.boxed().shared()
                })
                .clone()
        };
        exchange.await
    }
}

impl Inner {
    async fn exchange(self: Arc<Self>, query: Query, key: Key) -> Option<Arc<Message>> {
        let answer = match self.permits.try_acquire() {
            Ok(_permit) => self.ask_in_turn(&query).await,
            Err(_) => None,
        };
        if let Some(message) = &answer {
            self.cache.put(key.clone(), message, Instant::now());
        }
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        answer.map(Arc::new)
    }

    async fn ask_in_turn(&self, query: &Query) -> Option<Message> {
        for upstream in &self.upstreams {
            match tokio::time::timeout(PATIENCE, ask_one(*upstream, query)).await.unwrap_or(Err(ForwardError::Timeout))
            {
                Ok(message) => return Some(message),
                Err(error) => {
                    tracing::debug!(%upstream, name = %query.name(), %error, "resolver failed");
                }
            }
        }
        None
    }
}

async fn ask_one(upstream: SocketAddr, query: &Query) -> Result<Message, ForwardError> {
    let mut request = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    request.metadata.recursion_desired = true;
    request.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    request.set_edns(edns);
    let packet = request.to_vec().map_err(|_| ForwardError::Message)?;
    let answer = over_udp(upstream, &packet, &request).await?;
    if answer.metadata.truncation {
        return over_tcp(upstream, &packet, &request).await;
    }
    Ok(answer)
}

async fn over_udp(upstream: SocketAddr, packet: &[u8], request: &Message) -> Result<Message, ForwardError> {
    // A fresh socket a question: an unguessable port besides the unguessable number.
    let any: SocketAddr = if upstream.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let size = socket.recv(&mut buffer).await?;
        // Whatever does not fit the question may be forged: wait on.
        if let Ok(answer) = Message::from_vec(&buffer[..size])
            && fits(&answer, request)
        {
            return Ok(answer);
        }
    }
}

async fn over_tcp(upstream: SocketAddr, packet: &[u8], request: &Message) -> Result<Message, ForwardError> {
    let mut stream = TcpStream::connect(upstream).await?;
    let size = u16::try_from(packet.len()).map_err(|_| ForwardError::Message)?;
    stream.write_all(&[&size.to_be_bytes(), packet].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(|_| ForwardError::Message)?;
    if fits(&answer, request) { Ok(answer) } else { Err(ForwardError::Message) }
}

fn fits(answer: &Message, request: &Message) -> bool {
    let same = |a: &Query, b: &Query| {
        a.query_type() == b.query_type() && a.query_class() == b.query_class() && lower(a) == lower(b)
    };
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == request.metadata.id
        && answer.queries.len() == 1
        && request.queries.first().is_some_and(|q| same(q, &answer.queries[0]))
}

fn lower(query: &Query) -> Name {
    query.name().to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_proto::rr::{RData, Record, RecordType};

    use super::*;

    /// A resolver on loopback that answers every name with one address.
    async fn resolver() -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                let mut answer = Message::from_vec(&buffer[..size]).unwrap().into_response();
                let name = answer.queries[0].name().clone();
                answer.add_answer(Record::from_rdata(name, 60, RData::from(std::net::IpAddr::from([192, 0, 2, 7]))));
                let mut forged = answer.clone();
                forged.metadata.id = forged.metadata.id.wrapping_add(1);
                for message in [forged, answer] {
                    socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        (address, asked)
    }

    fn query(name: &str) -> Query {
        Query::query(Name::from_ascii(name).unwrap(), RecordType::A)
    }

    #[tokio::test]
    async fn equal_questions_are_asked_once() {
        let (address, asked) = resolver().await;
        let forwarder = Forwarder::new(vec![address]);
        let one = query("www.example.");
        let (a, b) = tokio::join!(forwarder.ask(&one), forwarder.ask(&one));
        assert_eq!(a.unwrap().answers.len(), 1);
        assert!(b.is_some());
        forwarder.ask(&query("WWW.example.")).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn without_resolver_there_is_no_answer() {
        assert!(Forwarder::new(Vec::new()).ask(&query("a.example.")).await.is_none());
    }

    #[tokio::test]
    async fn the_next_resolver_is_asked_when_one_is_dead() {
        let (address, _) = resolver().await;
        let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(Forwarder::new(vec![dead, address]).ask(&query("a.example.")).await.is_some());
    }
}
