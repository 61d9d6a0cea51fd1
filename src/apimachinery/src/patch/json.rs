//! RFC 6902: operations on places named by RFC 6901 pointers.

use super::PatchError;
use crate::value::Value;

/// More operations than this are refused, as upstream does.
const MAX_OPERATIONS: usize = 10_000;
/// `copy` may not make a patch grow beyond this many copied values.
const MAX_COPIED: usize = 1_000_000;

/// Applies the operations in order.
pub(super) fn apply(tree: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Value::List(operations) = patch else {
        return Err(PatchError::Malformed(format!("a list of operations was expected, not {}", patch.type_name())));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLong { most: MAX_OPERATIONS, found: operations.len() });
    }
    let mut copied = 0;
    operations.iter().try_for_each(|operation| one(tree, operation, &mut copied))
}

fn one(tree: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let field =
        |name: &str| operation.get(name).ok_or_else(|| PatchError::Malformed(format!("an operation has no {name:?}")));
    let pointer = |name: &str| match field(name)? {
        Value::String(text) => parse_pointer(text),
        other => Err(PatchError::Malformed(format!("{name:?} must be text, not {}", other.type_name()))),
    };
    let path = pointer("path")?;
    match operation.str("op") {
        "add" => add(tree, &path, field("value")?.clone()),
        "remove" => remove(tree, &path, "remove").map(drop),
        "replace" => {
            *find(tree, &path, "replace")? = field("value")?.clone();
            Ok(())
        }
        "move" => {
            let from = pointer("from")?;
            if path.len() > from.len() && path.starts_with(&from) {
                return Err(does_not_apply("move", &path, "a value cannot be moved into itself"));
            }
            let value = remove(tree, &from, "move")?;
            add(tree, &path, value)
        }
        "copy" => {
            let value = find(tree, &pointer("from")?, "copy")?.clone();
            *copied += size(&value);
            if *copied > MAX_COPIED {
                return Err(PatchError::DoesNotApply("the copies made by the patch are too large".into()));
            }
            add(tree, &path, value)
        }
        "test" => test(tree, &path, operation.get("value")),
        other => Err(PatchError::Malformed(format!("unexpected kind: {other}"))),
    }
}

/// A test for null passes where there is nothing.
fn test(tree: &mut Value, path: &[String], expected: Option<&Value>) -> Result<(), PatchError> {
    let expected = expected.unwrap_or(&Value::Null);
    let same = match find(tree, path, "test") {
        Ok(actual) => actual == expected,
        Err(_) => expected.is_null(),
    };
    if same {
        Ok(())
    } else {
        Err(PatchError::DoesNotApply(format!("testing value {} failed: test failed", show(path))))
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Map(map) => 1 + map.values().map(size).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

fn parse_pointer(text: &str) -> Result<Vec<String>, PatchError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err(PatchError::Malformed(format!("the path {text:?} does not start with a slash")));
    };
    Ok(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

fn show(path: &[String]) -> String {
    path.iter().fold(String::new(), |shown, step| shown + "/" + &step.replace('~', "~0").replace('/', "~1"))
}

fn does_not_apply(operation: &str, path: &[String], why: &str) -> PatchError {
    PatchError::DoesNotApply(format!(
        "{operation} operation does not apply: doc is missing path: \"{}\": {why}",
        show(path)
    ))
}

fn index(step: &str, len: usize) -> Option<usize> {
    if step.starts_with('+') || (step.len() > 1 && step.starts_with('0')) {
        return None;
    }
    step.parse::<usize>().ok().filter(|index| *index < len)
}

fn find<'v>(tree: &'v mut Value, path: &[String], operation: &str) -> Result<&'v mut Value, PatchError> {
    let missing = || does_not_apply(operation, path, "missing value");
    path.iter().try_fold(tree, |value, step| match value {
        Value::Map(map) => map.get_mut(step).ok_or_else(missing),
        Value::List(list) => {
            let index = index(step, list.len()).ok_or_else(missing)?;
            Ok(&mut list[index])
        }
        _ => Err(missing()),
    })
}

fn add(tree: &mut Value, path: &[String], value: Value) -> Result<(), PatchError> {
    let Some((end, parents)) = path.split_last() else {
        *tree = value;
        return Ok(());
    };
    match find(tree, parents, "add")? {
        Value::Map(map) => drop(map.insert(end.as_str(), value)),
        Value::List(list) if end == "-" => list.push(value),
        Value::List(list) => {
            let index =
                index(end, list.len() + 1).ok_or_else(|| does_not_apply("add", path, "invalid index referenced"))?;
            list.insert(index, value);
        }
        _ => return Err(does_not_apply("add", path, "missing value")),
    }
    Ok(())
}

fn remove(tree: &mut Value, path: &[String], operation: &str) -> Result<Value, PatchError> {
    let missing = || does_not_apply(operation, path, "missing value");
    let (end, parents) = path.split_last().ok_or_else(missing)?;
    match find(tree, parents, operation)? {
        Value::Map(map) => map.remove(end).ok_or_else(missing),
        Value::List(list) => {
            let index = index(end, list.len()).ok_or_else(missing)?;
            Ok(list.remove(index))
        }
        _ => Err(missing()),
    }
}
