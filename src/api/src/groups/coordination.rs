//! The group `coordination.k8s.io`.

use crate::check::{self, Errors};
use crate::print::{AGE, NAME};
use crate::resource::{Column, NOOP, ResourceDescriptor as Row, Strategy};
use apimachinery::field::{FieldError, Path};
use apimachinery::value::Value;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] =
    &[Row::namespaced(("coordination.k8s.io", "v1"), "Lease", "leases").strategy(&STRATEGY).columns(COLUMNS)];

const STRATEGY: Strategy = Strategy {
    validate: |lease| {
        let mut errors = Errors::new();
        let spec = lease.map_at(&["spec"]);
        let seconds = check::number(spec, "leaseDurationSeconds");
        if let Some(seconds) = seconds.filter(|seconds| *seconds <= 0) {
            let path = Path::new("spec.leaseDurationSeconds");
            errors.push(FieldError::invalid(path, seconds, "must be greater than 0"));
        }
        check::not_negative(&mut errors, &Path::new("spec"), spec, "leaseTransitions");
        errors
    },
    create_on_update: true,
    unconditional_update: false,
    ..NOOP
};

const COLUMNS: &[Column] =
    &[NAME, Column::new("Holder", |lease, _| Value::from(lease.str_at(&["spec", "holderIdentity"]))), AGE];
