//! What holds for the metadata of every object: stamps on create, what an update may not change, and checks.

use api::resource::NameRule;
use api::{ResourceDescriptor, Scope};
use apimachinery::field::FieldError;
use apimachinery::{Object, Status, Value, names, time};
use jiff::Timestamp;
use rand::RngExt;

use super::Call;

/// The letters of generated names: no vowels, so that no words come out; as upstream.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many letters are added.
const RANDOM: usize = 5;
/// A generated name is at most this long.
const LONGEST_GENERATED: usize = 63;
/// All annotations together, keys and values.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// A name made of a prefix and random letters.
pub fn generate_name(prefix: &str) -> String {
    let mut rng = rand::rng();
    let mut name: String = prefix.chars().take(LONGEST_GENERATED - RANDOM).collect();
    name.extend((0..RANDOM).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])));
    name
}

/// Makes the namespace of the body that of the path.
///
/// # Errors
/// 400 if they contradict each other.
pub(super) fn place(call: &Call<'_>, object: &mut Object) -> Result<(), Status> {
    if !call.resource.descriptor.is_namespaced() {
        object.set_namespace("");
        return Ok(());
    }
    let wanted = &call.info.namespace;
    if object.namespace().is_empty() {
        object.set_namespace(wanted);
    }
    if object.namespace() == wanted {
        return Ok(());
    }
    Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// Stamps a new object.
pub(super) fn stamp(object: &mut Object, descriptor: &ResourceDescriptor) {
    let metadata = object.metadata_mut();
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        metadata.remove(field);
    }
    metadata.insert("uid", uuid::Uuid::new_v4().to_string());
    metadata.insert("creationTimestamp", time::format(Timestamp::now()));
    if descriptor.strategy.generation {
        metadata.insert("generation", 1);
    }
}

/// Puts in what clients find in every object, set or not, such as an empty `status`.
pub(super) fn complete(object: &mut Object, descriptor: &ResourceDescriptor) {
    let schema = api::schema();
    if let Some(of) = schema.type_for_gvk(descriptor.group, descriptor.version, descriptor.kind) {
        schema.fill_zeros(of, object.as_map_mut());
    }
}

/// Keeps what an update may not touch.
pub(super) fn keep(new: &mut Object, old: &Object) {
    const KEPT: &[&str] =
        &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];
    let metadata = new.metadata_mut();
    metadata.remove("selfLink");
    for field in KEPT {
        match old.metadata().get(field) {
            Some(value) => metadata.insert(*field, value.clone()),
            None => metadata.remove(field),
        };
    }
    // Clients that know nothing of managedFields send none; that must not wipe them.
    if !metadata.contains_key("managedFields")
        && let Some(managed) = old.metadata().get("managedFields")
    {
        metadata.insert("managedFields", managed.clone());
    }
}

/// Checks the metadata of a new object.
pub(super) fn check(object: &Object, descriptor: &ResourceDescriptor) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = object.name();
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        for wrong in name_errors(descriptor.strategy.name, name) {
            errors.push(FieldError::invalid("metadata.name", name, wrong));
        }
    }
    if descriptor.scope == Scope::Namespaced {
        for wrong in names::dns1123_label(object.namespace()) {
            errors.push(FieldError::invalid("metadata.namespace", object.namespace(), wrong));
        }
    }
    check_loose(object, &mut errors);
    errors
}

/// Checks the step from one state of the metadata to the next.
pub(super) fn check_update(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_loose(new, &mut errors);
    if old.deletion_timestamp().is_some() {
        let known: Vec<&str> = old.finalizers().collect();
        let added: Vec<&str> = new.finalizers().filter(|finalizer| !known.contains(finalizer)).collect();
        if !added.is_empty() {
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
                ),
            ));
        }
    }
    errors
}

fn name_errors(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => names::dns1123_subdomain(name),
        NameRule::Label => names::dns1123_label(name),
        NameRule::Label1035 => names::dns1035_label(name),
        NameRule::PathSegment => names::path_segment(name),
        NameRule::IpAddress => match name.parse::<std::net::IpAddr>() {
            Ok(address) if address.to_string() == name => Vec::new(),
            _ => vec!["must be a canonical IP address".to_owned()],
        },
    }
}

/// Labels, annotations, finalizers and owners.
fn check_loose(object: &Object, errors: &mut Vec<FieldError>) {
    for (key, value) in object.labels().iter() {
        for wrong in names::qualified_name(key.as_str()) {
            errors.push(FieldError::invalid("metadata.labels", key.as_str(), wrong));
        }
        let text = value.as_str().unwrap_or_default();
        for wrong in names::label_value(text) {
            errors.push(FieldError::invalid("metadata.labels", text, wrong));
        }
    }
    let mut size = 0;
    for (key, value) in object.annotations().iter() {
        let lower = key.as_str().to_ascii_lowercase();
        for wrong in names::qualified_name(&lower) {
            errors.push(FieldError::invalid("metadata.annotations", key.as_str(), wrong));
        }
        size += key.as_str().len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_LIMIT));
    }
    for finalizer in object.finalizers() {
        for wrong in names::qualified_name(finalizer) {
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, wrong));
        }
    }
    check_owners(object.owner_references(), errors);
}

fn check_owners(owners: &[Value], errors: &mut Vec<FieldError>) {
    let mut controllers = 0;
    for (index, owner) in owners.iter().enumerate() {
        let path = format!("metadata.ownerReferences[{index}]");
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.str(field).is_empty() {
                let told = format!("{field} must not be empty");
                errors.push(FieldError::invalid(format!("{path}.{field}"), "", told));
            }
        }
        controllers += usize::from(owner.get("controller").and_then(Value::as_bool) == Some(true));
    }
    if controllers > 1 {
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            Value::List(owners.to_vec()),
            "Only one reference can have Controller set to true",
        ));
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    #[test]
    fn generated_names_keep_their_prefix_and_fit() {
        let name = generate_name("web-");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert_eq!(generate_name(&"a".repeat(80)).len(), LONGEST_GENERATED);
        assert_ne!(generate_name("a"), generate_name("a"));
    }

    #[test]
    fn an_update_cannot_move_the_stamps() {
        let old = object(value!({"metadata": {
            "name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3, "managedFields": [{"manager": "m"}],
        }}));
        let mut new = object(value!({"metadata": {
            "name": "a", "uid": "other", "deletionTimestamp": "x", "generation": 9,
        }}));
        keep(&mut new, &old);
        assert_eq!(new.metadata(), old.metadata());
    }

    #[test]
    fn finalizers_cannot_be_added_while_an_object_ends() {
        let old = object(value!({"metadata": {"deletionTimestamp": "t", "finalizers": ["a/b"]}}));
        let new = object(value!({"metadata": {"deletionTimestamp": "t", "finalizers": ["a/b", "c/d"]}}));
        assert_eq!(check_update(&new, &old).len(), 1);
        assert!(check_update(&old, &new).is_empty());
    }

    #[test]
    fn wrong_metadata_is_told_field_by_field() {
        let row = api::resources().iter().find(|row| row.plural == "pods").unwrap();
        let pod = object(value!({"metadata": {
            "name": "A", "namespace": "n", "labels": {"-": "ok", "k": "not ok"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": true},
                {"apiVersion": "v1", "kind": "K", "name": "n", "uid": "", "controller": true},
            ],
        }}));
        let seen: Vec<String> = check(&pod, row).iter().map(|error| error.path.to_string()).collect();
        assert_eq!(
            seen,
            [
                "metadata.name",
                "metadata.labels",
                "metadata.labels",
                "metadata.ownerReferences[1].uid",
                "metadata.ownerReferences",
            ]
        );
    }
}
