//! Chores of the repository: `cargo xtask <chore>`. One file per chore; no crate depends on this one.

mod schema;
mod tidy;

use clap::Parser;

/// Chores of the repository.
#[derive(Parser)]
enum Chore {
    /// Generate the tables of src/api/schema from published descriptions of the API.
    Schema(schema::Args),
    /// Hold the tree against the house rules and print the longest files and functions.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Schema(args) => schema::run(&args),
        Chore::Tidy => tidy::run(&std::env::current_dir()?),
    }
}
