//! The group `networking.k8s.io`.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("networking.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "IngressClass", "ingressclasses"),
    Row::namespaced(V1, "Ingress", "ingresses")
        .short(&["ing"])
        .stored_in("ingress")
        .with_status(),
    Row::cluster(V1, "IPAddress", "ipaddresses")
        .short(&["ip"])
        .selectable(&["spec.parentRef.resource"]),
    Row::namespaced(V1, "NetworkPolicy", "networkpolicies").short(&["netpol"]),
    Row::cluster(V1, "ServiceCIDR", "servicecidrs").with_status(),
];
