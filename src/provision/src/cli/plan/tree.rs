//! A plan for people: the cluster, below it what changes, below that the steps.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::plan::{Action, Plan, Step};

/// How many steps there are of each kind, by the kind's name; waiting changes nothing and does not count.
pub(crate) fn counts(plan: &Plan) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| step.action != Action::Wait) {
        *counts.entry(step.action.to_string()).or_insert(0) += 1;
    }
    counts
}

/// The whole plan as a tree, with a line that sums it up.
pub(crate) fn tree(cluster: &str, plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("Nothing to do: cluster {cluster} is as the topology asks.");
    }
    let mut subjects: Vec<(&str, Vec<&Step>)> = Vec::new();
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &plan.steps {
        let at = *place.entry(&step.subject).or_insert_with(|| {
            subjects.push((&step.subject, Vec::new()));
            subjects.len() - 1
        });
        subjects[at].1.push(step);
    }
    // Steps of the cluster itself first; machines in the order in which they are first worked on.
    subjects.sort_by_key(|(subject, _)| *subject != cluster);
    let width = plan.steps.iter().map(|step| step.phase.len()).max().unwrap_or_default();
    let mut text = format!("{cluster}\n");
    let last = subjects.len() - 1;
    for (at, (subject, steps)) in subjects.iter().enumerate() {
        let (branch, trunk) = if at == last { ("└─", "  ") } else { ("├─", "│ ") };
        let subject = if *subject == cluster { "(cluster)" } else { subject };
        let _ = writeln!(text, "{branch} {subject}");
        for (at, step) in steps.iter().enumerate() {
            let twig = if at + 1 == steps.len() { "└─" } else { "├─" };
            let Step { action, phase, reason, .. } = step;
            let sign = action.sign();
            let _ = writeln!(text, "{trunk} {twig} {sign} {phase:<width$}  {action:<9} {reason}");
        }
    }
    if !plan.later.is_empty() {
        let _ = writeln!(text, "To go in the same run, once it can be seen how:");
    }
    for Step { action, phase, subject, reason, .. } in &plan.later {
        let _ = writeln!(text, "   {} {subject}: {phase} ({reason})", action.sign());
    }
    let sum: Vec<String> = counts(plan).iter().map(|(action, count)| format!("{count} {action}")).collect();
    let sum = if sum.is_empty() { "nothing to change, something to wait for".to_owned() } else { sum.join(", ") };
    let _ = write!(text, "Plan: {sum}.");
    text
}
