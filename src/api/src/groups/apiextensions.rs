//! The group `apiextensions.k8s.io`: kinds made by users.

use crate::check::{self, Errors};
use crate::fill::{fill, fill_text, make, part, spec};
use crate::print::{CREATED_AT, NAME};
use crate::resource::{Column, NOOP, ResourceDescriptor as Row, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] =
    &[Row::cluster(("apiextensions.k8s.io", "v1"), "CustomResourceDefinition", "customresourcedefinitions")
        .short(&["crd", "crds"])
        .categories(&["api-extensions"])
        .stored_in("apiextensions.k8s.io/customresourcedefinitions")
        .strategy(&STRATEGY)
        .columns(COLUMNS)
        .with_status()];

const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate,
    validate_update: |new, old| {
        let mut errors = Errors::new();
        for path in [["spec", "group"], ["spec", "scope"]] {
            let at = Path::new(path.join("."));
            check::unchanged(&mut errors, &at, new.at(&path), old.at(&path));
        }
        errors
    },
    warnings: |_| {
        vec!["custom resources are not served by this release: the definition is kept but has no effect".to_owned()]
    },
    generation: true,
    ..NOOP
};

const COLUMNS: &[Column] = &[NAME, CREATED_AT];

fn default(definition: &mut Object) {
    let spec = spec(definition);
    let names = make(spec, "names");
    let kind = names.str("kind").to_owned();
    if !kind.is_empty() {
        fill_text(names, "singular", &kind.to_lowercase());
        fill_text(names, "listKind", &format!("{kind}List"));
    }
    let conversion = make(spec, "conversion");
    fill_text(conversion, "strategy", "None");
    let client = part(conversion, "webhook").and_then(|webhook| part(webhook, "clientConfig"));
    if let Some(service) = client.and_then(|client| part(client, "service")) {
        fill(service, "port", 443);
    }
}

fn validate(definition: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = definition.map_at(&["spec"]);
    let (group, plural) = (spec.str("group"), check::part(spec, "names").str("plural"));
    check::required(&mut errors, &path.child("group"), group);
    let known = ["Cluster", "Namespaced"];
    check::one_of(&mut errors, &path.child("scope"), spec.str("scope"), &known);
    for key in ["plural", "singular", "kind", "listKind"] {
        let at = path.child("names").child(key);
        check::required(&mut errors, &at, check::part(spec, "names").str(key));
    }
    if definition.name() != format!("{plural}.{group}") {
        let wrong = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", definition.name(), wrong));
    }
    let flag = |version: &apimachinery::value::Map, key: &str| {
        version.get(key) == Some(&apimachinery::value::Value::Bool(true))
    };
    let stored = check::maps(spec, "versions").filter(|(_, version)| flag(version, "storage"));
    if stored.count() != 1 {
        let wrong = "must have exactly one version marked as storage version";
        let versions = check::list(spec, "versions");
        errors.push(FieldError::invalid(path.child("versions"), versions, wrong));
    }
    errors
}
