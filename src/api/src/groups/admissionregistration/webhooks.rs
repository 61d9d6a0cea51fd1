//! Admission webhooks and policies.

mod rules;

use crate::fill::{each, fill, make, part, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

pub(super) const VALIDATING: Strategy = Strategy {
    default: |configuration| each(configuration.as_map_mut(), "webhooks").for_each(fill_webhook),
    validate: rules::validate_webhooks,
    warnings: |_| {
        vec!["webhooks are not called by this release: the configuration is kept but has no effect".to_owned()]
    },
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
    validate: rules::validate_policy,
    warnings: warn_of_policies,
    generation: true,
    ..NOOP
};

fn warn_of_policies(_: &Object) -> Vec<String> {
    vec!["admission policies are not evaluated by this release: the object is kept but has no effect".to_owned()]
}

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
    validate: rules::validate_binding,
    generation: true,
    warnings: warn_of_policies,
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
