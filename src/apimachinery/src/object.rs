//! An API object: a tree that has a kind and metadata.

use crate::{
    gvk::GroupVersionKind,
    value::{self, ConvertError, Map, Value},
};

static EMPTY: Map = Map::new();

/// An API object of any kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Map);

impl Object {
    /// An object of a kind, with nothing else in it.
    pub fn new(api_version: &str, kind: &str) -> Self {
        let mut object = Self::default();
        object.0.insert("apiVersion", api_version);
        object.0.insert("kind", kind);
        object
    }

    /// The object of a typed value.
    pub fn from_typed<T: serde::Serialize + ?Sized>(typed: &T) -> Result<Self, ConvertError> {
        Self::try_from(value::from_typed(typed)?)
    }

    /// A typed view of the object.
    pub fn to_typed<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConvertError> {
        value::to_typed_map(&self.0)
    }

    /// The fields.
    pub fn as_map(&self) -> &Map {
        &self.0
    }

    /// The fields, for change.
    pub fn as_map_mut(&mut self) -> &mut Map {
        &mut self.0
    }

    /// The fields, taken out.
    pub fn into_map(self) -> Map {
        self.0
    }

    /// The object as a plain tree.
    pub fn into_value(self) -> Value {
        Value::Map(self.0)
    }

    /// Changes the object as a plain tree; if the change leaves something that is no map, the object is empty.
    pub fn with_value<R>(&mut self, change: impl FnOnce(&mut Value) -> R) -> R {
        let mut tree = Value::Map(std::mem::take(&mut self.0));
        let result = change(&mut tree);
        if let Value::Map(map) = tree {
            self.0 = map;
        }
        result
    }

    /// The top-level field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The top-level field, for change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.get_mut(key)
    }

    /// The value at a path of field names; a step into a list is a decimal index.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        self.0.get(first)?.at(rest)
    }

    /// The value at a path, for change.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        let (first, rest) = path.split_first()?;
        self.0.get_mut(first)?.at_mut(rest)
    }

    /// Puts a value at a path, making the maps on the way.
    pub fn set_at(&mut self, path: &[&str], value: impl Into<Value>) {
        if let Some((first, rest)) = path.split_first() {
            self.0.entry(first).set_at(rest, value);
        }
    }

    /// Takes away and returns the value at a path.
    pub fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        match path {
            [] => None,
            [only] => self.0.remove(only),
            [first, rest @ ..] => self.0.get_mut(first)?.remove_at(rest),
        }
    }

    /// The text at a path, or "".
    pub fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// The whole number at a path.
    pub fn i64_at(&self, path: &[&str]) -> Option<i64> {
        self.at(path).and_then(Value::as_i64)
    }

    /// The truth value at a path, false if absent.
    pub fn bool_at(&self, path: &[&str]) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The items of the list at a path, or none.
    pub fn list_at(&self, path: &[&str]) -> &[Value] {
        self.at(path).and_then(Value::as_list).unwrap_or_default()
    }

    /// The map at a path, or an empty one.
    pub fn map_at(&self, path: &[&str]) -> &Map {
        self.at(path).and_then(Value::as_map).unwrap_or(&EMPTY)
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.0.str("apiVersion")
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        self.0.str("kind")
    }

    /// `apiVersion` and `kind`, taken apart.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::from_api_version(self.api_version(), self.kind())
    }

    /// `metadata`, or an empty map.
    pub fn metadata(&self) -> &Map {
        self.map_at(&["metadata"])
    }

    /// `metadata` for change, made if absent.
    pub fn metadata_mut(&mut self) -> &mut Map {
        self.0.entry("metadata").make_map()
    }

    fn metadata_str(&self, field: &str) -> &str {
        self.metadata().str(field)
    }

    /// `metadata.name`, or "".
    pub fn name(&self) -> &str {
        self.metadata_str("name")
    }

    /// `metadata.generateName`, or "".
    pub fn generate_name(&self) -> &str {
        self.metadata_str("generateName")
    }

    /// `metadata.namespace`; "" for an object of the whole cluster.
    pub fn namespace(&self) -> &str {
        self.metadata_str("namespace")
    }

    /// `metadata.uid`, or "".
    pub fn uid(&self) -> &str {
        self.metadata_str("uid")
    }

    /// `metadata.resourceVersion`, or "".
    pub fn resource_version(&self) -> &str {
        self.metadata_str("resourceVersion")
    }

    /// `metadata.generation`, or 0.
    pub fn generation(&self) -> i64 {
        self.metadata().get("generation").and_then(Value::as_i64).unwrap_or_default()
    }

    /// `metadata.creationTimestamp`, or "".
    pub fn creation_timestamp(&self) -> &str {
        self.metadata_str("creationTimestamp")
    }

    /// `metadata.deletionTimestamp` if the object is being deleted.
    pub fn deletion_timestamp(&self) -> Option<&str> {
        self.metadata().get("deletionTimestamp").and_then(Value::as_str)
    }

    /// `metadata.deletionGracePeriodSeconds`.
    pub fn deletion_grace_period_seconds(&self) -> Option<i64> {
        self.metadata().get("deletionGracePeriodSeconds").and_then(Value::as_i64)
    }

    /// `metadata.labels`, or an empty map.
    pub fn labels(&self) -> &Map {
        self.map_at(&["metadata", "labels"])
    }

    /// `metadata.annotations`, or an empty map.
    pub fn annotations(&self) -> &Map {
        self.map_at(&["metadata", "annotations"])
    }

    /// The value of one annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations().get(key).and_then(Value::as_str)
    }

    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().get(key).and_then(Value::as_str)
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.list_at(&["metadata", "finalizers"]).iter().filter_map(Value::as_str)
    }

    /// `metadata.ownerReferences`.
    pub fn owner_references(&self) -> &[Value] {
        self.list_at(&["metadata", "ownerReferences"])
    }

    /// The owner reference that has `controller: true`.
    pub fn controller(&self) -> Option<&Value> {
        self.owner_references().iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
    }

    /// Sets `apiVersion` and `kind`.
    pub fn set_gvk(&mut self, gvk: &GroupVersionKind) {
        self.0.insert("apiVersion", gvk.api_version());
        self.0.insert("kind", gvk.kind.as_str());
    }

    fn set_metadata(&mut self, field: &str, text: &str) {
        if text.is_empty() {
            self.metadata_mut().remove(field);
        } else {
            self.metadata_mut().insert(field, text);
        }
    }

    /// Sets `metadata.name`; "" takes it away, as with all text setters.
    pub fn set_name(&mut self, name: &str) {
        self.set_metadata("name", name);
    }

    /// Sets `metadata.namespace`.
    pub fn set_namespace(&mut self, namespace: &str) {
        self.set_metadata("namespace", namespace);
    }

    /// Sets `metadata.uid`.
    pub fn set_uid(&mut self, uid: &str) {
        self.set_metadata("uid", uid);
    }

    /// Sets `metadata.resourceVersion`.
    pub fn set_resource_version(&mut self, version: &str) {
        self.set_metadata("resourceVersion", version);
    }

    /// Sets `metadata.creationTimestamp`.
    pub fn set_creation_timestamp(&mut self, time: &str) {
        self.set_metadata("creationTimestamp", time);
    }

    /// Sets `metadata.deletionTimestamp`.
    pub fn set_deletion_timestamp(&mut self, time: &str) {
        self.set_metadata("deletionTimestamp", time);
    }

    /// Sets `metadata.generation`; 0 takes it away.
    pub fn set_generation(&mut self, generation: i64) {
        if generation == 0 {
            self.metadata_mut().remove("generation");
        } else {
            self.metadata_mut().insert("generation", generation);
        }
    }

    /// Sets one label.
    pub fn set_label(&mut self, key: &str, value: &str) {
        self.metadata_mut().entry("labels").make_map().insert(key, value);
    }

    /// Sets one annotation.
    pub fn set_annotation(&mut self, key: &str, value: &str) {
        self.metadata_mut().entry("annotations").make_map().insert(key, value);
    }

    /// Sets `metadata.finalizers`; none takes the field away.
    pub fn set_finalizers<S: AsRef<str>>(&mut self, finalizers: &[S]) {
        if finalizers.is_empty() {
            self.metadata_mut().remove("finalizers");
        } else {
            self.metadata_mut().insert("finalizers", finalizers.iter().map(AsRef::as_ref).collect::<Value>());
        }
    }

    /// Sets `metadata.ownerReferences`; none takes the field away.
    pub fn set_owner_references(&mut self, owners: Vec<Value>) {
        if owners.is_empty() {
            self.metadata_mut().remove("ownerReferences");
        } else {
            self.metadata_mut().insert("ownerReferences", owners);
        }
    }
}

impl From<Map> for Object {
    fn from(map: Map) -> Self {
        Self(map)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        object.into_value()
    }
}

impl From<&Object> for Value {
    fn from(object: &Object) -> Self {
        Self::Map(object.0.clone())
    }
}

impl TryFrom<Value> for Object {
    type Error = ConvertError;

    fn try_from(value: Value) -> Result<Self, ConvertError> {
        match value {
            Value::Map(map) => Ok(Self(map)),
            other => Err(ConvertError(format!("an object was expected, not {}", other.type_name()))),
        }
    }
}

impl serde::Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn metadata_is_read_and_written() {
        let mut object = Object::new("apps/v1", "Deployment");
        object.set_name("web");
        object.set_namespace("default");
        object.set_label("app", "web");
        object.set_finalizers(&["a/b"]);
        object.set_generation(2);
        assert_eq!(object.gvk(), GroupVersionKind::new("apps", "v1", "Deployment"));
        assert_eq!((object.name(), object.namespace(), object.uid(), object.generation()), ("web", "default", "", 2));
        assert_eq!(object.label("app"), Some("web"));
        assert_eq!(object.finalizers().collect::<Vec<_>>(), ["a/b"]);
        object.set_finalizers::<&str>(&[]);
        object.set_generation(0);
        object.set_namespace("");
        assert_eq!(object.metadata(), value!({"name": "web", "labels": {"app": "web"}}).as_map().unwrap());
    }

    #[test]
    fn absent_metadata_reads_as_empty() {
        let object = Object::default();
        assert_eq!((object.name(), object.kind(), object.labels().len()), ("", "", 0));
        assert_eq!(object.deletion_timestamp(), None);
        assert!(object.controller().is_none());
    }

    #[test]
    fn typed_views_work_on_objects() {
        let object = Object::try_from(value!({"kind": "Pod", "apiVersion": "v1"})).unwrap();
        let typed: std::collections::BTreeMap<String, String> = object.to_typed().unwrap();
        assert_eq!(Object::from_typed(&typed).unwrap(), object);
    }
}
