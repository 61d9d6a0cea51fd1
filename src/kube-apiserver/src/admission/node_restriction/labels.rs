//! The labels of a node that are not its kubelet's to set.

use apimachinery::Object;

/// Labels below these domains are not a kubelet's to set, but for those it is meant to.
const RESERVED: [&str; 2] = ["kubernetes.io", "k8s.io"];
/// Domains below which a kubelet may set anything.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// A domain that is never a kubelet's.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Single labels a kubelet may set.
const OWN: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Labels that were set, changed or removed and are not a kubelet's to touch, in order.
pub(super) fn forbidden(new: &Object, old: &Object) -> Vec<String> {
    let changed = new.labels().strings().filter(|(key, value)| old.label(key) != Some(*value));
    let removed = old.labels().strings().filter(|(key, _)| new.label(key).is_none());
    let mut keys: Vec<String> =
        changed.chain(removed).map(|(key, _)| key).filter(|key| is_reserved(key)).map(str::to_owned).collect();
    keys.sort();
    keys
}

fn is_reserved(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let below = |parent: &&str| domain.strip_suffix(*parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if below(&RESTRICTED) {
        return true;
    }
    RESERVED.iter().any(below) && !OWN_DOMAINS.iter().any(below) && !OWN.contains(&key)
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn a_kubelet_cannot_give_its_node_a_role() {
        let object = |tree| Object::try_from(tree).unwrap();
        let old = object(value!({"metadata": {"labels": {"kubernetes.io/hostname": "n"}}}));
        let new = object(value!({"metadata": {"labels": {
            "kubernetes.io/hostname": "n", "node-role.kubernetes.io/control-plane": "",
            "node.kubernetes.io/x": "ok", "topology.kubernetes.io/zone": "ok", "own": "ok",
            "sub.kubelet.kubernetes.io/x": "ok", "mykubernetes.io/x": "ok",
            "node-restriction.kubernetes.io/x": "no", "a.node-restriction.kubernetes.io/x": "no",
        }}}));
        let expected = [
            "a.node-restriction.kubernetes.io/x",
            "node-restriction.kubernetes.io/x",
            "node-role.kubernetes.io/control-plane",
        ];
        assert_eq!(forbidden(&new, &old), expected);
        assert_eq!(forbidden(&old, &new), expected);
    }
}
