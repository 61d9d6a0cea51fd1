//! The fields of every built-in kind, from the tables `cargo xtask schema` makes.

use apimachinery::schema::Schema;
use std::{io::Read, sync::LazyLock};

static TYPES: &str = include_str!("../schema/types.txt");
static DESCRIPTIONS: &[u8] = include_bytes!("../schema/descriptions.txt.gz");

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut schema = Schema::parse(TYPES).expect("the generated table is tested to parse");
    schema.set_descriptions(|| {
        let mut text = String::new();
        let read = flate2::read::GzDecoder::new(DESCRIPTIONS).read_to_string(&mut text);
        read.expect("the generated prose is tested to unpack");
        text
    });
    schema
});

/// The schema of all built-in kinds.
pub fn schema() -> &'static Schema {
    &SCHEMA
}

#[cfg(test)]
mod tests;
