//! Clusters of machines that exist already live as others do, except that nobody switches them.

use super::ids;
use super::scale::{any_fault_on_the_way_is_healed, arrive};
use crate::exit::{Exit, classify};
use crate::world::simulated::{Fault, Faults, Lab};

const TAG: &str = "v0.1.0-one";

/// A control plane and as many workers, by the keys that the simulated world gives to machines of these names.
fn spec(workers: usize) -> String {
    let host = |number: usize, role: &str| {
        format!("{{name: host-{number}, address: 10.9.0.{number}, hostKey: ssh-ed25519 key-{number}, role: {role}}}")
    };
    let machines: Vec<String> =
        std::iter::once(host(1, "control-plane")).chain((2..2 + workers).map(|number| host(number, "w"))).collect();
    format!(
        "{{workers: [{{name: w, replicas: {workers}}}], infrastructure: {{hosts: {{identityFile: /k, machines: [{}]}}}}}}",
        machines.join(", ")
    )
}

fn known(lab: &Lab) -> Vec<String> {
    let hosts = lab.state.allocations().unwrap().unwrap().hosts.unwrap();
    hosts.machines.into_iter().map(|host| host.name).collect()
}

#[tokio::test]
async fn machines_that_exist_come_and_go_by_the_names_that_they_have() {
    let mut lab = Lab::new(&spec(0));
    let plan = lab.up(Faults::None, 0).await.plan();
    let claim = plan.steps.iter().find(|step| step.phase == "create-machine").unwrap();
    assert_eq!((claim.subject.as_str(), claim.reason.as_str()), ("host-1", "it exists and is not part of the cluster"));
    assert!(lab.up(Faults::None, 0).await.plan().is_empty());

    lab.ask_for(&spec(1), TAG);
    lab.up(Faults::None, 0).await.plan();
    assert_eq!(
        (known(&lab), lab.world.running()),
        (vec!["host-1".into(), "host-2".into()], vec!["host-1".into(), "host-2".into()])
    );

    lab.ask_for(&spec(0), TAG);
    let plan = lab.up(Faults::None, 0).await.plan();
    for phase in ["drain-node", "retire-machine", "forget-machine"] {
        assert!(ids(&plan).contains(&format!("{phase}/host-2")), "{plan}");
    }
    assert_eq!((known(&lab), lab.world.running()), (vec!["host-1".into()], vec!["host-1".into()]));
    lab.down(Faults::None, 0).await.plan();
    assert!(lab.world.is_bare());
}

#[tokio::test]
async fn machines_that_exist_are_not_switched_off() {
    let mut lab = Lab::new(&spec(0));
    lab.up(Faults::None, 0).await.plan();
    let refused = lab.stop(Faults::None, 0).await.error();
    assert_eq!(classify(&refused), Exit::Host);
    assert!(refused.to_string().contains("host-1 exists already"), "{refused:#}");
    assert!(!lab.state.is_stopped() && lab.world.running() == ["host-1"], "nothing was changed");
}

#[tokio::test]
async fn machines_that_exist_are_claimed_and_given_back_whatever_happens_on_the_way() {
    any_fault_on_the_way_is_healed(&spec(1), &spec(2)).await;
    any_fault_on_the_way_is_healed(&spec(2), &spec(0)).await;
}

#[tokio::test]
async fn machines_that_exist_are_all_given_back_whatever_happens_on_the_way() {
    let mut lab = Lab::new(&spec(2));
    arrive(&mut lab, "claimed").await;
    lab.down(Faults::None, 1).await.plan();
    for (at, point) in lab.world.points().iter().enumerate() {
        for fault in Fault::ALL {
            lab.start_over();
            lab.up(Faults::None, 1).await.plan();
            lab.down(Faults::At(at, fault), 1).await;
            lab.down(Faults::None, 1).await.plan();
            assert!(lab.world.is_bare() && !lab.state.root().exists(), "{fault:?} at {at} ({point})");
        }
    }
}
