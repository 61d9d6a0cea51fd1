//! Images as the node's own containerd keeps them, taken in on the host.

use std::path::Path;

use tokio::process::Command;

use super::debugfs::{self, Access};
use crate::image::BuildError;
use crate::image::build::tool;

pub(super) const SCRIPT: &str = include_str!("../../../../../templates/image/import.sh");
pub(super) const CONFIG: &str = include_str!("../../../../../templates/image/import.toml");

/// What is taken out of the node image: containerd, its client, and what they are linked to.
pub(super) const PROGRAMS: [&str; 4] = [
    "/usr/bin/containerd",
    "/usr/bin/ctr",
    "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
];

/// Fills `stage`/root with what the containerd of the node image would have after it had imported `archive`.
pub(super) async fn import(disk: &Path, archive: &Path, stage: &Path) -> Result<(), BuildError> {
    let folder = stage.join("programs");
    std::fs::create_dir(&folder).map_err(|source| BuildError::File { path: folder, source })?;
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let commands: String = PROGRAMS.map(|path| format!("dump -p {path} programs/{}\n", name(path))).concat();
    debugfs::run(disk, Access::Read, &commands, stage).await?;
    tool::write(&stage.join("config.toml"), CONFIG.as_bytes(), 0o644)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT, "sh"]);
    // Addresses, namespaces and proxies of a containerd of this host are none of its business.
    command.arg(stage).arg(archive).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    tool::bytes("containerd", &mut command).await.map(drop)
}
