//! One document per group and version, as all clients understand it.

use api::ResourceDescriptor;
use apimachinery::{Object, Value, value};
use sha2::{Digest, Sha256};

use super::{group_versions, in_version};
use crate::app::App;
use crate::registry::{Registry, Resource};

/// `/api`.
pub(super) fn versions(app: &App) -> Value {
    let address = std::net::SocketAddr::new(app.config.advertise_address, app.config.advertise_port);
    value!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()}],
    })
}

/// `/apis`.
pub(super) fn groups(registry: &Registry) -> Value {
    let groups: Value = group_versions(registry)
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_value(group, versions))
        .collect();
    value!({"kind": "APIGroupList", "apiVersion": "v1", "groups": (groups)})
}

/// `/apis/GROUP`.
pub(super) fn group(registry: &Registry, name: &str) -> Option<Value> {
    let groups = group_versions(registry);
    let (group, versions) = groups.iter().find(|(group, _)| *group == name && !group.is_empty())?;
    let mut document = group_value(group, versions);
    document.set_at(&["kind"], "APIGroup");
    document.set_at(&["apiVersion"], "v1");
    Some(document)
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let describe = |version: &&str| value!({"groupVersion": format!("{group}/{version}"), "version": *version});
    let preferred = versions.first().map(describe).unwrap_or_default();
    value!({
        "name": group,
        "versions": versions.iter().map(describe).collect::<Value>(),
        "preferredVersion": (preferred),
    })
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(super) fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let found = in_version(registry, group, version);
    if found.is_empty() {
        return None;
    }
    let rows: Vec<Value> = found.iter().flat_map(|resource| rows(resource)).collect();
    let mut document = Object::new("v1", "APIResourceList");
    document.set_at(&["groupVersion"], api::resource::join_group_version(group, version));
    document.set_at(&["resources"], Value::List(rows));
    Some(document.into_value())
}

fn rows(resource: &Resource) -> Vec<Value> {
    let descriptor = resource.descriptor;
    let mut row = value!({
        "name": descriptor.plural,
        "singularName": descriptor.singular(),
        "namespaced": descriptor.is_namespaced(),
        "kind": descriptor.kind,
        "verbs": descriptor.verbs.iter().copied().collect::<Value>(),
    });
    if !descriptor.short_names.is_empty() {
        row.set_at(&["shortNames"], descriptor.short_names.iter().copied().collect::<Value>());
    }
    if !descriptor.categories.is_empty() {
        row.set_at(&["categories"], descriptor.categories.iter().copied().collect::<Value>());
    }
    if descriptor.is_stored() {
        row.set_at(&["storageVersionHash"], storage_hash(descriptor));
    }
    let subresources = descriptor.subresources.iter().map(|sub| {
        let mut row = value!({
            "name": format!("{}/{}", descriptor.plural, sub.name),
            "singularName": "",
            "namespaced": descriptor.is_namespaced(),
            "kind": if sub.kind.is_empty() { descriptor.kind } else { sub.kind },
            "verbs": sub.verbs.iter().copied().collect::<Value>(),
        });
        let (group, version) = sub.group_version;
        if !group.is_empty() {
            row.set_at(&["group"], group);
            row.set_at(&["version"], version);
        }
        row
    });
    std::iter::once(row).chain(subresources).collect()
}

/// A short fingerprint of what is stored, for clients that migrate it.
fn storage_hash(descriptor: &ResourceDescriptor) -> String {
    use base64::Engine;
    let text = format!("{}/{}/{}", descriptor.group, descriptor.version, descriptor.kind);
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text)[..8])
}
