//! The group `networking.k8s.io`.

mod ingress;
mod policy;

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("networking.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "IngressClass", "ingressclasses").strategy(&ingress::CLASS).columns(ingress::CLASS_COLUMNS),
    Row::namespaced(V1, "Ingress", "ingresses")
        .short(&["ing"])
        .strategy(&ingress::STRATEGY)
        .columns(ingress::COLUMNS)
        .stored_in("ingress")
        .with_status(),
    Row::cluster(V1, "IPAddress", "ipaddresses")
        .short(&["ip"])
        .strategy(&policy::ADDRESS)
        .columns(policy::ADDRESS_COLUMNS)
        .selectable(&["spec.parentRef.resource"]),
    Row::namespaced(V1, "NetworkPolicy", "networkpolicies")
        .short(&["netpol"])
        .strategy(&policy::STRATEGY)
        .columns(policy::COLUMNS),
    Row::cluster(V1, "ServiceCIDR", "servicecidrs")
        .strategy(&policy::RANGE)
        .columns(policy::RANGE_COLUMNS)
        .with_status(),
];
