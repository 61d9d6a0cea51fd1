//! What kinds of objects the server has.

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};

/// A resource in the version its group prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovered {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Discovered {
    /// Whether the resource has all of some verbs.
    pub(crate) fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|own| own == verb))
    }
}

/// All resources. A group that does not answer is reported, the others are still returned.
pub(crate) async fn discover(client: &Client) -> Result<(Vec<Discovered>, Vec<String>), kube::Error> {
    let core = client.list_core_api_resources("v1").await?;
    let groups = client.list_api_groups().await?.groups;
    let versions: Vec<String> = groups
        .iter()
        .filter_map(|group| group.preferred_version.as_ref().or(group.versions.first()))
        .map(|version| version.group_version.clone())
        .collect();
    let lists = join_all(versions.iter().map(|version| client.list_api_group_resources(version))).await;
    let mut found = from_list("v1", core);
    let mut failed = Vec::new();
    for (version, list) in versions.iter().zip(lists) {
        match list {
            Ok(list) => found.extend(from_list(version, list)),
            Err(error) => failed.push(format!("{version}: {error}")),
        }
    }
    Ok((found, failed))
}

fn from_list(group_version: &str, list: APIResourceList) -> Vec<Discovered> {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
    whole
        .map(|resource| {
            let kind = GroupVersionKind::gvk(group, version, &resource.kind);
            Discovered {
                resource: ApiResource::from_gvk_with_plural(&kind, &resource.name),
                namespaced: resource.namespaced,
                verbs: resource.verbs,
            }
        })
        .collect()
}
