//! `provision image build` and `provision image load CLUSTER ARCHIVE`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use ssh::Script;

use super::{open, print, print_json};
use crate::config::{Config, ImageCommand};
use crate::exit::Exit;
use crate::image::{ImageSpec, Progress, build};
use crate::progress::{Format, Silent};

/// How long a running machine may take to let us in.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(command: ImageCommand, config: &Config) -> Result<Exit> {
    match command {
        ImageCommand::Build { release, mirror } => {
            let spec = ImageSpec { suite: release, mirror, ..ImageSpec::default() };
            let image = build(&spec, &config.cache_dir, &show).await?;
            match config.output {
                Format::Json => print_json(
                    &serde_json::json!({ "disk": image.disk, "hash": image.hash, "manifest": image.manifest }),
                )?,
                Format::Text => print(&image.disk.display().to_string()),
            }
        }
        ImageCommand::Load { cluster, archive } => {
            let name = open::cluster_name(&cluster)?;
            let context = open::existing(&name, config, Arc::new(Silent))?;
            std::fs::File::open(&archive).with_context(|| format!("cannot read {}", archive.display()))?;
            let script = Script::new("ctr -n k8s.io images import - >/dev/null").with_file(&archive);
            let nodes = context.desired.names(::topology::Role::is_node);
            try_join_all(nodes.iter().map(|node| async {
                context.hosts.connect(node, PATIENCE).await?.run(&script).await?;
                anyhow::Ok(())
            }))
            .await?;
            match config.output {
                Format::Json => print_json(&loaded(&name, &archive, &nodes))?,
                Format::Text => print(&format!("{} is on {} node(s) of {name}.", archive.display(), nodes.len())),
            }
        }
    }
    Ok(Exit::Done)
}

/// What a program hears of an archive that is on these nodes.
fn loaded(cluster: &str, archive: &Path, nodes: &[String]) -> serde_json::Value {
    serde_json::json!({ "cluster": cluster, "archive": archive, "nodes": nodes })
}

/// Steps of an image build, as lines on standard error.
fn show(progress: Progress) {
    if let Progress::Step { number, of, title } = progress {
        use std::io::Write as _;
        // A reader that has gone away does not stop the build.
        let _ = writeln!(std::io::stderr().lock(), "[{number}/{of}] {title}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_hears_which_nodes_have_the_images() {
        let said = loaded("lab", Path::new("app.tar"), &["lab-w-1".to_owned()]);
        assert_eq!(said, serde_json::json!({ "cluster": "lab", "archive": "app.tar", "nodes": ["lab-w-1"] }));
    }
}
