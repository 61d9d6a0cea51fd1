//! A highly available cluster outlives each of its machines: somebody reads fifty times a second through the virtual
//! address and writes twice, while machines lose their power one after another and get it back.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use harness::Lab;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt as _};

use crate::network::enter;

/// An emulated machine takes a minute to boot, and the cluster a while to see it.
const PATIENCE: Duration = Duration::from_mins(6);
/// Longer than the controllers' patience with a node that is silent.
const GIVEN_UP: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_secs(10);
const READ_EVERY: Duration = Duration::from_millis(20);
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// A client that has heard nothing for so long asks again, over another connection.
const ANSWER: Duration = Duration::from_secs(2);
/// So many answers in a row are no accident.
const STEADY: usize = 50;

/// Pulls the plug of machines in turn: of those that lead something, then of all others, and last of all balancers at once.
pub(crate) fn machines_may_fail(lab: &Lab, cluster: &str, topology: &str) {
    let probe = Probe::start(crate::network::namespace(lab), lab);
    let mut left: BTreeSet<String> = machines(lab, cluster).into_iter().collect();
    for (what, find) in LEADERS {
        let machine = find(lab, cluster).unwrap_or_else(|| panic!("nobody is the {what}"));
        println!("{machine} is the {what}");
        let mut session = Session::start(lab, cluster, &machine);
        fails_and_comes_back(lab, &machine, topology, &probe);
        session.is_over();
        left.remove(&machine);
    }
    for machine in left {
        fails_and_comes_back(lab, &machine, topology, &probe);
    }
    nodes_do_without_balancers(lab, cluster, topology);
    probe.nothing_acknowledged_is_lost();
}

type Find = fn(&Lab, &str) -> Option<String>;
const LEADERS: [(&str, Find); 3] =
    [("etcd leader", etcd_leader), ("scheduler's leader", scheduler_leader), ("active balancer", active_balancer)];

/// Somebody who is logged in to a machine.
struct Session(Child);

impl Session {
    fn start(lab: &Lab, cluster: &str, machine: &str) -> Self {
        let session = Self(lab.start(&["ssh", cluster, machine, "--", "echo logged in; exec sleep 86400"]));
        let deadline = Instant::now() + PATIENCE;
        while !lab.said().contains("logged in") {
            assert!(Instant::now() < deadline, "nobody can log in to {machine}: {}", lab.said());
            std::thread::sleep(READ_EVERY);
        }
        session
    }

    /// A machine that lost its power says no farewell.
    fn is_over(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the session waits for a machine that does not know it");
            std::thread::sleep(READ_EVERY);
        };
        assert_eq!(status.code(), Some(255), "OpenSSH's own failure");
    }
}

fn fails_and_comes_back(lab: &Lab, machine: &str, topology: &str, probe: &Probe) {
    let before = workload(lab, machine);
    assert!(!before.is_empty(), "the whole workload runs on {machine}");
    probe.forget();
    virsh(lab, &["destroy", machine]);
    probe.wait_until_steady(machine);
    println!("{machine} lost its power: {}", probe.told());
    let after = workload(lab, machine);
    assert!(before.is_subset(&after), "{machine} took work of others with it: {before:?} became {after:?}");
    virsh(lab, &["start", machine]);
    lab.eventually(PATIENCE, &["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=10s"], |ran| {
        ran.code == 0
    });
    wait_until_whole(lab, topology);
}

fn wait_until_whole(lab: &Lab, topology: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let plan = lab.provision(&["-v", "plan", topology]);
        if plan.code == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the cluster is not whole again: {plan:?}");
        // Each look logs in to every machine, which is work for those that have just come back.
        std::thread::sleep(LOOK_EVERY);
    }
}

/// With no balancer at all nodes go on telling that they live: they know every API server themselves.
fn nodes_do_without_balancers(lab: &Lab, cluster: &str, topology: &str) {
    let since = "jsonpath={range .items[*]}{.status.conditions[?(@.type=='Ready')].lastTransitionTime} {end}";
    let before = lab.kubectl(&["get", "nodes", "-o", since]);
    let balancers: Vec<_> =
        machines(lab, cluster).into_iter().filter(|machine| machine.contains("load-balancer")).collect();
    for balancer in &balancers {
        virsh(lab, &["destroy", balancer]);
    }
    std::thread::sleep(GIVEN_UP);
    for balancer in &balancers {
        virsh(lab, &["start", balancer]);
    }
    let after = lab.eventually(PATIENCE, &["get", "nodes", "-o", since], |ran| ran.code == 0).stdout;
    assert_eq!(after, before, "a node was given up while there was no balancer");
    wait_until_whole(lab, topology);
    println!("{} balancers were off for {} s, and no node was given up", balancers.len(), GIVEN_UP.as_secs());
}

/// The workload's pods on other machines than `machine`, with how often their containers were restarted.
fn workload(lab: &Lab, machine: &str) -> BTreeSet<String> {
    let each = "{.spec.nodeName} {.metadata.name} {.status.containerStatuses[0].restartCount}";
    let output = format!("jsonpath={{range .items[*]}}{each}{{'\\n'}}{{end}}");
    let text = lab.eventually(PATIENCE, &["get", "pods", "-l", "app=web", "-o", &output], |ran| ran.code == 0).stdout;
    text.lines().filter(|line| !line.starts_with(machine) && line.ends_with(" 0")).map(str::to_owned).collect()
}

pub(crate) fn machines(lab: &Lab, cluster: &str) -> Vec<String> {
    let prefix = format!("{cluster}-");
    virsh(lab, &["list", "--all", "--name"])
        .lines()
        .filter(|name| name.starts_with(&prefix))
        .map(str::to_owned)
        .collect()
}

fn etcd_leader(lab: &Lab, cluster: &str) -> Option<String> {
    let ask = "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
               --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key \
               --command-timeout=20s endpoint status -w json";
    machines(lab, cluster).into_iter().find(|machine| {
        let said = lab.provision(&["ssh", cluster, machine, "--", ask]).stdout;
        let Ok(status) = serde_json::from_str::<serde_json::Value>(&said) else { return false };
        let status = &status[0]["Status"];
        status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
    })
}

fn scheduler_leader(lab: &Lab, cluster: &str) -> Option<String> {
    let holder = "jsonpath={.spec.holderIdentity}";
    let ask = ["get", "lease", "-n", "kube-system", "kube-scheduler", "-o", holder];
    let holder = lab.eventually(PATIENCE, &ask, |ran| ran.code == 0).stdout;
    machines(lab, cluster).into_iter().find(|machine| holder.starts_with(machine.as_str()))
}

fn active_balancer(lab: &Lab, cluster: &str) -> Option<String> {
    let address = virtual_address(lab);
    machines(lab, cluster).into_iter().find(|machine| {
        let said = lab.provision(&["ssh", cluster, machine, "--", "ip -oneline -4 address"]).stdout;
        said.contains(&format!(" {address}/"))
    })
}

fn virtual_address(lab: &Lab) -> String {
    let state = std::fs::read(lab.state().join("cluster.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    state["virtualAddress"].as_str().expect("the cluster has a virtual address").to_owned()
}

/// Asks the private libvirt daemon, past provision: nobody is told that a machine loses its power.
fn virsh(lab: &Lab, args: &[&str]) -> String {
    let record = std::fs::read(lab.state().join("embedded/supervisor.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let output = Command::new("virsh").args(["-c", record["uri"].as_str().unwrap()]).args(args).output().unwrap();
    assert!(output.status.success(), "virsh {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the reader and the writer have seen.
#[derive(Debug)]
struct Seen {
    asked: usize,
    answered: usize,
    in_a_row: usize,
    last_answer: Instant,
    longest_silence: Duration,
    acknowledged: BTreeSet<String>,
    writes_since: usize,
    last_write: Instant,
    longest_write_silence: Duration,
}

impl Seen {
    fn wrote(&mut self, name: String) {
        self.acknowledged.insert(name);
        self.writes_since += 1;
        self.longest_write_silence = self.longest_write_silence.max(self.last_write.elapsed());
        self.last_write = Instant::now();
    }

    fn take(&mut self, answered: bool) {
        self.asked += 1;
        if !answered {
            self.in_a_row = 0;
            return;
        }
        self.answered += 1;
        self.in_a_row += 1;
        self.longest_silence = self.longest_silence.max(self.last_answer.elapsed());
        self.last_answer = Instant::now();
    }
}

/// A reader and a writer at the virtual address.
struct Probe {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
    kubeconfig: Kubeconfig,
    namespace: File,
}

impl Probe {
    fn start(namespace: File, lab: &Lab) -> Self {
        let mut kubeconfig = Kubeconfig::read_from(lab.state().join("kubeconfig")).unwrap();
        let server = format!("https://{}:6443", virtual_address(lab));
        kubeconfig.clusters[0].cluster.as_mut().unwrap().server = Some(server);
        let seen = Seen {
            asked: 0,
            answered: 0,
            in_a_row: 0,
            last_answer: Instant::now(),
            longest_silence: Duration::ZERO,
            acknowledged: BTreeSet::new(),
            writes_since: 0,
            last_write: Instant::now(),
            longest_write_silence: Duration::ZERO,
        };
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(seen)));
        let (told, shared) = (Arc::clone(&over), Arc::clone(&seen));
        let (inside, config) = (namespace.try_clone().unwrap(), kubeconfig.clone());
        let thread = std::thread::spawn(move || {
            in_network(&inside, async {
                tokio::join!(read(&config, &told, &shared), write(&config, &told, &shared));
            });
        });
        Self { over, seen, thread: Some(thread), kubeconfig, namespace }
    }

    fn forget(&self) {
        let mut seen = self.seen.lock().unwrap();
        (seen.asked, seen.answered, seen.in_a_row, seen.writes_since) = (0, 0, 0, 0);
        (seen.last_answer, seen.longest_silence) = (Instant::now(), Duration::ZERO);
        (seen.last_write, seen.longest_write_silence) = (Instant::now(), Duration::ZERO);
    }

    /// Waits until reads are answered one after the other and writes are again; a dead machine is noticed by then.
    fn wait_until_steady(&self, machine: &str) {
        let deadline = Instant::now() + PATIENCE;
        let since = Instant::now();
        loop {
            std::thread::sleep(READ_EVERY);
            let seen = self.seen.lock().unwrap();
            // At least as long as any of the cluster's clocks takes to notice that a machine is gone.
            if since.elapsed() > Duration::from_secs(20) && seen.in_a_row >= STEADY && seen.writes_since > 0 {
                return;
            }
            assert!(Instant::now() < deadline, "without {machine} the API is silent: {seen:?}");
        }
    }

    fn told(&self) -> String {
        let seen = self.seen.lock().unwrap();
        let (read, write) = (seen.longest_silence.as_secs_f64(), seen.longest_write_silence.as_secs_f64());
        format!(
            "{} of {} reads answered, silent for at most {read:.1} s; {} writes, silent for at most {write:.1} s",
            seen.answered, seen.asked, seen.writes_since
        )
    }

    fn nothing_acknowledged_is_lost(mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().expect("the probe is ended once").join().unwrap();
        let there: BTreeSet<String> = std::thread::spawn({
            let (namespace, config) = (self.namespace, self.kubeconfig);
            move || {
                in_network(&namespace, async {
                    let maps: Api<ConfigMap> = Api::default_namespaced(connect(&config).await);
                    maps.list(&ListParams::default()).await.unwrap().items.iter().map(ConfigMap::name_any).collect()
                })
            }
        })
        .join()
        .unwrap();
        let seen = self.seen.lock().unwrap();
        let lost: Vec<_> = seen.acknowledged.difference(&there).collect();
        println!("{} writes were acknowledged", seen.acknowledged.len());
        assert!(!seen.acknowledged.is_empty() && lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
}

fn in_network<T>(namespace: &File, work: impl Future<Output = T>) -> T {
    enter(namespace);
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn connect(kubeconfig: &Kubeconfig) -> Client {
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await.unwrap();
    config.connect_timeout = Some(ANSWER);
    Client::try_from(config).unwrap()
}

/// Asks fifty times a second, whether or not earlier questions are answered, from the servers' memory: what is
/// measured is who answers, not what etcd can bear.
async fn read(kubeconfig: &Kubeconfig, over: &AtomicBool, seen: &Mutex<Seen>) {
    let mut client = connect(kubeconfig).await;
    let mut waiting = FuturesUnordered::new();
    let (mut connection, mut tick) = (0, tokio::time::interval(READ_EVERY));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !over.load(Ordering::Relaxed) {
        tokio::select! {
            _ = tick.tick() => waiting.push(ask(client.clone(), connection)),
            Some((answered, used)) = waiting.next() => {
                seen.lock().unwrap().take(answered);
                if !answered && used == connection {
                    (client, connection) = (connect(kubeconfig).await, connection + 1);
                }
            }
        }
    }
}

/// Whether there was an answer, and over which connection.
async fn ask(client: Client, connection: usize) -> (bool, usize) {
    let request = http::Request::get("/api/v1/namespaces?resourceVersion=0&fieldSelector=metadata.name=default");
    let answer = client.request_text(request.body(Vec::new()).unwrap());
    (matches!(tokio::time::timeout(ANSWER, answer).await, Ok(Ok(_))), connection)
}

async fn write(kubeconfig: &Kubeconfig, over: &AtomicBool, seen: &Mutex<Seen>) {
    let mut client = connect(kubeconfig).await;
    let mut tick = tokio::time::interval(WRITE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for number in 0.. {
        tick.tick().await;
        if over.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("write-{number}");
        let map = ConfigMap {
            metadata: kube::api::ObjectMeta { name: Some(name.clone()), ..Default::default() },
            ..Default::default()
        };
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        match tokio::time::timeout(ANSWER * 5, maps.create(&PostParams::default(), &map)).await {
            Ok(Ok(_)) => seen.lock().unwrap().wrote(name),
            // Unanswered: it may have happened or not, and nobody was told that it did.
            _ => client = connect(kubeconfig).await,
        }
    }
}
