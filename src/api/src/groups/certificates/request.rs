//! Certificate signing requests: what is asked never changes, only what becomes of it.

use crate::check::{self, Errors};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value::Value;

pub(super) const STRATEGY: Strategy = Strategy {
    prepare_create: status::drop_status,
    prepare_update: |new, old| {
        status::keep(new, old, "spec");
        status::keep_status(new, old);
    },
    prepare_status: status::only_status,
    validate,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    Column::new("SignerName", |request, _| print::text_or_none(request, &["spec", "signerName"])),
    Column::new("Requestor", |request, _| Value::from(request.str_at(&["spec", "username"]))),
    Column::new("RequestedDuration", |request, _| {
        let seconds = request.i64_at(&["spec", "expirationSeconds"]);
        Value::from(seconds.map_or(print::NONE.to_owned(), print::duration))
    }),
    Column::new("Condition", |request, _| Value::from(condition(request))),
];

fn condition(request: &Object) -> String {
    let conditions = request.list_at(&["status", "conditions"]);
    let mut words = Vec::new();
    for (kind, word) in [("Approved", "Approved"), ("Denied", "Denied")] {
        if conditions.iter().any(|one| one.str("type") == kind) {
            words.push(word);
        }
    }
    if words.is_empty() {
        words.push("Pending");
    }
    if conditions.iter().any(|one| one.str("type") == "Failed") {
        words.push("Failed");
    }
    if !request.str_at(&["status", "certificate"]).is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

fn validate(request: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = request.map_at(&["spec"]);
    check::required(&mut errors, &path.child("request"), spec.str("request"));
    if check::list(spec, "usages").is_empty() {
        errors.push(FieldError::required(path.child("usages"), "usages must be specified"));
    }
    let signer = spec.str("signerName");
    if signer.is_empty() {
        errors.push(FieldError::required(path.child("signerName"), ""));
    } else if signer.split('/').count() != 2 || signer.split('/').any(str::is_empty) {
        let wrong = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path.child("signerName"), signer, wrong));
    }
    if let Some(seconds) = check::number(spec, "expirationSeconds").filter(|seconds| *seconds < 600) {
        let wrong = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(path.child("expirationSeconds"), seconds, wrong));
    }
    errors
}
