//! Jobs played step by step, with pods that end as the test says.

use serde_json::{Value, json};

use super::*;

struct World {
    job: Job,
    pods: Vec<Pod>,
    now: Timestamp,
    made: usize,
}

impl World {
    fn new(more: &Value) -> Self {
        let mut spec = json!({"parallelism": 1, "backoffLimit": 6,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let job = json!({"metadata": {"name": "sum", "namespace": "d", "uid": "j"}, "spec": spec});
        Self {
            job: serde_json::from_value(job).unwrap(),
            pods: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            made: 0,
        }
    }

    /// One pass; answers how many pods were made and removed.
    fn step(&mut self) -> (usize, usize) {
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let Plan { create, delete, counted, status, .. } =
            plan(&Observed { job: &self.job, pods: &pods, now: self.now });
        self.job.status = Some(status);
        for pod in &mut self.pods {
            if counted.iter().any(|counted| counted.metadata.uid == pod.metadata.uid) {
                pod.metadata.finalizers = None;
            }
        }
        self.pods.retain(|pod| !delete.iter().any(|gone| gone.metadata.uid == pod.metadata.uid));
        let numbers = (create.len(), delete.len());
        for mut pod in create {
            pod.metadata.uid = Some(format!("p{}", self.made));
            pod.metadata.creation_timestamp = Some(Time(self.now));
            self.made += 1;
            self.pods.push(pod);
        }
        numbers
    }

    fn finish(&mut self, phase: &str) {
        let running = self.pods.iter_mut().find(|pod| pods::phase(pod).is_empty()).unwrap();
        running.status = serde_json::from_value(json!({"phase": phase})).unwrap();
    }

    fn status(&self) -> &JobStatus {
        self.job.status.as_ref().unwrap()
    }

    fn has(&self, kind: &str) -> bool {
        self.status().conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
    }
}

#[test]
fn a_job_runs_until_enough_pods_have_succeeded_and_counts_each_once() {
    let mut world = World::new(&json!({"completions": 3, "parallelism": 2}));
    assert_eq!(world.step(), (2, 0));
    world.finish("Succeeded");
    assert_eq!(world.step(), (1, 0));
    world.finish("Succeeded");
    world.finish("Succeeded");
    world.step();
    assert!(world.has("SuccessCriteriaMet") && !world.has("Complete"), "not before all are counted");
    world.step();
    assert!(world.has("Complete"));
    assert_eq!((world.status().succeeded, world.status().failed), (Some(3), Some(0)));
    assert!(world.pods.iter().all(|pod| !is_tracked(pod)));
    assert_eq!(world.step(), (0, 0));
}

#[test]
fn pods_that_are_counted_may_be_removed_by_anybody() {
    let mut world = World::new(&json!({"completions": 2}));
    world.step();
    world.finish("Succeeded");
    world.step();
    world.pods.retain(|pod| pods::phase(pod) != "Succeeded");
    world.step();
    assert_eq!(world.status().succeeded, Some(1));
    world.finish("Succeeded");
    world.step();
    world.step();
    assert!(world.has("Complete"));
    assert_eq!(world.made, 2);
}

#[test]
fn failures_are_followed_by_longer_and_longer_waits_and_then_by_the_end() {
    let mut world = World::new(&json!({"completions": 1, "backoffLimit": 1}));
    world.step();
    world.finish("Failed");
    assert_eq!(world.step(), (0, 0), "not at once");
    world.now += Duration::from_secs(11);
    assert_eq!(world.step(), (1, 0));
    world.finish("Failed");
    world.step();
    world.step();
    assert!(world.has("Failed"));
    let reason = world.status().conditions.as_ref().unwrap()[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!(world.status().failed, Some(2));
}

#[test]
fn a_deadline_ends_what_still_runs() {
    let mut world = World::new(&json!({"completions": 1, "activeDeadlineSeconds": 60}));
    world.step();
    world.now += Duration::from_mins(2);
    assert_eq!(world.step(), (0, 1));
    world.step();
    assert!(world.has("Failed"));
}

#[test]
fn without_a_number_the_first_success_is_enough() {
    let mut world = World::new(&json!({"parallelism": 2}));
    assert_eq!(world.step(), (2, 0));
    world.finish("Succeeded");
    assert_eq!(world.step(), (0, 0));
    world.finish("Succeeded");
    world.step();
    world.step();
    assert!(world.has("Complete"));
}

#[test]
fn every_index_succeeds_once() {
    let mut world = World::new(&json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}));
    assert_eq!(world.step(), (3, 0));
    assert_eq!(world.pods[2].spec.as_ref().unwrap().hostname.as_deref(), Some("sum-2"));
    world.finish("Succeeded");
    world.finish("Failed");
    world.now += Duration::from_secs(11);
    world.step();
    world.step();
    assert_eq!(world.status().completed_indexes.as_deref(), Some("0"));
    let active: Vec<_> = world.pods.iter().filter(|pod| is_active(pod)).filter_map(index_of).collect();
    assert_eq!(active, [2, 1]);
    world.finish("Succeeded");
    world.finish("Succeeded");
    world.step();
    world.step();
    assert!(world.has("Complete"));
    assert_eq!(world.status().completed_indexes.as_deref(), Some("0-2"));
}

#[test]
fn a_suspended_job_has_no_pods_and_goes_on_later() {
    let mut world = World::new(&json!({"completions": 1}));
    world.step();
    world.job.spec.as_mut().unwrap().suspend = Some(true);
    assert_eq!(world.step(), (0, 1));
    assert!(world.has("Suspended") && world.status().start_time.is_none());
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    assert_eq!(world.step(), (1, 0));
    assert!(!world.has("Suspended"));
}

#[test]
fn an_ended_job_stays_for_its_time() {
    let mut world = World::new(&json!({"completions": 0, "ttlSecondsAfterFinished": 100}));
    assert_eq!(expires(&world.job, world.now), None);
    world.step();
    assert_eq!(expires(&world.job, world.now), Some(Duration::from_secs(100)));
    assert_eq!(expires(&world.job, world.now + Duration::from_mins(2)), Some(Duration::ZERO));
}
