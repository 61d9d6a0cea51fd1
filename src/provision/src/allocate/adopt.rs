//! Takes down the machines that exist already: nobody chooses anything for them.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use topology::spec::{ExistingHost, Hosts};

use super::identity;
use crate::exit::{Exit, Refusal};
use crate::state::{AllocatedMachine, Allocations};

/// Takes down what the topology says of its machines now; those that it does not name any more can still be reached.
pub(super) fn adopt(allocations: &mut Allocations, hosts: &Hosts) -> Result<()> {
    for host in &hosts.machines {
        let IpAddr::V4(address) = host.address else {
            let message = format!("spec.infrastructure.hosts: {} has the IPv6 address {}", host.name, host.address);
            return Err(Refusal::new(Exit::Topology, message).hint("give its IPv4 address").into());
        };
        let key = host.host_key.trim().to_owned();
        if let Some(machine) = allocations.machines.get_mut(&host.name) {
            keeps_its_place(host, address, machine)?;
            machine.host_key = Some(key);
            continue;
        }
        let machine = AllocatedMachine {
            mac: String::new(),
            address,
            uuid: identity(&allocations.id, &host.name).1,
            host_key: Some(key),
            role: host.role.clone(),
            leaving: false,
            chosen: None,
            etcd: None,
        };
        allocations.machines.insert(host.name.clone(), machine);
    }
    let before = allocations.hosts.take();
    let mut after = hosts.clone();
    let named = |name: &str| hosts.machines.iter().any(|host| host.name == name);
    let leaving = before.into_iter().flat_map(|hosts| hosts.machines);
    after.machines.extend(leaving.filter(|host| !named(&host.name) && allocations.machines.contains_key(&host.name)));
    allocations.hosts = Some(after);
    Ok(())
}

/// Certificates and members of etcd are bound to what the machine was when it came.
fn keeps_its_place(host: &ExistingHost, address: Ipv4Addr, machine: &AllocatedMachine) -> Result<()> {
    let name = &host.name;
    let what = if machine.leaving {
        "is on its way out of the cluster".to_owned()
    } else if machine.role != host.role {
        format!("is of the role {} and cannot become {}", machine.role, host.role)
    } else if machine.address != address {
        format!("is at {} and cannot move to {address}", machine.address)
    } else {
        return Ok(());
    };
    let message = format!("spec.infrastructure.hosts: {name} {what}");
    let hint = format!("apply the topology without {name} first, then with it");
    Err(Refusal::new(Exit::Topology, message).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::super::{Site, extend, fresh, leavers, roster};
    use super::*;
    use topology::Topology;

    const ONE: &str = "{name: one, address: 192.168.1.2, hostKey: k1, role: control-plane}";
    const TWO: &str = "{name: two, address: 192.168.1.3, hostKey: k2, role: w}";

    fn topology(workers: u16, machines: &[&str]) -> Topology {
        let machines = machines.join(", ");
        let text = format!(
            "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: demo}}\nspec: {{workers: [{{name: w, replicas: \
             {workers}}}], infrastructure: {{hosts: {{identityFile: /k, machines: [{machines}]}}}}}}\n"
        );
        Topology::parse("t", &text).unwrap()
    }

    fn given(topology: &Topology) -> Allocations {
        let site = Site {
            id: uuid::Uuid::from_u128(7),
            libvirt: "hosts".to_owned(),
            subnet: "192.168.1.2/32".parse().unwrap(),
            api_port: None,
            emulated: false,
        };
        let mut allocations = fresh(topology, &site);
        extend(&mut allocations, topology).unwrap();
        allocations
    }

    fn refused(allocations: &Allocations, topology: &Topology) -> String {
        extend(&mut allocations.clone(), topology).unwrap_err().to_string()
    }

    #[test]
    fn machines_keep_their_names_addresses_and_the_keys_that_are_written_down_now() {
        let mut allocations = given(&topology(1, &[ONE, TWO]));
        let names: Vec<String> =
            roster(&topology(1, &[TWO, ONE]), &allocations).into_iter().map(|machine| machine.name).collect();
        assert_eq!(names, ["one", "two"]);
        let founders: Vec<&String> = allocations.founders.iter().collect();
        assert_eq!(founders, ["one"]);
        let before = allocations.clone();
        extend(&mut allocations, &topology(1, &[ONE, &TWO.replace("k2", "k3")])).unwrap();
        let two = &allocations.machines["two"];
        assert_eq!((two.address.to_string().as_str(), two.host_key.as_deref()), ("192.168.1.3", Some("k3")));
        assert_eq!(two.uuid, before.machines["two"].uuid);
    }

    #[test]
    fn a_machine_that_is_named_no_more_leaves_and_can_be_reached_until_it_is_gone() {
        let mut allocations = given(&topology(1, &[ONE, TWO]));
        let without = topology(0, &[ONE]);
        extend(&mut allocations, &without).unwrap();
        let leaving: Vec<String> = leavers(&without, &allocations).into_iter().map(|(name, _)| name).collect();
        assert_eq!(leaving, ["two"]);
        assert_eq!(allocations.hosts.as_ref().unwrap().machines.len(), 2);
        allocations.machines.remove("two");
        extend(&mut allocations, &without).unwrap();
        assert_eq!(allocations.hosts.as_ref().unwrap().machines.len(), 1);
    }

    #[test]
    fn what_a_machine_is_bound_to_cannot_change_while_it_is_in_the_cluster() {
        let mut allocations = given(&topology(1, &[ONE, TWO]));
        let moved = refused(&allocations, &topology(1, &[ONE, &TWO.replace("1.3", "1.4")]));
        assert!(moved.contains("two is at 192.168.1.3 and cannot move to 192.168.1.4"), "{moved}");
        let v6 = refused(&allocations, &topology(1, &[ONE, &TWO.replace("192.168.1.3", "\"fd00::1\"")]));
        assert!(v6.contains("two has the IPv6 address fd00::1"), "{v6}");
        let swapped = [ONE.replace("control-plane", "w"), TWO.replace("role: w", "role: control-plane")];
        let swapped = refused(&allocations, &topology(1, &[&swapped[0], &swapped[1]]));
        assert!(swapped.contains("one is of the role control-plane and cannot become w"), "{swapped}");
        allocations.machines.get_mut("two").unwrap().leaving = true;
        let back = refused(&allocations, &topology(1, &[ONE, TWO]));
        assert!(back.contains("two is on its way out of the cluster"), "{back}");
    }
}
