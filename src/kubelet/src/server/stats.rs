//! What the node and its containers use: the summary, and the same as metrics.

use std::collections::BTreeMap;
use std::fmt::Write;

use cri::api::{ContainerStats, UInt64Value};
use http::{Response, StatusCode};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Body, Server, text, with_type};
use crate::node::facts;
use crate::pod::identity;

fn number(value: Option<&UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

fn label<'a>(stats: &'a ContainerStats, name: &str) -> &'a str {
    let labels = stats.attributes.as_ref().map(|attributes| &attributes.labels);
    labels.and_then(|labels| labels.get(name)).map_or("", String::as_str)
}

fn time(nanos: i64) -> Option<String> {
    Timestamp::from_nanosecond(i128::from(nanos)).ok().map(|time| time.to_string())
}

/// `/stats/summary`.
pub(super) async fn summary(server: &Server) -> Response<Body> {
    let stats = match server.node.runtime.list_container_stats().await {
        Ok(stats) => stats,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut pods: BTreeMap<&str, (Value, Vec<Value>)> = BTreeMap::new();
    for one in stats.iter().filter(|one| !label(one, identity::POD_UID).is_empty()) {
        let uid = label(one, identity::POD_UID);
        let reference = || json!({"name": label(one, identity::POD_NAME), "namespace": label(one, identity::POD_NAMESPACE), "uid": uid});
        pods.entry(uid).or_insert_with(|| (reference(), Vec::new())).1.push(container(one));
    }
    let pods: Vec<Value> = pods
        .into_values()
        .map(|(reference, containers)| json!({"podRef": reference, "containers": containers}))
        .collect();
    let summary = json!({"node": node(server), "pods": pods});
    with_type(StatusCode::OK, "application/json", summary.to_string())
}

fn node(server: &Server) -> Value {
    let free = facts::free(&server.node.paths.pods());
    let capacity = server.node.offer.memory_capacity;
    let now = Timestamp::now().to_string();
    json!({
        "nodeName": server.node.node_name,
        "memory": {"time": now, "availableBytes": free.memory, "usageBytes": capacity - free.memory, "workingSetBytes": capacity - free.memory},
        "fs": {
            "time": now, "availableBytes": free.disk, "capacityBytes": free.disk_size, "usedBytes": free.disk_size - free.disk,
            "inodesFree": free.inodes, "inodes": free.inodes_size, "inodesUsed": free.inodes_size - free.inodes,
        },
    })
}

fn container(stats: &ContainerStats) -> Value {
    let cpu = stats.cpu.unwrap_or_default();
    let memory = stats.memory.unwrap_or_default();
    let disk = stats.writable_layer.clone().unwrap_or_default();
    json!({
        "name": label(stats, identity::CONTAINER_NAME),
        "cpu": {
            "time": time(cpu.timestamp),
            "usageCoreNanoSeconds": number(cpu.usage_core_nano_seconds.as_ref()),
            "usageNanoCores": number(cpu.usage_nano_cores.as_ref()),
        },
        "memory": {
            "time": time(memory.timestamp),
            "workingSetBytes": number(memory.working_set_bytes.as_ref()),
            "usageBytes": number(memory.usage_bytes.as_ref()),
            "rssBytes": number(memory.rss_bytes.as_ref()),
        },
        "rootfs": {
            "time": time(disk.timestamp),
            "usedBytes": number(disk.used_bytes.as_ref()),
            "inodesUsed": number(disk.inodes_used.as_ref()),
        },
    })
}

/// `/metrics`.
pub(super) fn metrics(server: &Server) -> Response<Body> {
    let running = server.pods.list().len();
    let version = component_base::version::GIT_VERSION;
    let body = format!(
        "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods {running}\n\
         # HELP kubernetes_build_info A metric with a constant '1' value labeled by version.\n# TYPE kubernetes_build_info gauge\nkubernetes_build_info{{git_version=\"{version}\"}} 1\n"
    );
    with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
}

/// `/metrics/resource`.
pub(super) async fn resource_metrics(server: &Server) -> Response<Body> {
    let stats = match server.node.runtime.list_container_stats().await {
        Ok(stats) => stats,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", render(&stats))
}

fn render(stats: &[ContainerStats]) -> String {
    let (mut cpu, mut memory) = (String::new(), String::new());
    for one in stats.iter().filter(|one| !label(one, identity::POD_UID).is_empty()) {
        let labels = format!(
            "{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}}",
            label(one, identity::CONTAINER_NAME),
            label(one, identity::POD_NAMESPACE),
            label(one, identity::POD_NAME)
        );
        let nanos = one.cpu.as_ref().and_then(|cpu| cpu.usage_core_nano_seconds.as_ref());
        let seconds = std::time::Duration::from_nanos(number(nanos)).as_secs_f64();
        let bytes = one.memory.as_ref().and_then(|memory| memory.working_set_bytes.as_ref());
        // Writing to a string cannot fail.
        let _ = writeln!(cpu, "container_cpu_usage_seconds_total{labels} {seconds}");
        let _ = writeln!(memory, "container_memory_working_set_bytes{labels} {}", number(bytes));
    }
    format!(
        "# TYPE container_cpu_usage_seconds_total counter\n{cpu}# TYPE container_memory_working_set_bytes gauge\n{memory}"
    )
}

#[cfg(test)]
mod tests {
    use cri::api::{ContainerAttributes, CpuUsage};

    use super::*;

    #[test]
    fn use_is_rendered_with_its_labels() {
        let labels = [
            (identity::POD_UID, "u"),
            (identity::POD_NAME, "p"),
            (identity::POD_NAMESPACE, "n"),
            (identity::CONTAINER_NAME, "c"),
        ];
        let stats = ContainerStats {
            attributes: Some(ContainerAttributes {
                labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                ..Default::default()
            }),
            cpu: Some(CpuUsage {
                usage_core_nano_seconds: Some(UInt64Value { value: 1_500_000_000 }),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(
            render(&[stats])
                .contains("container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 1.5\n")
        );
    }
}
