use super::*;
use crate::exit::classify;

fn topology(spec: &str) -> Topology {
    let text = format!("apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: demo}}\nspec: {spec}\n");
    Topology::parse("demo.yaml", &text).unwrap()
}

fn fresh_in(topology: &Topology, subnet: &str) -> Allocations {
    let site = Site {
        id: uuid::Uuid::from_u128(0x1234_5678_0000_4000_8000_0000_0000_0001),
        libvirt: "qemu:///system".to_owned(),
        subnet: subnet.parse().unwrap(),
        api_port: None,
        emulated: false,
    };
    fresh(topology, &site)
}

fn extended(spec: &str, subnet: &str) -> Result<Allocations> {
    let topology = topology(spec);
    let mut allocations = fresh_in(&topology, subnet);
    extend(&mut allocations, &topology)?;
    Ok(allocations)
}

#[test]
fn a_network_is_named_after_the_cluster_and_a_bridge_fits_the_kernel() {
    let network = extended("{}", "10.80.0.0/24").unwrap().network;
    assert_eq!((network.name.as_str(), network.bridge.as_str()), ("demo-12345678", "pv-12345678"));
    assert!(network.bridge.len() <= 15, "longer names of interfaces are refused by the kernel");
}

#[test]
fn addresses_begin_at_ten_and_stay_when_machines_come_and_go() {
    let three = topology("{workers: [{name: w, replicas: 3}]}");
    let mut allocations = fresh_in(&three, "10.80.0.0/24");
    extend(&mut allocations, &three).unwrap();
    let address = |allocations: &Allocations, name: &str| allocations.machines[name].address.to_string();
    assert_eq!(address(&allocations, "demo-control-plane-1"), "10.80.0.10");
    assert_eq!(address(&allocations, "demo-w-3"), "10.80.0.13");
    let before = allocations.clone();
    extend(&mut allocations, &three).unwrap();
    assert_eq!(allocations, before, "a second time changes nothing");
    allocations.machines.remove("demo-w-1");
    let more = topology("{workers: [{name: v, replicas: 1}, {name: w, replicas: 3}]}");
    extend(&mut allocations, &more).unwrap();
    assert_eq!(address(&allocations, "demo-v-1"), "10.80.0.11", "what was freed is given again");
    assert_eq!(allocations.machines["demo-w-2"], before.machines["demo-w-2"]);
    assert_eq!(address(&allocations, "demo-w-1"), "10.80.0.14");
}

#[test]
fn a_machine_has_the_same_mac_and_uuid_whenever_it_is_asked_for() {
    let machine = |spec: &str| extended(spec, "10.80.0.0/24").unwrap().machines["demo-control-plane-1"].clone();
    let (one, two) = (machine("{}"), machine("{workers: [{name: a, replicas: 5}]}"));
    assert_eq!((&one.mac, &one.uuid), (&two.mac, &two.uuid));
    assert!(one.mac.starts_with("52:54:00:"), "{}", one.mac);
    assert_eq!(one.uuid.parse::<uuid::Uuid>().unwrap().get_version_num(), 4);
    assert_eq!(one.host_key, None);
}

#[test]
fn no_two_of_a_thousand_machines_share_anything() {
    let allocations = extended("{network: {pods: 10.0.0.0/8, services: 172.16.0.0/16}, workers: [{name: w, replicas: 1000}, {name: v, replicas: 1000}, {name: u, replicas: 1000}]}", "10.80.0.0/16").unwrap();
    let distinct =
        |of: fn(&AllocatedMachine) -> String| allocations.machines.values().map(of).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(|machine| machine.mac.clone()), 3001);
    assert_eq!(distinct(|machine| machine.uuid.clone()), 3001);
    assert_eq!(distinct(|machine| machine.address.to_string()), 3001);
}

#[test]
fn a_full_network_is_refused_with_the_machine_that_found_no_place() {
    assert!(extended("{workers: [{name: w, replicas: 4}]}", "10.80.0.0/28").is_ok());
    let error = extended("{workers: [{name: w, replicas: 5}]}", "10.80.0.0/28").unwrap_err();
    assert_eq!(error.to_string(), "the machines' network 10.80.0.0/28 has no address left for demo-w-5");
    assert_eq!(classify(&error), Exit::Topology);
    let error = extended("{}", "255.255.255.248/29").unwrap_err();
    assert!(error.to_string().contains("no address left for demo-control-plane-1"), "{error}");
}

#[test]
fn a_roster_keeps_the_machines_that_are_there_and_fills_up_with_the_lowest_numbers() {
    let names = |roster: Vec<Machine>| roster.into_iter().map(|machine| machine.name).collect::<Vec<_>>();
    let three = topology("{workers: [{name: w, replicas: 3}]}");
    let mut allocations = fresh_in(&three, "10.80.0.0/24");
    extend(&mut allocations, &three).unwrap();
    allocations.machines.remove("demo-w-1");
    assert_eq!(names(roster(&three, &allocations))[1..], ["demo-w-1", "demo-w-2", "demo-w-3"]);
    let two = topology("{workers: [{name: w, replicas: 2}]}");
    assert_eq!(names(roster(&two, &allocations))[1..], ["demo-w-2", "demo-w-3"]);
    assert!(leavers(&two, &allocations).is_empty());
    let one = topology("{workers: [{name: w, replicas: 1}]}");
    assert_eq!(names(roster(&one, &allocations))[1..], ["demo-w-2"]);
    assert_eq!(leavers(&one, &allocations), [("demo-w-3".to_owned(), Role::Worker("w".to_owned()))]);
    allocations.machines.get_mut("demo-w-2").unwrap().leaving = true;
    assert_eq!(names(roster(&one, &allocations))[1..], ["demo-w-3"], "who was chosen to go does");
    assert_eq!(names(roster(&two, &allocations))[1..], ["demo-w-1", "demo-w-3"], "its number is not free yet");
    let none = topology("{}");
    assert_eq!(leavers(&none, &allocations).len(), 2);
}

#[test]
fn a_virtual_address_lies_below_the_machines_and_may_be_chosen() {
    let allocations = extended("{loadBalancer: {}}", "10.80.0.0/24").unwrap();
    assert_eq!(allocations.virtual_address, Some("10.80.0.2".parse().unwrap()));
    let chosen = extended("{loadBalancer: {address: 10.80.0.77}}", "10.80.0.0/24").unwrap();
    assert_eq!(chosen.virtual_address, Some("10.80.0.77".parse().unwrap()));
    assert_eq!(extended("{}", "10.80.0.0/24").unwrap().virtual_address, None);
    let topology = topology("{loadBalancer: {address: 10.80.0.10}}");
    let mut taken = fresh_in(&topology, "10.80.0.0/24");
    extend(&mut taken, &super::tests::topology("{}")).unwrap();
    let error = extend(&mut taken, &topology).unwrap_err();
    assert!(error.to_string().contains("is the address of demo-control-plane-1"), "{error}");
}

#[test]
fn etcd_begins_with_the_first_members_that_were_asked_for() {
    let three = topology("{controlPlane: {replicas: 3}, loadBalancer: {}}");
    let mut allocations = fresh_in(&three, "10.80.0.0/24");
    extend(&mut allocations, &three).unwrap();
    let founders = allocations.founders.clone();
    assert_eq!(founders.len(), 3);
    extend(&mut allocations, &topology("{controlPlane: {replicas: 5}, loadBalancer: {}}")).unwrap();
    assert_eq!(allocations.founders, founders, "who comes later joins");
    let external = extended("{etcd: {mode: external, replicas: 1}}", "10.80.0.0/24").unwrap();
    assert_eq!(external.founders.into_iter().collect::<Vec<_>>(), ["demo-etcd-1"]);
}
