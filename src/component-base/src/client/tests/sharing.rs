//! How many connections a program has.

use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpStream;

use super::*;

/// A server that begins to answer and never ends, behind somebody who counts the connections.
async fn counted(files: TlsFiles) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let inside = listener.address();
    let service = service_fn(|_: Request<Incoming>| async move {
        let word = futures::stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"word"))) });
        Ok::<_, Infallible>(Response::new(StreamBody::new(word.chain(futures::stream::pending()))))
    });
    tokio::spawn(listener.serve_https(server_config(files).unwrap(), service, CancellationToken::new()));
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (outside.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counts = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = outside.accept().await {
            counts.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(inside).await.unwrap();
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn all_watches_of_a_program_share_one_connection_until_it_is_full() {
    let home = Home::new();
    let (address, count) = counted(write_certificates(&home, "client")).await;
    let cluster = serde_json::json!({"certificate-authority": home.path("ca.crt")});
    let kubeconfig = home.write_with("https://api.test:1", &[address], &cluster, &serde_json::json!({}));
    let settings = Settings::read(&kubeconfig).await.unwrap();
    let clients = ["one", "two"].map(|agent| settings.clone().builder(agent).unwrap().build());
    let watch = async |number: usize| {
        let request = Request::get("/watch").body(kube::client::Body::empty()).unwrap();
        let mut body = clients[number % 2].send(request).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "word");
        body
    };
    let mut watches = Vec::new();
    for number in 0..wires::SEATS {
        watches.push(watch(number).await);
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let more = watch(0).await;
    assert_eq!(count.load(Ordering::Relaxed), 2, "nobody waits for a watch to end");
    watches.truncate(1);
    watches.push(watch(0).await);
    assert_eq!(count.load(Ordering::Relaxed), 2, "there is room again");
    drop((watches, more));
}
