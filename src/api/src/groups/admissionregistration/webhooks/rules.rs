//! The rules for webhooks and policies of admission.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// The most conditions a webhook or policy is matched by.
const MOST_CONDITIONS: usize = 64;
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

pub(super) fn validate_webhooks(configuration: &Object) -> Errors {
    let mut errors = Errors::new();
    let mut seen = HashSet::new();
    for (index, webhook) in check::maps(configuration.as_map(), "webhooks") {
        let path = Path::new("webhooks").index(index);
        let name = webhook.str("name");
        check_name(&mut errors, &path.child("name"), name);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        check_webhook(&mut errors, &path, webhook);
    }
    errors
}

/// A webhook is named by a domain of at least three labels.
fn check_name(errors: &mut Errors, path: &Path, name: &str) {
    check::required_named(errors, path, name, names::dns1123_subdomain);
    if !name.is_empty() && name.split('.').count() < 3 {
        let wrong = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, wrong));
    }
}

fn check_webhook(errors: &mut Errors, path: &Path, webhook: &Map) {
    for (index, rule) in check::maps(webhook, "rules") {
        check_rule(errors, &path.child("rules").index(index), rule);
    }
    for (key, known) in [
        ("failurePolicy", ["Fail", "Ignore"]),
        ("matchPolicy", ["Equivalent", "Exact"]),
        ("reinvocationPolicy", ["IfNeeded", "Never"]),
    ] {
        check::optional_one_of(errors, &path.child(key), webhook.str(key), &known);
    }
    let side = webhook.str("sideEffects");
    if side.is_empty() {
        errors.push(FieldError::required(path.child("sideEffects"), "must specify one of None, NoneOnDryRun"));
    } else {
        check::one_of(errors, &path.child("sideEffects"), side, &["None", "NoneOnDryRun"]);
    }
    let seconds = check::number(webhook, "timeoutSeconds").unwrap_or(10);
    if !(1..=30).contains(&seconds) {
        let wrong = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(path.child("timeoutSeconds"), seconds, wrong));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = webhook.get(key) {
            check::selector(errors, &path.child(key), selector);
        }
    }
    check_versions(errors, &path.child("admissionReviewVersions"), webhook);
    check_client(errors, &path.child("clientConfig"), check::part(webhook, "clientConfig"));
    check_conditions(errors, &path.child("matchConditions"), webhook);
}

fn check_versions(errors: &mut Errors, path: &Path, webhook: &Map) {
    let versions = check::list(webhook, "admissionReviewVersions");
    if versions.is_empty() {
        errors.push(FieldError::required(path, format!("must specify one of {}", REVIEWS.join(", "))));
        return;
    }
    for (index, version) in check::texts(webhook, "admissionReviewVersions") {
        check::named(errors, &path.index(index), version, names::dns1035_label);
        if versions[..index].iter().any(|one| one.as_str() == Some(version)) {
            errors.push(FieldError::invalid(path.index(index), version, "duplicate version"));
        }
    }
    if !versions.iter().filter_map(Value::as_str).any(|version| REVIEWS.contains(&version)) {
        let wrong = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(FieldError::invalid(path, Value::from(versions), wrong));
    }
}

fn check_client(errors: &mut Errors, path: &Path, client: &Map) {
    let (url, service) = (client.get("url").and_then(Value::as_str), client.get("service").and_then(Value::as_map));
    if url.is_some() == service.is_some() {
        errors.push(FieldError::required(path, "exactly one of url or service is required"));
    }
    if let Some(url) = url {
        check_url(errors, &path.child("url"), url);
    }
    if let Some(service) = service {
        let path = path.child("service");
        for key in ["name", "namespace"] {
            check::required(errors, &path.child(key), service.str(key));
        }
        if let Some(port) = check::number(service, "port") {
            check::port(errors, &path.child("port"), port);
        }
        let place = service.str("path");
        if check::set(service, "path") && place != "/" {
            if !place.starts_with('/') {
                errors.push(FieldError::invalid(path.child("path"), place, "must start with a '/'"));
            } else if place.trim_start_matches('/').trim_end_matches('/').split('/').any(str::is_empty) {
                errors.push(FieldError::invalid(path.child("path"), place, "segment[0] may not be empty"));
            }
        }
    }
}

fn check_url(errors: &mut Errors, path: &Path, url: &str) {
    let form = "desired format: https://host[/path]";
    let Some(rest) = url.strip_prefix("https://") else {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let wrong = format!("'https' is the only allowed URL scheme; {form}");
        errors.push(FieldError::invalid(path, scheme, wrong));
        return;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        errors.push(FieldError::invalid(path, "", format!("host must be specified; {form}")));
    }
    if let Some((user, _)) = host.rsplit_once('@') {
        errors.push(FieldError::invalid(path, user, "user information is not permitted in the URL"));
    }
    for (sign, what) in [('#', "fragments are"), ('?', "query parameters are")] {
        if let Some((_, part)) = rest.split_once(sign) {
            errors.push(FieldError::invalid(path, part, format!("{what} not permitted in the URL")));
        }
    }
}

fn check_conditions(errors: &mut Errors, path: &Path, holder: &Map) {
    let count = check::list(holder, "matchConditions").len();
    if count > MOST_CONDITIONS {
        errors.push(FieldError::too_many(path, count, MOST_CONDITIONS));
    }
    let mut seen = HashSet::new();
    for (index, condition) in check::maps(holder, "matchConditions") {
        let path = path.index(index);
        let name = condition.str("name");
        check::required_named(errors, &path.child("name"), name, names::qualified_name);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        if condition.str("expression").trim().is_empty() {
            errors.push(FieldError::required(path.child("expression"), ""));
        }
    }
}

/// What a webhook or policy is asked about.
fn check_rule(errors: &mut Errors, path: &Path, rule: &Map) {
    let operations = check::list(rule, "operations");
    let at = path.child("operations");
    if operations.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    for (index, operation) in check::texts(rule, "operations") {
        let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        check::one_of(errors, &at.index(index), operation, &known);
    }
    for (key, what) in [
        ("operations", "operations"),
        ("apiGroups", "API groups"),
        ("apiVersions", "API versions"),
        ("resources", "resources"),
    ] {
        let values = check::list(rule, key);
        if key != "operations" && values.is_empty() {
            errors.push(FieldError::required(path.child(key), ""));
        }
        if values.len() > 1 && values.iter().any(|value| value.as_str() == Some("*")) && key != "resources" {
            let wrong = format!("if '*' is present, must not specify other {what}");
            errors.push(FieldError::invalid(path.child(key), Value::from(values), wrong));
        }
        let may_be_empty = key == "apiGroups";
        for (index, _) in check::texts(rule, key).filter(|(_, value)| value.is_empty() && !may_be_empty) {
            errors.push(FieldError::required(path.child(key).index(index), ""));
        }
    }
    check::optional_one_of(errors, &path.child("scope"), rule.str("scope"), &["*", "Cluster", "Namespaced"]);
}

fn check_match(errors: &mut Errors, path: &Path, matches: &Map) {
    check::optional_one_of(errors, &path.child("matchPolicy"), matches.str("matchPolicy"), &["Equivalent", "Exact"]);
    for key in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = matches.get(key) {
            check::selector(errors, &path.child(key), selector);
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in check::maps(matches, list) {
            check_rule(errors, &path.child(list).index(index), rule);
        }
    }
}

pub(super) fn validate_policy(policy: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = policy.map_at(&["spec"]);
    check::optional_one_of(&mut errors, &path.child("failurePolicy"), spec.str("failurePolicy"), &["Fail", "Ignore"]);
    if let Some(kind) = spec.get("paramKind").and_then(Value::as_map) {
        for key in ["apiVersion", "kind"] {
            check::required(&mut errors, &path.child("paramKind").child(key), kind.str(key));
        }
    }
    let at = path.child("matchConstraints");
    match spec.get("matchConstraints").and_then(Value::as_map) {
        None => errors.push(FieldError::required(at, "")),
        Some(matches) => {
            if check::list(matches, "resourceRules").is_empty() {
                errors.push(FieldError::required(at.child("resourceRules"), ""));
            }
            check_match(&mut errors, &at, matches);
        }
    }
    check_conditions(&mut errors, &path.child("matchConditions"), spec);
    for (index, variable) in check::maps(spec, "variables") {
        let path = path.child("variables").index(index);
        check::required_named(&mut errors, &path.child("name"), variable.str("name"), names::c_identifier);
        check_expression(&mut errors, &path.child("expression"), variable.str("expression"));
    }
    if check::list(spec, "validations").is_empty() && check::list(spec, "auditAnnotations").is_empty() {
        let wrong = "validations or auditAnnotations must be specified";
        errors.push(FieldError::required(path.child("validations"), wrong));
    }
    for (index, validation) in check::maps(spec, "validations") {
        let path = path.child("validations").index(index);
        check_expression(&mut errors, &path.child("expression"), validation.str("expression"));
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
        check::optional_one_of(&mut errors, &path.child("reason"), validation.str("reason"), &reasons);
        let message = validation.str("message");
        if check::set(validation, "message") && message.trim().is_empty() && !message.is_empty() {
            errors.push(FieldError::invalid(path.child("message"), message, "message must be non-empty if specified"));
        }
        if message.contains('\n') {
            errors.push(FieldError::invalid(path.child("message"), message, "message must not contain line breaks"));
        }
    }
    for (index, annotation) in check::maps(spec, "auditAnnotations") {
        let path = path.child("auditAnnotations").index(index);
        check::required(&mut errors, &path.child("key"), annotation.str("key"));
        check::required(&mut errors, &path.child("valueExpression"), annotation.str("valueExpression"));
    }
    errors
}

fn check_expression(errors: &mut Errors, path: &Path, expression: &str) {
    if expression.trim().is_empty() {
        errors.push(FieldError::required(path, "expression is not specified"));
    }
}

pub(super) fn validate_binding(binding: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = binding.map_at(&["spec"]);
    check::required_named(&mut errors, &path.child("policyName"), spec.str("policyName"), names::dns1123_subdomain);
    if let Some(reference) = spec.get("paramRef").and_then(Value::as_map) {
        let path = path.child("paramRef");
        if reference.str("name").is_empty() != check::set(reference, "selector") {
            errors.push(FieldError::forbidden(path.child("name"), "name and selector are mutually exclusive"));
        }
        let action = reference.str("parameterNotFoundAction");
        check::one_of(&mut errors, &path.child("parameterNotFoundAction"), action, &["Allow", "Deny"]);
    }
    if let Some(matches) = spec.get("matchResources").and_then(Value::as_map) {
        check_match(&mut errors, &path.child("matchResources"), matches);
    }
    let actions = check::list(spec, "validationActions");
    let path = path.child("validationActions");
    if actions.is_empty() {
        errors.push(FieldError::required(&path, "at least one validation action is required"));
    }
    for (index, action) in check::texts(spec, "validationActions") {
        check::one_of(&mut errors, &path.index(index), action, &["Audit", "Deny", "Warn"]);
        if actions[..index].iter().any(|one| one.as_str() == Some(action)) {
            errors.push(FieldError::duplicate(path.index(index), action));
        }
    }
    if ["Deny", "Warn"].iter().all(|action| actions.iter().any(|one| one.as_str() == Some(action))) {
        let wrong = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
            response and headers serves no purpose)";
        errors.push(FieldError::invalid(&path, Value::from(actions), wrong));
    }
    errors
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::errors;
    use apimachinery::value;
    use apimachinery::value::Value;

    #[test]
    fn webhooks_are_checked_in_upstreams_words() {
        let check = |change: (&str, Value), expected: &[&str]| {
            let mut webhook = value!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": {"name": "s", "namespace": "n"}},
                "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
            webhook.set_at(&[change.0], change.1);
            assert_eq!(errors("validatingwebhookconfigurations", value!({"webhooks": [webhook]})), expected);
        };
        check(("timeoutSeconds", 30.into()), &[]);
        check(
            ("name", "short.name".into()),
            &[
                r#"webhooks[0].name: Invalid value: "short.name": should be a domain with at least three segments separated by dots"#,
            ],
        );
        check(
            ("clientConfig", value!({"url": "http://host"})),
            &[
                r#"webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]"#,
            ],
        );
        check(
            ("admissionReviewVersions", value!(["v2"])),
            &[
                r#"webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1"#,
            ],
        );
        check(
            ("rules", value!([{"operations": ["CREATE", "*"], "apiGroups": [""], "apiVersions": [""]}])),
            &[
                r#"webhooks[0].rules[0].operations: Invalid value: ["CREATE","*"]: if '*' is present, must not specify other operations"#,
                "webhooks[0].rules[0].apiVersions[0]: Required value",
                "webhooks[0].rules[0].resources: Required value",
            ],
        );
        check(
            ("matchConditions", value!([{"name": "x", "expression": " "}])),
            &["webhooks[0].matchConditions[0].expression: Required value"],
        );
    }

    #[test]
    fn policies_and_their_bindings_are_checked() {
        assert_eq!(
            errors("validatingadmissionpolicies", value!({"spec": {}})),
            [
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must be specified",
            ]
        );
        let binding = |actions: Value| value!({"spec": {"policyName": "p", "validationActions": (actions)}});
        let check = |actions: Value, count: usize| {
            assert_eq!(errors("validatingadmissionpolicybindings", binding(actions)).len(), count);
        };
        check(value!(["Deny"]), 0);
        check(value!([]), 1);
        check(value!(["Deny", "Warn"]), 1);
        check(value!(["Audit", "Audit"]), 1);
    }
}
