//! What users may do: the Node and RBAC authorizers and the policy a cluster starts with.
//!
//! Start at [`Authorizer::authorize`]; [`rules`] says what one RBAC rule allows, [`rbac`] finds the rules of a user,
//! [`node`] decides for kubelets, [`escalation`] keeps users from granting what they do not have.

pub mod escalation;
pub mod feed;
pub mod node;
pub mod policy;
pub mod rbac;
pub mod rules;

use std::fmt::Write as _;
use std::sync::Arc;

use apimachinery::Status;

use crate::request_info::RequestInfo;
use crate::user::{MASTERS, User};
use node::NodeAuthorizer;
use rbac::Rbac;

/// What is asked: may this user do this?
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a User,
    /// What.
    pub verb: &'a str,
    /// True for an object of the API, false for any other path.
    pub is_resource: bool,
    /// The group; `*` in reviews that ask for all.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The plural resource.
    pub resource: &'a str,
    /// The subresource, or empty.
    pub subresource: &'a str,
    /// The namespace, or empty.
    pub namespace: &'a str,
    /// The name, or empty.
    pub name: &'a str,
    /// The path, for what is no resource.
    pub path: &'a str,
    /// The field selector of a list or watch.
    pub field_selector: &'a str,
}

impl<'a> Attributes<'a> {
    /// What a request asks for.
    pub fn of(user: &'a User, info: &'a RequestInfo) -> Self {
        Self {
            user,
            verb: &info.verb,
            is_resource: info.is_resource,
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            path: &info.path,
            field_selector: info.query.get("fieldSelector").unwrap_or_default(),
        }
    }

    /// The question for one verb on a resource, with nothing else set.
    pub fn resource(user: &'a User, verb: &'a str, (group, resource): (&'a str, &'a str)) -> Self {
        Self {
            user,
            verb,
            is_resource: true,
            group,
            version: "v1",
            resource,
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            field_selector: "",
        }
    }

    /// `pods` or `pods/log`, as rules write it.
    pub fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// The answer to a request that is not allowed, in upstream's words.
    pub fn denied(&self, reason: &str) -> Status {
        let mut message = format!("User {:?} cannot {} ", self.user.name, self.verb);
        let written = if self.is_resource {
            write!(message, "resource {:?} in API group {:?} ", self.full_resource(), self.group).and_then(|()| {
                match self.namespace {
                    "" => message.write_str("at the cluster scope"),
                    namespace => write!(message, "in the namespace {namespace:?}"),
                }
            })
        } else {
            write!(message, "path {:?}", self.path)
        };
        written.expect("writing to a string cannot fail");
        if !reason.is_empty() {
            message.push_str(": ");
            message.push_str(reason);
        }
        let resource = if self.is_resource { self.full_resource() } else { String::new() };
        Status::forbidden(self.group, &resource, self.name, message)
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why, for people and audit.
    pub reason: String,
}

impl Decision {
    fn allow(reason: impl Into<String>) -> Self {
        Self { allowed: true, reason: reason.into() }
    }

    fn no(reason: impl Into<String>) -> Self {
        Self { allowed: false, reason: reason.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AlwaysAllow,
    AlwaysDeny,
    Node,
    Rbac,
}

/// Asks the configured authorizers in their order; the first that allows wins.
pub struct Authorizer {
    modes: Vec<Mode>,
    /// Roles and bindings as the cache knows them.
    pub rbac: Arc<Rbac>,
    /// What runs where, as the cache knows it.
    pub node: Arc<NodeAuthorizer>,
}

impl Authorizer {
    /// An authorizer for the modes of `--authorization-mode`; unknown ones were refused before.
    pub fn new(modes: &[String]) -> Self {
        let modes = modes
            .iter()
            .filter_map(|mode| match mode.as_str() {
                "AlwaysAllow" => Some(Mode::AlwaysAllow),
                "AlwaysDeny" => Some(Mode::AlwaysDeny),
                "Node" => Some(Mode::Node),
                "RBAC" => Some(Mode::Rbac),
                _ => None,
            })
            .collect();
        Self { modes, rbac: Arc::default(), node: Arc::default() }
    }

    /// Decides.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(MASTERS) {
            return Decision::allow("");
        }
        let mut reasons = String::new();
        for mode in &self.modes {
            let decision = match mode {
                Mode::AlwaysAllow => Decision::allow(""),
                Mode::AlwaysDeny => return Decision::no("Everything is forbidden."),
                Mode::Node => self.node.authorize(attributes),
                Mode::Rbac => self.rbac.authorize(attributes),
            };
            if decision.allowed {
                return decision;
            }
            if !decision.reason.is_empty() {
                if !reasons.is_empty() {
                    reasons.push_str(", ");
                }
                reasons.push_str(&decision.reason);
            }
        }
        Decision::no(reasons)
    }

    /// Decides, with a 403 as the error.
    pub fn require(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let decision = self.authorize(attributes);
        if decision.allowed { Ok(()) } else { Err(attributes.denied(&decision.reason)) }
    }
}
