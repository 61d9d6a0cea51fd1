//! What users are told about a namespace that cannot be let go yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::discovery::Discovered;
use crate::kinds::Meta;
use crate::ownership::is_deleting;

/// The objects of one kind that are left in a namespace.
pub(super) struct Left {
    pub(super) kind: Arc<Discovered>,
    /// How many are being deleted already.
    pub(super) deleting: usize,
    /// What holds them: finalizers, and how often each is there. Objects without any are under the empty name.
    finalizers: BTreeMap<String, usize>,
    number: usize,
}

impl Left {
    pub(super) fn of(kind: Arc<Discovered>, objects: &[Arc<Meta>]) -> Self {
        let mut finalizers = BTreeMap::new();
        for finalizer in objects.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
            *finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        let deleting = objects.iter().filter(|object| is_deleting(object.as_ref())).count();
        Self { kind, deleting, finalizers, number: objects.len() }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }
}

/// Upstream's five conditions; those that hold have the status `True`.
pub(super) fn conditions(
    left: &BTreeMap<String, Left>,
    silent: &[(String, String)],
) -> Vec<(&'static str, &'static str, Option<String>)> {
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, number) in left.values().flat_map(|left| &left.finalizers) {
        *finalizers.entry(name).or_default() += number;
    }
    let listed = |parts: Vec<String>| (!parts.is_empty()).then(|| parts.join(", "));
    let kinds = left.iter().map(|(name, left)| {
        let dot = if name.contains('.') { "" } else { "." };
        format!("{name}{dot} has {} resource instances", left.number)
    });
    let holders = finalizers.iter().map(|(name, number)| format!("{name} in {number} resource instances"));
    let groups = silent.iter().map(|(group, why)| format!("{group}: {why}"));
    let with = |what: &str, list: Option<String>| list.map(|list| format!("{what}: {list}"));
    vec![
        (
            "NamespaceDeletionDiscoveryFailure",
            "DiscoveryFailed",
            with("Discovery failed for some groups", listed(groups.collect())),
        ),
        ("NamespaceDeletionGroupVersionParsingFailure", "GroupVersionParsingFailed", None),
        ("NamespaceDeletionContentFailure", "ContentDeletionFailed", None),
        (
            "NamespaceContentRemaining",
            "SomeResourcesRemain",
            with("Some resources are remaining", listed(kinds.collect())),
        ),
        (
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain",
            with("Some content in the namespace has finalizers remaining", listed(holders.collect())),
        ),
    ]
}

/// What a condition that does not hold says.
fn negated(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "NamespaceDeletionDiscoveryFailure" => ("ResourcesDiscovered", "All resources successfully discovered"),
        "NamespaceDeletionGroupVersionParsingFailure" => {
            ("ParsedGroupVersions", "All legacy kube types successfully parsed")
        }
        "NamespaceDeletionContentFailure" => {
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization")
        }
        "NamespaceContentRemaining" => ("ContentRemoved", "All content successfully removed"),
        _ => ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    }
}

/// Writes the conditions into the status of a namespace, unless they are there.
pub(super) async fn write(
    client: &Client,
    namespace: &Namespace,
    left: &BTreeMap<String, Left>,
    silent: &[(String, String)],
) -> Result<(), kube::Error> {
    let present = namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let next = merged(&present, conditions(left, silent), Timestamp::now());
    if next == present {
        return Ok(());
    }
    let mut told = namespace.clone();
    told.status.get_or_insert_default().conditions = Some(next);
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Namespace> = Api::all(client.clone());
    match api.replace_status(name, &PostParams::default(), &told).await {
        // Gone, or changed, which is an event.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

/// The conditions of a namespace with ours among them; a time changes with its status only.
fn merged(
    present: &[NamespaceCondition],
    ours: Vec<(&'static str, &'static str, Option<String>)>,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let mut next = present.to_vec();
    for (kind, reason, message) in ours {
        let status = if message.is_some() { "True" } else { "False" };
        let (good_reason, good_message) = negated(kind);
        let known = next.iter().position(|condition| condition.type_ == kind);
        let since = known
            .and_then(|at| next.get(at))
            .filter(|condition| condition.status == status)
            .and_then(|condition| condition.last_transition_time.clone());
        let condition = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(if message.is_some() { reason } else { good_reason }.to_owned()),
            message: Some(message.unwrap_or_else(|| good_message.to_owned())),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        };
        match known {
            Some(at) => next[at] = condition,
            None => next.push(condition),
        }
    }
    next
}
