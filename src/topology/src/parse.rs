//! From text to a checked [`Topology`].

use crate::document::{Node, Value};
use crate::error::{InvalidTopology, Problem};
use crate::spec::Cluster;
use crate::{structure, validate};

/// The largest topology file that is read: a thousand machines fit into a tenth of it.
const MAX_BYTES: usize = 1 << 20;
/// The deepest field of a topology is six deep.
const MOST_NESTED: usize = 32;

/// A topology that has passed every check; there is no other way to get one.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    cluster: Cluster,
}

impl Topology {
    /// Reads and checks a topology; `file` only names the source in errors.
    ///
    /// # Errors
    /// Every problem of the text at once, each with line, column and field path.
    pub fn parse(file: &str, text: &str) -> Result<Self, InvalidTopology> {
        let invalid = |problems| InvalidTopology { file: file.to_owned(), problems };
        let document = document(text).map_err(|problem| invalid(vec![problem]))?;
        let mut problems = structure::check(&document);
        if problems.is_empty() {
            match serde_saphyr::from_str::<Cluster>(text) {
                Ok(cluster) => {
                    problems = validate::check(&cluster);
                    if problems.is_empty() {
                        return Ok(Self { cluster });
                    }
                }
                Err(error) => problems.push(syntax(&error)),
            }
        }
        for problem in &mut problems {
            if problem.line == 0 {
                (problem.line, problem.column) = document.locate(&problem.path);
            }
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(invalid(problems))
    }

    /// The checked content.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The name of the cluster.
    pub fn name(&self) -> &str {
        &self.cluster.metadata.name
    }

    /// The whole topology as YAML, every default written down.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(&self.cluster).expect("a checked topology holds only plain data")
    }
}

fn document(text: &str) -> Result<Node, Problem> {
    let whole = |message: String| Problem { line: 0, column: 0, path: String::new(), message };
    if text.len() > MAX_BYTES {
        return Err(whole(format!("is larger than {MAX_BYTES} bytes; a topology is a short file")));
    }
    if let Some(line) = too_deep(text) {
        return Err(Problem { line, ..whole(format!("is nested more than {MOST_NESTED} deep; a topology is flat")) });
    }
    let node: Node = serde_saphyr::from_str(text).map_err(|error| syntax(&error))?;
    match node.value {
        Value::Map(_) => Ok(node),
        Value::Null => Err(whole("is empty; start from one of the files in topologies/".to_owned())),
        _ => {
            Err(whole(format!("is {}; a topology is a map with apiVersion, kind, metadata and spec", node.type_name())))
        }
    }
}

/// The first line that may be nested deeper than a parser's stack can bear: by brackets, or by what stands before a value.
fn too_deep(text: &str) -> Option<u64> {
    let mut open = 0_usize;
    for (number, line) in (1..).zip(text.lines()) {
        let before = line.chars().take_while(|character| " \t-?:!&".contains(*character)).count();
        for character in line.chars() {
            match character {
                '[' | '{' => open += 1,
                ']' | '}' => open = open.saturating_sub(1),
                _ => {}
            }
        }
        if open > MOST_NESTED || before > 2 * MOST_NESTED {
            return Some(number);
        }
    }
    None
}

fn syntax(error: &serde_saphyr::Error) -> Problem {
    let (line, column) = error.location().map_or((0, 0), |place| (place.line(), place.column()));
    let text = error.without_snippet().to_string();
    // The place is a field of its own here; the parser repeats it at the end of its message.
    let message = text.split(" at line ").next().unwrap_or(&text);
    // What the parser advises is for programmers.
    let message = message.split(", set ").next().unwrap_or(message);
    let message = message.split("; use from_").next().unwrap_or(message).to_owned();
    Problem { line, column, path: String::new(), message }
}
