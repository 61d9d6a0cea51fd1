//! The prose of the schema, kept apart because it is large and rarely needed.

use std::collections::HashMap;

/// Prose by type and field.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    types: HashMap<Box<str>, HashMap<Box<str>, Box<str>>>,
}

impl Descriptions {
    /// Reads lines of name, tab and prose; the names of fields are indented.
    pub(super) fn parse(text: &str) -> Self {
        let mut types: HashMap<Box<str>, HashMap<Box<str>, Box<str>>> = HashMap::new();
        let mut current = "";
        for (name, prose) in text.lines().filter_map(|line| line.split_once('\t')) {
            let field = name.strip_prefix(' ').unwrap_or_else(|| {
                current = name;
                ""
            });
            let prose = if prose.contains('\\') { unescape(prose) } else { prose.to_owned() };
            types.entry(current.into()).or_default().insert(field.into(), prose.into());
        }
        Self { types }
    }

    /// The prose about a field, or with "" about the type.
    pub(super) fn get(&self, name: &str, field: &str) -> &str {
        self.types.get(name).and_then(|fields| fields.get(field)).map_or("", |prose| prose)
    }
}

fn unescape(prose: &str) -> String {
    let mut plain = String::with_capacity(prose.len());
    let mut letters = prose.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.push(if letters.next() == Some('n') { '\n' } else { '\\' }),
            other => plain.push(other),
        }
    }
    plain
}
