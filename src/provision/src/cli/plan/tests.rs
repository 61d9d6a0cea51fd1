use tokio_util::sync::CancellationToken;

use super::*;
use crate::exit::{classify, hint};
use crate::lifecycle::converge_through;
use crate::plan::Action;
use crate::world::simulated::{Faults, Lab};

fn step(phase: &'static str, subject: &str, action: Action, reason: &str) -> Step {
    Step::new(phase, subject, action, reason)
}

#[test]
fn a_plan_is_a_tree_with_the_cluster_first_and_a_sum_at_its_end() {
    let plan = Plan::new(vec![
        step("create-machine", "demo-w-2", Action::Create, "it does not exist"),
        step("connect-host", "demo-w-2", Action::Wait, "it cannot be reached by SSH yet"),
        step("drain-node", "demo-w-3", Action::InPlace, "it is to go"),
        step("remove-machine", "demo-w-3", Action::Destroy, "the topology does not ask for it"),
        step("verify-cluster", "demo", Action::Wait, "not seen at work"),
    ]);
    let expected = "\
demo
├─ (cluster)
│  └─ . verify-cluster  wait      not seen at work
├─ demo-w-2
│  ├─ + create-machine  create    it does not exist
│  └─ . connect-host    wait      it cannot be reached by SSH yet
└─ demo-w-3
   ├─ ~ drain-node      in place  it is to go
   └─ - remove-machine  destroy   the topology does not ask for it
Plan: 1 create, 1 destroy, 1 in place.";
    assert_eq!(tree("demo", &plan), expected);
    let later = vec![step("retire-machine", "demo-w-4", Action::Destroy, "fewer are asked for")];
    let told = tree("demo", &Plan { later, ..plan.clone() });
    let words = "\nTo go in the same run, once it can be seen how:\n   - demo-w-4: retire-machine (fewer are asked for)\nPlan: ";
    assert!(told.contains(words), "{told}");
    assert_eq!(tree("demo", &Plan::default()), "Nothing to do: cluster demo is as the topology asks.");
    let json = serde_json::to_value(shown("demo", &plan)).unwrap();
    assert_eq!((&json["counts"]["destroy"], &json["steps"][3]["id"]), (&1.into(), &"remove-machine/demo-w-3".into()));
}

/// A lab, the plan of its first run, and that plan in a file.
async fn kept(dir: &std::path::Path) -> (Lab, Plan, KeptPlan) {
    let mut lab = Lab::new("{workers: [{name: small, replicas: 2}]}");
    let seen = lab.look().await;
    let context = lab.context();
    let plan = crate::lifecycle::plan(UP, &context, &seen);
    let file = dir.join("change.plan");
    KeptPlan::new(&context.desired, &seen, &plan).unwrap().write(&file).unwrap();
    (lab, plan, KeptPlan::read(&file).unwrap())
}

#[tokio::test]
async fn a_plan_that_was_kept_lets_itself_pass_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, plan, kept) = kept(dir.path()).await;
    assert_eq!(kept.cluster, "demo");
    kept.check("v0.1.0-one", &plan).unwrap();
    // Somebody brings the cluster up meanwhile and loses a machine.
    lab.up(Faults::None, 0).await.plan();
    lab.world.lose_machine("demo-small-1");
    let seen = lab.look().await;
    let context = lab.context();
    let now = crate::lifecycle::plan(UP, &context, &seen);
    let error = kept.check("v0.1.0-one", &now).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the cluster has changed since:") && text.contains("no longer to do: "), "{text}");
    assert_eq!(classify(&error), Exit::Unconfirmed);
    assert!(hint(&error).unwrap().contains("provision plan"));
    assert!(kept.check("v0.1.0-two", &now).unwrap_err().to_string().contains("the node programs are others"));
}

/// `apply --plan` without its command line.
async fn apply(lab: &mut Lab, kept: &KeptPlan) -> anyhow::Result<Plan> {
    let context = lab.context();
    let gate = |round: usize, plan: &Plan| kept.admit(round, &context.desired.components.tag, plan);
    converge_through(UP, &context, &CancellationToken::new(), &gate).await
}

#[tokio::test]
async fn a_plan_that_was_kept_is_carried_out_to_its_end_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, plan, kept) = kept(dir.path()).await;
    lab.state.create().unwrap();
    assert_eq!(apply(&mut lab, &kept).await.unwrap(), plan);
    assert_eq!(lab.world.node_names().len(), 3);
    assert!(lab.up(Faults::None, 0).await.plan().is_empty(), "nothing is left to do");
    // A second time there is nothing to do: that is for the caller to compare.
    assert!(apply(&mut lab, &kept).await.unwrap().is_empty());
    assert_eq!(classify(&kept.check("v0.1.0-one", &Plan::default()).unwrap_err()), Exit::Unconfirmed);
}

#[tokio::test]
async fn what_is_found_once_a_machine_answers_is_not_in_the_plan_that_was_kept() {
    let mut lab = Lab::new("{workers: [{name: small, replicas: 2}]}");
    lab.up(Faults::None, 0).await.plan();
    lab.world.change_behind_our_back("demo-small-1");
    lab.world.switch_off("demo-small-1");
    let seen = lab.look().await;
    let context = lab.context();
    let plan = crate::lifecycle::plan(UP, &context, &seen);
    let kept = KeptPlan::new(&context.desired, &seen, &plan).unwrap();
    let error = apply(&mut lab, &kept).await.unwrap_err();
    assert_eq!(classify(&error), Exit::Unconfirmed);
    assert!(error.to_string().contains("more is left to do: configure-host/demo-small-1"), "{error:#}");
}

#[tokio::test]
async fn a_step_with_another_reason_is_named_with_both() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut plan, kept) = kept(dir.path()).await;
    plan.steps[0].reason = "because".to_owned();
    let extra = step("remove-machine", "demo-small-9", Action::Destroy, "nobody wants it");
    plan.steps.push(extra);
    let text = kept.check("v0.1.0-one", &plan).unwrap_err().to_string();
    assert!(text.contains("otherwise: ") && text.contains("is now \"because\""), "{text}");
    assert!(text.contains("new: remove-machine/demo-small-9 (nobody wants it)"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_no_plan_or_was_edited_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("change.plan");
    assert_eq!(classify(&KeptPlan::read(&file).unwrap_err()), Exit::NotFound);
    kept(dir.path()).await;
    let text = std::fs::read_to_string(&file).unwrap();
    for (edited, says) in [
        (text.replace("replicas: 2", "replicas: 9"), "its topology was changed"),
        (text.replace("\"format\": 1", "\"format\": 99"), "has format 99"),
        ("{}".to_owned(), "is not a plan"),
        (String::new(), "is not a plan"),
    ] {
        std::fs::write(&file, edited).unwrap();
        let error = KeptPlan::read(&file).unwrap_err();
        assert!(classify(&error) == Exit::Unconfirmed && error.to_string().contains(says), "{error}");
    }
}
