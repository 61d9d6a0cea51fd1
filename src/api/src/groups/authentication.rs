//! The group `authentication.k8s.io`: questions about who somebody is.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("authentication.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "SelfSubjectReview", "selfsubjectreviews").not_stored(),
    Row::cluster(V1, "TokenReview", "tokenreviews").not_stored(),
];
