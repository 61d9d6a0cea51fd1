//! Who may write the status: only the `status` subresource, and it nothing else.

use apimachinery::object::Object;

/// On create: a status given by a client is dropped.
pub(crate) fn drop_status(object: &mut Object) {
    object.as_map_mut().remove("status");
}

/// On update: the old status stays.
pub(crate) fn keep_status(new: &mut Object, old: &Object) {
    keep(new, old, "status");
}

/// On update of the status: everything but the status and the metadata stays.
pub(crate) fn only_status(new: &mut Object, old: &Object) {
    let is_free = |key: &str| matches!(key, "status" | "metadata" | "apiVersion" | "kind");
    new.as_map_mut().retain(|key, _| is_free(key));
    for (key, value) in old.as_map().iter() {
        if !is_free(key) {
            new.as_map_mut().insert(&**key, value.clone());
        }
    }
}

/// Takes a top-level field over from the old object.
pub(crate) fn keep(new: &mut Object, old: &Object, key: &str) {
    match old.get(key) {
        Some(value) => {
            new.as_map_mut().insert(key, value.clone());
        }
        None => {
            new.as_map_mut().remove(key);
        }
    }
}
