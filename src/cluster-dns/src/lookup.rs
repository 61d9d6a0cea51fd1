//! `cluster-dns lookup NAME`: asks a DNS server until it answers, for those who wait for the cluster's names to work.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use component_base::flags::duration;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// How long one question waits for its answer before it is asked again: a lost packet has no event.
const RETRY: Duration = Duration::from_millis(100);
const LARGEST_ANSWER: usize = 1232;

/// The arguments of `lookup`.
#[derive(Debug, Parser)]
#[command(name = "cluster-dns lookup", about = "Asks for the addresses of a name until there is an answer")]
pub struct Args {
    /// The name, fully qualified.
    pub name: String,
    /// The server to ask.
    #[arg(long)]
    pub server: IpAddr,
    /// Its port.
    #[arg(long, default_value_t = 53)]
    pub port: u16,
    /// How long to go on asking.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// Asks until there is an answer.
///
/// # Errors
/// The server says that there is no such name, or says nothing in time.
pub async fn run(args: &Args) -> anyhow::Result<Vec<IpAddr>> {
    let mut name = Name::from_ascii(&args.name).with_context(|| format!("{:?} is no name", args.name))?;
    name.set_fqdn(true);
    let server = SocketAddr::new(args.server, args.port);
    let deadline = Instant::now() + args.timeout;
    let mut last = "no answer".to_owned();
    while Instant::now() < deadline {
        let retry = deadline.min(Instant::now() + RETRY);
        match timeout_at(retry, ask(server, &name)).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
            Ok(Ok(_)) => "no address for the name".clone_into(&mut last),
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => {}
        }
        tokio::time::sleep_until(retry).await;
    }
    bail!("{server} did not answer for {name} within {:?}: {last}", args.timeout)
}

async fn ask(server: SocketAddr, name: &Name) -> anyhow::Result<Vec<IpAddr>> {
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await.context("no socket")?;
    socket.connect(server).await.context("no way to the server")?;
    let mut question = Message::new(rand_id(&socket)?, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(name.clone(), RecordType::A));
    socket.send(&question.to_vec()?).await.context("the question cannot be sent")?;
    let mut buffer = vec![0; LARGEST_ANSWER];
    let length = socket.recv(&mut buffer).await.context("no answer")?;
    let answer = Message::from_vec(&buffer[..length]).context("the answer is malformed")?;
    anyhow::ensure!(answer.metadata.id == question.metadata.id, "an answer to another question");
    match answer.metadata.response_code {
        ResponseCode::NoError => Ok(answer.answers.iter().filter_map(|record| address(&record.data)).collect()),
        code => bail!("{code}"),
    }
}

/// The port that the system chose is random enough to tell answers apart on a connected socket.
fn rand_id(socket: &UdpSocket) -> anyhow::Result<u16> {
    Ok(socket.local_addr().context("a bound socket has an address")?.port())
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}
