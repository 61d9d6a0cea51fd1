//! What a request path names.

/// A collection, an object or a subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// Group, version and resource, as `/apis/apps/v1/deployments`.
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) subresource: String,
    pub(super) watch: bool,
    /// Whether the path names a collection, of which `name` chooses one object at most.
    pub(super) collection: bool,
    pub(super) since: u64,
}

impl Target {
    pub(super) fn parse(path: &str, query: &str) -> Self {
        let mut segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let version_at = if segments.first() == Some(&"api") { 2 } else { 3 };
        let mut rest = segments.split_off(version_at.min(segments.len()));
        let mut target = Self::default();
        // `namespaces/x/status` and `namespaces/x/finalize` are subresources of the namespace itself.
        let inside = rest.len() >= 3 && rest[0] == "namespaces" && !["status", "finalize"].contains(&rest[2]);
        if inside {
            rest[1].clone_into(&mut target.namespace);
            rest.drain(..2);
        }
        let mut rest = rest.into_iter();
        target.resource = format!("/{}/{}", segments.join("/"), rest.next().unwrap_or_default());
        rest.next().unwrap_or_default().clone_into(&mut target.name);
        rest.next().unwrap_or_default().clone_into(&mut target.subresource);
        target.collection = target.name.is_empty();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("watch", "true" | "1")) => target.watch = true,
                Some(("resourceVersion", value)) => target.since = value.parse().unwrap_or(0),
                Some(("fieldSelector", value)) if target.name.is_empty() => {
                    let name = value.strip_prefix("metadata.name%3D").or_else(|| value.strip_prefix("metadata.name="));
                    name.unwrap_or_default().clone_into(&mut target.name);
                }
                _ => {}
            }
        }
        target
    }

    pub(super) fn key(&self) -> (String, String, String) {
        (self.resource.clone(), self.namespace.clone(), self.name.clone())
    }

    /// Whether an object belongs to this collection.
    pub(super) fn holds(&self, (resource, namespace, name): &(String, String, String)) -> bool {
        self.resource == *resource
            && (self.namespace.is_empty() || self.namespace == *namespace)
            && (self.name.is_empty() || self.name == *name)
    }
}
