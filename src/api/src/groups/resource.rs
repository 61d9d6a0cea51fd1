//! The group `resource.k8s.io`: devices claimed by pods.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("resource.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "DeviceClass", "deviceclasses"),
    Row::namespaced(V1, "ResourceClaim", "resourceclaims").with_status(),
    Row::namespaced(V1, "ResourceClaimTemplate", "resourceclaimtemplates"),
    Row::cluster(V1, "ResourceSlice", "resourceslices").selectable(&["spec.nodeName", "spec.driver"]),
];
