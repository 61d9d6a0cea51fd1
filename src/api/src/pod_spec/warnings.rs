//! What of a pod is accepted and most likely not meant.

use crate::check;
use crate::pod_spec::amount;
use apimachinery::field::Path;
use apimachinery::value::Map;
use std::collections::{HashMap, HashSet};

/// Says what is unwise in the specification of a pod or template.
pub(crate) fn warn_of_spec(path: &Path, spec: &Map) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in check::maps(spec, list) {
            let path = path.child(list).index(index);
            warn_of_repeats(&mut warnings, &path, container);
            warn_of_fractions(&mut warnings, &path.child("resources"), check::part(container, "resources"));
        }
    }
    for (index, secret) in check::maps(spec, "imagePullSecrets") {
        if secret.str("name").is_empty() {
            let path = path.child("imagePullSecrets").index(index);
            warnings.push(format!("{path}: invalid empty name \"\""));
        }
    }
    for (index, volume) in check::maps(spec, "volumes") {
        let path = path.child("volumes").index(index);
        for (kind, instead) in [
            ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
            ("glusterfs", "deprecated in v1.25, this feature will be removed soon after in a subsequent release"),
            ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
            ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
        ] {
            if check::set(volume, kind) {
                warnings.push(format!("{}: {instead}", path.child(kind)));
            }
        }
    }
    warnings
}

/// A later definition hides an earlier one, and apply may drop either.
fn warn_of_repeats(warnings: &mut Vec<String>, path: &Path, container: &Map) {
    let mut seen = HashSet::new();
    for (index, env) in check::maps(container, "env") {
        if !seen.insert(env.str("name")) {
            let path = path.child("env").index(index);
            let told = "which may be dropped when using apply";
            warnings.push(format!("{path}: hides previous definition of {:?}, {told}", env.str("name")));
        }
    }
    let mut ports = HashMap::new();
    for (index, port) in check::maps(container, "ports") {
        let key = (check::number(port, "containerPort"), check::number(port, "hostPort"), port.str("protocol"));
        if let Some(first) = ports.insert(key, index) {
            let path = path.child("ports");
            warnings.push(format!("{}: duplicate port definition with {}", path.index(index), path.index(first)));
        }
    }
}

/// Half a byte is not given.
fn warn_of_fractions(warnings: &mut Vec<String>, path: &Path, resources: &Map) {
    for kind in ["limits", "requests"] {
        for (name, value) in check::part(resources, kind).iter() {
            let bytes = matches!(name.as_str(), "memory" | "ephemeral-storage");
            if bytes && amount(value).milli_value() % 1000 != 0 {
                let path = path.child(kind).key(name);
                warnings.push(format!(
                    "{path}: fractional byte value {:?} is invalid, must be an integer",
                    amount(value).to_string()
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::value;

    #[test]
    fn what_is_most_likely_not_meant_is_told() {
        let spec = value!({
            "containers": [{
                "name": "c",
                "env": [{"name": "A"}, {"name": "A"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}],
                "resources": {"requests": {"memory": "100m", "cpu": "100m"}},
            }],
            "imagePullSecrets": [{}],
            "volumes": [{"name": "v", "gitRepo": {"repository": "r"}}],
        });
        assert_eq!(
            warn_of_spec(&Path::new("spec"), spec.as_map().unwrap()),
            [
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.imagePullSecrets[0]: invalid empty name \"\"",
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
            ]
        );
    }
}
