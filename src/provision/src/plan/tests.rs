use super::*;

fn plan() -> Plan {
    Plan::new(vec![
        Step::new("create-network", "demo", Action::Create, "10.80.0.0/24 is not up"),
        Step::new("create-machine", "demo-a-1", Action::Restart, "it is switched off")
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
  ~ create-machine         restart   it is switched off
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
            "id": "create-machine/demo-a-1", "phase": "create-machine", "subject": "demo-a-1", "action": "restart",
            "reason": "it is switched off", "after": ["create-network/demo"],
        })
    );
    let action = |action: Action| serde_json::to_value(action).unwrap();
    assert_eq!((action(Action::InPlace), action(Action::Destroy)), ("inPlace".into(), "destroy".into()));
}

#[test]
fn actions_are_ordered_by_how_much_they_hurt() {
    let all = [Action::Wait, Action::Create, Action::InPlace, Action::Restart, Action::Destroy];
    assert!(all.is_sorted());
    assert_eq!(all.map(Action::sign), ['.', '+', '~', '~', '-']);
    assert_eq!(Action::InPlace.to_string(), "in place");
}
