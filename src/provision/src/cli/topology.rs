//! `provision topology schema` and `provision topology validate FILE`.

use anyhow::Result;

use super::{open, print, print_json};
use crate::config::{Config, TopologyCommand};
use crate::exit::Exit;
use crate::progress::Format;

pub(super) fn run(command: &TopologyCommand, config: &Config) -> Result<Exit> {
    match command {
        TopologyCommand::Schema => print_json(&::topology::json_schema())?,
        TopologyCommand::Validate(args) => {
            let topology = open::read_topology(&args.file)?;
            match config.output {
                Format::Json => print_json(topology.cluster())?,
                Format::Text => print(&topology.to_yaml()),
            }
        }
    }
    Ok(Exit::Done)
}
