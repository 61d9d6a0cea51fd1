//! Label selectors and node selectors.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Whether labels are selected; no selector selects nothing, an empty one everything.
pub fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return false };
    let exact = selector.match_labels.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    exact
        && selector.match_expressions.iter().flatten().all(|e| {
            let values = e.values.as_deref().unwrap_or_default();
            matches(&e.operator, values, labels.get(&e.key).map(String::as_str))
        })
}

/// Whether a node is selected by any of the terms; an empty term selects nothing.
pub fn selects_node(selector: &NodeSelector, labels: &Labels, name: &str) -> bool {
    selector.node_selector_terms.iter().any(|term| term_selects(term, labels, name))
}

/// Whether one term selects a node.
pub fn term_selects(term: &NodeSelectorTerm, labels: &Labels, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let fits = |r: &NodeSelectorRequirement, value: Option<&str>| {
        matches(&r.operator, r.values.as_deref().unwrap_or_default(), value)
    };
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|r| fits(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| fits(r, (r.key == "metadata.name").then_some(name)))
}

fn matches(operator: &str, values: &[String], value: Option<&str>) -> bool {
    let listed = |v: &str| values.iter().any(|known| known == v);
    let number = |compare: fn(i64, i64) -> bool| {
        let own = value.and_then(|v| v.parse().ok());
        let bound = values.first().and_then(|v| v.parse().ok());
        own.zip(bound).is_some_and(|(own, bound)| compare(own, bound))
    };
    match operator {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(|a, b| a > b),
        "Lt" => number(|a, b| a < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_mean_what_the_api_says() {
        let values = ["5".to_owned(), "b".to_owned()];
        for (operator, value, expected) in [
            ("In", Some("b"), true),
            ("In", None, false),
            ("NotIn", Some("b"), false),
            ("NotIn", None, true),
            ("Exists", Some(""), true),
            ("DoesNotExist", None, true),
            ("Gt", Some("6"), true),
            ("Gt", Some("x"), false),
            ("Lt", Some("6"), false),
            ("Near", Some("b"), false),
        ] {
            assert_eq!(matches(operator, &values, value), expected, "{operator} {value:?}");
        }
    }

    #[test]
    fn no_selector_selects_nothing_and_an_empty_one_everything() {
        assert!(!selects(None, &Labels::new()));
        assert!(selects(Some(&LabelSelector::default()), &Labels::new()));
        assert!(!term_selects(&NodeSelectorTerm::default(), &Labels::new(), "n1"));
    }
}
