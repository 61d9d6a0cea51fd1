//! A pod, or the template of one, as the checks look at it.

use apimachinery::Object;
use apimachinery::value::{Map, Value};

/// Metadata and specification of a pod or template.
#[derive(Clone, Copy)]
pub(crate) struct Pod<'a> {
    metadata: &'a Map,
    spec: &'a Map,
}

static NONE: Map = Map::new();

fn part<'a>(map: &'a Map, key: &str) -> &'a Map {
    map.get(key).and_then(Value::as_map).unwrap_or(&NONE)
}

impl<'a> Pod<'a> {
    /// A pod.
    pub(crate) fn of(pod: &'a Object) -> Self {
        Self::at(pod, &[]).unwrap_or(Self { metadata: &NONE, spec: &NONE })
    }

    /// The template at a path; `None` if there is none.
    pub(crate) fn at(object: &'a Object, path: &[&str]) -> Option<Self> {
        let map = if path.is_empty() { object.as_map() } else { object.at(path)?.as_map()? };
        Some(Self { metadata: part(map, "metadata"), spec: part(map, "spec") })
    }

    /// The class that names the container runtime.
    pub(crate) fn runtime_class(self) -> &'a str {
        self.spec.str("runtimeClassName")
    }

    pub(super) fn annotations(self) -> &'a Map {
        part(self.metadata, "annotations")
    }

    pub(super) fn volumes(self) -> impl Iterator<Item = &'a Map> {
        items(self.spec, "volumes")
    }

    /// All containers, those that come first first.
    pub(super) fn containers(self) -> impl Iterator<Item = Container<'a>> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| items(self.spec, list))
            .map(Container)
    }

    /// The security settings for all containers.
    pub(super) fn security(self) -> &'a Map {
        part(self.spec, "securityContext")
    }

    pub(super) fn flag(self, key: &str) -> bool {
        self.spec.get(key) == Some(&Value::Bool(true))
    }

    pub(super) fn is_windows(self) -> bool {
        part(self.spec, "os").str("name") == "windows"
    }

    pub(super) fn has_user_namespace(self) -> bool {
        self.spec.get("hostUsers") == Some(&Value::Bool(false))
    }
}

/// A container of any sort.
#[derive(Clone, Copy)]
pub(super) struct Container<'a>(&'a Map);

impl<'a> Container<'a> {
    pub(super) fn name(self) -> &'a str {
        self.0.str("name")
    }

    pub(super) fn part(self, key: &str) -> &'a Map {
        part(self.0, key)
    }

    pub(super) fn security(self) -> &'a Map {
        self.part("securityContext")
    }

    pub(super) fn ports(self) -> impl Iterator<Item = &'a Map> {
        items(self.0, "ports")
    }
}

/// The map in a field of a map, or an empty one.
pub(super) fn within<'a>(map: &'a Map, key: &str) -> &'a Map {
    part(map, key)
}

/// The maps in the list of a field.
pub(super) fn items<'a>(map: &'a Map, key: &str) -> impl Iterator<Item = &'a Map> + use<'a> {
    map.get(key).and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_map)
}

/// The texts in the list of a field.
pub(super) fn texts<'a>(map: &'a Map, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    map.get(key).and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_str)
}
