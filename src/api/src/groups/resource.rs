//! The group `resource.k8s.io`: devices claimed by pods.

use crate::resource::{NOOP, ResourceDescriptor as Row, Strategy};
use crate::status;

const V1: (&str, &str) = ("resource.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "DeviceClass", "deviceclasses"),
    Row::namespaced(V1, "ResourceClaim", "resourceclaims").strategy(&CLAIM).with_status(),
    Row::namespaced(V1, "ResourceClaimTemplate", "resourceclaimtemplates"),
    Row::cluster(V1, "ResourceSlice", "resourceslices").selectable(&["spec.nodeName", "spec.driver"]),
];

/// A claim is never changed once it is made, only what became of it.
const CLAIM: Strategy = Strategy {
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    ..NOOP
};
