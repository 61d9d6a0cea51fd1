//! House rules as a check: layers, who alone may use which library, budgets, names. Prints the tail, so that it is seen
//! before it grows.

mod layers;
mod source;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use source::{Measured, measure};

/// Lines of a file without its tests.
const MOST_FILE_LINES: usize = 400;
/// Lines of a function that are neither blank nor comment.
const MOST_FUNCTION_LINES: usize = 60;
/// Arguments of a function besides `self`.
const MOST_ARGUMENTS: usize = 5;
/// Lines of a program's start.
const MOST_MAIN_LINES: usize = 40;
const TAIL: usize = 10;

/// Words that say nothing about what is behind them.
const EMPTY_NAMES: [&str; 5] = ["utils", "common", "helpers", "misc", "manager"];

/// Holds the tree at `root` against the rules and prints the ten longest files and functions.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut problems = layers::check(root)?;
    let mut measured = Vec::new();
    for file in rust_files(root)? {
        let text = std::fs::read_to_string(&file)?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        problems.extend(names(&name));
        match measure(&name, &text) {
            Ok(file) => measured.push(file),
            Err(error) => problems.push(format!("{name}: cannot be parsed: {error}")),
        }
    }
    problems.extend(measured.iter().flat_map(budgets));
    report(&measured);
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    bail!("the house is not tidy:\n{}", problems.join("\n"))
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn names(file: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if stem == "mod" {
        problems.push(format!("{file}: modules are `foo.rs` beside `foo/`, not `mod.rs`"));
    }
    if EMPTY_NAMES.contains(&stem) {
        problems.push(format!("{file}: `{stem}` says nothing; name what is inside"));
    }
    problems
}

fn budgets(file: &Measured) -> Vec<String> {
    let mut problems = Vec::new();
    let name = &file.name;
    let most = if name.ends_with("/main.rs") { MOST_MAIN_LINES } else { MOST_FILE_LINES };
    if file.lines > most && !file.is_test {
        problems.push(format!("{name}: {} lines, {most} are allowed", file.lines));
    }
    if file.needs_header && !file.has_header {
        problems.push(format!("{name}: the first lines of a crate say its role (//!)"));
    }
    problems.extend(file.marks.iter().map(|line| format!("{name}:{line}: a mark for later; open an issue instead")));
    for function in &file.functions {
        let place = format!("{name}:{}: {}", function.line, function.name);
        if function.lines > MOST_FUNCTION_LINES && !file.is_test {
            problems.push(format!("{place} has {} lines, {MOST_FUNCTION_LINES} are allowed", function.lines));
        }
        if function.arguments > MOST_ARGUMENTS {
            problems.push(format!("{place} has {} arguments, {MOST_ARGUMENTS} are allowed", function.arguments));
        }
    }
    problems
}

#[expect(clippy::print_stdout, reason = "the tail is what the chore is for")]
fn report(measured: &[Measured]) {
    let mut files: Vec<_> = measured.iter().filter(|file| !file.is_test).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.lines));
    println!("longest files:");
    for file in files.iter().take(TAIL) {
        println!("{:>6}  {}", file.lines, file.name);
    }
    let mut functions: Vec<_> =
        files.iter().flat_map(|file| file.functions.iter().map(move |function| (function, &file.name))).collect();
    functions.sort_by_key(|(function, _)| std::cmp::Reverse(function.lines));
    println!("longest functions:");
    for (function, file) in functions.iter().take(TAIL) {
        println!("{:>6}  {}  {file}:{}", function.lines, function.name, function.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        // Asked for when it runs: a build that is kept may come from another folder.
        let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let root = Path::new(&here).join("../..").canonicalize().unwrap();
        run(&root).unwrap();
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        assert_eq!(names("src/a/src/utils.rs").len(), 1);
        assert_eq!(names("src/a/src/b/mod.rs").len(), 1);
        assert!(names("src/a/src/quantity.rs").is_empty());
    }
}
