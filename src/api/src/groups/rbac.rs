//! The group `rbac.authorization.k8s.io`.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("rbac.authorization.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "ClusterRoleBinding", "clusterrolebindings"),
    Row::cluster(V1, "ClusterRole", "clusterroles"),
    Row::namespaced(V1, "RoleBinding", "rolebindings"),
    Row::namespaced(V1, "Role", "roles"),
];
