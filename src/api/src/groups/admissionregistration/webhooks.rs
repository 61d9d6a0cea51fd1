//! Admission webhooks and policies.

use crate::check::{self, Errors};
use crate::fill::{each, fill, make, part, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

pub(super) const VALIDATING: Strategy = Strategy {
    default: |configuration| each(configuration.as_map_mut(), "webhooks").for_each(fill_webhook),
    validate: validate_webhooks,
    generation: true,
    ..NOOP
};

pub(super) const MUTATING: Strategy = Strategy {
    default: |configuration| {
        for webhook in each(configuration.as_map_mut(), "webhooks") {
            fill_webhook(webhook);
            fill(webhook, "reinvocationPolicy", "Never");
        }
    },
    ..VALIDATING
};

pub(super) const WEBHOOK_COLUMNS: &[Column] =
    &[NAME, Column::new("Webhooks", |one, _| Value::from(one.list_at(&["webhooks"]).len())).kind("integer"), AGE];

fn fill_webhook(webhook: &mut Map) {
    fill(webhook, "failurePolicy", "Fail");
    fill(webhook, "matchPolicy", "Equivalent");
    fill(webhook, "namespaceSelector", Value::map());
    fill(webhook, "objectSelector", Value::map());
    fill(webhook, "timeoutSeconds", 10);
    if let Some(service) = part(webhook, "clientConfig").and_then(|config| part(config, "service")) {
        fill(service, "port", 443);
    }
    each(webhook, "rules").for_each(|rule| fill(rule, "scope", "*"));
}

fn validate_webhooks(configuration: &Object) -> Errors {
    let mut errors = Errors::new();
    let mut seen = std::collections::HashSet::new();
    for (index, webhook) in check::maps(configuration.as_map(), "webhooks") {
        let path = Path::new("webhooks").index(index);
        let name = webhook.str("name");
        check::required(&mut errors, &path.child("name"), name);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        let side = webhook.str("sideEffects");
        check::one_of(&mut errors, &path.child("sideEffects"), side, &["None", "NoneOnDryRun"]);
        let versions = check::list(webhook, "admissionReviewVersions");
        if versions.is_empty() {
            let wrong = "must specify one of v1, v1beta1";
            errors.push(FieldError::required(path.child("admissionReviewVersions"), wrong));
        }
        let seconds = check::number(webhook, "timeoutSeconds").unwrap_or(10);
        if !(1..=30).contains(&seconds) {
            let wrong = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(path.child("timeoutSeconds"), seconds, wrong));
        }
        let config = check::part(webhook, "clientConfig");
        let (url, service) = (!config.str("url").is_empty(), config.contains_key("service"));
        if url == service {
            let wrong = "exactly one of url or service is required";
            errors.push(FieldError::required(path.child("clientConfig"), wrong));
        }
    }
    errors
}

pub(super) const POLICY: Strategy = Strategy {
    default: |policy| {
        let spec = spec(policy);
        fill(spec, "failurePolicy", "Fail");
        if let Some(matches) = part(spec, "matchConstraints") {
            fill_match(matches);
        }
    },
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    generation: true,
    ..NOOP
};

pub(super) const POLICY_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Validations", |policy, _| Value::from(policy.list_at(&["spec", "validations"]).len())).kind("integer"),
    Column::new("ParamKind", |policy, _| {
        let kind = policy.map_at(&["spec", "paramKind"]);
        let text = format!("{}/{}", kind.str("apiVersion"), kind.str("kind"));
        Value::from(if kind.is_empty() { print::UNSET.to_owned() } else { text })
    }),
    AGE,
];

pub(super) const BINDING: Strategy = Strategy {
    default: |binding| {
        let spec = spec(binding);
        if let Some(matches) = part(spec, "matchResources") {
            fill_match(matches);
        }
    },
    generation: true,
    ..NOOP
};

pub(super) const BINDING_COLUMNS: &[Column] = &[
    NAME,
    Column::new("PolicyName", |binding, _| Value::from(binding.str_at(&["spec", "policyName"]))),
    Column::new("ParamRef", |binding, _| {
        let reference = binding.map_at(&["spec", "paramRef"]);
        let text = match reference.str("namespace") {
            "" => format!("*/{}", reference.str("name")),
            namespace => format!("{namespace}/{}", reference.str("name")),
        };
        Value::from(if reference.is_empty() { print::UNSET.to_owned() } else { text })
    }),
    AGE,
];

fn fill_match(matches: &mut Map) {
    fill(matches, "matchPolicy", "Equivalent");
    make(matches, "namespaceSelector");
    make(matches, "objectSelector");
    for list in ["resourceRules", "excludeResourceRules"] {
        each(matches, list).for_each(|rule| fill(rule, "scope", "*"));
    }
}
