//! A reader and a writer of the API, and what they have to tell: how long it was silent, and whether a write was lost.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use harness::Lab;
use k8s_openapi::ByteString;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::config::Kubeconfig;
use reqwest::{Certificate, Client, Identity};
use serde_json::json;

use crate::failover::PATIENCE;
use crate::network::enter;

const READ_EVERY: Duration = Duration::from_millis(20);
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// A client that has heard nothing for so long asks again, over another connection.
const ANSWER: Duration = Duration::from_secs(2);
/// So many answers in a row are no accident.
const STEADY: usize = 50;

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
pub(crate) struct Probe {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
    door: Door,
    namespace: File,
}

impl Probe {
    pub(crate) fn start(namespace: File, lab: &Lab, address: &str) -> Self {
        let door = Door::of(&Kubeconfig::read_from(lab.state().join("kubeconfig")).unwrap(), address);
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
        let (inside, behind) = (namespace.try_clone().unwrap(), door.clone());
        let thread = std::thread::spawn(move || {
            in_network(&inside, async {
                tokio::join!(read(&behind, &told, &shared), write(&behind, &told, &shared));
            });
        });
        Self { over, seen, thread: Some(thread), door, namespace }
    }

    pub(crate) fn forget(&self) {
        let mut seen = self.seen.lock().unwrap();
        (seen.asked, seen.answered, seen.in_a_row, seen.writes_since) = (0, 0, 0, 0);
        (seen.last_answer, seen.longest_silence) = (Instant::now(), Duration::ZERO);
        (seen.last_write, seen.longest_write_silence) = (Instant::now(), Duration::ZERO);
    }

    /// Waits until reads are answered one after the other and writes are again; a dead machine is noticed by then.
    pub(crate) fn wait_until_steady(&self, machine: &str) {
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

    pub(crate) fn told(&self) -> String {
        let seen = self.seen.lock().unwrap();
        let (read, write) = (seen.longest_silence.as_secs_f64(), seen.longest_write_silence.as_secs_f64());
        format!(
            "{} of {} reads answered, silent for at most {read:.1} s; {} writes, silent for at most {write:.1} s",
            seen.answered, seen.asked, seen.writes_since
        )
    }

    pub(crate) fn nothing_acknowledged_is_lost(mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().expect("the probe is ended once").join().unwrap();
        let there = std::thread::spawn({
            let (namespace, door) = (self.namespace, self.door);
            move || in_network(&namespace, door.config_maps())
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

/// Where the API is, and with what one is let in.
#[derive(Clone)]
struct Door {
    base: String,
    authority: Vec<u8>,
    /// A certificate and its key.
    identity: Vec<u8>,
}

impl Door {
    fn of(kubeconfig: &Kubeconfig, address: &str) -> Self {
        let cluster = kubeconfig.clusters[0].cluster.as_ref().unwrap();
        let user = serde_json::to_value(&kubeconfig.auth_infos[0].auth_info).unwrap();
        let authority = decoded(&json!(cluster.certificate_authority_data));
        let identity = [decoded(&user["client-certificate-data"]), decoded(&user["client-key-data"])].concat();
        Self { base: format!("https://{address}:6443/api/v1/namespaces"), authority, identity }
    }

    /// A client with one connection for everything, as those of Kubernetes have: with one for each question that waits, a
    /// server that is slow for a moment would get fifty handshakes a second on top.
    fn client(&self) -> Client {
        Client::builder()
            .tls_certs_only([Certificate::from_pem(&self.authority).unwrap()])
            .identity(Identity::from_pem(&self.identity).unwrap())
            .http2_prior_knowledge()
            .connect_timeout(ANSWER)
            .build()
            .unwrap()
    }

    async fn config_maps(self) -> BTreeSet<String> {
        let answer = self.client().get(format!("{}/default/configmaps", self.base)).send().await.unwrap();
        let list: List<ConfigMap> = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        list.items.iter().map(ConfigMap::name_any).collect()
    }
}

fn decoded(text: &serde_json::Value) -> Vec<u8> {
    serde_json::from_value::<ByteString>(text.clone()).unwrap().0
}

/// Asks fifty times a second, whether or not earlier questions are answered, from the servers' memory: what is
/// measured is who answers, not what etcd can bear.
async fn read(door: &Door, over: &AtomicBool, seen: &Mutex<Seen>) {
    let address = format!("{}?resourceVersion=0&fieldSelector=metadata.name=default", door.base);
    let mut client = door.client();
    let mut waiting = FuturesUnordered::new();
    let (mut connection, mut tick) = (0, tokio::time::interval(READ_EVERY));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !over.load(Ordering::Relaxed) {
        tokio::select! {
            _ = tick.tick() => waiting.push(ask(client.get(&address), connection)),
            Some((answered, used)) = waiting.next() => {
                seen.lock().unwrap().take(answered);
                if !answered && used == connection {
                    (client, connection) = (door.client(), connection + 1);
                }
            }
        }
    }
}

/// Whether there was an answer, and over which connection.
async fn ask(question: reqwest::RequestBuilder, connection: usize) -> (bool, usize) {
    let answer = question.timeout(ANSWER).send().await;
    (answer.is_ok_and(|answer| answer.status().is_success()), connection)
}

async fn write(door: &Door, over: &AtomicBool, seen: &Mutex<Seen>) {
    let address = format!("{}/default/configmaps", door.base);
    let mut client = door.client();
    let mut tick = tokio::time::interval(WRITE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for number in 0.. {
        tick.tick().await;
        if over.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("write-{number}");
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let question = client.post(&address).header("content-type", "application/json").body(map.to_string());
        match question.timeout(ANSWER * 5).send().await {
            Ok(answer) if answer.status().is_success() => seen.lock().unwrap().wrote(name),
            // Unanswered: it may have happened or not, and nobody was told that it did.
            _ => client = door.client(),
        }
    }
}
