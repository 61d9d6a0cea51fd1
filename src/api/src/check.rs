//! The bricks of validation: each adds what is wrong, with upstream's paths and words.

use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::value::{Map, Value};

/// What is wrong so far.
pub(crate) type Errors = Vec<FieldError>;

/// The words for a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";
/// The words for a number below zero.
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// The text must follow a rule of [`names`].
pub(crate) fn named(errors: &mut Errors, path: &Path, text: &str, rule: fn(&str) -> Vec<String>) {
    for wrong in rule(text) {
        errors.push(FieldError::invalid(path, text, wrong));
    }
}

/// The text must be there and follow a rule.
pub(crate) fn required_named(errors: &mut Errors, path: &Path, text: &str, rule: fn(&str) -> Vec<String>) {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        named(errors, path, text, rule);
    }
}

/// The text must be there.
pub(crate) fn required(errors: &mut Errors, path: &Path, text: &str) {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
}

/// The text must be one of a few.
pub(crate) fn one_of(errors: &mut Errors, path: &Path, text: &str, known: &[&str]) {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !known.contains(&text) {
        errors.push(FieldError::not_supported(path, text, known));
    }
}

/// The text, if there is one, must be one of a few.
pub(crate) fn optional_one_of(errors: &mut Errors, path: &Path, text: &str, known: &[&str]) {
    if !text.is_empty() {
        one_of(errors, path, text, known);
    }
}

/// The number in a field, if there is one, must not be below zero.
pub(crate) fn not_negative(errors: &mut Errors, path: &Path, map: &Map, key: &str) {
    if let Some(number) = number(map, key)
        && number < 0
    {
        errors.push(FieldError::invalid(path.child(key), number, NOT_NEGATIVE));
    }
}

/// The number in a field must lie between two others.
pub(crate) fn between(errors: &mut Errors, path: &Path, number: i64, (low, high): (i64, i64)) {
    if number < low || number > high {
        let wrong = format!("must be between {low} and {high}, inclusive");
        errors.push(FieldError::invalid(path, number, wrong));
    }
}

/// The number must be one of a port.
pub(crate) fn port(errors: &mut Errors, path: &Path, number: i64) {
    for wrong in names::port_number(number) {
        errors.push(FieldError::invalid(path, number, wrong));
    }
}

/// The number or name of a port, as `targetPort` takes it.
pub(crate) fn port_or_name(errors: &mut Errors, path: &Path, value: &Value) {
    match value {
        Value::Int(number) => port(errors, path, *number),
        Value::String(name) => named(errors, path, name, names::port_name),
        _ => {}
    }
}

/// A path must stay where it begins: no step up.
pub(crate) fn no_step_up(errors: &mut Errors, path: &Path, text: &str) {
    if text.split('/').any(|step| step == "..") {
        errors.push(FieldError::invalid(path, text, "must not contain '..'"));
    }
}

/// A path must lead down from where it begins.
pub(crate) fn inner_path(errors: &mut Errors, path: &Path, text: &str) {
    if text.starts_with('/') {
        errors.push(FieldError::invalid(path, text, "must be a relative path"));
    }
    no_step_up(errors, path, text);
}

/// Whether a field is set, even to nothing special.
pub(crate) fn set(map: &Map, key: &str) -> bool {
    map.get(key).is_some_and(|value| !value.is_null())
}

/// A field that may not be set here.
pub(crate) fn unset(errors: &mut Errors, path: &Path, map: &Map, key: &str, why: &str) {
    if set(map, key) {
        errors.push(FieldError::forbidden(path.child(key), why));
    }
}

/// An address in either family.
pub(crate) fn ip(errors: &mut Errors, path: &Path, text: &str) {
    if text.parse::<std::net::IpAddr>().is_err() {
        errors.push(FieldError::invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
    }
}

/// An address others can reach: not our own, nor that of a link.
pub(crate) fn no_special_ip(errors: &mut Errors, path: &Path, text: &str) {
    let Ok(address) = text.parse::<std::net::IpAddr>() else { return };
    let (link, link_group) = match address {
        std::net::IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(address) => (address.is_unicast_link_local(), address.segments()[0] & 0xff0f == 0xff02),
    };
    let ranges = [
        (address.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_group, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    for (_, wrong) in ranges.iter().filter(|(is, _)| *is) {
        errors.push(FieldError::invalid(path, text, *wrong));
    }
}

/// `example.com/name`, as controllers are named.
pub(crate) fn domain_prefixed(errors: &mut Errors, path: &Path, text: &str) {
    match text.split_once('/') {
        _ if text.is_empty() => errors.push(FieldError::required(path, "")),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            named(errors, path, domain, names::dns1123_subdomain);
        }
        _ => {
            let wrong = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid(path, text, wrong));
        }
    }
}

/// A range of addresses in either family.
pub(crate) fn cidr(errors: &mut Errors, path: &Path, text: &str) {
    if text.parse::<ipnet::IpNet>().is_err() {
        let wrong = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(FieldError::invalid(path, text, wrong));
    }
}

/// A number in a field, if there is one, must be greater than zero.
pub(crate) fn positive(errors: &mut Errors, path: &Path, map: &Map, key: &str) {
    if let Some(number) = number(map, key).filter(|number| *number <= 0) {
        errors.push(FieldError::invalid(path.child(key), number, "must be greater than 0"));
    }
}

/// The texts in the list of a field, with their places.
pub(crate) fn texts<'a>(map: &'a Map, key: &str) -> impl Iterator<Item = (usize, &'a str)> {
    list(map, key).iter().enumerate().map(|(index, value)| (index, value.as_str().unwrap_or_default()))
}

/// A whole number that is not negative, or a percentage.
pub(crate) fn number_or_percent(errors: &mut Errors, path: &Path, value: Option<&Value>) {
    match value {
        Some(Value::Int(number)) if *number < 0 => {
            errors.push(FieldError::invalid(path, *number, NOT_NEGATIVE));
        }
        Some(Value::String(text)) => named(errors, path, text, names::percent),
        _ => {}
    }
}

/// A percentage must not be more than all.
pub(crate) fn at_most_all(errors: &mut Errors, path: &Path, value: Option<&Value>) {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    let percent = text.strip_suffix('%').and_then(|text| text.parse::<i64>().ok());
    if percent.is_some_and(|percent| percent > 100) {
        errors.push(FieldError::invalid(path, text, "must not be greater than 100%"));
    }
}

/// A field may not differ from what it was.
pub(crate) fn unchanged(errors: &mut Errors, path: &Path, new: Option<&Value>, old: Option<&Value>) {
    let (new, old) = (new.unwrap_or(&Value::Null), old.unwrap_or(&Value::Null));
    if new != old {
        errors.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
    }
}

/// Labels as metadata, templates and selectors have them.
pub(crate) fn labels(errors: &mut Errors, path: &Path, labels: &Map) {
    for (key, value) in labels.strings() {
        named(errors, path, key, names::qualified_name);
        named(errors, &path.key(key), value, names::label_value);
    }
}

/// A label selector.
pub(crate) fn selector(errors: &mut Errors, path: &Path, selector: &Value) {
    if let Some(wanted) = selector.get("matchLabels").and_then(Value::as_map) {
        labels(errors, &path.child("matchLabels"), wanted);
    }
    for (index, expression) in selector.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = expression.list("values");
        match expression.str("operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(path.child("operator"), other, "not a valid selector operator")),
        }
        named(errors, &path.child("key"), expression.str("key"), names::qualified_name);
        for (at, value) in values.iter().enumerate() {
            let text = value.as_str().unwrap_or_default();
            named(errors, &path.child("values").index(at), text, names::label_value);
        }
    }
}

/// Whether a selector says nothing, and so selects everything.
pub(crate) fn is_empty_selector(selector: Option<&Value>) -> bool {
    let empty = |key| selector.and_then(|s| s.get(key)).is_none_or(Value::is_empty);
    empty("matchLabels") && empty("matchExpressions")
}

/// Whether labels fit a selector.
pub(crate) fn selects(selector: &Value, labels: &Map) -> bool {
    let wanted = selector.get("matchLabels").and_then(Value::as_map);
    let exact = wanted.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
    exact
        && selector.list("matchExpressions").iter().all(|expression| {
            let present = labels.get(expression.str("key"));
            let listed = present.is_some_and(|value| expression.list("values").contains(value));
            match expression.str("operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => present.is_some(),
                "DoesNotExist" => present.is_none(),
                _ => false,
            }
        })
}

/// The number in a field.
pub(crate) fn number(map: &Map, key: &str) -> Option<i64> {
    map.get(key)?.as_i64()
}

/// The items in the list of a field.
pub(crate) fn list<'a>(map: &'a Map, key: &str) -> &'a [Value] {
    map.get(key).and_then(Value::as_list).unwrap_or_default()
}

/// The maps in the list of a field, with their places.
pub(crate) fn maps<'a>(map: &'a Map, key: &str) -> impl Iterator<Item = (usize, &'a Map)> {
    list(map, key).iter().enumerate().filter_map(|(index, value)| Some((index, value.as_map()?)))
}

/// The map in a field, or an empty one.
pub(crate) fn part<'a>(map: &'a Map, key: &str) -> &'a Map {
    static NONE: Map = Map::new();
    map.get(key).and_then(Value::as_map).unwrap_or(&NONE)
}
