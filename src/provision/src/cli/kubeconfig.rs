//! `provision kubeconfig CLUSTER`.

use anyhow::Result;

use super::{open, print};
use crate::config::{Config, KubeconfigArgs};
use crate::exit::Exit;
use crate::state::read_if_there;

pub(super) fn run(args: &KubeconfigArgs, config: &Config) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let path = open::state_of(&name, config)?.path("kubeconfig");
    if args.path {
        print(&path.display().to_string());
    } else {
        print(&read_if_there(&path)?.ok_or_else(|| open::no_cluster(&name))?);
    }
    Ok(Exit::Done)
}
