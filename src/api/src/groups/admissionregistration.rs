//! The group `admissionregistration.k8s.io`: webhooks and policies of admission.

mod webhooks;

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("admissionregistration.k8s.io", "v1");
const CATEGORY: &[&str] = &["api-extensions"];

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .strategy(&webhooks::MUTATING)
        .columns(webhooks::WEBHOOK_COLUMNS)
        .categories(CATEGORY),
    Row::cluster(V1, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .strategy(&webhooks::POLICY)
        .columns(webhooks::POLICY_COLUMNS)
        .categories(CATEGORY)
        .with_status(),
    Row::cluster(V1, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
        .strategy(&webhooks::BINDING)
        .columns(webhooks::BINDING_COLUMNS)
        .categories(CATEGORY),
    Row::cluster(V1, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .strategy(&webhooks::VALIDATING)
        .columns(webhooks::WEBHOOK_COLUMNS)
        .categories(CATEGORY),
];
