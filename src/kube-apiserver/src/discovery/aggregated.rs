//! All groups, versions and resources in one answer, as newer clients ask for it.

use apimachinery::{Value, value};
use http::{HeaderMap, header};

use super::{group_versions, in_version};
use crate::registry::{Registry, Resource};

/// The version of the document a client prefers over the older form; `None` if it wants the older form.
pub(super) fn wanted(headers: &HeaderMap) -> Option<&'static str> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for entry in values.flat_map(|value| value.split(',')) {
        let entry: String = entry.chars().filter(|letter| !letter.is_whitespace()).collect();
        let mut parts = entry.split(';');
        if parts.next() != Some("application/json") {
            continue;
        }
        let parts: Vec<&str> = parts.collect();
        let aggregated = parts.contains(&"as=APIGroupDiscoveryList") && parts.contains(&"g=apidiscovery.k8s.io");
        match (aggregated, parts.contains(&"v=v2"), parts.contains(&"v=v2beta1")) {
            (true, true, _) => return Some("v2"),
            (true, _, true) => return Some("v2beta1"),
            (true, ..) => {}
            // Plain JSON stands before what is aggregated.
            (false, ..) => return None,
        }
    }
    None
}

/// The document of the core group, or of all others.
pub(super) fn document(registry: &Registry, core: bool, version: &str) -> Value {
    let items: Value = group_versions(registry)
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| group_value(registry, group, versions))
        .collect();
    value!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": (items),
    })
}

fn group_value(registry: &Registry, group: &str, versions: &[&str]) -> Value {
    let versions: Value = versions
        .iter()
        .map(|version| {
            let found = in_version(registry, group, version);
            let resources: Value = found.into_iter().map(|resource| row(resource, group, version)).collect();
            value!({"version": *version, "resources": (resources), "freshness": "Current"})
        })
        .collect();
    let metadata = if group.is_empty() {
        value!({"creationTimestamp": null})
    } else {
        value!({"name": group, "creationTimestamp": null})
    };
    value!({"metadata": (metadata), "versions": (versions)})
}

fn row(resource: &Resource, group: &str, version: &str) -> Value {
    let descriptor = resource.descriptor;
    let kind_of =
        |(group, version): (&str, &str), kind: &str| value!({"group": group, "version": version, "kind": kind});
    let mut row = value!({
        "resource": descriptor.plural,
        "responseKind": (kind_of((group, version), descriptor.kind)),
        "scope": if descriptor.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": descriptor.singular(),
        "verbs": descriptor.verbs.iter().copied().collect::<Value>(),
    });
    if !descriptor.short_names.is_empty() {
        row.set_at(&["shortNames"], descriptor.short_names.iter().copied().collect::<Value>());
    }
    if !descriptor.categories.is_empty() {
        row.set_at(&["categories"], descriptor.categories.iter().copied().collect::<Value>());
    }
    let subresources: Vec<Value> = descriptor
        .subresources
        .iter()
        .map(|sub| {
            let (of, kind) =
                if sub.kind.is_empty() { ((group, version), descriptor.kind) } else { (sub.group_version, sub.kind) };
            value!({
                "subresource": sub.name,
                "responseKind": (kind_of(of, kind)),
                "verbs": sub.verbs.iter().copied().collect::<Value>(),
            })
        })
        .collect();
    if !subresources.is_empty() {
        row.set_at(&["subresources"], Value::List(subresources));
    }
    row
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(accept: &str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        assert_eq!(wanted(&headers), expected, "{accept}");
    }

    #[test]
    fn the_first_form_a_client_names_counts() {
        check(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
             application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
            Some("v2"),
        );
        check("application/json", None);
        check("*/*", None);
        check("application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io", Some("v2beta1"));
    }
}
