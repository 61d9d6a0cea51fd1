//! Who makes a request.

use std::collections::BTreeMap;

/// Group of everybody who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everybody who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of everybody who did not.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group that may do everything, before any authorizer is asked.
pub const MASTERS: &str = "system:masters";
/// Name the API server uses with itself.
pub const LOOPBACK: &str = "system:apiserver";

/// An authenticated (or anonymous) user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, `system:node:worker-1`.
    pub name: String,
    /// A unique id, if the source of the name has one.
    pub uid: String,
    /// The groups, with `system:authenticated` or `system:unauthenticated` among them.
    pub groups: Vec<String>,
    /// More facts from the source of the name.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with a name and groups.
    pub fn new<G: Into<String>>(name: impl Into<String>, groups: impl IntoIterator<Item = G>) -> Self {
        Self { name: name.into(), groups: groups.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Somebody who did not say who they are.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, [UNAUTHENTICATED])
    }

    /// The API server itself.
    pub fn loopback() -> Self {
        Self::new(LOOPBACK, [MASTERS, AUTHENTICATED])
    }

    /// True if the user is in the group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|member| member == group)
    }

    /// The node this user is the kubelet of.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        (!name.is_empty() && self.in_group("system:nodes")).then_some(name)
    }
}
