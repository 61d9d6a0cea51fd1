//! What a run costs against simulated hosts: `.ci/bench lifecycle` prints each figure beside its goal.
//!
//! Everything of ours is real but the wire: the topology, the secrets and the allocations are read from the disk, the node
//! programs are hashed, certificates checked, files rendered, hosts looked at, plans made. What SSH, libvirt and the API take
//! is not in the figures. Times are those of the processor, which other work on the machine does not change.

use std::time::Duration;

use crate::inventory::{Inventory, SeenHost, observe};
use crate::lifecycle::{UP, checked_plan};
use crate::world::Power;
use crate::world::simulated::{Faults, Lab};

const TAG: &str = "v0.1.0-one";
/// About as large as the node programs are.
const PROGRAM: u64 = 25 << 20;
const ROUNDS: usize = 5;

pub(super) fn told(what: &str, value: f64, goal: f64, unit: &str) {
    println!("{what:<64} {value:>9.1} {unit:<4} goal {goal:>7.1}  ratio {:.2}", value / goal);
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// The middle one of several, in milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// How long this thread has been worked on.
fn busy() -> Duration {
    // The kernel keeps this account at ticks, milliseconds apart, and whenever a thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn spec(control_planes: usize, workers: usize) -> String {
    format!(
        "{{network: {{nodePrefix: 26}}, controlPlane: {{replicas: {control_planes}}}, loadBalancer: {{replicas: 1}}, \
         workers: [{{name: w, replicas: {workers}}}]}}"
    )
}

#[tokio::test]
#[ignore = "it measures"]
async fn bench_a_run_that_has_nothing_to_do() {
    let mut lab = Lab::new(&spec(3, 2));
    lab.bring_program(PROGRAM);
    lab.up(Faults::None, 0).await.plan();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = busy();
        let context = lab.context_from_disk();
        let seen = observe(&context).await.unwrap();
        let plan = checked_plan(UP, &context, &seen).unwrap();
        times.push(busy().saturating_sub(began));
        assert!(plan.is_empty(), "{plan}");
    }
    told("no-op run, 6 machines", median(times), 300.0, "ms");
}

/// What there is once everything is as it should be.
fn whole(context: &crate::context::Context) -> Inventory {
    let mut seen = Inventory::default();
    (seen.survey.image, seen.survey.network, seen.cluster.ready) = (true, true, true);
    for desired in &context.desired.machines {
        let name = desired.machine.name.clone();
        let host = SeenHost {
            components: context.desired.components.tag.clone(),
            configured: desired.host.hash.clone(),
            software: "-".to_owned(),
            services: desired.host.services.iter().map(|service| service.name.to_owned()).collect(),
            member: context.desired.topology.has_etcd(&desired.machine.role),
        };
        seen.hosts.insert(name.clone(), host);
        seen.survey.machines.insert(name.clone(), Power::On);
        for names in [&mut seen.cluster.ready_nodes, &mut seen.cluster.marked_nodes, &mut seen.cluster.nodes] {
            names.insert(name.clone());
        }
    }
    seen.cluster.servers.extend(context.desired.control_planes());
    seen.cluster.addons = Some(context.desired.addons.hash.clone());
    seen.cluster.verified.clone_from(&seen.cluster.addons);
    seen
}

#[test]
#[ignore = "it measures"]
fn bench_the_plan_of_a_thousand_machines() {
    let mut lab = Lab::within("10.80.0.0/16", &spec(3, 996));
    let context = lab.context();
    let whole = whole(&context);
    assert!(checked_plan(UP, &context, &whole).unwrap().is_empty());
    let plan = |seen: &Inventory| {
        let measure = |_| {
            let began = busy();
            let plan = checked_plan(UP, &context, seen).unwrap();
            let took = busy().saturating_sub(began);
            drop(plan);
            took
        };
        median((0..ROUNDS).map(measure).collect())
    };
    told("plan, 1,000 machines, all to be made", plan(&Inventory::default()), 50.0, "ms");
    told("plan, 1,000 machines, nothing to do", plan(&whole), 50.0, "ms");
    let mut half = whole.clone();
    half.hosts.values_mut().step_by(2).for_each(|host| host.configured = "another".to_owned());
    told("plan, 1,000 machines, every other one to be configured", plan(&half), 50.0, "ms");
}

#[tokio::test]
#[ignore = "it measures"]
async fn bench_one_more_worker_at_five_and_at_fifty_nodes() {
    let mut costs = Vec::new();
    for nodes in [5, 50] {
        let mut lab = Lab::new(&spec(3, nodes - 3));
        lab.up(Faults::None, 0).await.plan();
        let before = lab.world.changes();
        lab.ask_for(&spec(3, nodes - 2), TAG);
        let plan = lab.up(Faults::None, 0).await.plan();
        // Looks at what is there are one command a host, all at once.
        let look = |point: &&String| point.contains("look at") || point.ends_with(": connect");
        let work = lab.world.points().iter().filter(|point| !look(point)).count();
        costs.push((plan.steps.len(), lab.world.changes() - before, work));
    }
    let [(few, few_changes, few_work), (many, many_changes, many_work)] = costs[..] else { unreachable!("two sizes") };
    let told = |what: &str, few: usize, many: usize| {
        told(&format!("one more worker, {what} ({few} at 5 nodes) at 50 nodes"), number(many), number(few), "");
    };
    told("steps", few, many);
    told("changes of the world", few_changes, many_changes);
    told("operations", few_work, many_work);
    assert_eq!((few, few_changes, few_work), (many, many_changes, many_work));
}

#[tokio::test]
#[ignore = "it measures"]
async fn bench_the_memory_of_a_run_over_350_hosts() {
    let mut lab = Lab::within("10.80.0.0/16", &spec(3, 346));
    lab.bring_program(PROGRAM);
    lab.up(Faults::None, 0).await.plan();
    let first = memory("VmHWM");
    // The archive with the images is made once for a release; what is measured next is every further run.
    lab.start_over();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    lab.up(Faults::None, 0).await.plan();
    let program = memory("RssFile");
    told("peak memory, 350 machines made, images to be packed before", first - program, 60.0, "MiB");
    told("peak memory, 350 machines made", memory("VmHWM") - program, 60.0, "MiB");
    println!("not counted: {program:.1} MiB of this program itself, which is neither optimised nor stripped");
    println!("counted: {:.1} MiB that stand for the disks of the machines", number(lab.world.weight() >> 10) / 1024.0);
}

/// One line of what the kernel says of this process, in MiB.
fn memory(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{what}:"))).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
