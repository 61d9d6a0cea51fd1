use crate::lifecycle::{START, STOP, plan};
use crate::plan::Action;
use crate::world::simulated::{Ended, Fault, Faults, Lab};

const WORKERS: &str = "{workers: [{name: small, replicas: 3}]}";

/// A lab whose cluster is up.
async fn running() -> Lab {
    let mut lab = Lab::new(WORKERS);
    lab.up(Faults::None, 1).await.plan();
    lab
}

#[tokio::test]
async fn a_cluster_is_powered_off_workers_first_and_nothing_of_it_runs_afterwards() {
    let mut lab = running().await;
    let plan = lab.stop(Faults::None, 1).await.plan();
    let last = plan.steps.iter().find(|step| step.id == "stop-machine/demo-control-plane-1").unwrap();
    assert_eq!(last.after, ["stop-machine/demo-small-1", "stop-machine/demo-small-2", "stop-machine/demo-small-3"]);
    assert!(plan.steps.iter().all(|step| step.action == Action::Stop), "{plan}");
    assert_eq!(lab.world.running(), [""; 0]);
    assert!(lab.state.is_stopped());
    assert!(lab.stop(Faults::None, 1).await.plan().is_empty(), "a second stop has nothing to do");
}

#[tokio::test]
async fn a_cold_start_brings_back_the_cluster_that_was_stopped_and_nothing_else() {
    let mut lab = running().await;
    let before = lab.world.snapshot();
    lab.stop(Faults::None, 1).await.plan();
    let plan = lab.start(Faults::None, 1).await.plan();
    let worker = plan.steps.iter().find(|step| step.id == "start-machine/demo-small-1").unwrap();
    assert_eq!(
        (worker.action, worker.after.as_slice()),
        (Action::Start, &["start-machine/demo-control-plane-1".into()][..])
    );
    let waits = |id: &str| plan.steps.iter().find(|step| step.id == id).unwrap().after.clone();
    assert!(
        waits("start-control-plane/demo-control-plane-1").contains(&"start-machine/demo-control-plane-1".to_owned())
    );
    assert!(waits("wait-node/demo-small-1").contains(&"connect-host/demo-small-1".to_owned()));
    assert_eq!(lab.world.snapshot().differs(&before), "");
    assert!(!lab.state.is_stopped());
    assert!(lab.up(Faults::None, 1).await.plan().is_empty(), "apply finds nothing to do after a cold start");
}

#[tokio::test]
async fn apply_starts_a_cluster_that_was_stopped() {
    let mut lab = running().await;
    let before = lab.world.snapshot();
    lab.stop(Faults::None, 1).await.plan();
    lab.up(Faults::None, 1).await.plan();
    assert_eq!(lab.world.snapshot().differs(&before), "");
    assert!(!lab.state.is_stopped());
}

/// Whatever happens at any point of a stop or a start, the next one finishes it, and a start brings the cluster back.
#[tokio::test]
async fn any_fault_at_any_point_of_stop_and_start_is_healed_by_the_next_run() {
    let mut lab = running().await;
    let before = lab.world.snapshot();
    lab.stop(Faults::None, 1).await.plan();
    let stopping = lab.world.points();
    lab.start(Faults::None, 1).await.plan();
    let starting = lab.world.points();
    assert!(stopping.len() > 10 && starting.len() > 10, "{stopping:?} {starting:?}");
    for fault in Fault::ALL {
        for (at, point) in stopping.iter().enumerate() {
            lab.stop(Faults::At(at, fault), 1).await;
            assert!(lab.state.is_stopped(), "{fault:?} at {point}: it does not say what it was meant to become");
            lab.stop(Faults::None, 1).await.plan();
            assert_eq!(lab.world.running(), [""; 0], "{fault:?} at {point}");
            lab.start(Faults::None, 1).await.plan();
            assert_eq!(lab.world.snapshot().differs(&before), "", "{fault:?} at {point}");
        }
        for (at, point) in starting.iter().enumerate() {
            lab.stop(Faults::None, 1).await.plan();
            lab.start(Faults::At(at, fault), 1).await;
            assert!(!lab.state.is_stopped(), "{fault:?} at {point}");
            lab.start(Faults::None, 1).await.plan();
            assert_eq!(lab.world.snapshot().differs(&before), "", "{fault:?} at {point}");
        }
    }
}

#[tokio::test]
async fn a_machine_that_does_not_exist_is_not_made_by_start() {
    let mut lab = running().await;
    lab.stop(Faults::None, 1).await.plan();
    lab.world.lose_machine("demo-small-2");
    match lab.start(Faults::None, 1).await {
        Ended::Well(Err(error)) => assert!(format!("{error:#}").starts_with("demo-small-2: "), "{error:#}"),
        _ => panic!("the machine is gone"),
    }
    assert_eq!(lab.world.running().len(), 3, "the others run");
}

#[tokio::test]
async fn etcd_goes_last_and_comes_first() {
    let spec = "{controlPlane: {replicas: 3}, etcd: {mode: external, replicas: 3}, loadBalancer: {replicas: 1}, \
                workers: [{name: small, replicas: 2}]}";
    let mut lab = Lab::new(spec);
    let mut seen = lab.look().await;
    let context = lab.context();
    let names: Vec<String> = context.desired.machines.iter().map(|desired| desired.machine.name.clone()).collect();
    let order = |phases, seen: &_| -> Vec<String> {
        let plan = plan(phases, &context, seen);
        let machines = plan.steps.iter().filter(|step| step.subject != "demo" && step.phase.ends_with("-machine"));
        machines.map(|step| step.subject.trim_end_matches(|end: char| "-123".contains(end)).to_owned()).collect()
    };
    let mut shown = |power, phases| {
        seen.survey.machines = names.iter().map(|name| (name.clone(), power)).collect();
        let mut order: Vec<String> = order(phases, &seen);
        order.dedup();
        order
    };
    let down = shown(crate::world::Power::On, STOP);
    assert_eq!(down, ["demo-small", "demo-load-balancer", "demo-control-plane", "demo-etcd"]);
    let up = shown(crate::world::Power::Off, START);
    assert_eq!(up, ["demo-etcd", "demo-control-plane", "demo-load-balancer", "demo-small"]);
}
