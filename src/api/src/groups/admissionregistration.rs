//! The group `admissionregistration.k8s.io`: webhooks and policies of admission.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("admissionregistration.k8s.io", "v1");
const CATEGORY: &[&str] = &["api-extensions"];

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(
        V1,
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    )
    .categories(CATEGORY),
    Row::cluster(
        V1,
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
    )
    .categories(CATEGORY)
    .with_status(),
    Row::cluster(
        V1,
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
    )
    .categories(CATEGORY),
    Row::cluster(
        V1,
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    )
    .categories(CATEGORY),
];
