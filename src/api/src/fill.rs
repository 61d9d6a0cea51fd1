//! Filling in defaults: a field that is set, even to nothing special, is never touched.

use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

/// Sets a field that is absent or null.
pub(crate) fn fill(map: &mut Map, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key, value);
    }
}

/// Sets a field that is absent, null or "", which is the same thing for a text that is no pointer.
pub(crate) fn fill_text(map: &mut Map, key: &str, text: &str) {
    if map.str(key).is_empty() {
        map.insert(key, text);
    }
}

/// Sets a number that is absent or 0.
pub(crate) fn fill_number(map: &mut Map, key: &str, number: i64) {
    if map.get(key).is_none_or(Value::is_empty) {
        map.insert(key, number);
    }
}

/// The `spec`, made if absent.
pub(crate) fn spec(object: &mut Object) -> &mut Map {
    object.as_map_mut().entry("spec").make_map()
}

/// The map in a field, made if absent.
pub(crate) fn make<'a>(map: &'a mut Map, key: &str) -> &'a mut Map {
    map.entry(key).make_map()
}

/// The map in a field, if there is one.
pub(crate) fn part<'a>(map: &'a mut Map, key: &str) -> Option<&'a mut Map> {
    map.get_mut(key)?.as_map_mut()
}

/// The maps in the list of a field.
pub(crate) fn each<'a>(map: &'a mut Map, key: &str) -> impl Iterator<Item = &'a mut Map> {
    let list = map.get_mut(key).and_then(Value::as_list_mut);
    list.into_iter().flatten().filter_map(Value::as_map_mut)
}
