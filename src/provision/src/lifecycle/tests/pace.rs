//! How long plans take where every machine has processors of its own: the real engine carries out real plans in the
//! simulated world, and each step takes as long as it took in a real run, by a clock that leaps from one event to the next.
//!
//! What is measured so is the plan: which step waits for which. What machines take from each other when they share processors
//! or a network is not in the figures, nor what a step costs more in a larger cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::bench::told;
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::{Phase, UP, converge};
use crate::plan::{Plan, Step};
use crate::world::simulated::Lab;

/// Milliseconds of each step of a real run that made `topologies/single-node.yaml`, from its journal.
const MEASURED: [(&str, u64); 11] = [
    ("prepare-image", 0),
    ("create-network", 127),
    ("create-machine", 1_170),
    ("connect-host", 6_580),
    ("install-components", 8_674),
    ("configure-host", 1_362),
    ("start-control-plane", 14_897),
    ("install-addons", 415),
    ("mark-node", 227),
    ("wait-node", 16_364),
    ("wait-first-pod", 21_454),
];
/// What comes after the Nodes are Ready.
const VERIFY: (&str, u64) = ("verify-cluster", 3_615);
/// A journal whose times are taken instead.
const JOURNAL: &str = "BENCH_JOURNAL";
/// How many times the single node a cluster of three control planes and two workers may take.
const GOAL: f64 = 1.5;

const SINGLE: &str = "{}";
const HA: &str = "{controlPlane: {replicas: 3}, loadBalancer: {replicas: 2}, workers: [{name: w, replicas: 2}]}";

/// A clock that stands still while anybody works, and then leaps to the next moment that somebody waits for.
#[derive(Default)]
struct Clock {
    now: u64,
    /// Steps that have begun and not ended.
    working: usize,
    /// Who waits, and until when.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
}

/// Begin and end of each step.
type Times = BTreeMap<String, (u64, u64)>;

/// A phase whose steps take their time.
struct Paced {
    phase: &'static dyn Phase,
    table: Arc<BTreeMap<String, u64>>,
    clock: Arc<Mutex<Clock>>,
    times: Arc<Mutex<Times>>,
}

impl Phase for Paced {
    fn name(&self) -> &'static str {
        self.phase.name()
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        self.phase.plan(context, seen)
    }

    fn refuse(&self, context: &Context, seen: &Inventory) -> Result<()> {
        self.phase.refuse(context, seen)
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let began = {
                let mut clock = self.clock.lock().unwrap();
                clock.working += 1;
                clock.now
            };
            self.phase.carry_out(context, step).await?;
            let takes = self.table.get(step.phase).unwrap_or_else(|| panic!("nobody has measured {}", step.phase));
            sleep(&self.clock, began + takes).await;
            self.clock.lock().unwrap().working -= 1;
            self.times.lock().unwrap().insert(step.id.clone(), (began, began + takes));
            Ok(())
        })
    }
}

async fn sleep(clock: &Mutex<Clock>, until: u64) {
    let (ring, bell) = oneshot::channel();
    clock.lock().unwrap().waiting.push((until, ring));
    bell.await.expect("the clock outlives those who wait");
}

impl Clock {
    /// The next moment comes, if everybody who works waits for it.
    fn leap(&mut self) {
        if self.working == 0 || self.working > self.waiting.len() {
            return;
        }
        let next = self.waiting.iter().map(|(until, _)| *until).min().expect("somebody waits");
        self.now = self.now.max(next);
        let (woken, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(until, _)| *until <= next);
        self.waiting = waiting;
        for (_, ring) in woken {
            ring.send(()).expect("whoever waits is there");
        }
    }
}

/// Lets time pass, for ever.
async fn pass(clock: &Mutex<Clock>) {
    loop {
        clock.lock().unwrap().leap();
        tokio::task::yield_now().await;
    }
}

/// The middle one of the times of each phase in a journal.
fn from_journal(text: &str) -> BTreeMap<String, u64> {
    let mut begun = BTreeMap::new();
    let mut took: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a journal has JSON in each line");
        let at: jiff::Timestamp = line["time"].as_str().and_then(|at| at.parse().ok()).expect("each has its time");
        let step = line["step"].as_str().expect("each has its step");
        match line["happened"].as_str() {
            Some("started") => drop(begun.insert(step.to_owned(), at)),
            Some("finished") => {
                let phase = step.split('/').next().unwrap_or(step).to_owned();
                let millis = at.duration_since(begun[step]).as_millis();
                took.entry(phase).or_default().push(u64::try_from(millis).expect("it began before"));
            }
            _ => {}
        }
    }
    let middle = |mut times: Vec<u64>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    took.into_iter().map(|(phase, times)| (phase, middle(times))).collect()
}

fn table() -> BTreeMap<String, u64> {
    let known = MEASURED.into_iter().chain([VERIFY]).map(|(phase, millis)| (phase.to_owned(), millis));
    let mut table: BTreeMap<String, u64> = known.collect();
    if let Some(file) = std::env::var_os(JOURNAL) {
        table.extend(from_journal(&std::fs::read_to_string(file).expect("the journal can be read")));
    }
    table
}

/// Makes a cluster by the clock.
async fn paced(spec: &str, table: &BTreeMap<String, u64>) -> (Plan, Times) {
    let mut lab = Lab::new(spec);
    let (clock, times) = (Arc::<Mutex<Clock>>::default(), Arc::<Mutex<Times>>::default());
    let table = Arc::new(table.clone());
    let paced = |phase: &&'static dyn Phase| Paced {
        phase: *phase,
        table: Arc::clone(&table),
        clock: Arc::clone(&clock),
        times: Arc::clone(&times),
    };
    let phases: Vec<Paced> = UP.iter().map(paced).collect();
    let phases: Vec<&dyn Phase> = phases.iter().map(|phase| phase as &dyn Phase).collect();
    let context = lab.context();
    context.state.create().unwrap();
    let token = CancellationToken::new();
    let plan = tokio::select! {
        biased;
        plan = converge(&phases, &context, &token) => plan.unwrap(),
        () = pass(&clock) => unreachable!("time does not end"),
    };
    let times = times.lock().unwrap().clone();
    (plan, times)
}

/// The last end of the steps of a phase.
fn end(times: &Times, phase: &str) -> u64 {
    let of_phase = times.iter().filter(|(id, _)| id.starts_with(&format!("{phase}/")));
    of_phase.map(|(_, (_, end))| *end).max().expect("there are such steps")
}

/// From all hosts reachable by SSH to all Nodes Ready.
fn ready(times: &Times) -> u64 {
    end(times, "wait-node") - end(times, "connect-host")
}

/// The steps, last first, of which each could not begin before the one after it in this list had ended.
fn critical<'a>(plan: &'a Plan, times: &Times) -> Vec<&'a Step> {
    let ended = |step: &&Step| times[&step.id].1;
    let mut path: Vec<&Step> =
        plan.steps.iter().filter(|step| step.phase == "wait-node").max_by_key(ended).into_iter().collect();
    while let Some(last) = path.last() {
        let one_of = plan.steps.iter().filter(|step| last.after_any.contains(&step.id)).min_by_key(ended);
        let all_of = plan.steps.iter().filter(|step| last.after.contains(&step.id));
        match all_of.chain(one_of).max_by_key(ended) {
            Some(step) => path.push(step),
            None => break,
        }
    }
    path
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of some minutes")]
fn ratio(ours: u64, single: u64) -> f64 {
    ours as f64 / single as f64
}

#[tokio::test]
async fn three_control_planes_and_two_workers_wait_for_little_that_a_single_node_does_not() {
    let table = table();
    let ((_, single), (plan, ha)) = (paced(SINGLE, &table).await, paced(HA, &table).await);
    let (single, ha) = (ready(&single), ready(&ha));
    assert!(ratio(ha, single) <= GOAL, "{ha} ms beside {single} ms: what is waited for grew\n{plan}");
}

#[test]
fn the_times_of_a_journal_are_those_of_its_steps() {
    let line = |at: &str, step: &str, happened: &str| {
        format!("{{\"time\":\"2020-01-01T00:00:{at}Z\",\"step\":\"{step}\",\"happened\":\"{happened}\"}}\n")
    };
    let journal = [
        line("01", "connect-host/a", "started"),
        line("01.5", "connect-host/b", "started"),
        line("03", "connect-host/a", "finished"),
        line("04", "connect-host/b", "failed"),
        line("05", "create-network/lab", "started"),
        line("05.25", "create-network/lab", "finished"),
    ];
    let expected = [("connect-host", 2_000), ("create-network", 250)].map(|(phase, at)| (phase.to_owned(), at));
    assert_eq!(from_journal(&journal.concat()), BTreeMap::from(expected));
}

#[tokio::test]
#[ignore = "it measures"]
async fn bench_a_cluster_with_high_availability_beside_a_single_node() {
    let table = table();
    let mut took = Vec::new();
    for (what, spec) in [("single node", SINGLE), ("3 control planes, 2 balancers, 2 workers", HA)] {
        let (plan, times) = paced(spec, &table).await;
        println!(
            "{what}: {:.1} s from all hosts reachable by SSH to all Nodes Ready; what it waits for:",
            ratio(ready(&times), 1000)
        );
        for step in critical(&plan, &times).into_iter().rev() {
            let (began, ended) = times[&step.id];
            println!("  {:>7.1} s to {:>5.1} s  {}", ratio(began, 1000), ratio(ended, 1000), step.id);
        }
        took.push(ready(&times));
    }
    told("SSH to Ready, 3 + 2 nodes beside a single node", ratio(took[1], took[0]), GOAL, "x");
}
