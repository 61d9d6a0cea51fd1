//! Gives a node its certificates, manifests and kubelet configuration, and starts its kubelet.

use anyhow::Result;
use futures::future::BoxFuture;
use ssh::Script;

use super::{PATIENCE, install_components};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "configure-node";

/// One step for each node whose files are not those that are wanted, or whose kubelet does not run.
pub(crate) struct ConfigureNode;

impl Phase for ConfigureNode {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let mut steps = Vec::new();
        for desired in context.desired.machines.iter().filter(|desired| desired.machine.role.is_node()) {
            let name = &desired.machine.name;
            let step = match seen.hosts.get(name) {
                Some(host) if host.configured == desired.host.hash && host.kubelet => continue,
                Some(host) if host.configured == desired.host.hash => {
                    Step::new(NAME, name, Action::Restart, "its kubelet does not run")
                }
                Some(host) if host.configured != "-" => {
                    Step::new(NAME, name, Action::Restart, "its files are not those that are wanted")
                }
                _ => Step::new(NAME, name, Action::Create, "it is not a Node yet"),
            };
            steps.push(step.after([Step::name(install_components::NAME, name)]));
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let desired = &context.desired.machine(&step.subject)?.host;
            let host = context.hosts.connect(&step.subject, PATIENCE).await?;
            host.upload(&desired.files).await?;
            // Always a restart: the run that brought the files may have been killed before it.
            let start = format!(
                "mkdir -p /etc/kubernetes/manifests /var/lib/provision
systemctl daemon-reload
[ ! -e /etc/systemd/system/provision-masquerade.service ] || systemctl reload-or-restart provision-masquerade
systemctl enable --quiet kubelet
systemctl restart kubelet
printf '%s\\n' {} >/var/lib/provision/configured.new
mv /var/lib/provision/configured.new /var/lib/provision/configured",
                desired.hash
            );
            host.run(&Script::new(start)).await?;
            context.timeline.mark("configure");
            Ok(())
        })
    }
}
