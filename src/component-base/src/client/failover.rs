//! What an answer, or its absence, tells about its server.
//!
//! A server that is up but has lost its etcd answers 503 or 504. Its connection is not used again and other servers are
//! asked first for a while; the retry above this layer then reaches one that works. A server that owes an answer is
//! doubted (see `liveness`), and given up only if it shows no life at all.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use hyper_util::client::legacy::Error;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, capture_connection};
use kube::client::Body;
use tower::Service;

use super::connector::Connector;
use super::servers::Servers;
use super::stream::Origin;
use super::wires::{Seated, Wires};

/// Watches the answers of the HTTP client below it.
#[derive(Clone)]
pub(super) struct Failover {
    wires: Arc<Wires>,
    servers: Arc<Servers>,
}

impl Failover {
    pub(super) fn new(connector: Connector, servers: Arc<Servers>) -> Self {
        Self { wires: Arc::new(Wires::new(connector)), servers }
    }
}

impl Service<Request<Body>> for Failover {
    type Response = Response<Seated>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Seated>, Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connection = capture_connection(&mut request);
        let servers = Arc::clone(&self.servers);
        let wires = Arc::clone(&self.wires);
        Box::pin(async move {
            let turn = servers.first_answer.turn().await;
            let (wire, seat) = wires.seat();
            let answer = wire.request(request);
            let response = tokio::select! {
                biased;
                response = answer => response?,
                never = doubt(&servers, &connection) => match never {},
            };
            servers.first_answer.note(response.status());
            drop(turn);
            let ailing = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&response.status());
            if ailing
                && servers.has_alternatives()
                && servers.first_answer.may_move()
                && let Some(Origin(address)) = response.extensions().get()
            {
                servers.failed(*address);
                if let Some(connected) = connection.connection_metadata().as_ref() {
                    connected.poison();
                }
            }
            Ok(response.map(|body| Seated::new(body, seat)))
        })
    }
}

/// Tells of a server that owes an answer: soon for the first time, then less and less often.
async fn doubt(servers: &Servers, connection: &CaptureConnection) -> Infallible {
    let mut wait = servers.patience.answer;
    loop {
        tokio::time::sleep(wait).await;
        if let Some(address) = connection.connection_metadata().as_ref().and_then(origin) {
            servers.peers.owes(address);
            wait *= 2;
        }
    }
}

fn origin(connected: &Connected) -> Option<SocketAddr> {
    let mut extensions = http::Extensions::new();
    connected.get_extras(&mut extensions);
    extensions.get().map(|Origin(address)| *address)
}
