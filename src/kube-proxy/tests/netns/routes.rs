//! `n1 10.80.0.1 --- 10.80.0.2 n2`, each with a network of pods behind it; real routes in the real kernel.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use controller_runtime::Store;
use k8s_openapi::api::core::v1::Node;
use kube_proxy::node_routes::NodeRoutes;
use netfilter::{KernelRoutes, Routes};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::namespaces::Namespaces;

const PATIENCE: Duration = Duration::from_secs(20);

fn world(tag: &str) -> Option<Namespaces> {
    let made = Namespaces::create(tag, &["n1", "n2"]).and_then(|world| {
        world.link(("n1", "eth0"), ("n2", "eth0"))?;
        for (name, address, pod) in [("n1", "10.80.0.1/24", "10.244.1.1/32"), ("n2", "10.80.0.2/24", "10.244.2.1/32")] {
            world.within(name, &["addr", "add", address, "dev", "eth0"])?;
            world.within(name, &["addr", "add", pod, "dev", "lo"])?;
        }
        Ok(world)
    });
    made.inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

fn node(name: &str, network: &str, address: &str) -> Node {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"podCIDR": network, "podCIDRs": [network]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]}}))
    .unwrap()
}

fn both() -> Vec<Node> {
    vec![node("n1", "10.244.1.0/24", "10.80.0.1"), node("n2", "10.244.2.0/24", "10.80.0.2")]
}

/// One look at the nodes from inside `name`.
fn sync(world: &Namespaces, name: &'static str, nodes: Vec<Node>) -> Result<(), String> {
    world.run(name, move || {
        NodeRoutes::new(KernelRoutes, Store::fixed(nodes, []), name).sync().map_err(|error| error.to_string())
    })
}

#[test]
fn pods_of_two_nodes_reach_each_other_and_the_routes_of_others_stay() {
    let Some(world) = world("ra") else { return };
    world.within("n1", &["route", "add", "10.99.0.0/24", "via", "10.80.0.2"]).unwrap();
    world.within("n1", &["route", "add", "10.244.2.0/24", "via", "10.80.0.77", "metric", "900"]).unwrap();
    for name in ["n1", "n2"] {
        sync(&world, name, both()).unwrap();
    }
    let listener = world.run("n2", || TcpListener::bind("10.244.2.1:8080").unwrap());
    world.run("n1", || {
        let from: std::net::SocketAddr = "10.244.2.1:8080".parse().unwrap();
        TcpStream::connect_timeout(&from, PATIENCE).unwrap();
    });
    assert_eq!(listener.accept().unwrap().1.ip().to_string(), "10.80.0.1");

    // The address of the other node changes, then the node goes; what others wrote is still there.
    world.within("n2", &["addr", "add", "10.80.0.3/24", "dev", "eth0"]).unwrap();
    sync(&world, "n1", vec![node("n2", "10.244.2.0/24", "10.80.0.3")]).unwrap();
    let routes = world.show("n1", &["route"]);
    assert!(routes.contains("10.244.2.0/24 via 10.80.0.3 dev eth0 proto 107"), "{routes}");
    assert!(!routes.contains("via 10.80.0.2 dev eth0 proto 107"), "{routes}");
    sync(&world, "n1", Vec::new()).unwrap();
    let routes = world.show("n1", &["route"]);
    assert!(!routes.contains("107 "), "{routes}");
    assert!(routes.contains("10.99.0.0/24 via 10.80.0.2") && routes.contains("metric 900"), "{routes}");
}

#[test]
fn an_unreachable_gateway_is_told_and_the_other_routes_are_made() {
    let Some(world) = world("rb") else { return };
    let nodes = vec![node("far", "10.244.9.0/24", "192.0.2.9"), node("n2", "10.244.2.0/24", "10.80.0.2")];
    let error = sync(&world, "n1", nodes).unwrap_err();
    assert_eq!(error, "cannot change the route to 10.244.9.0/24 via 192.0.2.9");
    assert!(world.show("n1", &["route"]).contains("10.244.2.0/24 via 10.80.0.2"));
}

#[test]
fn what_others_take_away_comes_back() {
    let Some(world) = world("rc") else { return };
    let token = CancellationToken::new();
    let (stop, namespace) = (token.clone(), std::sync::Arc::new(world));
    let inside = std::sync::Arc::clone(&namespace);
    let runner = std::thread::spawn(move || {
        inside.run("n1", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(NodeRoutes::new(KernelRoutes, Store::fixed(both(), []), "n1").run(stop));
        });
    });
    let there = || {
        let begin = std::time::Instant::now();
        while namespace.run("n1", || KernelRoutes.list().unwrap().is_empty()) {
            assert!(begin.elapsed() < PATIENCE, "the route did not come back");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    there();
    namespace.within("n1", &["route", "del", "10.244.2.0/24"]).unwrap();
    there();
    // A link that goes down takes its routes along.
    namespace.within("n1", &["link", "set", "eth0", "down"]).unwrap();
    namespace.within("n1", &["link", "set", "eth0", "up"]).unwrap();
    there();
    token.cancel();
    runner.join().unwrap();
}
