//! Real connections through real rules, in network namespaces this test makes and removes.
//!
//! `client 192.0.2.2 --- 192.0.2.1 node 10.244.0.1 --- pods 10.244.0.2 and .3`

#[cfg(test)]
#[path = "netns/namespaces.rs"]
mod namespaces;

#[cfg(test)]
#[path = "netns/routes.rs"]
mod routes;

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use controller_runtime::Store;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use kube_proxy::drift::Drift;
    use kube_proxy::health::Health;
    use kube_proxy::host::Host;
    use kube_proxy::node::{NodeFacts, PodTraffic};
    use kube_proxy::service::ServiceName;
    use kube_proxy::sync::{BY_SERVICE, Changed, Inputs, Proxy, Settings, service_of_slice};
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    use crate::namespaces::Namespaces;

    const CLUSTER_IP: &str = "10.96.0.20:80";
    const NODE_PORT: &str = "192.0.2.1:30080";
    /// What is answered is answered at once, but the machine may be busy.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A small world of namespaces; dropping it removes them.
    struct World(Namespaces);

    impl std::ops::Deref for World {
        type Target = Namespaces;

        fn deref(&self) -> &Namespaces {
            &self.0
        }
    }

    impl World {
        fn create(tag: &str) -> Result<Self, String> {
            let world = Self(Namespaces::create(&format!("kp{tag}"), &["node", "client", "pod2", "pod3"])?);
            world.wire("client", "eth-client", "192.0.2.2/24")?;
            world.within("node", &["addr", "add", "192.0.2.1/24", "dev", "eth-client"])?;
            world.within("client", &["route", "add", "default", "via", "192.0.2.1"])?;
            world.within("node", &["link", "add", "cbr0", "type", "bridge"])?;
            world.within("node", &["addr", "add", "10.244.0.1/24", "dev", "cbr0"])?;
            world.within("node", &["link", "set", "cbr0", "up"])?;
            // As every node, this one has a way to everywhere; without it nothing leaves for a cluster address.
            world.within("node", &["route", "add", "default", "via", "10.244.0.254"])?;
            for (pod, address) in [("pod2", "10.244.0.2/24"), ("pod3", "10.244.0.3/24")] {
                world.wire(pod, pod, address)?;
                world.within("node", &["link", "set", pod, "master", "cbr0"])?;
                // Bridged packets meet the rules where br_netfilter is on; one to its own sender needs this.
                world.within("node", &["link", "set", pod, "type", "bridge_slave", "hairpin", "on"])?;
                world.within(pod, &["route", "add", "default", "via", "10.244.0.1"])?;
            }
            world.run("node", || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|e| e.to_string()))?;
            Ok(world)
        }

        fn wire(&self, name: &str, device: &str, address: &str) -> Result<(), String> {
            self.link(("node", device), (name, "eth0"))?;
            self.within(name, &["addr", "add", address, "dev", "eth0"])
        }

        /// A server in a pod that tells every client its name and then echoes.
        fn serve(&self, pod: &'static str) {
            let listener = self.run(pod, || TcpListener::bind("0.0.0.0:8080").unwrap());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    std::thread::spawn(move || echo(stream, pod));
                }
            });
        }

        /// Which pod answers a client of a namespace.
        fn ask(&self, from: &str, to: &'static str) -> Result<String, ErrorKind> {
            self.connect(from, to).map(|(name, _)| name)
        }

        fn connect(&self, from: &str, to: &'static str) -> Result<(String, TcpStream), ErrorKind> {
            self.run(from, move || {
                let address: SocketAddr = to.parse().unwrap();
                let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|e| e.kind())?;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut name = [0; 4];
                stream.read_exact(&mut name).map_err(|e| e.kind())?;
                Ok((String::from_utf8_lossy(&name).into_owned(), stream))
            })
        }

        fn proxy() -> Kernel {
            let host = Host::find(None).unwrap();
            let node = NodeFacts {
                name: "n1".to_owned(),
                pod_traffic: PodTraffic::Networks(vec!["10.244.0.0/16".parse().unwrap()]),
                mark: 0x4000,
                ..NodeFacts::default()
            };
            let settings = Settings { node, port_networks: Vec::new(), pods_by_node: false, window: Duration::ZERO };
            Kernel { host, settings, proxy: None }
        }
    }

    fn echo(mut stream: TcpStream, name: &str) {
        let _ = stream.write_all(name.as_bytes());
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    }

    /// The proxy under test; each call runs on a thread inside the node.
    struct Kernel {
        host: Host,
        settings: Settings,
        proxy: Option<Proxy<Host>>,
    }

    impl Kernel {
        fn apply(&mut self, world: &World, service: Value, pods: &[&str]) {
            let inputs = inputs(service, pods);
            let proxy = self.proxy.take();
            let is_first = proxy.is_none();
            let (host, settings) = (self.host.clone(), self.settings.clone());
            self.proxy = Some(world.run("node", move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let mut proxy = match proxy {
                    Some(proxy) => proxy.with_inputs(inputs),
                    None => Proxy::new(host, inputs, settings, Arc::new(Health::default())),
                };
                let web = ServiceName { namespace: "shop".to_owned(), name: "web".to_owned() };
                runtime.block_on(proxy.sync(&Changed { services: [web].into(), node: is_first })).unwrap();
                proxy
            }));
        }

        /// Forgets what was written, as a restart does.
        fn restart(&mut self) {
            self.proxy = None;
        }
    }

    fn inputs(service: Value, pods: &[&str]) -> Inputs {
        let endpoints: Vec<Value> = pods.iter().map(|ip| json!({"addresses": [ip], "nodeName": "n1"})).collect();
        let slice = json!({"metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints});
        let node = json!({"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}});
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        Inputs {
            services: Store::fixed([serde_json::from_value(service).unwrap()], []),
            slices: Store::fixed([slice], [(BY_SERVICE, service_of_slice as fn(&EndpointSlice) -> Vec<String>)]),
            nodes: Store::fixed([serde_json::from_value(node).unwrap()], []),
        }
    }

    fn service(extra: Value) -> Value {
        let mut service = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {"type": "NodePort",
            "clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}});
        for (key, value) in extra.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        service
    }

    fn world(tag: &str) -> Option<World> {
        match World::create(tag) {
            Ok(world) => {
                world.serve("pod2");
                world.serve("pod3");
                Some(world)
            }
            Err(reason) => {
                eprintln!("skipped: {reason}");
                None
            }
        }
    }

    #[test]
    fn connections_reach_endpoints_and_survive_changes() {
        let Some(world) = world("a") else { return };
        let mut kernel = World::proxy();
        kernel.apply(&world, service(json!({})), &["10.244.0.2", "10.244.0.3"]);

        let seen: BTreeSet<String> = (0..40).map(|_| world.ask("node", CLUSTER_IP).unwrap()).collect();
        assert_eq!(seen.len(), 2, "both endpoints answer on the cluster address: {seen:?}");
        world.ask("client", CLUSTER_IP).unwrap();
        world.ask("client", NODE_PORT).unwrap();
        assert_eq!(world.ask("node", "127.0.0.1:30080"), Err(ErrorKind::ConnectionRefused));

        // An open connection goes on while its endpoint leaves the Service, and through a restart.
        let (_, mut open) = world.connect("client", NODE_PORT).unwrap();
        kernel.apply(&world, service(json!({})), &["10.244.0.3"]);
        assert_eq!(world.ask("client", NODE_PORT).unwrap(), "pod3");
        kernel.restart();
        kernel.apply(&world, service(json!({})), &["10.244.0.3"]);
        open.write_all(b"x").unwrap();
        let mut byte = [0];
        open.read_exact(&mut byte).unwrap();

        // A pod that reaches itself through its own Service.
        assert_eq!(world.ask("pod3", CLUSTER_IP).unwrap(), "pod3");
    }

    #[test]
    fn nobody_to_answer_is_told_at_once() {
        let Some(world) = world("b") else { return };
        let mut kernel = World::proxy();
        kernel.apply(&world, service(json!({})), &[]);
        let begin = Instant::now();
        for (from, to) in [("node", CLUSTER_IP), ("client", CLUSTER_IP), ("client", NODE_PORT)] {
            assert_eq!(world.ask(from, to), Err(ErrorKind::ConnectionRefused), "{from} {to}");
        }
        // A port the Service does not have, on an address it does have.
        assert_eq!(world.ask("client", "10.96.0.20:81"), Err(ErrorKind::ConnectionRefused));
        assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    }

    #[test]
    fn a_client_keeps_its_endpoint() {
        let Some(world) = world("c") else { return };
        let mut kernel = World::proxy();
        let sticky =
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}});
        kernel.apply(&world, service(sticky.clone()), &["10.244.0.2", "10.244.0.3"]);
        let first = world.ask("client", CLUSTER_IP).unwrap();
        for _ in 0..20 {
            assert_eq!(world.ask("client", CLUSTER_IP).unwrap(), first);
        }
        kernel.restart();
        kernel.apply(&world, service(sticky), &["10.244.0.2", "10.244.0.3"]);
        for _ in 0..20 {
            assert_eq!(world.ask("client", CLUSTER_IP).unwrap(), first, "after a restart");
        }
    }
    #[test]
    fn rules_that_others_remove_come_back() {
        let Some(world) = world("d") else { return };
        let world = Arc::new(world);
        let (token, inside) = (CancellationToken::new(), Arc::clone(&world));
        let stop = token.clone();
        let runner = std::thread::spawn(move || {
            inside.run("node", move || {
                let Kernel { host, settings, .. } = World::proxy();
                let inputs = inputs(service(json!({})), &["10.244.0.2"]);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let proxy = Proxy::new(host, inputs, settings, Arc::new(Health::default()));
                    proxy.repairing(Drift::watch()).run(stop).await;
                });
            });
        });
        let table = |world: &World, args: &'static [&'static str]| {
            world.run("node", move || std::process::Command::new("nft").args(args).output().unwrap().status.success())
        };
        let there = || {
            let begin = Instant::now();
            while !table(&world, &["list", "chain", "ip", "kube-proxy", "services"]) {
                assert!(begin.elapsed() < PATIENCE * 2, "the rules did not come back");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        there();
        assert!(table(&world, &["flush", "ruleset"]));
        there();
        world.ask("node", CLUSTER_IP).unwrap();
        assert!(table(&world, &["flush", "table", "ip", "kube-proxy"]));
        let begin = Instant::now();
        while world.ask("node", CLUSTER_IP).is_err() {
            assert!(begin.elapsed() < PATIENCE * 2, "the rules did not come back");
        }
        token.cancel();
        runner.join().unwrap();
    }
}
