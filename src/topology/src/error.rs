//! What is wrong with a topology, where, and what to do.

use std::fmt;

/// Every problem of one file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTopology {
    /// The file, as the user named it.
    pub file: String,
    /// At least one problem.
    pub problems: Vec<Problem>,
}

/// One mistake in a topology file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1; 0 if the mistake has no place.
    pub line: u64,
    /// Column, counted from 1; 0 if the mistake has no place.
    pub column: u64,
    /// Path of the field, such as `spec.workers[0].name`; empty for the document itself.
    pub path: String,
    /// What is wrong and, where it is not obvious, what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for InvalidTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match problem.line {
                0 => write!(f, "{}: {problem}", self.file)?,
                line => write!(f, "{}:{line}:{}: {problem}", self.file, problem.column)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for InvalidTopology {}
