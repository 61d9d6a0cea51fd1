use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pki::control_plane::{Destination, etcd_member};

use super::*;
use crate::exit::{Exit, classify, hint};
use crate::world::simulated::World;

const ONE: &str = "demo-control-plane-1";
const TWO: &str = "demo-control-plane-2";
/// The end of its input comes even when a test is killed, and kills etcd.
const KEEPER: &str = r#"etcd "$@" & pid=$!; read -r _; kill -9 $pid; wait $pid 2>/dev/null"#;

/// A member with the certificates that it has on its machine.
struct Etcd {
    keeper: Child,
    _folder: tempfile::TempDir,
}

struct Begin<'a> {
    name: &'a str,
    /// For clients and for members.
    ports: (u16, u16),
    cluster: String,
    state: &'a str,
    /// Whose clients are let in.
    trusted: &'a CertificateAuthority,
}

impl Etcd {
    fn start(begin: &Begin<'_>, authority: &CertificateAuthority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let specs = etcd_member(begin.name, &[Ipv4Addr::LOCALHOST.into()]);
        let server = specs.iter().find(|spec| spec.destination == Destination::KeyPair { file: "etcd/server" });
        let pair = authority.issue(&server.unwrap().request, jiff::Timestamp::now()).unwrap();
        let client = format!("https://127.0.0.1:{}", begin.ports.0);
        let peer = format!("http://127.0.0.1:{}", begin.ports.1);
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "etcd", "--name", begin.name, "--data-dir"])
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &begin.cluster, "--initial-cluster-state", begin.state])
            .args([Path::new("--client-cert-auth"), Path::new("--cert-file")])
            .args([&file("server.crt", &pair.cert_pem), Path::new("--key-file"), &file("server.key", &pair.key_pem)])
            .args([Path::new("--trusted-ca-file"), &file("ca.crt", begin.trusted.cert_pem())])
            .arg("--unsafe-no-fsync")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell is installed");
        Self { keeper, _folder: folder }
    }

    /// The first member, called `ONE`; it is found at port 2379 of the machine of that name.
    fn first(world: &World, authority: &CertificateAuthority, trusted: &CertificateAuthority) -> (Self, (u16, u16)) {
        let ports = (free_port(), free_port());
        world.open_door(ONE, 2379, loopback(ports.0));
        let cluster = format!("{ONE}=http://127.0.0.1:{}", ports.1);
        (Self::start(&Begin { name: ONE, ports, cluster, state: "new", trusted }, authority), ports)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Failing means that it is gone already.
        let _ = self.keeper.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate("etcd-ca", jiff::Timestamp::now(), Duration::from_hours(1)).unwrap()
}

/// Those who hold the key of this authority.
fn members(world: &Arc<World>, authority: &CertificateAuthority) -> GatewayMembers {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = authority.to_pem();
    let infrastructure = Arc::clone(world) as Arc<dyn Infrastructure>;
    GatewayMembers::new(infrastructure, CertificateAuthority::from_pem(&pem.cert_pem, &pem.key_pem).unwrap())
}

/// Looks again and again until the member says this.
async fn until(members: &GatewayMembers, machine: &str, wanted: impl Fn(&EtcdLook) -> bool) -> EtcdLook {
    let mut last = String::new();
    for _ in 0..2400 {
        match members.look(machine).await {
            Ok(look) if wanted(&look) => return look,
            other => last = format!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{machine}: {last}");
}

fn refused(error: &anyhow::Error) -> &str {
    match error.downcast_ref() {
        Some(EtcdError::Refused { machine, message }) if machine == ONE => message,
        _ => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn members_are_added_learn_vote_lead_and_go() {
    let (world, authority) = (World::new(Path::new("none")), authority());
    let (_one, ports) = Etcd::first(&world, &authority, &authority);
    let etcd = members(&world, &authority);
    let look = until(&etcd, ONE, |look| look.leader != 0).await;
    assert!(look.version.starts_with("3.") && look.bytes > 0 && look.leader == look.id, "{look:?}");
    let peer = format!("http://127.0.0.1:{}", ports.1);
    let own = EtcdMember { id: look.id, name: ONE.to_owned(), peer: peer.clone(), learner: false, leader: true };
    assert_eq!(etcd.members(ONE).await.unwrap(), std::slice::from_ref(&own));
    assert_eq!(look.members, [own]);

    // One that never starts.
    etcd.add_learner(ONE, "http://127.0.0.1:1").await.unwrap();
    let all = etcd.members(ONE).await.unwrap();
    let idle = all.iter().find(|member| member.learner).unwrap();
    assert_eq!((idle.name.as_str(), idle.peer.as_str(), idle.leader), ("", "http://127.0.0.1:1", false));
    let order = json!({ "ID": idle.id.to_string() });
    let early = etcd.gateway(ONE, WORK).unwrap().ask::<Value>(PROMOTE, &order).await.unwrap_err();
    assert!(early.is_behind(), "{early}");
    assert!(refused(&etcd.add_learner(ONE, "http://127.0.0.1:2").await.unwrap_err()).contains("too many learner"));
    assert!(refused(&etcd.move_leader(ONE, idle.id).await.unwrap_err()).contains("bad leader transferee"));
    etcd.remove(ONE, idle.id).await.unwrap();
    assert!(refused(&etcd.remove(ONE, idle.id).await.unwrap_err()).contains("member not found"));
    // Who has a vote is not behind: this is not waited for.
    assert!(refused(&etcd.promote(ONE, look.id).await.unwrap_err()).contains("can only promote a learner"));

    let others = (free_port(), free_port());
    world.open_door(TWO, 2379, loopback(others.0));
    let joining = format!("http://127.0.0.1:{}", others.1);
    etcd.add_learner(ONE, &joining).await.unwrap();
    let cluster = format!("{ONE}={peer},{TWO}={joining}");
    let begin = Begin { name: TWO, ports: others, cluster, state: "existing", trusted: &authority };
    let two = Etcd::start(&begin, &authority);
    let learner = until(&etcd, TWO, |look| look.leader != 0).await;
    assert!(learner.members.is_empty(), "a learner does not tell: {learner:?}");
    etcd.promote(ONE, learner.id).await.unwrap();
    etcd.move_leader(ONE, learner.id).await.unwrap();
    until(&etcd, ONE, |look| look.leader == learner.id).await;

    // Alone, the first one sees no leader and is believed nothing.
    drop(two);
    let lonely = until(&etcd, ONE, |look| look.leader == 0).await;
    assert_eq!(lonely.members.len(), 2, "it still tells whom it knew");
    let error = etcd.members(ONE).await.unwrap_err();
    assert_eq!(error.to_string(), format!("etcd on {ONE} sees no leader"));
    assert!(hint(&error).unwrap().contains("majority"));
}

#[tokio::test]
async fn who_is_not_the_member_of_that_machine_or_does_not_know_us_is_a_stranger() {
    let (world, ours, theirs) = (World::new(Path::new("none")), authority(), authority());
    let (one, ports) = Etcd::first(&world, &ours, &ours);
    until(&members(&world, &ours), ONE, |look| look.leader != 0).await;
    let check = |error: anyhow::Error, why: &str| {
        assert!(matches!(error.downcast_ref(), Some(EtcdError::Stranger { .. })), "{why}: {error:?}");
        assert_eq!(classify(&error), Exit::Identity, "{why}");
        assert!(hint(&error).unwrap().contains("clock"), "{why}");
    };
    check(members(&world, &theirs).members(ONE).await.unwrap_err(), "its authority is another");
    world.open_door(TWO, 2379, loopback(ports.0));
    check(members(&world, &ours).members(TWO).await.unwrap_err(), "it is another machine's");
    drop(one);

    let (_one, _) = Etcd::first(&world, &ours, &theirs);
    let etcd = members(&world, &ours);
    let mut error = etcd.look(ONE).await.unwrap_err();
    for _ in 0..2400 {
        let Some(EtcdError::Unreachable { .. }) = error.downcast_ref() else { break };
        tokio::time::sleep(Duration::from_millis(25)).await;
        error = etcd.look(ONE).await.unwrap_err();
    }
    check(error, "it does not take our certificate");
}

#[tokio::test]
async fn who_does_not_listen_and_who_does_not_answer_are_told_apart() {
    let (world, authority) = (World::new(Path::new("none")), authority());
    let etcd = members(&world, &authority);
    world.open_door(ONE, 2379, loopback(free_port()));
    let error = etcd.look(ONE).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(EtcdError::Unreachable { .. })), "{error:?}");
    let text = format!("{error:#}");
    assert!(text.starts_with(&format!("no connection to etcd on {ONE}: ")) && text.contains("refused"), "{text}");
    assert!(hint(&error).unwrap().contains(ONE));

    // Connections come in and nobody takes them.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    world.open_door(ONE, 2379, silent.local_addr().unwrap());
    let patience = Patience { connect: Duration::ZERO, answer: Duration::from_millis(100) };
    let error = etcd.gateway(ONE, patience).unwrap().ask::<Value>(STATUS, &json!({})).await.unwrap_err();
    assert!(matches!(error, EtcdError::Late { .. }), "{error:?}");
}

#[test]
fn members_are_told_apart_by_what_they_may_do() {
    let text = r#"{"header":{"cluster_id":"1","member_id":"2","raft_term":"2"},"members":[
        {"ID":"10276657743932975437","name":"demo-control-plane-1","peerURLs":["https://10.80.0.10:2380"],"clientURLs":["https://10.80.0.10:2379"]},
        {"ID":"9","peerURLs":["https://10.80.0.11:2380"],"isLearner":true}]}"#;
    let members = serde_json::from_str::<Listed>(text).unwrap().members(10_276_657_743_932_975_437);
    let short: Vec<_> = members.iter().map(|it| (it.id, it.name.as_str(), it.learner, it.leader)).collect();
    assert_eq!(short, [(10_276_657_743_932_975_437, "demo-control-plane-1", false, true), (9, "", true, false)]);
    assert_eq!(members[1].peer, "https://10.80.0.11:2380");
}

#[test]
fn what_is_zero_is_left_out_of_a_status() {
    let text = r#"{"header":{"member_id":"7"},"version":"3.5.16","dbSize":"20480","errors":["etcdserver: no leader"]}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!((status.leader, status.db_size, status.is_learner), (0, 20480, false));
    assert_eq!(status.errors, ["etcdserver: no leader"]);
    assert!(serde_json::from_str::<Status>("{}").is_err() && serde_json::from_str::<Listed>("[1]").is_err());
}

#[test]
fn a_learner_that_is_behind_is_waited_for_and_other_errors_are_not() {
    let says = |message: &str| EtcdError::Refused { machine: ONE.to_owned(), message: message.to_owned() };
    assert!(says("etcdserver: can only promote a learner member which is in sync with leader").is_behind());
    assert!(!says("etcdserver: can only promote a learner member").is_behind());
    assert!(!says("etcdserver: member not found").is_behind());
}

#[test]
fn every_etcd_says_no_in_its_own_form() {
    for body in [
        r#"{"error":"etcdserver: member not found","message":"etcdserver: member not found","code":5}"#,
        r#"{"code":5, "message":"etcdserver: member not found"}"#,
        "etcdserver: member not found\n",
    ] {
        assert_eq!(gateway::refusal(body.as_bytes()), "etcdserver: member not found");
    }
}
