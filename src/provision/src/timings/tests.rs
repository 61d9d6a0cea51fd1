use super::*;

#[test]
fn milestones_are_in_the_order_in_which_they_were_reached() {
    let timeline = Timeline::default();
    for name in ["image", "ssh", "nodeReady", "dnsAnswers"] {
        timeline.mark(name);
    }
    let report = timeline.report();
    assert!(report.milestones["image"] <= report.milestones["ssh"]);
    let between = report.milestones["dnsAnswers"] - report.milestones["ssh"];
    assert_eq!(report.ssh_to_ready, Some(between));
}

#[test]
fn without_dns_the_node_counts_and_without_ssh_nothing_does() {
    let timeline = Timeline::default();
    timeline.mark("nodeReady");
    assert_eq!(timeline.report().ssh_to_ready, None);
    timeline.mark("ssh");
    assert!(timeline.report().ssh_to_ready.is_some());
}

#[test]
fn of_several_machines_the_last_counts() {
    let timeline = Timeline::default();
    timeline.mark("boot");
    let first = timeline.report().milestones["boot"];
    timeline.mark("boot");
    assert!(timeline.report().milestones["boot"] >= first);
    assert_eq!(timeline.report().milestones.len(), 1);
}

#[test]
fn a_report_is_json_without_what_is_not_known() {
    let timeline = Timeline::default();
    assert_eq!(serde_json::to_value(timeline.report()).unwrap(), serde_json::json!({ "milestones": {} }));
}
