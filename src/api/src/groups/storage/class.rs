//! Storage classes, drivers, attachments.

mod rules;

use crate::check::{self, Errors};
use crate::fill::{fill, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::Path;
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::Value;

/// The annotation of the class that claims without one get.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

pub(super) const STRATEGY: Strategy = Strategy {
    default: |class| {
        let fields = class.as_map_mut();
        fill(fields, "reclaimPolicy", "Delete");
        fill(fields, "volumeBindingMode", "Immediate");
    },
    validate: rules::validate_class,
    validate_update: rules::validate_class_update,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    Column::new("Name", |class, _| {
        let default = class.annotation(DEFAULT_CLASS) == Some("true");
        Value::from(format!("{}{}", class.name(), if default { " (default)" } else { "" }))
    }),
    Column::new("Provisioner", |class, _| Value::from(class.str_at(&["provisioner"]))),
    Column::new("ReclaimPolicy", |class, _| Value::from(class.str_at(&["reclaimPolicy"]))),
    Column::new("VolumeBindingMode", |class, _| Value::from(class.str_at(&["volumeBindingMode"]))),
    Column::new("AllowVolumeExpansion", |class, _| Value::from(class.bool_at(&["allowVolumeExpansion"]).to_string())),
    AGE,
];

pub(super) const DRIVER: Strategy = Strategy {
    default: |driver| {
        let spec = spec(driver);
        fill(spec, "attachRequired", true);
        fill(spec, "podInfoOnMount", false);
        fill(spec, "storageCapacity", false);
        fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        fill(spec, "requiresRepublish", false);
        fill(spec, "seLinuxMount", false);
        if check::list(spec, "volumeLifecycleModes").is_empty() {
            spec.insert("volumeLifecycleModes", value!(["Persistent"]));
        }
    },
    validate: rules::validate_driver,
    validate_update: rules::validate_driver_update,
    generation: true,
    ..NOOP
};

pub(super) const CSI_NODE: Strategy = Strategy { validate: rules::validate_node, ..NOOP };

pub(super) const CAPACITY: Strategy =
    Strategy { validate: rules::validate_capacity, validate_update: rules::validate_capacity_update, ..NOOP };

pub(super) const DRIVER_COLUMNS: &[Column] = &[
    NAME,
    Column::new("AttachRequired", |driver, _| flag(driver, "attachRequired")).kind("boolean"),
    Column::new("PodInfoOnMount", |driver, _| flag(driver, "podInfoOnMount")).kind("boolean"),
    Column::new("StorageCapacity", |driver, _| flag(driver, "storageCapacity")).kind("boolean"),
    Column::new("TokenRequests", |driver, _| {
        let requests = driver.list_at(&["spec", "tokenRequests"]);
        let audiences = print::joined_plain(requests.iter().map(|one| one.str("audience")));
        Value::from(if requests.is_empty() { print::UNSET.to_owned() } else { audiences })
    }),
    Column::new("RequiresRepublish", |driver, _| flag(driver, "requiresRepublish")).kind("boolean"),
    Column::new("Modes", |driver, _| {
        let modes = driver.list_at(&["spec", "volumeLifecycleModes"]);
        Value::from(print::joined(modes.iter().filter_map(Value::as_str)))
    }),
    AGE,
];

fn flag(driver: &Object, key: &str) -> Value {
    Value::from(driver.bool_at(&["spec", key]))
}

pub(super) const CSI_NODE_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Drivers", |node, _| Value::from(node.list_at(&["spec", "drivers"]).len())).kind("integer"),
    AGE,
];

pub(super) const CAPACITY_COLUMNS: &[Column] = &[
    NAME,
    Column::new("StorageClassName", |capacity, _| Value::from(capacity.str_at(&["storageClassName"]))).wide(),
    Column::new("Capacity", |capacity, _| Value::from(capacity.str_at(&["capacity"]))).wide(),
];

pub(super) const ATTACHMENT: Strategy = Strategy {
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: rules::validate_attachment,
    validate_update: |new, old| {
        let mut errors = Errors::new();
        check::unchanged(&mut errors, &Path::new("spec"), new.get("spec"), old.get("spec"));
        errors
    },
    ..NOOP
};

pub(super) const ATTACHMENT_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Attacher", |one, _| Value::from(one.str_at(&["spec", "attacher"]))),
    Column::new("PV", |one, _| Value::from(one.str_at(&["spec", "source", "persistentVolumeName"]))),
    Column::new("Node", |one, _| Value::from(one.str_at(&["spec", "nodeName"]))),
    Column::new("Attached", |one, _| Value::from(one.bool_at(&["status", "attached"]))).kind("boolean"),
    AGE,
];

pub(super) const ATTRIBUTES: Strategy =
    Strategy { validate: rules::validate_attributes, validate_update: rules::validate_attributes_update, ..NOOP };

pub(super) const ATTRIBUTES_COLUMNS: &[Column] =
    &[NAME, Column::new("DriverName", |class, _| Value::from(class.str_at(&["driverName"]))), AGE];
