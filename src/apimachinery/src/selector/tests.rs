use super::*;
use crate::value;
use proptest::prelude::*;

fn labels() -> Map {
    value!({"app": "web", "tier": "front", "n": "5", "example.com/x": ""}).as_map().unwrap().clone()
}

#[test]
fn label_selectors_choose_as_upstream_does() {
    for (text, expected) in [
        ("", true),
        (" ", true),
        ("app", true),
        ("!app", false),
        ("! other", true),
        ("other", false),
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier in (front, back)", true),
        ("app!=web", false),
        ("other!=x", true),
        ("tier notin (back)", true),
        ("other notin (x)", true),
        ("tier notin (front)", false),
        ("n>4", true),
        ("n<5", false),
        ("app>4", false),
        ("example.com/x", true),
        ("example.com/x=", true),
        ("other=", false),
        ("app in (,web)", true),
        ("in in (a)", false),
        ("notin", false),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels()), expected, "{text}");
    }
}

#[test]
fn malformed_label_selectors_are_refused() {
    for text in [
        "=a",
        "a=b=c",
        "a in b",
        "a in (b",
        "a notin",
        "a,",
        ",",
        "a b",
        "!",
        "a>x",
        "-a",
        "a=-b",
        "a in (b c)",
        "(a)",
        "a/b/c=d",
        "a=b,,c=d",
    ] {
        assert!(LabelSelector::parse(text).is_err(), "{text}");
    }
}

#[test]
fn selectors_are_shown_as_they_are_read() {
    for text in ["a=b", "a!=b", "a in (b,c)", "a notin (b,c)", "a", "!a", "a>5", "a<5", "a=b,c in (d,e),!f"] {
        assert_eq!(LabelSelector::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn selector_objects_are_understood() {
    let selector = value!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["front"]}, {"key": "x", "operator": "DoesNotExist"}]});
    let selector = LabelSelector::from_object(Some(&selector)).unwrap();
    assert!(selector.matches(&labels()));
    assert_eq!(selector.to_string(), "app=web,tier=front,!x");
    assert!(LabelSelector::from_object(None).unwrap().is_nothing());
    assert!(!LabelSelector::nothing().matches(&labels()));
    assert!(LabelSelector::from_object(Some(&value!({}))).unwrap().matches(&labels()));
    let wrong = value!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]});
    assert!(LabelSelector::from_object(Some(&wrong)).is_err());
    assert!(LabelSelector::from_match_labels(&labels()).matches(&labels()));
}

#[test]
fn field_selectors_choose_as_upstream_does() {
    let fields = |name: &str| match name {
        "metadata.name" => Some(Cow::Borrowed("a,b=c")),
        "spec.nodeName" => Some(Cow::Borrowed("n1")),
        _ => None,
    };
    for (text, expected) in [
        ("", true),
        ("spec.nodeName=n1", true),
        ("spec.nodeName==n1", true),
        ("spec.nodeName!=n1", false),
        ("spec.nodeName!=", true),
        ("none=", true),
        (r"metadata.name=a\,b\=c,spec.nodeName=n1", true),
        ("spec.nodeName=n1,metadata.name=x", false),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap().matches(fields), expected, "{text}");
    }
    for text in ["a", "a=b=c", r"a=\x", r"a=b\"] {
        assert!(FieldSelector::parse(text).is_err(), "{text}");
    }
    let selector = FieldSelector::parse(r"a=b\,c,d!=e").unwrap();
    assert_eq!(selector.to_string(), r"a=b\,c,d!=e");
    assert_eq!((selector.required_value("a"), selector.required_value("d")), (Some("b,c"), None));
}

proptest! {
    #[test]
    fn garbage_never_panics(text in "[a-z!=(), <>é\\\\]{0,24}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()).map(|again| again.to_string()), Ok(selector.to_string()));
        }
        let _ = FieldSelector::parse(&text);
    }
}
