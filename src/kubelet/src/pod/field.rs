//! Fields and resources of the pod that its own containers may ask for (downward API).

use k8s_openapi::api::core::v1::{Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{amount, identity, qos};

/// What the kubelet knows of the pod and the node beside the pod's own text.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Addresses of the node, the first one first.
    pub host_ips: Vec<String>,
    /// Addresses of the pod, the first one first.
    pub pod_ips: Vec<String>,
    /// What pods may use of the node's CPU, in thousandths: the limit of a container that has none.
    pub allocatable_cpu: i64,
    /// What pods may use of the node's memory, in bytes.
    pub allocatable_memory: i64,
}

/// The value of a field path, or nothing if such a path cannot be asked for.
pub fn field(pod: &Pod, path: &str, facts: &Facts) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let text = match path {
        "metadata.name" => identity::name(pod).to_owned(),
        "metadata.namespace" => identity::namespace(pod).to_owned(),
        "metadata.uid" => identity::uid(pod).to_owned(),
        "metadata.labels" => lines(pod.metadata.labels.as_ref()),
        "metadata.annotations" => lines(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return subscript(pod, path),
    };
    Some(text)
}

fn subscript(pod: &Pod, path: &str) -> Option<String> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    let map = match map {
        "metadata.labels" => pod.metadata.labels.as_ref(),
        "metadata.annotations" => pod.metadata.annotations.as_ref(),
        _ => return None,
    };
    Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

fn lines(map: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={value:?}");
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// The value of a resource of a container, divided and rounded up; `own` is the container that asks.
pub fn resource(pod: &Pod, own: &str, selector: &ResourceFieldSelector, facts: &Facts) -> Option<String> {
    let container = identity::find_container(
        pod,
        selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(own),
    )?;
    let (kind, name) = selector.resource.split_once('.')?;
    let quantity = match kind {
        "limits" => qos::limit(container, name),
        "requests" => qos::request(container, name),
        _ => return None,
    };
    if name == "cpu" {
        let millis =
            quantity.and_then(amount::millis).unwrap_or(if kind == "limits" { facts.allocatable_cpu } else { 0 });
        return Some(divide(millis, divisor(selector, amount::millis, 1000)));
    }
    let bytes = quantity.and_then(amount::units).unwrap_or(if kind == "limits" && name == "memory" {
        facts.allocatable_memory
    } else {
        0
    });
    Some(divide(bytes, divisor(selector, amount::units, 1)))
}

fn divisor(selector: &ResourceFieldSelector, read: fn(&Quantity) -> Option<i64>, one: i64) -> i64 {
    selector.divisor.as_ref().and_then(read).filter(|divisor| *divisor > 0).unwrap_or(one)
}

fn divide(amount: i64, by: i64) -> String {
    (amount / by + i64::from(amount % by != 0)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::sandbox::tests::pod;

    #[test]
    fn fields_are_found_by_path() {
        let mut pod = pod(json!({"containers": [{"name": "c"}], "nodeName": "n1"}));
        pod.metadata.labels = Some([("a".to_owned(), "x\"y".to_owned()), ("b".to_owned(), "2".to_owned())].into());
        let facts = Facts { pod_ips: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()], ..Facts::default() };
        let cases = [
            ("metadata.name", Some("web")),
            ("metadata.labels['b']", Some("2")),
            ("metadata.labels['none']", Some("")),
            ("metadata.labels", Some("a=\"x\\\"y\"\nb=\"2\"")),
            ("spec.nodeName", Some("n1")),
            ("status.podIPs", Some("10.0.0.1,fd00::1")),
            ("spec.secret", None),
        ];
        for (path, expected) in cases {
            assert_eq!(field(&pod, path, &facts).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn resources_are_divided_and_fall_back_to_the_node() {
        let pod = pod(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}]}));
        let facts = Facts { allocatable_memory: 3 << 20, ..Facts::default() };
        let ask = |resource_name: &str, divisor: Option<&str>| {
            let selector = ResourceFieldSelector {
                resource: resource_name.to_owned(),
                divisor: divisor.map(|text| Quantity(text.to_owned())),
                container_name: None,
            };
            resource(&pod, "c", &selector, &facts).unwrap()
        };
        assert_eq!(ask("limits.cpu", None), "2");
        assert_eq!(ask("limits.cpu", Some("1m")), "1500");
        assert_eq!(ask("limits.memory", Some("1Mi")), "3");
        assert_eq!(ask("requests.memory", None), "0");
    }
}
