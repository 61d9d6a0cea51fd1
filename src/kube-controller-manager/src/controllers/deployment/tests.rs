//! Rollouts played step by step: each plan is applied to the observation and pods become available, or not.

use k8s_openapi::api::apps::v1::ReplicaSetStatus;

use super::plan::Plan;
use super::*;

#[expect(clippy::needless_pass_by_value, reason = "a JSON literal reads best at the call")]
fn deployment(image: &str, replicas: i32, strategy: serde_json::Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "strategy": strategy, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1,
                 "selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
    }))
    .unwrap()
}

fn rolling(surge: i32, unavailable: i32) -> serde_json::Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A deployment and its sets, changed by plans.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now: Timestamp,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        Self { deployment, sets: Vec::new(), now: "2026-01-01T00:00:00Z".parse().unwrap() }
    }

    fn plan(&self) -> Plan {
        let sets: Vec<_> = self.sets.iter().cloned().map(Arc::new).collect();
        let occupied: Vec<_> =
            self.sets.iter().map(|set| set.status.as_ref().is_some_and(|status| status.replicas > 0)).collect();
        plan::plan(&Observed { deployment: &self.deployment, sets: &sets, occupied: &occupied, now: self.now })
    }

    /// One reconciliation; returns whether a set was changed.
    fn step(&mut self) -> bool {
        let mut changed = false;
        for action in self.plan().actions {
            match action {
                Action::Create(set) => {
                    self.sets.push(*set);
                    changed = true;
                }
                Action::Scale { set, replicas, annotations } => {
                    let set = self.sets.iter_mut().find(|known| known.metadata.name == set.metadata.name).unwrap();
                    set.spec.as_mut().unwrap().replicas = Some(replicas);
                    set.metadata.annotations.get_or_insert_default().extend(annotations);
                    changed = true;
                }
                Action::Delete(set) => self.sets.retain(|known| known.metadata.name != set.metadata.name),
                Action::SetRevision(revision) => {
                    self.deployment
                        .metadata
                        .annotations
                        .get_or_insert_default()
                        .insert(history::REVISION.into(), revision);
                }
                Action::Status(status) => self.deployment.status = Some(*status),
            }
        }
        changed
    }

    /// All pods of all sets become what the sets ask for.
    fn settle_pods(&mut self, works: impl Fn(&ReplicaSet) -> bool) {
        for set in &mut self.sets {
            let wanted = history::replicas(set);
            let available = if works(set) { wanted } else { 0 };
            set.status = Some(ReplicaSetStatus {
                replicas: wanted,
                ready_replicas: Some(available),
                available_replicas: Some(available),
                ..ReplicaSetStatus::default()
            });
        }
    }

    fn run(&mut self, works: impl Fn(&ReplicaSet) -> bool + Copy) -> Vec<Vec<i32>> {
        let mut sizes = Vec::new();
        for _ in 0..50 {
            let changed = self.step();
            if changed {
                sizes.push(self.sizes());
            }
            let before: Vec<_> = self.sets.iter().map(|set| set.status.clone()).collect();
            self.settle_pods(works);
            if !changed && before == self.sets.iter().map(|set| set.status.clone()).collect::<Vec<_>>() {
                return sizes;
            }
        }
        panic!("the rollout does not come to rest: {sizes:?}");
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(history::replicas).collect()
    }

    fn set_image(&mut self, image: &str) {
        self.deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    }

    fn reason(&self, name: &str) -> String {
        let conditions =
            self.deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions
            .into_iter()
            .find(|condition| condition.type_ == name)
            .and_then(|condition| condition.reason)
            .unwrap_or_default()
    }

    fn revision(&self) -> &str {
        &self.deployment.metadata.annotations.as_ref().unwrap()[history::REVISION]
    }
}

fn all_work(_: &ReplicaSet) -> bool {
    true
}

#[test]
fn a_new_deployment_makes_one_set_of_the_full_size() {
    let mut world = World::new(deployment("one", 3, rolling(1, 1)));
    assert_eq!(world.run(all_work), [[3]]);
    let set = &world.sets[0];
    let hash = &set.metadata.labels.as_ref().unwrap()[history::HASH];
    assert_eq!(set.metadata.name.as_deref(), Some(format!("web-{hash}").as_str()));
    assert_eq!(set.spec.as_ref().unwrap().selector.match_labels.as_ref().unwrap()[history::HASH], *hash);
    assert_eq!(world.revision(), "1");
    assert_eq!(
        (world.reason("Progressing").as_str(), world.reason("Available").as_str()),
        ("NewReplicaSetAvailable", "MinimumReplicasAvailable")
    );
}

#[test]
fn a_rolling_update_stays_between_its_limits() {
    let mut world = World::new(deployment("one", 4, rolling(1, 1)));
    world.run(all_work);
    world.set_image("two");
    let sizes = world.run(all_work);
    assert_eq!(sizes.last().unwrap(), &[0, 4]);
    for step in &sizes {
        assert!(step.iter().sum::<i32>() <= 5 && step.iter().sum::<i32>() >= 3, "{sizes:?}");
    }
    assert_eq!(world.revision(), "2");
}

#[test]
fn a_rolling_update_without_surge_removes_first() {
    let mut world = World::new(deployment("one", 2, rolling(0, 1)));
    world.run(all_work);
    world.set_image("two");
    let sizes = world.run(all_work);
    assert_eq!(sizes.first().unwrap(), &[2, 0]);
    assert_eq!(sizes.last().unwrap(), &[0, 2]);
    assert!(sizes.iter().all(|step| step.iter().sum::<i32>() <= 2));
}

#[test]
fn a_broken_template_stops_at_the_limit_and_keeps_the_old_pods() {
    let mut world = World::new(deployment("one", 4, rolling(1, 1)));
    world.run(all_work);
    world.set_image("broken");
    let broken = |set: &ReplicaSet| {
        set.spec.as_ref().unwrap().template.as_ref().unwrap().spec.as_ref().unwrap().containers[0].image.as_deref()
            != Some("broken")
    };
    let sizes = world.run(broken);
    assert_eq!(sizes.last().unwrap(), &[3, 2]);
    world.now = "2026-01-01T01:00:00Z".parse().unwrap();
    world.step();
    assert_eq!(world.reason("Progressing"), "ProgressDeadlineExceeded");
    assert_eq!(world.reason("Available"), "MinimumReplicasAvailable");
}

#[test]
fn going_back_uses_the_old_set_with_a_new_revision() {
    let mut world = World::new(deployment("one", 2, rolling(1, 0)));
    world.run(all_work);
    world.set_image("two");
    world.run(all_work);
    world.set_image("one");
    world.run(all_work);
    assert_eq!(world.sizes(), [2, 0]);
    assert_eq!(world.revision(), "3");
    assert_eq!(world.sets[0].metadata.annotations.as_ref().unwrap()[history::REVISION_HISTORY], "1");
}

#[test]
fn history_beyond_its_limit_is_removed() {
    let mut world = World::new(deployment("one", 1, rolling(1, 0)));
    for image in ["one", "two", "three", "four"] {
        world.set_image(image);
        world.run(all_work);
    }
    world.step();
    assert_eq!(world.sets.len(), 2, "the new set and one old one");
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut world = World::new(deployment("one", 2, json!({"type": "Recreate"})));
    world.run(all_work);
    world.set_image("two");
    assert!(world.step());
    assert_eq!(world.sizes(), [0]);
    assert!(!world.step(), "pods of the old set still run");
    world.settle_pods(all_work);
    assert!(world.step());
    assert_eq!(world.sizes(), [0, 2]);
}

#[test]
fn a_paused_deployment_scales_and_does_not_roll() {
    let mut world = World::new(deployment("one", 2, rolling(1, 0)));
    world.run(all_work);
    world.set_image("two");
    world.deployment.spec.as_mut().unwrap().paused = Some(true);
    world.deployment.spec.as_mut().unwrap().replicas = Some(5);
    world.run(all_work);
    assert_eq!(world.sizes(), [5]);
    assert_eq!(world.reason("Progressing"), "DeploymentPaused");
}

#[test]
fn a_size_changed_during_a_rollout_is_shared_in_proportion() {
    let mut world = World::new(deployment("one", 10, rolling(3, 2)));
    world.run(all_work);
    world.set_image("two");
    world.step();
    let before = world.sizes();
    assert_eq!(before, [10, 3]);
    world.deployment.spec.as_mut().unwrap().replicas = Some(15);
    world.step();
    let after = world.sizes();
    assert_eq!(after.iter().sum::<i32>(), 18);
    assert!(after[0] > before[0] && after[1] > before[1], "{after:?}");
}

#[test]
fn scaling_to_zero_and_back_needs_no_new_set() {
    let mut world = World::new(deployment("one", 3, rolling(1, 1)));
    world.run(all_work);
    for replicas in [0, 2] {
        world.deployment.spec.as_mut().unwrap().replicas = Some(replicas);
        world.run(all_work);
        assert_eq!(world.sizes(), [replicas]);
    }
}

#[test]
fn percentages_round_surge_up_and_unavailability_down() {
    let spec = deployment("one", 10, json!({"type": "RollingUpdate"})).spec.unwrap();
    assert_eq!(scale::Limits::of(&spec, 10), scale::Limits { surge: 3, unavailable: 2 });
    assert_eq!(scale::Limits::of(&spec, 1), scale::Limits { surge: 1, unavailable: 0 });
    let none = deployment("one", 10, rolling(0, 0)).spec.unwrap();
    assert_eq!(scale::Limits::of(&none, 10), scale::Limits { surge: 0, unavailable: 1 });
}

#[test]
fn a_deployment_at_rest_plans_nothing() {
    let mut world = World::new(deployment("one", 3, rolling(1, 1)));
    world.run(all_work);
    assert!(world.plan().actions.is_empty(), "{:?}", world.plan().actions);
}
