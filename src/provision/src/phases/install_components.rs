//! Brings the node programs to a host: the kubelet as a file, everything else as container images. Machines that come without
//! a container runtime, etcd or a balancer get those first.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use ssh::Script;
use topology::Role;

use super::{PATIENCE, connect_host};
use crate::context::Context;
use crate::desired::DesiredMachine;
use crate::image;
use crate::image::oci::{HYPERKUBE, NODE_PROGRAM};
use crate::inventory::{Inventory, SeenHost, ask};
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::software::{self, Kit};

pub(crate) const NAME: &str = "install-components";

/// Where images are seen while the program is taken out of them. A run that was killed may have left one mounted.
const MOUNTS: &str = "/run/provision";

/// One step for each node that has other programs than this release, and for each machine that lacks packages.
pub(crate) struct InstallComponents;

impl Phase for InstallComponents {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let tag = &context.desired.components.tag;
        let mut steps = Vec::new();
        for DesiredMachine { machine, .. } in &context.desired.machines {
            let name = &machine.name;
            let host = seen.hosts.get(name);
            let lacks = lacks_software(context, &machine.role, host);
            let step = match host.map_or("-", |host| host.components.as_str()) {
                _ if !machine.role.is_node() => {
                    if !lacks {
                        continue;
                    }
                    Step::new(NAME, name, Action::Create, "its software is not installed")
                }
                "-" => Step::new(NAME, name, Action::Create, format!("{tag} is not installed")),
                present if present != tag => {
                    Step::new(NAME, name, Action::InPlace, format!("it has {present}, not {tag}"))
                }
                _ if lacks => Step::new(NAME, name, Action::InPlace, "it lacks packages"),
                _ => continue,
            };
            steps.push(step.after([Step::name(connect_host::NAME, name)]));
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let components = &context.desired.components;
            let role = &context.desired.machine(&step.subject)?.machine.role;
            let host = context.hosts.connect(&step.subject, PATIENCE).await?;
            // What was seen may be long ago, and a machine that has what it needs is not to be interrupted.
            if is_installed(context, role, &ask(&*host).await?) {
                context.timeline.mark("copy");
                return Ok(());
            }
            if !context.infrastructure.has_node_software() {
                let kit = Kit::of(&context.desired.topology, role);
                let report = |detail: String| context.progress.detail(&step.subject, &detail);
                software::install(&*host, kit, &context.cache_dir, &report).await?;
                context.timeline.mark("software");
            }
            if !role.is_node() {
                return Ok(());
            }
            let images = context.images.get_or_try_init(|| prepare(context)).await?;
            host.run(&Script::new(import(&components.tag)).with_file(images)).await?;
            context.timeline.mark("copy");
            Ok(())
        })
    }
}

/// Imports the images and takes the program out of one of them: it is most of what is in them, and must not be sent twice.
/// What is half installed bears no mark: whatever is asked for next, it is installed.
///
/// containerd has checked what it unpacked against the digests in the archive; nobody has to do it once more.
fn import(tag: &str) -> String {
    // A machine lets us in before all of its services have started.
    // What containerd keeps for the mount is called after its place, and goes by itself after a day.
    let (image, mount) = (ssh::quote(&image::oci::image_name("pause", tag)), ssh::quote(&format!("{MOUNTS}/{tag}")));
    let tag = ssh::quote(tag);
    format!(
        "rm -f /var/lib/provision/components
systemctl start containerd
ctr -n k8s.io images import - >/dev/null
if mountpoint -q {mount}; then umount {mount}; fi
mkdir -p {mount} \"$(dirname {NODE_PROGRAM})\"
ctr -n k8s.io images mount {image} {mount} >/dev/null
cp {mount}/{HYPERKUBE} {NODE_PROGRAM}.provision-new
umount {mount}
chmod 755 {NODE_PROGRAM}.provision-new
sync {NODE_PROGRAM}.provision-new
mv -f {NODE_PROGRAM}.provision-new {NODE_PROGRAM}
ln -sfn {NODE_PROGRAM} /usr/bin/kubelet
if systemctl is-active --quiet kubelet; then systemctl restart kubelet; fi
mkdir -p /var/lib/provision
printf '%s\\n' {tag} >/var/lib/provision/components.new
mv /var/lib/provision/components.new /var/lib/provision/components"
    )
}

fn is_installed(context: &Context, role: &Role, host: &SeenHost) -> bool {
    let programs = !role.is_node() || host.components == context.desired.components.tag;
    programs && !lacks_software(context, role, Some(host))
}

fn lacks_software(context: &Context, role: &Role, host: Option<&SeenHost>) -> bool {
    let mark = host.map_or("-", |host| host.software.as_str());
    !context.infrastructure.has_node_software() && !Kit::of(&context.desired.topology, role).is_marked(mark)
}

/// Makes ready what is sent to every node: the archive with the images of all components, once for a binary and a node image.
async fn prepare(context: &Context) -> Result<PathBuf> {
    let components = &context.desired.components;
    let (hyperkube, tag) = (components.hyperkube.clone(), components.tag.clone());
    let programs = context.infrastructure.container_programs().context("the image is not in the cache")?;
    let cache_dir = context.cache_dir.clone();
    let make = move || image::component_images(&hyperkube, &programs, &tag, &cache_dir);
    Ok(tokio::task::spawn_blocking(make).await??.path)
}
