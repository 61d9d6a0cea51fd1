//! Cells of `kubectl get`: ages, lists and the columns that many kinds share.

use crate::resource::Column;
use apimachinery::object::Object;
use apimachinery::time;
use apimachinery::value::{Map, Value};
use jiff::Timestamp;

/// The name of the object.
pub(crate) const NAME: Column =
    Column { format: "name", ..Column::new("Name", |object, _| Value::from(object.name())) }
        .about("Name must be unique within a namespace.");

/// How long ago the object was created.
pub(crate) const AGE: Column = Column::new("Age", |object, now| Value::from(since(object.creation_timestamp(), now)))
    .about("How long ago the object was created.");

/// When the object was created, for the kinds that print it so.
pub(crate) const CREATED_AT: Column = Column::new("Created At", |object, _| Value::from(object.creation_timestamp()));

/// The containers of the pod template.
pub(crate) const CONTAINERS: Column = Column::new("Containers", |object, _| template_fields(object, "name")).wide();
/// The images of the pod template.
pub(crate) const IMAGES: Column = Column::new("Images", |object, _| template_fields(object, "image")).wide();
/// The selector of a workload.
pub(crate) const SELECTOR: Column =
    Column::new("Selector", |object, _| Value::from(selector(object.at(&["spec", "selector"])))).wide();

/// What stands for an empty cell.
pub(crate) const NONE: &str = "<none>";
/// What stands for what is not known.
pub(crate) const UNKNOWN: &str = "<unknown>";
/// What stands for what was not set.
pub(crate) const UNSET: &str = "<unset>";

/// The time from `then` to now in the form people read: `5m12s`, `3d`.
pub(crate) fn since(then: &str, now: Timestamp) -> String {
    match time::parse(then) {
        Some(then) => duration(now.as_second() - then.as_second()),
        None => UNKNOWN.to_owned(),
    }
}

/// A number of seconds in at most two units, the shorter the smaller it is.
pub(crate) fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: i64, unit: &str, small: i64, rest: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{rest}"),
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// The text at a path, or `<none>`.
pub(crate) fn text_or_none(object: &Object, path: &[&str]) -> Value {
    Value::from(or(object.str_at(path), NONE))
}

/// The number at a path, or 0.
pub(crate) fn number(object: &Object, path: &[&str]) -> Value {
    Value::from(object.i64_at(path).unwrap_or_default())
}

/// A text, or what stands for an empty one.
pub(crate) fn or<'a>(text: &'a str, empty: &'a str) -> &'a str {
    if text.is_empty() { empty } else { text }
}

/// Items joined by commas, or `<none>`.
pub(crate) fn joined<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let mut line = String::new();
    for item in items {
        if !line.is_empty() {
            line.push(',');
        }
        line.push_str(item.as_ref());
    }
    if line.is_empty() { NONE.to_owned() } else { line }
}

/// `key=value` of all labels in order of their keys, or `<none>`.
pub(crate) fn labels(labels: &Map) -> String {
    let mut pairs: Vec<_> = labels.strings().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort();
    joined(pairs)
}

/// A label selector as `kubectl` prints it.
pub(crate) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else {
        return NONE.to_owned();
    };
    let mut terms: Vec<String> = Vec::new();
    if let Some(wanted) = selector.get("matchLabels").and_then(Value::as_map) {
        terms.extend(wanted.strings().map(|(key, value)| format!("{key}={value}")));
    }
    for expression in selector.list("matchExpressions") {
        let key = expression.str("key");
        let values: Vec<_> = expression.list("values").iter().filter_map(Value::as_str).collect();
        terms.push(match expression.str("operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    terms.sort();
    joined(terms)
}

fn template_fields(object: &Object, field: &str) -> Value {
    let containers = object.list_at(&["spec", "template", "spec", "containers"]);
    Value::from(joined_plain(containers.iter().map(|container| container.str(field))))
}

/// Items joined by commas, "" for none.
pub(crate) fn joined_plain<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.collect::<Vec<_>>().join(",")
}

/// The address of an object's load balancer: `10.0.0.1,lb.example.com`.
pub(crate) fn load_balancer(object: &Object) -> String {
    let ingress = object.list_at(&["status", "loadBalancer", "ingress"]);
    joined_plain(ingress.iter().map(|point| or(point.str("ip"), point.str("hostname"))))
}

/// Access modes in their short forms: `RWO,ROX`.
pub(crate) fn access_modes(modes: &[Value]) -> String {
    let has = |mode: &str| modes.iter().any(|one| one.as_str() == Some(mode));
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    joined_plain(short.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let check = |seconds, expected: &str| assert_eq!(duration(seconds), expected);
        check(-5, "<invalid>");
        check(-1, "0s");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(125, "2m5s");
        check(599, "9m59s");
        check(600, "10m");
        check(3 * 3600 - 1, "179m");
        check(3 * 3600, "3h");
        check(3 * 3600 + 60, "3h1m");
        check(8 * 3600, "8h");
        check(47 * 3600, "47h");
        check(48 * 3600, "2d");
        check(50 * 3600, "2d2h");
        check(8 * 86400, "8d");
        check(729 * 86400, "729d");
        check(730 * 86400, "2y");
        check(731 * 86400, "2y1d");
        check(9 * 365 * 86400, "9y");
    }

    #[test]
    fn selectors_read_as_kubectl_prints_them() {
        let check = |value: Value, expected: &str| assert_eq!(selector(Some(&value)), expected);
        check(apimachinery::value!({}), NONE);
        check(apimachinery::value!({"matchLabels": {"b": "2", "a": "1"}}), "a=1,b=2");
        check(
            apimachinery::value!({"matchExpressions": [
                {"key": "a", "operator": "In", "values": ["x", "y"]},
                {"key": "b", "operator": "DoesNotExist"},
            ]}),
            "!b,a in (x,y)",
        );
    }
}
