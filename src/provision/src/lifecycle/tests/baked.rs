//! Images that are made with the components in place.

use super::*;

const SPEC: &str = "{workers: [{name: w, replicas: 2}]}";
const TAG: &str = "v0.1.0-one";

fn imports(lab: &Lab) -> usize {
    lab.world.snapshot_of_changes().iter().filter(|change| change.ends_with("import images")).count()
}

#[tokio::test]
async fn machines_whose_image_has_the_components_are_sent_none() {
    let mut lab = Lab::new(SPEC);
    lab.world.bake(TAG);
    lab.up(Faults::None, 0).await.plan();
    assert_eq!(imports(&lab), 0);
    assert!(lab.up(Faults::None, 0).await.plan().is_empty());
}

#[tokio::test]
async fn an_upgrade_is_sent_and_makes_no_image_as_long_as_no_machine_is_made() {
    let mut lab = Lab::new(SPEC);
    lab.world.bake(TAG);
    lab.up(Faults::None, 0).await.plan();
    lab.ask_for(SPEC, "v0.1.0-two");
    lab.world.bake("v0.1.0-two");
    let plan = lab.up(Faults::None, 0).await.plan();
    assert_eq!((imports(&lab), ids(&plan).iter().any(|id| id.starts_with("prepare-image/"))), (3, false));
    lab.ask_for("{workers: [{name: w, replicas: 3}]}", "v0.1.0-two");
    let plan = lab.up(Faults::None, 0).await.plan();
    assert_eq!((imports(&lab), ids(&plan).iter().any(|id| id.starts_with("prepare-image/"))), (3, true));
}

#[tokio::test]
async fn where_the_components_cannot_be_put_in_place_machines_are_sent_them() {
    let mut lab = Lab::new(SPEC);
    lab.world.bake_in_vain(TAG);
    lab.up(Faults::None, 0).await.plan();
    assert_eq!(imports(&lab), 3);
    assert!(lab.up(Faults::None, 0).await.plan().is_empty(), "it is not tried again without need");
}

#[tokio::test]
async fn a_machine_of_an_older_image_is_sent_what_is_newer() {
    let mut lab = Lab::new(SPEC);
    lab.world.bake("v0.1.0-older");
    lab.up(Faults::None, 0).await.plan();
    assert_eq!(imports(&lab), 3);
}

#[tokio::test]
async fn any_fault_at_any_point_with_such_an_image_is_healed_by_the_next_run() {
    let mut lab = Lab::new("{}");
    lab.world.bake(TAG);
    lab.up(Faults::None, 1).await.plan();
    let (clean, points) = (lab.world.snapshot(), lab.world.points().len());
    for fault in Fault::ALL {
        for at in 0..points {
            lab.start_over();
            lab.world.bake(TAG);
            lab.up(Faults::At(at, fault), 1).await;
            heal(&mut lab, &clean, &format!("{fault:?} at {at}")).await;
        }
    }
}
