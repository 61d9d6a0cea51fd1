//! A status for people.

use std::fmt::Write as _;

use super::certificates::Certificate;
use super::etcd::Member;
use super::model::{Component, MachineStatus, Status};

/// The whole status as a tree, with what is wrong at its end.
pub(crate) fn text(status: &Status) -> String {
    let Status { name, state, api, network, .. } = status;
    let answer = match (api.ready, api.version.as_str()) {
        (Some(true), version) => format!("ready ({version})"),
        (Some(false), "") => "does not answer".to_owned(),
        (Some(false), version) => format!("not ready ({version})"),
        (None, "") => "unknown".to_owned(),
        (None, version) => format!("unknown ({version})"),
    };
    let mut text = format!("{name}: {state}\n├─ API {} {answer}\n├─ network {network}\n", api.server);
    let mut branches: Vec<(String, Vec<String>)> = status.machines.iter().map(|one| machine(one, status)).collect();
    if !status.etcd.is_empty() {
        branches.push((format!("etcd, {} members", status.etcd.len()), status.etcd.iter().map(member).collect()));
    }
    if let Some(first) = first_certificate(status, "cluster") {
        branches.push((format!("authorities and administrator: {first}"), Vec::new()));
    }
    let last = branches.len().saturating_sub(1);
    for (at, (head, twigs)) in branches.iter().enumerate() {
        let (branch, trunk) = if at == last { ("└─", "  ") } else { ("├─", "│ ") };
        let _ = writeln!(text, "{branch} {head}");
        for (at, twig) in twigs.iter().enumerate() {
            let sign = if at + 1 == twigs.len() { "└─" } else { "├─" };
            let _ = writeln!(text, "{trunk} {sign} {twig}");
        }
    }
    for (title, lines) in [("Problems", &status.problems), ("Not seen", &status.unseen)] {
        if !lines.is_empty() {
            let _ = writeln!(text, "{title}:");
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    text.trim_end().to_owned()
}

fn machine(machine: &MachineStatus, status: &Status) -> (String, Vec<String>) {
    let MachineStatus { name, role, address, power, ssh, node, components, programs } = machine;
    let mut head = format!("{name}  {role}  {address}  {power}");
    if *power == "on" && *ssh != "reachable" {
        let _ = write!(head, "  SSH {ssh}");
    }
    let mut twigs = Vec::new();
    if let Some(node) = node {
        let ready = if node.ready { "Ready" } else { "NotReady" };
        let cordoned = if node.schedulable { "" } else { ", cordoned" };
        twigs.push(format!("Node {ready}{cordoned}, {}, {}", node.version, node.runtime));
    }
    for kind in ["unit", "pod"] {
        let shown: Vec<String> = components.iter().filter(|one| one.kind == kind).map(component).collect();
        if !shown.is_empty() {
            twigs.push(format!("{kind}s: {}", shown.join(", ")));
        }
    }
    if !programs.is_empty() {
        twigs.push(format!("programs {programs}"));
    }
    twigs.extend(first_certificate(status, name));
    (head, twigs)
}

fn component(component: &Component) -> String {
    let Component { name, state, restarts, .. } = component;
    match restarts {
        0 => format!("{name} {state}"),
        _ => format!("{name} {state} (restarts: {restarts})"),
    }
}

fn member(member: &Member) -> String {
    let Member { name, id, state, version, bytes } = member;
    if version.is_empty() {
        return format!("{name} ({id}) {state}");
    }
    format!("{name} ({id}) {state}, {version}, {} KiB", bytes / 1024)
}

/// The first certificate of a machine that ends.
fn first_certificate(status: &Status, machine: &str) -> Option<String> {
    let mine = status.certificates.iter().filter(|certificate| certificate.machine == machine);
    let Certificate { name, expires, days, .. } = mine.min_by_key(|certificate| certificate.expires)?;
    Some(format!("certificates until {} ({days} days, {name})", expires.strftime("%F")))
}
