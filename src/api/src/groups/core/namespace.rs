//! Namespaces: born with a finalizer, so that nothing in them is left behind.

use crate::print::{AGE, NAME};
use crate::resource::{Column, NOOP, NameRule, Strategy};
use crate::status::{self, keep};
use apimachinery::field::Path;
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::Value;

/// The finalizer of the namespace controller.
const FINALIZER: &str = "kubernetes";
/// The label by which selectors find a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) const STRATEGY: Strategy = Strategy {
    default,
    prepare_create,
    prepare_update: |new, old| {
        keep(new, old, "spec");
        status::keep_status(new, old);
    },
    prepare_status: status::only_status,
    validate_part: |_, namespace, _| {
        let mut errors = crate::check::Errors::new();
        for (_, finalizer) in crate::check::texts(namespace.map_at(&["spec"]), "finalizers") {
            crate::check::named(&mut errors, &Path::new("spec.finalizers"), finalizer, names::qualified_name);
        }
        errors
    },
    name: NameRule::Label,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", |namespace, _| Value::from(namespace.str_at(&["status", "phase"])))
        .about("The status of the namespace"),
    AGE,
];

fn default(namespace: &mut Object) {
    let name = namespace.name().to_owned();
    if !name.is_empty() && namespace.label(NAME_LABEL) != Some(&name) {
        namespace.set_label(NAME_LABEL, &name);
    }
}

fn prepare_create(namespace: &mut Object) {
    namespace.set_at(&["status"], value!({"phase": "Active"}));
    let spec = namespace.as_map_mut().entry("spec").make_map();
    let finalizers = spec.entry("finalizers").make_list();
    if !finalizers.iter().any(|one| one.as_str() == Some(FINALIZER)) {
        finalizers.push(Value::from(FINALIZER));
    }
}
