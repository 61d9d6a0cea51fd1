//! The group `certificates.k8s.io`.

mod request;

use crate::resource::{Action, ResourceDescriptor as Row, SUB_VERBS, Subresource as Sub};

/// The kinds of the group.
pub(crate) const ROWS: &[Row] =
    &[Row::cluster(("certificates.k8s.io", "v1"), "CertificateSigningRequest", "certificatesigningrequests")
        .short(&["csr"])
        .strategy(&request::STRATEGY)
        .columns(request::COLUMNS)
        .selectable(&["spec.signerName"])
        .with(&[Sub::of_parent("approval", Action::Approval, SUB_VERBS), Sub::STATUS])];
