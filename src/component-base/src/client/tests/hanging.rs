//! Servers that hang: their system accepts and acknowledges, and nothing comes back.

use std::future::pending;

use futures::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use liveness::Patience;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, watch};

use super::*;

/// What a request is answered with.
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A server behind a wire that can be made to swallow everything.
struct Wire {
    address: SocketAddr,
    name: &'static str,
    swallows: watch::Sender<bool>,
    /// Lets held requests go.
    free: Arc<Notify>,
    /// Requests for `/held` that have arrived.
    held: Arc<Notify>,
}

impl Wire {
    async fn start(name: &'static str) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let to = listener.address();
        let (free, held) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let (freed, arrived) = (Arc::clone(&free), Arc::clone(&held));
        let service = service_fn(move |request: Request<Incoming>| {
            let (freed, arrived) = (Arc::clone(&freed), Arc::clone(&arrived));
            async move { Ok::<_, Infallible>(answer(name, request.uri().path(), &freed, &arrived).await) }
        });
        tokio::spawn(listener.serve_http(service, CancellationToken::new()));
        let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = outside.local_addr().unwrap();
        let (swallows, seen) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = outside.accept().await {
                let far = TcpStream::connect(to).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_in, far_out, seen.clone()));
                tokio::spawn(carry(far_in, near_out, seen.clone()));
            }
        });
        Self { address, name, swallows, free, held }
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: watch::Receiver<bool>) {
    let mut chunk = vec![0; 4096];
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        if *swallows.borrow() {
            // Not even the end of a connection passes.
            return pending().await;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

async fn answer(name: &'static str, path: &str, freed: &Notify, arrived: &Notify) -> Answer {
    let word = || Ok(Frame::data(Bytes::from_static(name.as_bytes())));
    match path {
        "/watch" => Response::new(BoxBody::new(StreamBody::new(
            futures::stream::once(async move { word() }).chain(futures::stream::pending()),
        ))),
        "/held" => {
            arrived.notify_one();
            freed.notified().await;
            Response::new(BoxBody::new(Full::new(Bytes::from_static(name.as_bytes()))))
        }
        _ => Response::new(BoxBody::new(Full::new(Bytes::from_static(name.as_bytes())))),
    }
}

/// Short enough for a test, and long enough for a busy machine.
const PATIENCE: Patience =
    Patience { silence: Duration::from_millis(600), answer: Duration::from_millis(300), probe: Duration::from_secs(2) };

async fn client_of(home: &Home, listed: &[&Wire]) -> Client {
    let addresses: Vec<SocketAddr> = listed.iter().map(|wire| wire.address).collect();
    let kubeconfig = home.write("http://127.0.0.1:1", &addresses);
    let mut settings = Settings::read(&kubeconfig).await.unwrap();
    Arc::get_mut(&mut settings.servers).unwrap().patience = PATIENCE;
    settings.builder("test").unwrap().build()
}

/// Starts a watch; returns the server's first word and the rest of the body.
async fn open_watch(client: &Client) -> (String, kube::client::Body) {
    let request = Request::get("/watch").body(kube::client::Body::empty()).unwrap();
    let mut body = client.send(request).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    (String::from_utf8(first.to_vec()).unwrap(), body)
}

async fn ask_for(client: &Client, path: &str) -> Result<String, kube::Error> {
    client.request_text(Request::get(path).body(Vec::new()).unwrap()).await
}

#[tokio::test]
async fn a_watch_on_a_server_that_hangs_ends_and_the_next_request_goes_elsewhere() {
    let home = Home::new();
    let wires = [Wire::start("one").await, Wire::start("two").await];
    let client = client_of(&home, &[&wires[0], &wires[1]]).await;
    let (first, mut body) = open_watch(&client).await;
    // A connection that waits in the pool is of no use either.
    assert_eq!(ask_for(&client, "/").await.unwrap(), first);
    let hanging = wires.iter().find(|wire| wire.name == first).unwrap();
    hanging.swallows.send_replace(true);
    assert!(body.frame().await.unwrap().is_err(), "the watch fails instead of waiting for ever");
    assert_ne!(ask_for(&client, "/").await.unwrap(), first);
    assert_ne!(open_watch(&client).await.0, first);
}

#[tokio::test]
async fn a_request_in_flight_to_a_server_that_hangs_fails_and_the_next_goes_elsewhere() {
    let home = Home::new();
    let wires = [Wire::start("one").await, Wire::start("two").await];
    let client = client_of(&home, &[&wires[0], &wires[1]]).await;
    let first = ask_for(&client, "/").await.unwrap();
    let hanging = wires.iter().find(|wire| wire.name == first).unwrap();
    hanging.swallows.send_replace(true);
    assert!(ask_for(&client, "/").await.is_err());
    assert_ne!(ask_for(&client, "/").await.unwrap(), first);
}

#[tokio::test]
async fn a_server_that_takes_its_time_and_lives_is_waited_for() {
    let home = Home::new();
    let wires = [Wire::start("one").await, Wire::start("two").await];
    let client = client_of(&home, &[&wires[0], &wires[1]]).await;
    let request = tokio::spawn(async move { ask_for(&client, "/held").await });
    tokio::select! {
        () = wires[0].held.notified() => {}
        () = wires[1].held.notified() => {}
    }
    // Long enough for several doubts, each of which the server answers.
    tokio::time::sleep(PATIENCE.answer * 8).await;
    for wire in &wires {
        wire.free.notify_one();
    }
    assert!(request.await.unwrap().is_ok());
}

#[tokio::test]
async fn the_only_server_is_waited_for_however_silent() {
    let home = Home::new();
    let wire = Wire::start("one").await;
    let client = client_of(&home, &[&wire]).await;
    let (_, mut body) = open_watch(&client).await;
    wire.swallows.send_replace(true);
    let long = PATIENCE.silence * 2 + PATIENCE.probe;
    assert!(tokio::time::timeout(long, body.frame()).await.is_err(), "there is nobody to turn to");
}
