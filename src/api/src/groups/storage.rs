//! The group `storage.k8s.io`.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("storage.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "CSIDriver", "csidrivers"),
    Row::cluster(V1, "CSINode", "csinodes"),
    Row::namespaced(V1, "CSIStorageCapacity", "csistoragecapacities"),
    Row::cluster(V1, "StorageClass", "storageclasses").short(&["sc"]),
    Row::cluster(V1, "VolumeAttachment", "volumeattachments").with_status(),
    Row::cluster(V1, "VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]),
];
