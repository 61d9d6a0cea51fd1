//! Several servers on one etcd, and servers whose etcd comes, goes and fails over.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use storage::testing::{EtcdCluster, EtcdServer};

use crate::harness::{Answer, Caller, PATIENCE, Server, Site, core};

const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";

/// The addresses of the `kubernetes` Service as both kinds of object tell them.
async fn endpoints(caller: &Caller) -> Vec<String> {
    let endpoints = caller.get(&core("endpoints/kubernetes")).await.body;
    let slice = caller.get(SLICE).await.body;
    let text = |ip: &Value| ip.as_str().unwrap_or_default().to_owned();
    let no_list = Vec::new();
    let of_slice = slice["endpoints"].as_array().unwrap_or(&no_list);
    let mut of_slice: Vec<String> = of_slice.iter().map(|endpoint| text(&endpoint["addresses"][0])).collect();
    let addresses = endpoints["subsets"][0]["addresses"].as_array().unwrap_or(&no_list);
    let addresses: Vec<String> = addresses.iter().map(|address| text(&address["ip"])).collect();
    of_slice.sort();
    if of_slice == addresses { addresses } else { Vec::new() }
}

pub(crate) async fn endpoints_become(caller: &Caller, wanted: &[&str]) {
    let become_so = async {
        while endpoints(caller).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, become_so).await.is_ok(), "{:?}", endpoints(caller).await);
}

#[tokio::test]
async fn the_kubernetes_service_leads_to_all_servers_that_are_alive() {
    let server = Server::start().await;
    let admin = server.admin();
    endpoints_become(&admin, &["192.0.2.10"]).await;
    let mut second = server.beside(&["--advertise-address=192.0.2.11"]).await;
    endpoints_become(&admin, &["192.0.2.10", "192.0.2.11"]).await;
    // One that dies without a word is gone with its lease.
    let etcd = server.etcd().connect().await;
    etcd.create("/registry/masterleases/192.0.2.12", "{}".into(), Some(Duration::from_secs(2))).await.unwrap();
    endpoints_become(&admin, &["192.0.2.10", "192.0.2.11", "192.0.2.12"]).await;
    endpoints_become(&admin, &["192.0.2.10", "192.0.2.11"]).await;
    // One that ends in order takes itself out.
    second.stop().await;
    assert_eq!(endpoints(&admin).await, ["192.0.2.10"]);
}

#[tokio::test]
async fn two_servers_never_give_out_the_same_address_or_port() {
    let server = Server::start().await;
    let second = server.beside(&["--advertise-address=192.0.2.11"]).await;
    let callers = [server.admin(), second.admin()];
    let path = core("services");
    let service =
        |name: String| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let wanted = (0..10).map(|index| callers[index % 2].create(&path, service(format!("s{index}"))));
    let made: Vec<Value> = join_all(wanted).await.into_iter().map(Answer::ok).collect();
    let ips: HashSet<&str> = made.iter().map(|made| made["spec"]["clusterIP"].as_str().unwrap()).collect();
    let ports: HashSet<i64> = made.iter().map(|made| made["spec"]["ports"][0]["nodePort"].as_i64().unwrap()).collect();
    assert_eq!((ips.len(), ports), (10, (30000..=30009).collect()));
    // A third server that starts now takes nothing away from anybody.
    let third = server.beside(&["--advertise-address=192.0.2.12"]).await;
    third.admin().create(&path, service("more".to_owned())).await.failed(500);
    // What one server was told, the others tell at once.
    for (index, caller) in callers.iter().enumerate() {
        let name = format!("c{index}");
        caller.create(&core("configmaps"), json!({"metadata": {"name": name}})).await.ok();
        for other in &callers {
            other.get(&core(&format!("configmaps/{name}"))).await.ok();
        }
    }
}

#[tokio::test]
async fn two_servers_share_out_all_networks_and_give_no_address_twice() {
    let server = Server::start_with(&["--service-cluster-ip-range=10.96.0.0/29"]).await;
    let flags = ["--advertise-address=192.0.2.11", "--service-cluster-ip-range=10.96.0.0/29"];
    let second = server.beside(&flags).await;
    let callers = [server.admin(), second.admin()];
    // They overlap: the addresses of one are all of the other's too.
    for (name, network) in [("a", "10.97.0.0/28"), ("b", "10.97.0.0/29")] {
        let range = json!({"metadata": {"name": name}, "spec": {"cidrs": [network]}});
        callers[0].create("/apis/networking.k8s.io/v1/servicecidrs", range).await.ok();
    }
    let path = core("services");
    let service = |name: String| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    // All but the one of the servers themselves.
    let wanted = (0..5 + 14).map(|index| callers[index % 2].create(&path, service(format!("s{index}"))));
    let made: Vec<Value> = join_all(wanted).await.into_iter().map(Answer::ok).collect();
    let ips: HashSet<&str> = made.iter().map(|made| made["spec"]["clusterIP"].as_str().unwrap()).collect();
    assert_eq!(ips.len(), 5 + 14, "{ips:?}");
    for caller in &callers {
        caller.create(&path, service("more".to_owned())).await.failed(500);
    }
}

#[tokio::test]
async fn a_server_without_etcd_is_there_but_not_ready() {
    let mut etcd = EtcdServer::start().await;
    etcd.kill();
    let server = Server::start_on(&[etcd.endpoint()], Site::new(), &[]).await;
    let anonymous = server.anonymous();
    let there = async {
        while anonymous.get("/livez").await.code != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.unwrap();
    let unready = anonymous.get("/readyz").await;
    assert_eq!(unready.code, 500);
    assert!(unready.body.as_str().unwrap().contains("[-]etcd failed"), "{}", unready.body);
    etcd.restart().await;
    server.wait_until_ready(true).await;
    etcd.pause();
    server.wait_until_ready(false).await;
    etcd.resume();
    server.wait_until_ready(true).await;
    server.admin().create(&core("configmaps"), json!({"metadata": {"name": "c"}})).await.ok();
}

#[tokio::test]
async fn the_loss_of_the_leader_of_etcd_costs_no_acknowledged_write() {
    let mut cluster = EtcdCluster::start().await;
    let server = Server::start_on(&cluster.endpoints(), Site::new(), &[]).await;
    server.wait_ready().await;
    let admin = server.admin();
    let mut acknowledged = Vec::new();
    let mut killed = false;
    let mut after = 0;
    for number in 0..1000 {
        if number == 20 {
            let leader = cluster.leader().await;
            cluster.members[leader].kill();
            killed = true;
        }
        let name = format!("c{number}");
        let answer = admin.create(&core("configmaps"), json!({"metadata": {"name": name}})).await;
        match answer.code {
            201 => {
                acknowledged.push(name);
                after += usize::from(killed);
            }
            // Nobody knows whether it happened, and the client is told so.
            500 | 503 | 504 => {}
            _ => panic!("{answer:?}"),
        }
        if after == 20 {
            break;
        }
    }
    assert_eq!(after, 20, "writes do not go on");
    let listed = admin.get(&core("configmaps")).await.ok();
    let listed: HashSet<&str> =
        listed["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    assert!(acknowledged.iter().all(|name| listed.contains(name.as_str())));
    server.wait_until_ready(true).await;
}
