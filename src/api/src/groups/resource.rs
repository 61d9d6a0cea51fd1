//! The group `resource.k8s.io`: devices claimed by pods.

mod claim;
mod slice;

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("resource.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "DeviceClass", "deviceclasses").strategy(&claim::CLASS).columns(claim::COLUMNS),
    Row::namespaced(V1, "ResourceClaim", "resourceclaims")
        .strategy(&claim::CLAIM)
        .columns(claim::CLAIM_COLUMNS)
        .with_status(),
    Row::namespaced(V1, "ResourceClaimTemplate", "resourceclaimtemplates")
        .strategy(&claim::TEMPLATE)
        .columns(claim::COLUMNS),
    Row::cluster(V1, "ResourceSlice", "resourceslices")
        .strategy(&slice::STRATEGY)
        .columns(slice::COLUMNS)
        .selectable(&["spec.nodeName", "spec.driver"]),
];
