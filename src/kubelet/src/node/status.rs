//! The status of the node, from what is measured. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cri::api::Image;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::addresses;
use super::facts::Sizes;
use crate::config::PodSettings;
use crate::eviction::threshold::{Shortage, Signal};
use crate::node_context::Offer;
use crate::pod::amount;

/// How many images and names of each are told.
const IMAGES: usize = 50;
const NAMES: usize = 5;

/// Whether the node can run pods, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// What is wrong; empty means nothing is.
    pub problems: Vec<String>,
}

/// What a node status is made from.
pub struct Picture<'a> {
    /// The name of the node.
    pub name: &'a str,
    /// Its addresses.
    pub ips: &'a [IpAddr],
    /// Its sizes.
    pub sizes: Sizes,
    /// What is short.
    pub pressure: &'a [Shortage],
    /// Names and versions.
    pub info: &'a NodeSystemInfo,
    /// What pods get.
    pub pods: &'a PodSettings,
    /// The port of the server.
    pub port: u16,
    /// Whether pods can run.
    pub readiness: &'a Readiness,
    /// The images on the node.
    pub images: &'a [Image],
    /// The status told before.
    pub before: &'a NodeStatus,
    /// The moment.
    pub now: Timestamp,
}

/// What pods may use: the machine less what is kept back.
pub fn offer(sizes: Sizes, pods: &PodSettings) -> Offer {
    let kept = |name: &str, read: fn(&Quantity) -> Option<i64>| -> i64 {
        pods.reserved
            .iter()
            .filter_map(|reserved| reserved.get(name))
            .filter_map(|text| read(&Quantity(text.clone())))
            .sum()
    };
    let eviction = pods.eviction.kept(Signal::Memory, sizes.memory);
    Offer {
        cpu: (sizes.cpus * 1000 - kept("cpu", amount::millis)).max(0),
        memory: (sizes.memory - kept("memory", amount::units) - eviction).max(0),
        pods: pods.max_pods,
        memory_capacity: sizes.memory,
    }
}

/// The status that the API should show.
pub fn status(picture: &Picture<'_>) -> NodeStatus {
    let offer = offer(picture.sizes, picture.pods);
    let list = |cpu: String, memory: i64, disk: i64| -> BTreeMap<String, Quantity> {
        [
            ("cpu", cpu),
            ("memory", format!("{}Ki", memory / 1024)),
            ("pods", picture.pods.max_pods.to_string()),
            ("ephemeral-storage", format!("{}Ki", disk / 1024)),
            ("hugepages-1Gi", "0".to_owned()),
            ("hugepages-2Mi", "0".to_owned()),
        ]
        .map(|(name, text)| (name.to_owned(), Quantity(text)))
        .into()
    };
    let whole_cpus = offer.cpu % 1000 == 0;
    let cpu = if whole_cpus { (offer.cpu / 1000).to_string() } else { format!("{}m", offer.cpu) };
    let disk_kept = picture.pods.eviction.kept(Signal::NodeDisk, picture.sizes.disk);
    NodeStatus {
        capacity: Some(list(picture.sizes.cpus.to_string(), picture.sizes.memory, picture.sizes.disk)),
        allocatable: Some(list(cpu, offer.memory, picture.sizes.disk - disk_kept)),
        addresses: Some(addresses::of_node(picture.ips, picture.name)),
        conditions: Some(conditions(picture)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(picture.port) }),
        }),
        node_info: Some(picture.info.clone()),
        images: Some(images(picture.images)),
        ..NodeStatus::default()
    }
}

fn images(images: &[Image]) -> Vec<ContainerImage> {
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by_key(|image| std::cmp::Reverse(image.size));
    let shown = sorted.into_iter().take(IMAGES).map(|image| ContainerImage {
        names: Some(image.repo_digests.iter().chain(&image.repo_tags).take(NAMES).cloned().collect()),
        size_bytes: i64::try_from(image.size).ok(),
    });
    shown.collect()
}

fn conditions(picture: &Picture<'_>) -> Vec<NodeCondition> {
    let lacks = |shortage: Shortage| picture.pressure.contains(&shortage);
    let (memory, disk, pids) = (lacks(Shortage::Memory), lacks(Shortage::Disk), lacks(Shortage::Pids));
    let problems = picture.readiness.problems.join(", ");
    let ready = if problems.is_empty() {
        ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned())
    } else {
        ("Ready", false, "KubeletNotReady", problems)
    };
    let pressure = |kind: &'static str, holds: bool, words: [&'static str; 4]| {
        if holds { (kind, true, words[0], words[1].to_owned()) } else { (kind, false, words[2], words[3].to_owned()) }
    };
    let found = [
        pressure(
            "MemoryPressure",
            memory,
            [
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ],
        ),
        pressure(
            "DiskPressure",
            disk,
            [
                "KubeletHasDiskPressure",
                "kubelet has disk pressure",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ],
        ),
        pressure(
            "PIDPressure",
            pids,
            [
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ],
        ),
        ready,
    ];
    found.into_iter().map(|(kind, holds, reason, message)| stamp(picture, (kind, holds, reason, message))).collect()
}

fn stamp(picture: &Picture<'_>, (kind, holds, reason, message): (&str, bool, &str, String)) -> NodeCondition {
    let status = if holds { "True" } else { "False" };
    let before = picture.before.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let now = Timestamp::from_second(picture.now.as_second()).ok().map(Time);
    let since = before.filter(|before| before.status == status).and_then(|before| before.last_transition_time.clone());
    NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: now.clone(),
        last_transition_time: since.or(now),
    }
}

/// Whether two statuses differ in more than the time of their heartbeats.
pub fn differs(before: &NodeStatus, after: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(before) != still(after)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{Args, Config};

    fn compute(pressure: &[Shortage], problems: Vec<String>, before: &NodeStatus) -> NodeStatus {
        let config = Config::try_from(Args::try_parse_from(["kubelet", "--hostname-override=n1"]).unwrap()).unwrap();
        status(&Picture {
            name: "n1",
            ips: &["10.0.0.1".parse().unwrap()],
            sizes: Sizes { cpus: 2, memory: 4 << 30, disk: 100 << 30 },
            pressure,
            info: &NodeSystemInfo::default(),
            pods: &config.pods,
            port: 10250,
            readiness: &Readiness { problems },
            images: &[],
            before,
            now: Timestamp::from_second(500).unwrap(),
        })
    }

    fn holds(status: &NodeStatus, kind: &str) -> bool {
        status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
    }

    #[test]
    fn a_sound_node_is_ready_and_offers_less_than_it_has() {
        let status = compute(&[], Vec::new(), &NodeStatus::default());
        assert!(holds(&status, "Ready") && !holds(&status, "MemoryPressure") && !holds(&status, "DiskPressure"));
        let memory = |list: &Option<BTreeMap<String, Quantity>>| list.as_ref().unwrap()["memory"].0.clone();
        assert_eq!(
            (memory(&status.capacity), memory(&status.allocatable)),
            ("4194304Ki".to_owned(), "4091904Ki".to_owned())
        );
    }

    #[test]
    fn pressure_and_problems_show() {
        let short = [Shortage::Memory, Shortage::Disk];
        let status = compute(&short, vec!["container runtime is down".to_owned()], &NodeStatus::default());
        assert!(!holds(&status, "Ready") && holds(&status, "MemoryPressure") && holds(&status, "DiskPressure"));
    }

    #[test]
    fn a_heartbeat_alone_is_no_difference() {
        let first = compute(&[], Vec::new(), &NodeStatus::default());
        let mut older = first.clone();
        older.conditions.as_mut().unwrap()[0].last_heartbeat_time = None;
        assert!(!differs(&older, &compute(&[], Vec::new(), &older)));
        assert!(differs(&first, &compute(&[], vec!["x".to_owned()], &first)));
    }
}
