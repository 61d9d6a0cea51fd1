//! The group `authorization.k8s.io`: questions about who may do what.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("authorization.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::namespaced(V1, "LocalSubjectAccessReview", "localsubjectaccessreviews").not_stored(),
    Row::cluster(V1, "SelfSubjectAccessReview", "selfsubjectaccessreviews").not_stored(),
    Row::cluster(V1, "SelfSubjectRulesReview", "selfsubjectrulesreviews").not_stored(),
    Row::cluster(V1, "SubjectAccessReview", "subjectaccessreviews").not_stored(),
];
