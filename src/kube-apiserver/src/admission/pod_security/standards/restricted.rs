//! The controls of the restricted level: what a hardened pod must say.

use std::collections::BTreeSet;

use apimachinery::value::{Map, Value};

use super::pod::{Container, Pod, texts, within};
use super::{Violation, baseline, containers, plural, quoted, setters};

fn names<'a>(pod: &Pod<'a>, pick: impl Fn(&Map) -> bool) -> Vec<&'a str> {
    pod.containers().filter(|container| pick(container.security())).map(Container::name).collect()
}

pub(super) fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    let bad = names(pod, |context| context.get("allowPrivilegeEscalation") != Some(&Value::Bool(false)));
    (!bad.is_empty()).then(|| {
        let told = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
        Violation::new("allowPrivilegeEscalation != false", told)
    })
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let keeps = names(pod, |context| !texts(within(context, "capabilities"), "drop").any(|name| name == "ALL"));
    let extra = |context: &Map| {
        let added = texts(within(context, "capabilities"), "add");
        added.filter(|name| *name != "NET_BIND_SERVICE").map(str::to_owned).collect::<Vec<_>>()
    };
    let adds = names(pod, |context| !extra(context).is_empty());
    let mut details = Vec::new();
    if !keeps.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeps)));
    }
    if !adds.is_empty() {
        let values: BTreeSet<String> = pod.containers().flat_map(|container| extra(container.security())).collect();
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adds),
            quoted(values)
        ));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

/// Volumes that bring nothing of the host.
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let kind_of = |volume: &Map| {
        let mut kinds = volume.iter().filter(|(key, value)| key.as_str() != "name" && !value.is_null());
        kinds.next().map_or("unknown".to_owned(), |(key, _)| key.as_str().to_owned())
    };
    let bad: Vec<(&str, String)> = pod
        .volumes()
        .map(|volume| (volume.str("name"), kind_of(volume)))
        .filter(|(_, kind)| !VOLUMES.contains(&kind.as_str()))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: BTreeSet<&str> = bad.iter().map(|(_, kind)| kind.as_str()).collect();
    let told = format!(
        "{} {} {} {} {}",
        plural(bad.len(), "volume", "volumes"),
        quoted(bad.iter().map(|(name, _)| name)),
        plural(bad.len(), "uses", "use"),
        plural(kinds.len(), "restricted volume type", "restricted volume types"),
        quoted(kinds)
    );
    Some(Violation::new("restricted volume types", told))
}

pub(super) fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    let reason = "runAsNonRoot != true";
    let wish = |context: &Map| context.get("runAsNonRoot").and_then(Value::as_bool);
    let of_pod = wish(pod.security());
    let explicit = names(pod, |context| wish(context) == Some(false));
    let setters = setters(of_pod == Some(false), &explicit);
    if !setters.is_empty() {
        return Some(Violation::new(reason, format!("{setters} must not set securityContext.runAsNonRoot=false")));
    }
    let implicit = names(pod, |context| wish(context).is_none() && of_pod != Some(true));
    (!implicit.is_empty()).then(|| {
        let told = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&implicit));
        Violation::new(reason, told)
    })
}

pub(super) fn user(pod: &Pod<'_>) -> Option<Violation> {
    let is_root = |context: &Map| context.get("runAsUser").and_then(Value::as_i64) == Some(0);
    let setters = setters(is_root(pod.security()), &names(pod, is_root));
    (!setters.is_empty()).then(|| Violation::new("runAsUser=0", format!("{setters} must not set runAsUser=0")))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if let Some(violation) = baseline::seccomp(pod) {
        return Some(violation);
    }
    let says = |context: &Map| context.get("seccompProfile").is_some_and(|profile| !profile.is_null());
    let silent = if says(pod.security()) { Vec::new() } else { names(pod, |context| !says(context)) };
    (!silent.is_empty()).then(|| {
        let told = format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&silent)
        );
        Violation::new("seccompProfile", told)
    })
}
