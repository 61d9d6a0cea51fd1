//! What an existing machine says of itself, and whether it may become ours.

use anyhow::Result;
use ipnet::IpNet;
use topology::spec::ExistingHost;

use crate::exit::{Exit, Refusal};
use crate::software;

/// What a machine said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The cluster that has claimed it, as its id and name; empty if none has.
    pub(super) mark: String,
    /// Its machine id.
    pub(super) machine: String,
    /// All its addresses, with the networks that they are in.
    pub(super) addresses: Vec<IpNet>,
    /// Files that a Kubernetes leaves on its machines.
    pub(super) kubernetes: Vec<String>,
    /// Ports that something listens on, each with the name of the program if it was told.
    pub(super) listeners: Vec<(u16, String)>,
}

impl Facts {
    pub(super) fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        for line in text.lines() {
            let (fact, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = value.trim().to_owned();
            match fact {
                "mark" => facts.mark = value,
                "machine" => facts.machine = value,
                "address" => facts.addresses.extend(value.parse::<IpNet>()),
                "kubernetes" => facts.kubernetes.push(value),
                "listener" => {
                    let (port, program) = value.split_once(' ').unwrap_or((&value, ""));
                    facts.listeners.extend(port.parse().map(|port| (port, program.to_owned())));
                }
                _ => {}
            }
        }
        facts
    }

    /// Refuses a machine that is not the one that is meant, or that belongs to others.
    pub(super) fn check(&self, host: &ExistingHost, mark: &str) -> Result<()> {
        let name = &host.name;
        if !self.addresses.iter().any(|own| own.addr() == host.address) {
            let own: Vec<String> = self.own().map(|own| own.addr().to_string()).collect();
            let message = format!(
                "spec.infrastructure.hosts: {name} answers at {} and has another address itself: {}",
                host.address,
                own.join(", ")
            );
            let hint = "give the address that the machine has, as the other machines reach it";
            return Err(Refusal::new(Exit::Identity, message).hint(hint).into());
        }
        if self.mark == mark {
            return Ok(());
        }
        if let Some((_, other)) = self.mark.split_once(' ') {
            let message = format!("spec.infrastructure.hosts: {name} belongs to the cluster {other}");
            let hint = format!(
                "`provision destroy {other}` where that cluster was made; if that is gone, run `sh {}` on {name}",
                software::WAY_BACK
            );
            return Err(Refusal::new(Exit::Identity, message).hint(hint).into());
        }
        if !self.kubernetes.is_empty() {
            let files = self.kubernetes.join(", ");
            let message =
                format!("spec.infrastructure.hosts: {name} runs a Kubernetes of somebody else: it has {files}");
            let hint = "choose another machine, or remove that Kubernetes with the tool that installed it";
            return Err(Refusal::new(Exit::Identity, message).hint(hint).into());
        }
        Ok(())
    }

    /// Refuses a machine on which somebody else has a port that is needed.
    pub(super) fn check_ports(&self, name: &str, needed: &[(u16, &str)]) -> Result<()> {
        let taken = needed.iter().find_map(|need| Some((need, self.listeners.iter().find(|taken| taken.0 == need.0)?)));
        let Some(((port, wants), (_, program))) = taken else { return Ok(()) };
        let program = if program.is_empty() { "another program" } else { program };
        let message =
            format!("spec.infrastructure.hosts: {program} listens on port {port} of {name}, which {wants} needs");
        let hint =
            format!("end it or let it listen elsewhere (`ss -ltnp` on {name} shows it), or choose another machine");
        Err(Refusal::new(Exit::Host, message).hint(hint).into())
    }

    fn own(&self) -> impl Iterator<Item = &IpNet> {
        self.addresses.iter().filter(|own| !own.addr().is_loopback())
    }
}

/// Refuses machines that cannot be machines of one cluster.
pub(super) fn check_all(seen: &[(&ExistingHost, Facts)]) -> Result<()> {
    for (index, (host, facts)) in seen.iter().enumerate() {
        let name = &host.name;
        let twin = seen[..index].iter().find(|(_, other)| !facts.machine.is_empty() && other.machine == facts.machine);
        if let Some((twin, _)) = twin {
            let message = format!("spec.infrastructure.hosts: {} and {name} have one machine id", twin.name);
            let hint =
                "name every machine once; if they are copies of one another, give each an /etc/machine-id of its own";
            return Err(Refusal::new(Exit::Topology, message).hint(hint).into());
        }
        // Routes to the pods of other nodes lead straight to those nodes.
        let mut others = seen.iter().filter(|(other, _)| other.name != host.name);
        let far = others.find(|(other, _)| !facts.own().any(|own| own.contains(&other.address)));
        if let Some((far, _)) = far {
            let own = facts.own().map(IpNet::to_string).collect::<Vec<_>>().join(", ");
            let message = format!(
                "spec.infrastructure.hosts: {name} ({own}) shares no network with {} ({})",
                far.name, far.address
            );
            let hint =
                "machines of a cluster are neighbours in one network; give addresses of a network that they share";
            return Err(Refusal::new(Exit::Topology, message).hint(hint).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "id-1 demo";

    fn host(name: &str, address: &str) -> ExistingHost {
        let (name, address, role) = (name.into(), address.parse().unwrap(), "control-plane".into());
        ExistingHost { name, address, port: 22, host_key: String::new(), role }
    }

    fn check(said: &str, expected: Option<&str>) {
        let host = host("one", "192.168.1.2");
        let checked = Facts::parse(said).check(&host, OURS).map_err(|error| error.to_string());
        match (checked, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) => assert!(error.contains(part), "{error}"),
            (checked, _) => panic!("{said}: {checked:?}"),
        }
    }

    #[test]
    fn a_machine_that_is_nobodys_or_ours_may_be_claimed() {
        check("mark \nmachine m\naddress 127.0.0.1/8\naddress 192.168.1.2/24\n", None);
        check("mark id-1 demo\naddress 192.168.1.2/24\nkubernetes /etc/kubernetes/kubelet.conf\n", None);
    }

    #[test]
    fn a_machine_that_lies_about_its_address_is_refused() {
        check(
            "mark \naddress 127.0.0.1/8\naddress 10.0.0.9/24\n",
            Some("answers at 192.168.1.2 and has another address itself: 10.0.0.9"),
        );
    }

    #[test]
    fn a_machine_of_others_is_refused() {
        check("mark id-2 other\naddress 192.168.1.2/24\n", Some("one belongs to the cluster other"));
        check("mark id-2 demo\naddress 192.168.1.2/24\n", Some("one belongs to the cluster demo"));
        check("mark \naddress 192.168.1.2/24\nkubernetes /etc/rancher/k3s\n", Some("it has /etc/rancher/k3s"));
    }

    #[test]
    fn a_port_that_somebody_else_has_is_named_with_who_has_it_and_who_needs_it() {
        let check = |said: &str, expected: &str| {
            let checked = Facts::parse(said).check_ports("one", &[(6443, "kube-apiserver"), (10250, "the kubelet")]);
            let error = checked.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{said}: {error}");
        };
        check("mark \nlistener 22 sshd\nlistener 64430 x\nlistener nothing y\n", "");
        check("listener 6443 nginx\n", "nginx listens on port 6443 of one, which kube-apiserver needs");
        check("listener 10250 \n", "another program listens on port 10250 of one, which the kubelet needs");
    }

    #[test]
    fn the_script_tells_of_whoever_listens() {
        let Ok(listener) = std::net::TcpListener::bind("127.0.0.1:0") else { return };
        if !std::path::Path::new("/usr/bin/ss").exists() && !std::path::Path::new("/bin/ss").exists() {
            println!("skipped: ss (iproute2) is not installed");
            return;
        }
        let output = std::process::Command::new("sh").args(["-c", super::super::CLAIM]).output().unwrap();
        let facts = Facts::parse(&String::from_utf8_lossy(&output.stdout));
        let port = listener.local_addr().unwrap().port();
        assert!(facts.listeners.iter().any(|(taken, _)| *taken == port), "{:?}", facts.listeners);
    }

    fn check_all_of(said: &[(&str, &str, &str)], expected: Option<&str>) {
        let hosts: Vec<ExistingHost> = said.iter().map(|(name, address, _)| host(name, address)).collect();
        let seen: Vec<_> = hosts.iter().zip(said).map(|(host, (_, _, said))| (host, Facts::parse(said))).collect();
        let error = super::check_all(&seen).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(expected.map_or(error.is_empty(), |part| error.contains(part)), "{error}");
    }

    #[test]
    fn machines_that_are_one_or_that_share_no_network_are_refused() {
        let one = ("one", "10.0.0.1", "machine m1\naddress 127.0.0.1/8\naddress 10.0.0.1/24\n");
        check_all_of(&[one, ("two", "10.0.0.2", "machine m2\naddress 10.0.0.2/24\n")], None);
        check_all_of(
            &[one, ("two", "10.0.0.2", "machine m1\naddress 10.0.0.2/24\n")],
            Some("one and two have one machine id"),
        );
        check_all_of(
            &[one, ("two", "10.9.0.2", "machine m2\naddress 10.9.0.2/24\n")],
            Some("one (10.0.0.1/24) shares no network with two (10.9.0.2)"),
        );
        check_all_of(
            &[("one", "10.0.0.1", "address 10.0.0.1/24\n"), ("two", "10.0.0.2", "address 10.0.0.2/24\n")],
            None,
        );
    }
}
