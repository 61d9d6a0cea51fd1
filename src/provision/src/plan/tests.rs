use super::*;

fn plan() -> Plan {
    Plan::new(vec![
        Step::new("create-network", "demo", Action::Create, "10.80.0.0/24 is not up"),
        Step::new("create-machine", "demo-a-1", Action::Start, "it is switched off")
            .after([Step::name("create-network", "demo"), Step::name("prepare-image", "demo")]),
        Step::new("connect-host", "demo-a-1", Action::Wait, "it cannot be reached by SSH yet")
            .after([Step::name("create-machine", "demo-a-1")]),
        Step::new("remove-machine", "demo-b-1", Action::Destroy, "nobody asks for it"),
    ])
}

#[test]
fn what_is_already_true_is_not_waited_for() {
    assert_eq!(plan().steps[1].after, ["create-network/demo"], "the image is there, so no step makes it");
    assert_eq!(plan().steps[2].after, ["create-machine/demo-a-1"]);
}

#[test]
fn a_plan_reads_like_a_diff_grouped_by_machine() {
    let expected = "\
demo
  + create-network         create    10.80.0.0/24 is not up
demo-a-1
  ~ create-machine         start     it is switched off
  . connect-host           wait      it cannot be reached by SSH yet
demo-b-1
  - remove-machine         destroy   nobody asks for it
3 to change.";
    assert_eq!(plan().to_string(), expected);
    assert_eq!(Plan::default().to_string(), "Nothing to do: the cluster is as the topology asks.");
    assert!(Plan::default().is_empty() && !plan().is_empty());
}

#[test]
fn a_plan_as_json_has_every_field_under_its_name() {
    let json = serde_json::to_value(plan()).unwrap();
    assert_eq!(
        json["steps"][1],
        serde_json::json!({
            "id": "create-machine/demo-a-1", "phase": "create-machine", "subject": "demo-a-1", "action": "start",
            "reason": "it is switched off", "after": ["create-network/demo"],
        })
    );
    let action = |action: Action| serde_json::to_value(action).unwrap();
    assert_eq!((action(Action::InPlace), action(Action::Destroy)), ("inPlace".into(), "destroy".into()));
    assert_eq!((action(Action::Roll), action(Action::Replace)), ("roll".into(), "replace".into()));
}

#[test]
fn the_first_of_several_is_waited_for_unless_one_is_true_already() {
    let serves = |name: &str| Step::new("start", name, Action::Wait, "why");
    let step =
        || Step::new("install", "demo", Action::Create, "why").after_any(["start/a", "start/b"].map(str::to_owned));
    let whole = Plan::new(vec![serves("a"), serves("b"), step()]);
    assert_eq!(whole.steps[2].after_any, ["start/a", "start/b"]);
    let json = serde_json::to_value(&whole.steps[2]).unwrap();
    assert_eq!(json["afterAny"], serde_json::json!(["start/a", "start/b"]));
    assert_eq!(Plan::new(vec![serves("a"), step()]).steps[1].after_any, [""; 0], "the other one is true already");
    // One that cannot be decided yet is not true, and the other one is enough.
    let steps = vec![serves("a"), serves("b"), step()];
    let plan = Plan::of_decided(steps.clone(), |step| step.id == "start/a");
    assert_eq!(plan.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["start/b", "install/demo"]);
    assert_eq!(plan.steps[1].after_any, ["start/b"]);
    let plan = Plan::of_decided(steps, |step| step.phase == "start");
    assert!(plan.is_empty(), "nobody serves: {plan}");
}

#[test]
fn what_goes_for_good_is_told_even_if_it_cannot_be_planned_yet() {
    let step = |phase, action| Step::new(phase, "a", action, "why");
    let steps = vec![
        step("connect-host", Action::Wait),
        step("configure-host", Action::Restart).after([Step::name("connect-host", "a")]),
        step("leave-etcd", Action::Destroy).after([Step::name("configure-host", "a")]),
    ];
    let plan = Plan::of_decided(steps, |step| step.phase == "configure-host");
    assert_eq!((plan.steps.len(), plan.later.len()), (1, 1), "what may turn out not to be needed is not told");
    assert_eq!(plan.irrevocable().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["leave-etcd/a"]);
}

#[test]
fn actions_are_ordered_by_how_much_they_hurt() {
    let all = [
        Action::Wait,
        Action::Create,
        Action::Start,
        Action::InPlace,
        Action::Roll,
        Action::Restart,
        Action::Stop,
        Action::Replace,
        Action::Destroy,
    ];
    assert!(all.is_sorted());
    assert_eq!(all.map(Action::sign), ['.', '+', '~', '~', '~', '~', '~', '±', '-']);
    assert_eq!(all.map(Action::wants_consent), [false, false, false, false, false, false, false, true, true]);
    assert_eq!(Action::InPlace.to_string(), "in place");
}

#[test]
fn what_is_open_is_left_out_with_whatever_comes_after_it() {
    let step = |phase, subject| Step::new(phase, subject, Action::InPlace, "why");
    let steps = vec![
        step("connect-host", "a"),
        step("configure-host", "a").after([Step::name("connect-host", "a")]),
        step("configure-host", "b"),
        step("wait-node", "a").after([Step::name("configure-host", "a")]),
        step("verify-cluster", "demo").after([Step::name("configure-host", "b"), Step::name("wait-node", "a")]),
    ];
    let ids = |plan: &Plan| plan.steps.iter().map(|step| step.id.clone()).collect::<Vec<_>>();
    let plan = Plan::of_decided(steps.clone(), |step| step.id == "configure-host/a");
    assert_eq!(ids(&plan), ["connect-host/a", "configure-host/b"]);
    assert_eq!(Plan::of_decided(steps.clone(), |_| false), Plan::new(steps));
}
