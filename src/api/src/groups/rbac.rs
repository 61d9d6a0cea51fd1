//! The group `rbac.authorization.k8s.io`.

mod roles;

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("rbac.authorization.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "ClusterRoleBinding", "clusterrolebindings")
        .strategy(&roles::BINDING)
        .columns(roles::BINDING_COLUMNS),
    Row::cluster(V1, "ClusterRole", "clusterroles").strategy(&roles::ROLE).columns(roles::ROLE_COLUMNS),
    Row::namespaced(V1, "RoleBinding", "rolebindings").strategy(&roles::BINDING).columns(roles::BINDING_COLUMNS),
    Row::namespaced(V1, "Role", "roles").strategy(&roles::ROLE).columns(roles::ROLE_COLUMNS),
];
