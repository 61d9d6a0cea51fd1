//! Which nodes a daemon set is meant for, and what to do on each.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controllers::taint_eviction::tolerates;
use crate::ownership::{is_deleting, labels};
use crate::pods::{self, Availability};
use crate::revisions::HASH;

const GENERATION: &str = "pod-template-generation";

/// What every daemon tolerates: it is there to mend what is wrong with a node.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

pub(super) struct Observed<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    pub(super) pods: &'a [Arc<Pod>],
    /// The hash of the current template.
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
}

#[derive(Default)]
pub(super) struct Plan {
    pub(super) create_on: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) status: DaemonSetStatus,
    pub(super) recheck: Option<Duration>,
}

/// Whether a change of a node can change where daemons run.
pub(super) fn node_matters(old: &Node, new: &Node) -> bool {
    taints(old) != taints(new) || labels(old) != labels(new)
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in observed.pods {
        by_node.entry(target(pod)).or_default().push(pod);
    }
    let mut plan = Plan::default();
    let mut rolling = Vec::new();
    let known: HashSet<&str> = observed.nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
    let mut tally = Tally::default();
    for node in observed.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let here = by_node.get(name).cloned().unwrap_or_default();
        let (runs, stays) = suits(observed.set, node);
        tally.count(observed, (runs, &here), &mut plan.recheck);
        if !stays {
            plan.delete.extend(here.iter().filter(|pod| !is_deleting(pod.as_ref())).map(|pod| Arc::clone(pod)));
        } else if runs || !here.is_empty() {
            settle(observed, (name, runs), &here, &mut plan, &mut rolling);
        }
    }
    let lost = by_node.iter().filter(|(node, _)| !known.contains(**node)).flat_map(|(_, pods)| pods);
    plan.delete.extend(lost.filter(|pod| !is_deleting(pod.as_ref())).map(|pod| Arc::clone(pod)));
    roll(observed, &tally, rolling, &mut plan);
    plan.status = tally.status(observed);
    plan
}

/// One node: failed pods go, of several living ones the oldest stays, a missing one is made.
fn settle<'a>(
    observed: &Observed<'_>,
    (node, runs): (&str, bool),
    here: &[&'a Arc<Pod>],
    plan: &mut Plan,
    rolling: &mut Vec<&'a Arc<Pod>>,
) {
    let (ended, mut living): (Vec<_>, Vec<_>) = here.iter().copied().partition(|pod| pods::has_ended(pod));
    plan.delete.extend(ended.iter().filter(|pod| !is_deleting(pod.as_ref())).map(|pod| Arc::clone(pod)));
    living.sort_by(|a, b| {
        a.metadata
            .creation_timestamp
            .cmp(&b.metadata.creation_timestamp)
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    let mut active = living.iter().copied().filter(|pod| !is_deleting(pod.as_ref()));
    let kept = active.next();
    plan.delete.extend(active.map(Arc::clone));
    match kept {
        // One that is being deleted still holds its ports and files: the next comes when it is gone.
        None if runs && here.is_empty() => plan.create_on.push(node.to_owned()),
        Some(pod) if labels(pod.as_ref()).get(HASH).map(String::as_str) != Some(observed.hash) => rolling.push(pod),
        _ => {}
    }
}

/// Outdated pods go as far as the limit of unavailable ones allows; those that do not serve go first and count nothing.
fn roll(observed: &Observed<'_>, tally: &Tally, outdated: Vec<&Arc<Pod>>, plan: &mut Plan) {
    let strategy = observed.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return;
    }
    let limit = match strategy
        .and_then(|strategy| strategy.rolling_update.as_ref())
        .and_then(|rolling| rolling.max_unavailable.as_ref())
    {
        None => 1,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|text| text.parse::<i32>().ok()).unwrap_or(0);
            (tally.desired * percent + 99) / 100
        }
    };
    let mut left = (limit.max(1) - (tally.desired - tally.available)).max(0);
    let min_ready = observed.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
    for pod in outdated {
        let serves = pods::availability(pod, min_ready, observed.now) == Availability::Available;
        if serves && left == 0 {
            continue;
        }
        left -= i32::from(serves);
        plan.delete.push(Arc::clone(pod));
    }
}

#[derive(Default)]
struct Tally {
    desired: i32,
    current: i32,
    misscheduled: i32,
    ready: i32,
    available: i32,
    updated: i32,
}

impl Tally {
    fn count(&mut self, observed: &Observed<'_>, (runs, here): (bool, &[&Arc<Pod>]), recheck: &mut Option<Duration>) {
        if !runs {
            self.misscheduled += i32::from(!here.is_empty());
            return;
        }
        self.desired += 1;
        self.current += i32::from(!here.is_empty());
        let Some(pod) = here
            .iter()
            .filter(|pod| pods::is_active(pod))
            .min_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
        else {
            return;
        };
        self.updated += i32::from(labels(pod.as_ref()).get(HASH).map(String::as_str) == Some(observed.hash));
        let min_ready = observed.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        match pods::availability(pod, min_ready, observed.now) {
            Availability::NotReady => {}
            Availability::Soon(left) => {
                self.ready += 1;
                *recheck = Some(recheck.map_or(left, |known| known.min(left)));
            }
            Availability::Available => {
                self.ready += 1;
                self.available += 1;
            }
        }
    }

    fn status(&self, observed: &Observed<'_>) -> DaemonSetStatus {
        let shown = |number: i32| Some(number).filter(|number| *number > 0);
        let before = observed.set.status.as_ref();
        DaemonSetStatus {
            desired_number_scheduled: self.desired,
            current_number_scheduled: self.current,
            number_misscheduled: self.misscheduled,
            number_ready: self.ready,
            number_available: shown(self.available),
            number_unavailable: shown(self.desired - self.available),
            updated_number_scheduled: shown(self.updated),
            observed_generation: observed.set.metadata.generation,
            collision_count: before.and_then(|status| status.collision_count),
            conditions: before.and_then(|status| status.conditions.clone()),
        }
    }
}

/// The node a pod is on or is made for.
fn target(pod: &Pod) -> &str {
    let bound = pods::node(pod);
    if !bound.is_empty() {
        return bound;
    }
    let affinity =
        pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()).and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let fields = required
        .into_iter()
        .flat_map(|required| &required.node_selector_terms)
        .flat_map(|term| term.match_fields.iter().flatten());
    let mut names =
        fields.filter(|field| field.key == "metadata.name").filter_map(|field| field.values.as_ref()?.first());
    names.next().map_or("", String::as_str)
}

/// Whether a daemon should run on a node, and whether one that runs there may stay.
fn suits(set: &DaemonSet, node: &Node) -> (bool, bool) {
    let Some(spec) = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else { return (false, false) };
    if !selected(spec, node) {
        return (false, false);
    }
    let tolerations = tolerations(spec);
    let borne = |taint: &&Taint| tolerations.iter().any(|toleration| tolerates(toleration, taint));
    let keeps_out = |effects: &[&str]| {
        taints(node).iter().filter(|taint| effects.contains(&taint.effect.as_str())).any(|taint| !borne(&taint))
    };
    (!keeps_out(&["NoSchedule", "NoExecute"]), !keeps_out(&["NoExecute"]))
}

fn selected(spec: &PodSpec, node: &Node) -> bool {
    let has = labels(node);
    let plain = spec.node_selector.iter().flatten().all(|(key, value)| has.get(key) == Some(value));
    let named = spec.node_name.as_ref().is_none_or(|name| node.metadata.name.as_ref() == Some(name));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    plain
        && named
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_fits(term, node)))
}

fn term_fits(term: &NodeSelectorTerm, node: &Node) -> bool {
    let (expressions, fields) =
        (term.match_expressions.as_deref().unwrap_or_default(), term.match_fields.as_deref().unwrap_or_default());
    let name = node.metadata.name.as_deref();
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|wanted| requirement_fits(wanted, labels(node).get(&wanted.key).map(String::as_str)))
        && fields.iter().all(|wanted| wanted.key == "metadata.name" && requirement_fits(wanted, name))
}

fn requirement_fits(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|wanted| wanted == value));
    let compare = |fits: fn(i64, i64) -> bool| {
        let numbers =
            value.and_then(|value| value.parse().ok()).zip(values.first().and_then(|wanted| wanted.parse().ok()));
        numbers.is_some_and(|(value, wanted)| fits(value, wanted))
    };
    match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|value, wanted| value > wanted),
        "Lt" => compare(|value, wanted| value < wanted),
        _ => false,
    }
}

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let network =
        spec.host_network.unwrap_or(false).then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let known = all.iter().any(|toleration| {
            toleration.key.as_deref() == Some(key)
                && toleration.effect.as_deref() == Some(effect)
                && toleration.operator.as_deref() == Some("Exists")
        });
        if !known {
            all.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some(effect.to_owned()),
                ..Toleration::default()
            });
        }
    }
    all
}

/// Makes a pod of the template one for a node: the scheduler binds it there and nowhere else.
pub(super) fn fit(pod: &mut Pod, set: &DaemonSet, node: &str, hash: &str) {
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.to_owned());
    let deprecated =
        set.metadata.annotations.as_ref().and_then(|all| all.get("deprecated.daemonset.template.generation"));
    labels.extend(deprecated.or(Some(&"1".to_owned())).map(|generation| (GENERATION.to_owned(), generation.clone())));
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let here = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required: &mut NodeSelector =
        affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields = Some(vec![here.clone()]);
    }
}

#[cfg(test)]
mod tests;
