//! Waits until the add-ons run and a Service name resolves: the cluster works, not only answers.

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use ssh::Script;
use topology::Role;

use super::{PATIENCE, install_addons, start_control_plane, wait_first_pod, wait_node};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "verify-cluster";

/// One step, unless these add-ons have been seen at work and all Nodes are Ready.
pub(crate) struct VerifyCluster;

impl Phase for VerifyCluster {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let cluster = context.desired.topology.name();
        let nodes = context.desired.names(Role::is_node);
        let wanted = Some(context.desired.addons.hash.as_str());
        let whole = seen.cluster.addons.as_deref() == wanted
            && seen.cluster.verified.as_deref() == wanted
            && nodes.iter().all(|name| seen.cluster.ready_nodes.contains(name));
        if whole {
            return Vec::new();
        }
        let mut before = vec![Step::name(install_addons::NAME, cluster), Step::name(wait_first_pod::NAME, cluster)];
        before.extend(nodes.iter().map(|name| Step::name(wait_node::NAME, name)));
        // One server was enough for the add-ons; a cluster that works has all of them.
        before.extend(start_control_plane::steps(context, seen));
        vec![Step::new(NAME, cluster, Action::Wait, "its add-ons have not been seen at work").after(before)]
    }

    fn carry_out<'a>(&'a self, context: &'a Context, _: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            context.cluster.wait_addons().await?;
            if context.desired.addons.dns_address.is_some() {
                resolve(context).await?;
                context.timeline.mark("dnsAnswers");
            }
            context.cluster.mark_verified(&context.desired.addons.hash).await
        })
    }
}

/// Asks the cluster's DNS for the API's own Service, from a machine, through the Service address.
async fn resolve(context: &Context) -> Result<()> {
    let addons = &context.desired.addons;
    let server = addons.dns_address.context("the topology installs no DNS")?;
    let control_plane = context.desired.names(|role| *role == Role::ControlPlane);
    let host = context.hosts.connect(control_plane.first().context("a control plane")?, PATIENCE).await?;
    let lookup = format!(
        "exec /usr/local/lib/provision/hyperkube cluster-dns lookup --server {server} --timeout 60s kubernetes.default.svc.{}",
        addons.domain
    );
    let answer = host.run(&Script::new(lookup)).await?.text();
    anyhow::ensure!(!answer.is_empty(), "the cluster's DNS at {server} gave an empty answer");
    Ok(())
}
