//! What authenticators must look up: objects tokens speak of.

use std::sync::Arc;

use apimachinery::Object;
use futures::future::BoxFuture;

use crate::registry::Registry;

/// Finds objects, as fresh as a decision about access needs them.
pub trait Lookup: Send + Sync {
    /// An object of the core group; the namespace is empty for kinds of the cluster.
    fn object<'a>(&'a self, resource: &'a str, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<Object>>;
}

impl Lookup for Arc<Registry> {
    fn object<'a>(&'a self, resource: &'a str, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<Object>> {
        Box::pin(async move { Some(self.get_fresh("", resource, namespace, name).await?.object()) })
    }
}

/// Objects by resource, namespace and name, for tests.
#[cfg(test)]
pub(crate) mod fake {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use super::{BoxFuture, Lookup, Object};

    #[derive(Default)]
    pub(crate) struct FakeLookup(Mutex<HashMap<(String, String, String), Object>>);

    impl FakeLookup {
        pub(crate) fn with(self, resource: &str, object: Object) -> Self {
            let key = (resource.to_owned(), object.namespace().to_owned(), object.name().to_owned());
            self.0.lock().unwrap().insert(key, object);
            self
        }
    }

    impl Lookup for FakeLookup {
        fn object<'a>(&'a self, resource: &'a str, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<Object>> {
            let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
            let found = self.0.lock().unwrap().get(&key).cloned();
            Box::pin(std::future::ready(found))
        }
    }
}
