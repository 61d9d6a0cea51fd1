//! `provision doctor`.

use anyhow::Result;

use super::{print, print_json};
use crate::config::Config;
use crate::exit::Exit;
use crate::progress::Format;

pub(super) async fn run(config: &Config) -> Result<Exit> {
    let report = crate::doctor::examine(config).await;
    match config.output {
        Format::Json => print_json(&report)?,
        Format::Text => print(&report.to_string()),
    }
    Ok(if report.is_fit() { Exit::Done } else { Exit::Host })
}
