//! `provision image build` and `provision image load CLUSTER ARCHIVE`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use ssh::Script;

use super::{open, print, print_json};
use crate::config::{Config, ImageCommand};
use crate::exit::{Exit, Refusal};
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
        ImageCommand::Load { cluster, archive, nodes } => {
            let name = open::cluster_name(&cluster)?;
            let context = open::existing(&name, config, Arc::new(Silent))?;
            std::fs::File::open(&archive).with_context(|| format!("cannot read {}", archive.display()))?;
            let script = Script::new("ctr -n k8s.io images import - >/dev/null").with_file(&archive);
            let nodes = chosen(&name, context.desired.names(::topology::Role::is_node), nodes)?;
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

/// The nodes that were asked for; all of them if none was.
///
/// # Errors
/// Refuses a name that no node of the cluster has.
fn chosen(cluster: &str, all: Vec<String>, asked: Vec<String>) -> Result<Vec<String>> {
    if let Some(unknown) = asked.iter().find(|node| !all.contains(node)) {
        let message = format!("{unknown} is not a node of {cluster}");
        return Err(Refusal::new(Exit::NotFound, message).hint(format!("its nodes are {}", all.join(", "))).into());
    }
    Ok(if asked.is_empty() { all } else { asked })
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
    fn nodes_may_be_chosen_and_must_be_of_the_cluster() {
        let all = || vec!["lab-a".to_owned(), "lab-b".to_owned()];
        assert_eq!(chosen("lab", all(), Vec::new()).unwrap(), all());
        assert_eq!(chosen("lab", all(), vec!["lab-b".to_owned()]).unwrap(), ["lab-b"]);
        let refused = chosen("lab", all(), vec!["lab-c".to_owned()]).unwrap_err();
        assert_eq!(refused.to_string(), "lab-c is not a node of lab");
    }

    #[test]
    fn a_program_hears_which_nodes_have_the_images() {
        let said = loaded("lab", Path::new("app.tar"), &["lab-w-1".to_owned()]);
        assert_eq!(said, serde_json::json!({ "cluster": "lab", "archive": "app.tar", "nodes": ["lab-w-1"] }));
    }
}
