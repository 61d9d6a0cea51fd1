//! Sets played step by step: each plan is applied, and pods become ready when the test says so.

use serde_json::{Value, json};

use super::*;

struct World {
    set: StatefulSet,
    pods: Vec<Pod>,
    current: String,
    updated: String,
}

impl World {
    fn new(replicas: i32, more: &Value) -> Self {
        let mut spec = json!({"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let set = json!({"metadata": {"name": "db", "namespace": "d", "uid": "s", "generation": 1}, "spec": spec});
        Self {
            set: serde_json::from_value(set).unwrap(),
            pods: Vec::new(),
            current: "one".to_owned(),
            updated: "one".to_owned(),
        }
    }

    fn plan(&self) -> Plan {
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        plan(&Observed { set: &self.set, pods: &pods, current: &self.current, updated: &self.updated, now })
    }

    /// One step; answers what it did, as `+ordinal` and `-ordinal`. What was deleted is gone at once.
    fn step(&mut self) -> String {
        let Plan { create, delete, status, .. } = self.plan();
        let mut told = Vec::new();
        for gone in delete {
            told.push(format!("-{}", ordinal(&self.set, &gone).unwrap()));
            self.pods.retain(|pod| pod.metadata.name != gone.metadata.name);
        }
        for (ordinal, hash) in create {
            told.push(format!("+{ordinal}"));
            let template = self.set.spec.as_ref().unwrap().template.clone();
            self.pods.push(pod(&self.set, &template, ordinal, &hash));
        }
        let current = status.current_revision.clone().unwrap();
        self.current = current.strip_prefix("db-").unwrap().to_owned();
        self.set.status = Some(status);
        told.join(" ")
    }

    fn all_ready(&mut self) {
        for pod in &mut self.pods {
            pod.status = serde_json::from_value(
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
            )
            .unwrap();
        }
    }

    /// Steps, each after all pods have become ready.
    fn steps(&mut self, count: usize) -> Vec<String> {
        let step = |world: &mut Self| {
            world.all_ready();
            world.step()
        };
        (0..count).map(|_| step(self)).collect()
    }
}

#[test]
fn pods_come_one_after_the_other_and_wait_for_the_one_before() {
    let mut world = World::new(3, &json!({}));
    assert_eq!(world.step(), "+0");
    assert_eq!(world.step(), "", "the first is not ready yet");
    assert_eq!(world.steps(3), ["+1", "+2", ""]);
    let status = world.set.status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas, status.updated_replicas), (3, Some(3), Some(3)));
    assert_eq!(status.current_revision.as_deref(), Some("db-one"));
}

#[test]
fn in_parallel_all_come_and_go_at_once() {
    let mut world = World::new(3, &json!({"podManagementPolicy": "Parallel"}));
    assert_eq!(world.step(), "+0 +1 +2");
    world.all_ready();
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    assert_eq!(world.step(), "-2 -1");
}

#[test]
fn the_highest_goes_first_and_only_while_the_others_are_well() {
    let mut world = World::new(3, &json!({}));
    world.steps(3);
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    assert_eq!(world.steps(3), ["-2", "-1", ""]);
    let mut world = World::new(3, &json!({}));
    world.steps(3);
    world.all_ready();
    world.set.spec.as_mut().unwrap().replicas = Some(2);
    world.pods[0].status = None;
    assert_eq!(world.step(), "");
}

#[test]
fn an_update_replaces_from_the_highest_down_to_the_partition() {
    let mut world = World::new(3, &json!({}));
    world.steps(4);
    world.updated = "two".to_owned();
    assert_eq!(world.steps(7), ["-2", "+2", "-1", "+1", "-0", "+0", ""]);
    assert_eq!(world.current, "two");
    let held = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    let mut world = World::new(3, &held);
    world.steps(4);
    world.updated = "two".to_owned();
    assert_eq!(world.steps(3), ["-2", "+2", ""]);
    // One below the partition that is lost comes back as it was.
    world.pods.retain(|pod| pod.metadata.name.as_deref() != Some("db-0"));
    world.step();
    let back = world.pods.iter().find(|pod| ordinal(&world.set, pod) == Some(0)).unwrap();
    assert_eq!(labels(back)[HASH], "one");
}

#[test]
fn an_ended_pod_is_replaced_and_a_set_on_delete_waits_for_hands() {
    let mut world = World::new(1, &json!({"updateStrategy": {"type": "OnDelete"}}));
    world.steps(2);
    world.updated = "two".to_owned();
    assert_eq!(world.steps(1), [""]);
    world.pods[0].status = serde_json::from_value(json!({"phase": "Failed"})).unwrap();
    assert_eq!(world.step(), "-0");
    assert_eq!(world.step(), "+0");
    assert_eq!(labels(&world.pods[0])[HASH], "two");
}

#[test]
fn a_pod_has_its_name_its_place_and_its_volumes() {
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    let world = World::new(1, &json!({"volumeClaimTemplates": [claim]}));
    let template = world.set.spec.as_ref().unwrap().template.clone();
    let pod = pod(&world.set, &template, 4, "one");
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(pod.metadata.name.as_deref(), Some("db-4"));
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-4"), Some("db")));
    let volume = spec.volumes.as_ref().unwrap()[0].persistent_volume_claim.as_ref().unwrap();
    assert_eq!(volume.claim_name, "data-db-4");
    assert_eq!(claims(&world.set, 4)[0].metadata.name.as_deref(), Some("data-db-4"));
    assert_eq!(labels(&pod)[POD_INDEX], "4");
}

#[test]
fn only_exact_names_belong_to_a_set() {
    let world = World::new(1, &json!({}));
    let named = |name: &str| {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        ordinal(&world.set, &pod)
    };
    assert_eq!(named("db-12"), Some(12));
    assert_eq!((named("db-01"), named("db-x"), named("dbx-1"), named("other-1")), (None, None, None, None));
}
