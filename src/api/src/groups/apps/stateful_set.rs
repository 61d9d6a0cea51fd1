//! Stateful sets and controller revisions.

use crate::check::{self, Errors};
use crate::fill::{each, fill, fill_text, make, spec};
use crate::groups::core::check_claim;
use crate::pod_spec;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value::Value;

pub(super) const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate,
    validate_update,
    warnings: pod_spec::warn_of_template,
    generation: true,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Ready", |set, _| {
        let number = |path: &[&str]| set.i64_at(path).unwrap_or_default();
        let (ready, wanted) = (number(&["status", "readyReplicas"]), number(&["spec", "replicas"]));
        Value::from(format!("{ready}/{wanted}"))
    }),
    AGE,
    CONTAINERS,
    IMAGES,
];

fn default(set: &mut Object) {
    let spec = spec(set);
    fill_text(spec, "podManagementPolicy", "OrderedReady");
    let strategy = make(spec, "updateStrategy");
    fill_text(strategy, "type", "RollingUpdate");
    if strategy.str("type") == "RollingUpdate" {
        fill(make(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = make(spec, "persistentVolumeClaimRetentionPolicy");
    fill_text(retention, "whenDeleted", "Retain");
    fill_text(retention, "whenScaled", "Retain");
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    pod_spec::fill_template(spec);
    for claim in each(spec, "volumeClaimTemplates") {
        fill_text(claim, "apiVersion", "v1");
        fill_text(claim, "kind", "PersistentVolumeClaim");
        fill(make(claim, "spec"), "volumeMode", "Filesystem");
        fill_text(make(claim, "status"), "phase", "Pending");
    }
}

fn validate(set: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = set.map_at(&["spec"]);
    check::not_negative(&mut errors, &path, spec, "replicas");
    check::not_negative(&mut errors, &path, spec, "minReadySeconds");
    check::not_negative(&mut errors, &path, spec, "revisionHistoryLimit");
    let policy = spec.str("podManagementPolicy");
    let known = ["OrderedReady", "Parallel"];
    check::one_of(&mut errors, &path.child("podManagementPolicy"), policy, &known);
    let strategy = check::part(spec, "updateStrategy");
    let kind = strategy.str("type");
    let at = path.child("updateStrategy");
    check::one_of(&mut errors, &at.child("type"), kind, &["OnDelete", "RollingUpdate"]);
    let rolling = check::part(strategy, "rollingUpdate");
    if kind == "OnDelete" && check::set(strategy, "rollingUpdate") {
        let wrong = "only allowed for updateStrategy 'RollingUpdate'";
        let given = strategy.get("rollingUpdate").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(at.child("rollingUpdate"), given, wrong));
    }
    check::number_or_percent(
        &mut errors,
        &at.child("rollingUpdate").child("maxUnavailable"),
        rolling.get("maxUnavailable"),
    );
    check::not_negative(&mut errors, &path.child("ordinals"), check::part(spec, "ordinals"), "start");
    check::not_negative(&mut errors, &path, spec, "revisionHistoryLimit");
    check::not_negative(&mut errors, &path, spec, "minReadySeconds");
    let retention = check::part(spec, "persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        let path = path.child("persistentVolumeClaimRetentionPolicy").child(key);
        check::optional_one_of(&mut errors, &path, retention.str(key), &["Delete", "Retain"]);
    }
    check::not_negative(&mut errors, &at.child("rollingUpdate"), rolling, "partition");
    super::check_selector(&mut errors, &path, "statefulset", spec);
    // Mounts may name the claims, which no volume of the template is for.
    let mut template = check::part(spec, "template").clone();
    if let Some(pod) = crate::fill::part(&mut template, "spec") {
        let volumes = pod.entry("volumes").make_list();
        for claim in set.list_at(&["spec", "volumeClaimTemplates"]) {
            let name = claim.at(&["metadata", "name"]).and_then(Value::as_str).unwrap_or_default();
            if !volumes.iter().any(|volume| volume.str("name") == name) {
                volumes.push(apimachinery::value!({"name": name, "emptyDir": {}}));
            }
        }
    }
    let at = path.child("template");
    pod_spec::check_running_template(&mut errors, &at, &template, spec.get("selector"));
    for (index, claim) in check::maps(spec, "volumeClaimTemplates") {
        let path = path.child("volumeClaimTemplates").index(index);
        check_claim(&mut errors, &path.child("spec"), check::part(claim, "spec"));
    }
    errors
}

/// The words for what of a stateful set may change.
const FROZEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

fn validate_update(new: &Object, old: &Object) -> Errors {
    let frozen = |set: &Object| {
        let mut spec = set.map_at(&["spec"]).clone();
        for key in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            spec.remove(key);
        }
        spec
    };
    let mut errors = Errors::new();
    if frozen(new) != frozen(old) {
        errors.push(FieldError::forbidden("spec", FROZEN));
    }
    errors
}

pub(super) const REVISION: Strategy = Strategy {
    validate: |revision| {
        let mut errors = Errors::new();
        check::not_negative(&mut errors, &Path::default(), revision.as_map(), "revision");
        if revision.get("data").is_none_or(Value::is_null) {
            errors.push(FieldError::required("data", "data is mandatory"));
        }
        errors
    },
    validate_update: |new, old| {
        let mut errors = Errors::new();
        check::unchanged(&mut errors, &Path::new("data"), new.get("data"), old.get("data"));
        errors
    },
    ..NOOP
};

pub(super) const REVISION_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Controller", |revision, _| {
        let owner = revision.controller();
        Value::from(owner.map_or(print::NONE.to_owned(), |owner| {
            let (group, _) = owner.str("apiVersion").split_once('/').unwrap_or_default();
            let kind = owner.str("kind").to_lowercase();
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", owner.str("name"))
        }))
    }),
    Column::new("Revision", |revision, _| print::number(revision, &["revision"])).kind("integer"),
    AGE,
];
