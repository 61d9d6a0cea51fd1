//! `PodSecurity`: pods keep to the Pod Security Standards their namespace asks for by its labels.
//!
//! Pods that break the enforced level are refused; workloads are only warned of what their pods would break.

pub(super) mod configuration;
mod policy;
mod standards;

use apimachinery::{Object, Status};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};
use configuration::Configuration;
use policy::{Level, Policy, Standard};
use standards::{Pod, Violations};

/// How many pods of a namespace are looked at when it becomes stricter.
const PODS_TO_CHECK: usize = 3000;
/// Subresources that do not change what a pod is.
const IGNORED: &[&str] = &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// Workloads and where their pods are described.
const TEMPLATES: &[(&str, &str, &[&str])] = &[
    ("", "replicationcontrollers", &["spec", "template"]),
    ("", "podtemplates", &["template"]),
    ("apps", "replicasets", &["spec", "template"]),
    ("apps", "deployments", &["spec", "template"]),
    ("apps", "statefulsets", &["spec", "template"]),
    ("apps", "daemonsets", &["spec", "template"]),
    ("batch", "jobs", &["spec", "template"]),
    ("batch", "cronjobs", &["spec", "jobTemplate", "spec", "template"]),
];

pub(super) const PLUGIN: Plugin = Plugin {
    name: "PodSecurity",
    by_default: true,
    handles: |attributes| {
        attributes.operation != Operation::Delete
            && (attributes.is("", "pods") || attributes.is("", "namespaces") || template(attributes).is_some())
    },
    mutate: None,
    validate: Some(validate),
};

pub(super) fn template(attributes: &Attributes<'_>) -> Option<&'static [&'static str]> {
    TEMPLATES.iter().find(|(group, plural, _)| attributes.is(group, plural)).map(|(_, _, path)| *path)
}

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let sub = attributes.info.subresource.as_str();
        let Some(object) = attributes.object.as_deref() else { return Ok(()) };
        if attributes.is("", "namespaces") {
            return if sub.is_empty() { on_namespace(attributes, object) } else { Ok(()) };
        }
        let (pod, enforced) = match template(attributes) {
            None if IGNORED.contains(&sub) => return Ok(()),
            None if attributes.old.is_some_and(|old| !is_significant(object, old)) => return Ok(()),
            None => (Pod::of(object), true),
            Some(_) if !sub.is_empty() => return Ok(()),
            Some(path) => match Pod::at(object, path) {
                Some(pod) => (pod, false),
                None => return Ok(()),
            },
        };
        let configuration = &attributes.app.admission.settings.pod_security;
        if configuration.exempts(attributes, pod) {
            return Ok(());
        }
        let registry = &attributes.app.registry;
        let Some(namespace) = registry.get_fresh("", "namespaces", "", &attributes.info.namespace).await else {
            let why = format!("failed to lookup namespace {:?}", attributes.info.namespace);
            return if enforced { Err(Status::internal(why)) } else { Ok(()) };
        };
        let (policy, _) = Policy::of(namespace.object().labels(), &configuration.defaults);
        judge(attributes, &policy, &pod, enforced)
    }
    .boxed()
}

/// Refuses or warns of a pod.
fn judge(attributes: &Attributes<'_>, policy: &Policy, pod: &Pod<'_>, enforced: bool) -> Result<(), Status> {
    if enforced {
        let violations = Violations::of(policy.enforce, pod);
        if !violations.is_empty() {
            let told = format!("violates PodSecurity \"{}\": {}", policy.enforce, violations.details());
            return Err(attributes.forbidden(told));
        }
    }
    let noted = Violations::of(policy.audit, pod);
    if !noted.is_empty() {
        tracing::info!(
            user = attributes.user.name,
            namespace = attributes.info.namespace,
            name = attributes.name(),
            "would violate PodSecurity \"{}\": {}",
            policy.audit,
            noted.details()
        );
    }
    let warned = Violations::of(policy.warn, pod);
    if !warned.is_empty() {
        attributes.warnings.add(format!("would violate PodSecurity \"{}\": {}", policy.warn, warned.details()));
    }
    Ok(())
}

/// Of a pod that exists only other images and more containers matter.
fn is_significant(new: &Object, old: &Object) -> bool {
    let images = |pod: &Object, list: &str| -> Vec<String> {
        pod.list_at(&["spec", list]).iter().map(|one| one.str("image").to_owned()).collect()
    };
    let fixed = ["containers", "initContainers"].iter().any(|list| images(new, list) != images(old, list));
    let path = ["spec", "ephemeralContainers"];
    fixed
        || new.list_at(&path).iter().any(|one| {
            let before = old.list_at(&path).iter().find(|before| before.str("name") == one.str("name"));
            before.is_none_or(|before| before.str("image") != one.str("image"))
        })
}

fn on_namespace(attributes: &Attributes<'_>, namespace: &Object) -> Result<(), Status> {
    let configuration = &attributes.app.admission.settings.pod_security;
    let (policy, errors) = Policy::of(namespace.labels(), &configuration.defaults);
    let old = attributes.old.map(|old| Policy::of(old.labels(), &configuration.defaults));
    // Labels that were wrong before may stay wrong.
    if !errors.is_empty() && old.as_ref().is_none_or(|(_, before)| *before != errors) {
        return Err(Status::invalid("", "Namespace", namespace.name(), errors));
    }
    let stricter = old.as_ref().is_none_or(|(before, _)| is_stricter(policy.enforce, before.enforce));
    if !stricter {
        return Ok(());
    }
    if configuration.namespaces.iter().any(|exempt| exempt == namespace.name()) {
        if !policy.is_privileged() && !policy.equivalent(&configuration.defaults) {
            attributes.warnings.add(format!(
                "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
                namespace.name(),
                policy.labelled(namespace.labels())
            ));
        }
    } else if old.is_some() {
        warn_of_existing_pods(attributes, configuration, policy.enforce, namespace.name());
    }
    Ok(())
}

fn is_stricter(new: Standard, old: Standard) -> bool {
    let relaxed = new.version == old.version && new.level <= old.level;
    new != old && new.level != Level::Privileged && !relaxed
}

fn warn_of_existing_pods(attributes: &Attributes<'_>, exempt: &Configuration, standard: Standard, namespace: &str) {
    let pods = attributes.app.registry.list("", "pods", namespace);
    let pods: Vec<Object> = pods.iter().map(|pod| pod.object()).collect();
    let pods = one_of_each_first(pods.iter().filter(|pod| !exempt.exempts_class(Pod::of(pod))));
    let checked = pods.len().min(PODS_TO_CHECK);
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for pod in &pods[..checked] {
        let violations = Violations::of(standard, &Pod::of(pod));
        if violations.is_empty() {
            continue;
        }
        let reasons = violations.reasons();
        match found.iter_mut().find(|(known, _)| *known == reasons) {
            Some((_, names)) => names.push(pod.name()),
            None => found.push((reasons, vec![pod.name()])),
        }
    }
    if checked < pods.len() {
        attributes.warnings.add(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {} existing pods",
            pods.len()
        ));
    }
    if !found.is_empty() {
        attributes.warnings.add(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let mut lines: Vec<String> = found.iter().map(|(reasons, names)| line(reasons, names)).collect();
    lines.sort();
    for line in lines {
        attributes.warnings.add(line);
    }
}

/// The pods that break something in the same way, by the first of their names.
fn line(reasons: &str, names: &[&str]) -> String {
    let first = names.iter().min().copied().unwrap_or_default();
    match names.len() {
        0 | 1 => format!("{first}: {reasons}"),
        2 => format!("{first} (and 1 other pod): {reasons}"),
        many => format!("{first} (and {} other pods): {reasons}", many - 1),
    }
}

/// The pods of one controller are alike: the first of each comes before the rest.
fn one_of_each_first<'a>(pods: impl Iterator<Item = &'a Object>) -> Vec<&'a Object> {
    let mut seen = std::collections::HashSet::new();
    let (mut first, rest): (Vec<_>, Vec<_>) = pods.partition(|pod| match pod.controller().map(|one| one.str("uid")) {
        Some(uid) => seen.insert(uid.to_owned()),
        None => true,
    });
    first.extend(rest);
    first
}

impl Configuration {
    fn exempts(&self, attributes: &Attributes<'_>, pod: Pod<'_>) -> bool {
        self.namespaces.contains(&attributes.info.namespace)
            || (!attributes.user.name.is_empty() && self.usernames.contains(&attributes.user.name))
            || self.exempts_class(pod)
    }

    fn exempts_class(&self, pod: Pod<'_>) -> bool {
        let class = pod.runtime_class();
        !class.is_empty() && self.runtime_classes.iter().any(|exempt| exempt == class)
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::{Value, value};

    use super::policy::Version::{Latest, Minor};
    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    #[test]
    fn only_images_and_new_containers_of_a_pod_matter() {
        let pod = |spec: Value| object(value!({"spec": (spec)}));
        let old = pod(value!({"containers": [{"name": "a", "image": "1"}]}));
        let check = |spec: Value, expected: bool| assert_eq!(is_significant(&pod(spec), &old), expected);
        check(value!({"containers": [{"name": "a", "image": "1"}], "tolerations": [{}]}), false);
        check(value!({"containers": [{"name": "a", "image": "2"}]}), true);
        let more = value!([{"name": "debug", "image": "x"}]);
        check(value!({"containers": [{"name": "a", "image": "1"}], "ephemeralContainers": (more)}), true);
    }

    #[test]
    fn pods_are_looked_at_again_only_when_it_becomes_stricter() {
        let standard = |level, version| Standard { level, version };
        let check = |new, old, expected: bool| assert_eq!(is_stricter(new, old), expected);
        check(standard(Level::Baseline, Latest), standard(Level::Privileged, Latest), true);
        check(standard(Level::Baseline, Latest), standard(Level::Restricted, Latest), false);
        check(standard(Level::Baseline, Minor(30)), standard(Level::Restricted, Latest), true);
        check(standard(Level::Privileged, Minor(30)), standard(Level::Restricted, Latest), false);
        check(standard(Level::Baseline, Latest), standard(Level::Baseline, Latest), false);
    }

    #[test]
    fn pods_of_one_controller_are_told_of_together() {
        assert_eq!(line("privileged", &["b"]), "b: privileged");
        assert_eq!(line("privileged", &["b", "a"]), "a (and 1 other pod): privileged");
        assert_eq!(line("privileged", &["b", "a", "c"]), "a (and 2 other pods): privileged");
        let owned = |name: &str, uid: &str| {
            object(value!({"metadata": {"name": name, "ownerReferences": [{"uid": uid, "controller": true}]}}))
        };
        let pods = [owned("a", "1"), owned("b", "1"), owned("c", "2"), object(value!({"metadata": {"name": "d"}}))];
        let names: Vec<&str> = one_of_each_first(pods.iter()).into_iter().map(Object::name).collect();
        assert_eq!(names, ["a", "c", "d", "b"]);
    }
}
