//! The group `node.k8s.io`.

use crate::check::{self, Errors};
use crate::pod_spec::{amount, check_toleration};
use crate::print::{AGE, NAME};
use crate::resource::{Column, NOOP, ResourceDescriptor as Row, Strategy};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::value::Value;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] =
    &[Row::cluster(("node.k8s.io", "v1"), "RuntimeClass", "runtimeclasses").strategy(&STRATEGY).columns(COLUMNS)];

const STRATEGY: Strategy = Strategy {
    validate: |class| {
        let mut errors = Errors::new();
        let handler = class.str_at(&["handler"]);
        check::required_named(&mut errors, &Path::new("handler"), handler, names::dns1123_label);
        for (name, value) in class.map_at(&["overhead", "podFixed"]).iter() {
            if amount(value).is_negative() {
                let path = Path::new("overhead.podFixed").key(name);
                errors.push(FieldError::invalid(path, value.clone(), check::NOT_NEGATIVE));
            }
        }
        let selector = class.map_at(&["scheduling", "nodeSelector"]);
        check::labels(&mut errors, &Path::new("scheduling.nodeSelector"), selector);
        let path = Path::new("scheduling.tolerations");
        for (index, toleration) in check::maps(class.map_at(&["scheduling"]), "tolerations") {
            check_toleration(&mut errors, &path.index(index), toleration);
        }
        errors
    },
    validate_update: |new, old| {
        let mut errors = Errors::new();
        let path = Path::new("handler");
        check::unchanged(&mut errors, &path, new.get("handler"), old.get("handler"));
        errors
    },
    ..NOOP
};

const COLUMNS: &[Column] = &[NAME, Column::new("Handler", |class, _| Value::from(class.str_at(&["handler"]))), AGE];
