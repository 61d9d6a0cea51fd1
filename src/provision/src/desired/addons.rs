//! What is installed into the cluster through its API.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use sha2::{Digest, Sha256};
use topology::Topology;

use super::view::ClusterView;
use crate::render::render;

/// Objects for the cluster, in the order in which they are applied.
pub struct Addons {
    /// The objects.
    pub objects: Vec<serde_json::Value>,
    /// Names all of them.
    pub hash: String,
    /// Where the cluster's DNS answers, if it is installed.
    pub dns_address: Option<IpAddr>,
    /// The cluster's DNS domain.
    pub domain: String,
}

pub(super) fn addons(topology: &Topology, view: &ClusterView) -> Result<Addons> {
    let wanted = &topology.cluster().spec.addons;
    let mut templates = Vec::new();
    if wanted.proxy.enabled {
        templates.push("addons/kube-proxy.yaml");
    }
    if wanted.dns.enabled {
        templates.push("addons/cluster-dns.yaml");
    }
    let mut objects = Vec::new();
    let mut hash = Sha256::new();
    for template in templates {
        let text = render(template, view)?;
        hash.update(&text);
        let documents = serde_saphyr::from_multiple::<serde_json::Value>(&text);
        objects.extend(documents.with_context(|| format!("templates/{template}.hbs does not render to YAML"))?);
    }
    let dns_address = wanted.dns.enabled.then_some(view.dns_address);
    Ok(Addons { objects, hash: hex::encode(hash.finalize()), dns_address, domain: view.domain.clone() })
}
