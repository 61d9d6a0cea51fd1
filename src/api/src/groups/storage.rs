//! The group `storage.k8s.io`.

mod class;

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("storage.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "CSIDriver", "csidrivers").strategy(&class::DRIVER).columns(class::DRIVER_COLUMNS),
    Row::cluster(V1, "CSINode", "csinodes").strategy(&class::CSI_NODE).columns(class::CSI_NODE_COLUMNS),
    Row::namespaced(V1, "CSIStorageCapacity", "csistoragecapacities")
        .strategy(&class::CAPACITY)
        .columns(class::CAPACITY_COLUMNS),
    Row::cluster(V1, "StorageClass", "storageclasses")
        .short(&["sc"])
        .strategy(&class::STRATEGY)
        .columns(class::COLUMNS),
    Row::cluster(V1, "VolumeAttachment", "volumeattachments")
        .strategy(&class::ATTACHMENT)
        .columns(class::ATTACHMENT_COLUMNS)
        .with_status(),
    Row::cluster(V1, "VolumeAttributesClass", "volumeattributesclasses")
        .short(&["vac"])
        .strategy(&class::ATTRIBUTES)
        .columns(class::ATTRIBUTES_COLUMNS),
];
