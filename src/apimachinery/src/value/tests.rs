use super::*;
use serde::{Deserialize, Serialize};

#[test]
fn a_value_stays_small() {
    assert_eq!(size_of::<Value>(), 24);
    assert_eq!(size_of::<Key>(), 16);
}

#[test]
fn the_macro_builds_what_it_shows() {
    let name = String::from("web");
    let key = "dynamic";
    let built = value!({
        "kind": "Pod", "spec": { "containers": [{ "name": &name, "tty": true }, null, [1, 2.5]], }, key: name.len(), (format!("{key}2")): null,
    });
    assert_eq!(
        built.to_string(),
        r#"{"kind":"Pod","spec":{"containers":[{"name":"web","tty":true},null,[1,2.5]]},"dynamic":3,"dynamic2":null}"#
    );
    assert_eq!(value!({}), Value::map());
    assert_eq!(value!([]), Value::List(vec![]));
}

#[test]
fn paths_reach_into_maps_and_lists() {
    let mut pod = value!({"spec": {"containers": [{"name": "a"}]}});
    assert_eq!(pod.at(&["spec", "containers", "0", "name"]).and_then(Value::as_str), Some("a"));
    pod.set_at(&["spec", "containers", "0", "image"], "nginx");
    pod.set_at(&["status", "phase"], "Pending");
    assert_eq!(pod.at(&["status", "phase"]), Some(&Value::from("Pending")));
    assert_eq!(pod.remove_at(&["spec", "containers", "0", "name"]), Some(Value::from("a")));
    assert_eq!(pod.remove_at(&["spec", "nothing", "here"]), None);
    assert_eq!(pod, value!({"spec": {"containers": [{"image": "nginx"}]}, "status": {"phase": "Pending"}}));
}

#[test]
fn equality_does_not_depend_on_the_order_of_fields() {
    assert_eq!(value!({"a": 1, "b": 2}), value!({"b": 2, "a": 1}));
    assert_ne!(value!({"a": 1, "b": 2}), value!({"b": 2, "c": 1}));
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
    #[serde(default)]
    weights: Vec<f64>,
    mode: Mode,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Mode {
    Plain,
    Size(u8),
    Named { x: i32 },
}

#[test]
fn typed_values_pass_through_unharmed() {
    for mode in [Mode::Plain, Mode::Size(3), Mode::Named { x: -1 }] {
        let port = Port { name: Some("http".into()), container_port: 80, weights: vec![0.5], mode };
        let tree = from_typed(&port).unwrap();
        assert_eq!(tree.at(&["containerPort"]), Some(&Value::Int(80)));
        assert_eq!(to_typed::<Port>(&tree).unwrap(), port);
    }
    let error = to_typed::<Port>(&value!({"containerPort": "x", "mode": "Plain"})).unwrap_err();
    assert!(error.to_string().starts_with("containerPort: "), "{error}");
}

#[test]
fn any_serde_format_can_be_read() {
    let text = r#"{"a":[1,-2,3.5,null,true,"x"],"b":{"c":18446744073709551615}}"#;
    let tree: Value = serde_json::from_str(text).unwrap();
    assert_eq!(tree.at(&["a", "1"]), Some(&Value::Int(-2)));
    assert!(matches!(tree.at(&["b", "c"]), Some(Value::Float(_))));
}

#[test]
fn maps_are_compared_with_some_fields_aside() {
    let map = |value: Value| value.as_map().unwrap().clone();
    let left = map(value!({"a": 1, "b": {"c": 2}, "x": 1}));
    assert!(left.equals_except(&map(value!({"b": {"c": 2}, "y": 3, "a": 1})), &["x", "y"]));
    assert!(!left.equals_except(&map(value!({"b": {"c": 3}, "a": 1})), &["x"]));
    assert!(!left.equals_except(&map(value!({"a": 1})), &["x"]));
    assert!(!map(value!({"a": 1})).equals_except(&left, &["x"]));
}
