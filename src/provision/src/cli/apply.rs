//! `provision apply FILE`, and `provision FILE`.

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use super::{open, print, print_json};
use crate::config::{ApplyArgs, Config};
use crate::context::Context;
use crate::exit::Exit;
use crate::lifecycle::{UP, converge};
use crate::lock::Lock;
use crate::progress::{Format, for_output};
use crate::state::{StateDir, write_private};

pub(super) async fn run(args: &ApplyArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let topology = open::read_topology(&args.file)?;
    let state = StateDir::new(&config.state_dir, topology.name());
    let _lock = Lock::take(&state, &format!("apply {}", args.file.display()))?;
    let progress = for_output(config.output);
    let context = open::for_apply(topology, config, progress).await?;
    context.desired.vault.save(&context.state)?;
    write_private(&context.state.path("kubeconfig"), context.desired.kubeconfig.as_bytes())?;
    context.timeline.mark("pki");
    let outcome = converge(UP, &context, token).await;
    context.progress.close();
    if let Some(file) = &args.timings {
        let text = serde_json::to_vec_pretty(&context.timeline.report())?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let plan = outcome?;
    summary(&context, config, plan.is_empty())?;
    Ok(Exit::Done)
}

fn summary(context: &Context, config: &Config, unchanged: bool) -> Result<()> {
    let name = context.desired.topology.name();
    let kubeconfig = context.state.path("kubeconfig");
    if config.output == Format::Json {
        return print_json(&serde_json::json!({
            "cluster": name, "changed": !unchanged, "kubeconfig": kubeconfig, "timings": context.timeline.report(),
        }));
    }
    if unchanged {
        print(&format!("Cluster {name} is as the topology asks: no change."));
    } else {
        print(&format!("Cluster {name} is ready."));
    }
    print(&format!("  kubectl --kubeconfig {} get nodes", kubeconfig.display()));
    Ok(())
}
