//! How much of a quota is used. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::quota::{self, Amounts, Meter};
use apimachinery::Object;
use apimachinery::quantity::{Format, Quantity};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, PersistentVolumeClaim, Pod, PodSpec, PodStatus, ResourceQuota, ResourceQuotaStatus,
    Service,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use kube::api::DynamicObject;
use serde::Serialize;

/// What is in the namespace of a quota.
pub(super) trait Content {
    fn pods(&self) -> Vec<Arc<Pod>>;
    fn services(&self) -> Vec<Arc<Service>>;
    fn claims(&self) -> Vec<Arc<PersistentVolumeClaim>>;
    fn devices(&self) -> &[DynamicObject];
    /// How many objects of a kind there are, as `plural.group`; none if the kind is not known.
    fn number(&self, qualified: &str) -> Option<usize>;
}

/// The outcome of a count.
pub(super) struct Counted {
    pub(super) used: Amounts,
    /// When time alone changes it.
    pub(super) changes_at: Option<Timestamp>,
}

/// Whether a quota limits devices.
pub(super) fn limits_devices(quota: &ResourceQuota) -> bool {
    meter("resource.k8s.io", "resourceclaims").is_some_and(|meter| hard(quota).any(|name| meter.measures(name)))
}

/// Counts what a quota limits.
pub(super) fn count(quota: &ResourceQuota, content: &impl Content, now: Timestamp) -> Counted {
    let mut counted = Counted { used: Amounts::new(), changes_at: None };
    let conditions = object(quota).map(|quota| quota::conditions(&quota)).unwrap_or_default();
    for (group, plural) in
        [("", "pods"), ("", "services"), ("", "persistentvolumeclaims"), ("resource.k8s.io", "resourceclaims")]
    {
        let Some(meter) = meter(group, plural) else { continue };
        let limited: Vec<&String> = hard(quota).filter(|name| meter.measures(name)).collect();
        if limited.is_empty() {
            continue;
        }
        let objects: Vec<Object> = match plural {
            "pods" => content.pods().iter().filter_map(|pod| counted.pod(pod, now)).collect(),
            "services" => content.services().iter().filter_map(|service| object(service.as_ref())).collect(),
            "persistentvolumeclaims" => content.claims().iter().filter_map(|claim| object(claim.as_ref())).collect(),
            _ => content.devices().iter().filter_map(object).collect(),
        };
        let about = |object: &&Object| conditions.iter().all(|condition| quota::holds(&meter, condition, object));
        counted.used.extend(limited.into_iter().map(|name| (name.clone(), Quantity::ZERO)));
        for (name, amount) in objects.iter().filter(about).flat_map(|object| meter.usage(object)) {
            if let Some(sum) = counted.used.get_mut(&name) {
                *sum += amount;
            }
        }
    }
    for name in hard(quota) {
        if counted.used.contains_key(name) {
            continue;
        }
        // Before all kinds were counted some had a name of their own, which is their plural.
        if let Some(number) = content.number(name.strip_prefix("count/").unwrap_or(name)) {
            // Only pods and claims for volumes are in any scope.
            let number = if conditions.is_empty() { number } else { 0 };
            let amount = Quantity::new(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi);
            counted.used.insert(name.clone(), amount);
        }
    }
    counted
}

impl Counted {
    /// A pod as quotas look at it; one that should be gone by now counts as one that has ended.
    fn pod(&mut self, pod: &Pod, now: Timestamp) -> Option<Object> {
        let mut part = pod_part(pod);
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        if let Some(end) = pod.metadata.deletion_timestamp.as_ref() {
            let due = end.0.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
            if due <= now {
                part.status.get_or_insert_default().phase = Some("Failed".to_owned());
            } else {
                self.changes_at = Some(self.changes_at.map_or(due, |known| known.min(due)));
            }
        }
        object(&part)
    }
}

/// The status a quota shall have; `None` if it has it. What was not counted stays as it was.
pub(super) fn next_status(quota: &ResourceQuota, counted: Amounts) -> Option<ResourceQuotaStatus> {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let present = quota.status.clone().unwrap_or_default();
    let before = present.used.clone().unwrap_or_default();
    let mut used: BTreeMap<String, Written> = before
        .iter()
        .filter(|(name, _)| hard.contains_key(*name))
        .map(|(name, old)| (name.clone(), old.clone()))
        .collect();
    for (name, amount) in counted {
        let same = used.get(&name).is_some_and(|old| old.0.parse::<Quantity>().is_ok_and(|old| old == amount));
        if !same {
            used.insert(name, Written(amount.to_string()));
        }
    }
    let next = ResourceQuotaStatus { hard: Some(hard), used: Some(used) };
    (quota.status.is_none()
        || present.hard.unwrap_or_default() != *next.hard.as_ref()?
        || Some(&before) != next.used.as_ref())
    .then_some(next)
}

/// What of a pod counts.
pub(super) fn pod_part(pod: &Pod) -> Pod {
    let spec = pod.spec.as_ref();
    let containers = |all: &[Container]| {
        let part = |container: &Container| Container {
            name: container.name.clone(),
            resources: container.resources.clone(),
            restart_policy: container.restart_policy.clone(),
            ..Container::default()
        };
        all.iter().map(part).collect::<Vec<_>>()
    };
    let statuses = |all: Option<&Vec<ContainerStatus>>| {
        let part = |status: &ContainerStatus| ContainerStatus {
            name: status.name.clone(),
            resources: status.resources.clone(),
            allocated_resources: status.allocated_resources.clone(),
            ..ContainerStatus::default()
        };
        all.map(|all| all.iter().map(part).collect::<Vec<_>>())
    };
    let ended = |phase: &&String| matches!(phase.as_str(), "Succeeded" | "Failed");
    Pod {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            deletion_timestamp: pod.metadata.deletion_timestamp.clone(),
            deletion_grace_period_seconds: pod.metadata.deletion_grace_period_seconds,
            ..Default::default()
        },
        spec: spec.map(|spec| PodSpec {
            containers: containers(&spec.containers),
            init_containers: spec.init_containers.as_deref().map(containers),
            resources: spec.resources.clone(),
            overhead: spec.overhead.clone(),
            active_deadline_seconds: spec.active_deadline_seconds,
            priority_class_name: spec.priority_class_name.clone(),
            affinity: spec.affinity.clone(),
            ..PodSpec::default()
        }),
        status: pod.status.as_ref().map(|status| PodStatus {
            phase: status.phase.as_ref().filter(ended).cloned(),
            qos_class: status.qos_class.clone(),
            container_statuses: statuses(status.container_statuses.as_ref()),
            init_container_statuses: statuses(status.init_container_statuses.as_ref()),
            ..PodStatus::default()
        }),
    }
}

fn hard(quota: &ResourceQuota) -> impl Iterator<Item = &String> {
    quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten()).map(|(name, _)| name)
}

fn meter(group: &str, plural: &str) -> Option<Meter> {
    api::resources().iter().find(|row| row.group == group && row.plural == plural).and_then(Meter::of)
}

/// A typed object as a tree; one that is none does not come from a server.
fn object<T: Serialize>(typed: &T) -> Option<Object> {
    Object::from_typed(typed).ok()
}
