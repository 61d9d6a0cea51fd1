//! API servers on machines of their own (network namespaces); one loses its network without a word.

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::process::Command;
    use std::time::Duration;

    use bytes::Bytes;
    use component_base::serving::Listener;
    use futures::StreamExt;
    use http::{Request, Response};
    use http_body_util::combinators::BoxBody;
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::body::{Frame, Incoming};
    use hyper::service::service_fn;
    use kube::client::Body;
    use tokio_util::sync::CancellationToken;

    /// Without the client's care a watch would wait for ever and a request for a quarter of an hour.
    const BOUND: Duration = Duration::from_mins(1);

    const SERVERS: [(&str, &str); 2] = [("one", "192.0.2"), ("two", "198.51.100")];

    /// A client's machine and those of two servers, each on a cable of its own.
    struct Lab(String);

    impl Lab {
        fn create() -> Result<Self, String> {
            if !nix::unistd::geteuid().is_root() {
                return Err("not root".to_owned());
            }
            let lab = Self(format!("lost{}", std::process::id()));
            ip(&format!("netns add {}", lab.name("client")))?;
            for (server, network) in SERVERS {
                let (near, far) = (lab.name("client"), lab.name(server));
                ip(&format!("netns add {far}"))?;
                ip(&format!("-n {near} link add {server} type veth peer name eth0 netns {far}"))?;
                ip(&format!("-n {near} addr add {network}.1/24 dev {server}"))?;
                ip(&format!("-n {far} addr add {network}.2/24 dev eth0"))?;
                ip(&format!("-n {far} link set eth0 up"))?;
                ip(&format!("-n {near} link set {server} up"))?;
            }
            Ok(lab)
        }

        fn name(&self, machine: &str) -> String {
            format!("{}-{machine}", self.0)
        }

        /// Runs a program on a thread and runtime of its own inside a machine.
        fn run<F, T>(&self, machine: &str, program: F) -> std::thread::JoinHandle<T>
        where
            F: Future<Output = T> + Send + 'static,
            T: Send + 'static,
        {
            let path = format!("/run/netns/{}", self.name(machine));
            std::thread::spawn(move || {
                let file = std::fs::File::open(path).unwrap();
                nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(program)
            })
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            for machine in ["client", "one", "two"] {
                let _ = ip(&format!("netns del {}", self.name(machine)));
            }
        }
    }

    fn ip(words: &str) -> Result<(), String> {
        let output = Command::new("ip").args(words.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or_else(|| format!("ip {words}: {told}"))
    }

    /// Answers `/watch` with its name and never ends, everything else with its name.
    async fn serve(name: &'static str, address: SocketAddr, token: CancellationToken) {
        let listener = Listener::bind(address).await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| async move {
            let word = Bytes::from_static(name.as_bytes());
            let body: BoxBody<Bytes, Infallible> = if request.uri().path() == "/watch" {
                let first = futures::stream::once(async move { Ok(Frame::data(word)) });
                BoxBody::new(StreamBody::new(first.chain(futures::stream::pending())))
            } else {
                BoxBody::new(Full::new(word))
            };
            Ok::<_, Infallible>(Response::new(body))
        });
        tokio::select! {
            () = listener.serve_http(service, token.clone()) => {}
            () = token.cancelled() => {}
        }
    }

    fn kubeconfig(folder: &std::path::Path) -> std::path::PathBuf {
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n\
            users: [{name: u, user: {}}]\nclusters: [{name: k, cluster: {server: 'http://127.0.0.1:1', extensions: [\
            {name: provision.dev/api-servers, extension: {addresses: ['192.0.2.2:6443', '198.51.100.2:6443']}}]}}]\n";
        std::fs::write(folder.join("kubeconfig"), text).unwrap();
        folder.join("kubeconfig")
    }

    async fn watch(client: &kube::Client) -> (String, Body) {
        let request = Request::get("/watch").body(Body::empty()).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (String::from_utf8(first.to_vec()).unwrap(), body)
    }

    async fn ask(client: &kube::Client) -> Result<String, kube::Error> {
        client.request_text(Request::get("/").body(Vec::new()).unwrap()).await
    }

    /// Follows one server, takes the cable of its machine away, and goes on with the other.
    async fn lose_one(lab: String, path: std::path::PathBuf) {
        let client = component_base::client::connect(&path, "test").await.unwrap();
        let (first, mut body) = watch(&client).await;
        assert_eq!(ask(&client).await.unwrap(), first, "one server serves the client");
        // Packets are dropped at the far end; nobody says so.
        ip(&format!("-n {lab}-{first} link set eth0 down")).unwrap();
        let (followed, asked) = tokio::time::timeout(BOUND, async { tokio::join!(body.frame(), ask(&client)) })
            .await
            .expect("a lost machine is noticed");
        assert!(followed.unwrap().is_err(), "the watch fails");
        assert!(asked.map_or(true, |name| name != first), "a request fails or is answered by the other server");
        let (second, _) = tokio::time::timeout(BOUND, watch(&client)).await.expect("the other server is asked");
        assert_ne!(second, first);
        ip(&format!("-n {lab}-{first} link set eth0 up")).unwrap();
    }

    #[test]
    fn a_machine_that_is_lost_without_a_word_is_left_for_another() {
        let lab = match Lab::create() {
            Ok(lab) => lab,
            Err(why) => return eprintln!("skipped: {why}"),
        };
        let folder = tempfile::tempdir().unwrap();
        let token = CancellationToken::new();
        let servers: Vec<_> = SERVERS
            .iter()
            .map(|(name, network)| {
                lab.run(name, serve(name, format!("{network}.2:6443").parse().unwrap(), token.clone()))
            })
            .collect();
        let outcome = lab.run("client", lose_one(lab.0.clone(), kubeconfig(folder.path()))).join();
        token.cancel();
        for server in servers {
            server.join().unwrap();
        }
        outcome.unwrap();
    }
}
