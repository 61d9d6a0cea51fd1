use super::*;
use crate::allocate::Site;
use crate::exit::classify;
use crate::progress::Format;

const HEAD: &str = "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\n";

fn config(dir: &Path) -> Config {
    Config {
        state_dir: dir.to_owned(),
        cache_dir: dir.join("cache"),
        hyperkube: Some("/nonexistent/hyperkube".into()),
        kubeconfig: None,
        output: Format::Text,
    }
}

/// A cluster `demo` that was given addresses for `given` and last asked for `asked`.
fn state(dir: &Path, given: &str, asked: &str) -> StateDir {
    let state = StateDir::new(dir, "demo");
    state.create().unwrap();
    let topology = Topology::parse("t", &format!("{HEAD}{given}")).unwrap();
    let site = Site {
        id: uuid::Uuid::from_u128(7),
        libvirt: "embedded".to_owned(),
        subnet: "10.80.0.0/24".parse().unwrap(),
        api_port: None,
        emulated: false,
    };
    let mut allocations = allocate::fresh(&topology, &site);
    allocate::extend(&mut allocations, &topology).unwrap();
    state.save_allocations(&allocations).unwrap();
    write_private(&state.path("topology.yaml"), format!("{HEAD}{asked}").as_bytes()).unwrap();
    state
}

#[test]
fn a_cluster_can_be_taken_down_after_more_machines_were_asked_for_in_vain() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path(), "", "spec: {workers: [{name: w, replicas: 2}]}\n");
    let before = std::fs::read(state.path("cluster.json")).unwrap();
    let context = existing("demo", &config(dir.path()), Arc::new(Silent)).unwrap();
    assert_eq!(context.desired.machines.len(), 3);
    assert_eq!(std::fs::read(state.path("cluster.json")).unwrap(), before, "looking writes nothing");
}

#[test]
fn a_cluster_that_is_not_there_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let error = existing("demo", &config(dir.path()), Arc::new(Silent)).err().unwrap();
    assert_eq!((classify(&error), error.to_string().as_str()), (Exit::NotFound, "there is no cluster demo"));
    let error = read_topology(&dir.path().join("none.yaml")).unwrap_err();
    assert_eq!(classify(&error), Exit::NotFound);
}

#[test]
fn a_cluster_is_named_by_its_name_or_by_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other.yaml");
    std::fs::write(&file, HEAD).unwrap();
    assert_eq!(cluster_name(file.to_str().unwrap()).unwrap(), "demo");
    assert_eq!(cluster_name("demo").unwrap(), "demo");
    for odd in ["", "Demo", "a b", "..", "demo\n"] {
        assert_eq!(classify(&cluster_name(odd).unwrap_err()), Exit::NotFound, "{odd:?}");
    }
}

#[test]
fn the_only_machine_needs_no_name_and_of_several_one_must_be_named() {
    let dir = tempfile::tempdir().unwrap();
    let one = state(dir.path(), "", "");
    assert_eq!(machine_name(&one, None).unwrap(), "demo-control-plane-1");
    let two = state(dir.path(), "spec: {workers: [{name: w}]}\n", "");
    assert_eq!(machine_name(&two, Some("demo-w-1")).unwrap(), "demo-w-1");
    let error = machine_name(&two, None).unwrap_err();
    assert_eq!(classify(&error), Exit::Usage);
    assert_eq!(crate::exit::hint(&error).unwrap(), "name one of: demo-control-plane-1, demo-w-1");
    assert_eq!(classify(&machine_name(&two, Some("x")).unwrap_err()), Exit::NotFound);
}

#[tokio::test]
async fn clusters_that_are_made_at_once_get_ports_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hyperkube"), "x").unwrap();
    let mut config = config(dir.path());
    config.hyperkube = Some(dir.path().join("hyperkube"));
    let spec = "spec: {infrastructure: {libvirt: {uri: embedded}}, controlPlane: {machine: {memory: 768Mi}}}";
    let make = |number: usize| {
        let config = &config;
        async move {
            let head = HEAD.replace("demo", &format!("demo-{number}"));
            let topology = Topology::parse("t", &format!("{head}{spec}")).unwrap();
            let prepared = for_apply(topology, config, Arc::new(Silent)).await.unwrap();
            prepared.keep().unwrap();
            prepared.context.desired.allocations.api_port.unwrap()
        }
    };
    let ports = futures::future::join_all((0..8).map(make)).await;
    let different: std::collections::BTreeSet<&u16> = ports.iter().collect();
    assert_eq!(different.len(), 8, "{ports:?}");
}

#[tokio::test]
async fn what_a_run_learns_before_anything_is_agreed_to_is_kept_with_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hyperkube"), "x").unwrap();
    let mut config = config(dir.path());
    config.hyperkube = Some(dir.path().join("hyperkube"));
    let spec = "spec: {infrastructure: {libvirt: {uri: embedded}}, controlPlane: {machine: {memory: 768Mi}}}";
    let topology = Topology::parse("t", &format!("{HEAD}{spec}")).unwrap();
    let prepared = for_apply(topology, &config, Arc::new(Silent)).await.unwrap();
    prepared.context.state.create().unwrap();
    prepared.context.ledger.mark_founded().unwrap();
    prepared.keep().unwrap();
    assert!(prepared.context.state.allocations().unwrap().unwrap().founded);
}
