//! What changes and checks objects on their way in. The order of the list is the order of work.

mod certificates;
mod default_storage_class;
mod default_tolerations;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod service_addresses;
mod taint_nodes;

use std::sync::Arc;

use apimachinery::{Object, Status};
use futures::future::BoxFuture;

use crate::app::App;
use crate::authz::escalation;
use crate::config::AccessArgs;
use crate::registry::Resource;
use crate::request_info::RequestInfo;
use crate::user::User;
use crate::verbs::Warnings;

/// All plugins in order: first those that may change an object, each also checking what it must.
const PLUGINS: &[Plugin] = &[
    namespace_lifecycle::PLUGIN,
    limit_ranger::PLUGIN,
    service_account::PLUGIN,
    node_restriction::PLUGIN,
    priority::PLUGIN,
    default_tolerations::PLUGIN,
    default_storage_class::PLUGIN,
    service_addresses::PLUGIN,
    taint_nodes::PLUGIN,
    certificates::APPROVAL,
    certificates::SIGNING,
    certificates::SUBJECT,
];

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It is deleted.
    Delete,
}

/// A write on its way in.
pub struct Attributes<'a> {
    /// The server, for look-ups.
    pub app: &'a Arc<App>,
    /// What is asked.
    pub info: &'a RequestInfo,
    /// Who asks.
    pub user: &'a User,
    /// What it is about.
    pub resource: &'a Resource,
    /// What is done.
    pub operation: Operation,
    /// The object as it is to be; none for a delete.
    pub object: Option<&'a mut Object>,
    /// The object as it is; none for a create.
    pub old: Option<&'a Object>,
    /// Nothing will be written.
    pub dry_run: bool,
    /// What the client should be told.
    pub warnings: &'a Warnings,
}

impl Attributes<'_> {
    /// True for a kind of a group.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        let descriptor = self.resource.descriptor;
        descriptor.group == group && descriptor.plural == plural
    }

    /// True for a pod being created, not for one of its subresources.
    pub fn is_new_pod(&self) -> bool {
        self.operation == Operation::Create && self.is("", "pods") && self.info.subresource.is_empty()
    }

    /// The name of the object, from the path or the object itself.
    pub fn name(&self) -> &str {
        match &self.object {
            Some(object) if self.info.path_name().is_empty() => object.name(),
            _ => &self.info.name,
        }
    }

    /// 403 for this write.
    pub fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        Status::forbidden(&self.info.group, &self.info.resource, self.name(), why)
    }
}

/// A step that may change the object.
pub type Mutate = for<'a, 'b> fn(&'a mut Attributes<'b>) -> BoxFuture<'a, Result<(), Status>>;
/// A step that only checks.
pub type Validate = for<'a, 'b> fn(&'a Attributes<'b>) -> BoxFuture<'a, Result<(), Status>>;

/// One admission plugin.
pub struct Plugin {
    /// The name in flags.
    pub name: &'static str,
    /// On unless switched off, or off unless switched on.
    pub by_default: bool,
    /// Whether it has to be asked at all.
    pub handles: fn(&Attributes<'_>) -> bool,
    /// Changes the object.
    pub mutate: Option<Mutate>,
    /// Checks the object.
    pub validate: Option<Validate>,
}

/// The plugins that are on.
pub struct Admission {
    plugins: Vec<&'static Plugin>,
}

/// Names upstream knows and this build has no plugin for; naming them does no harm.
const ACCEPTED: &[&str] = &[
    "AlwaysAdmit",
    "ClusterTrustBundleAttest",
    "DefaultIngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "PersistentVolumeClaimResize",
    "PodSecurity",
    "PodTopologyLabels",
    "ResourceQuota",
    "RuntimeClass",
    "StorageObjectInUseProtection",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// A plugin nobody knows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("admission plugin {0:?} is unknown")]
pub struct UnknownPlugin(String);

impl Admission {
    /// The plugins the flags ask for.
    ///
    /// # Errors
    /// If a flag names a plugin nobody knows.
    pub fn new(args: &AccessArgs) -> Result<Self, UnknownPlugin> {
        let named = args.enable_admission_plugins.iter().chain(&args.disable_admission_plugins);
        for name in named {
            let known = PLUGINS.iter().any(|plugin| plugin.name == name) || ACCEPTED.contains(&name.as_str());
            if !known {
                return Err(UnknownPlugin(name.clone()));
            }
        }
        let enabled = |plugin: &&Plugin| {
            let lists = |list: &[String]| list.iter().any(|name| name == plugin.name);
            (plugin.by_default && !lists(&args.disable_admission_plugins)) || lists(&args.enable_admission_plugins)
        };
        Ok(Self { plugins: PLUGINS.iter().filter(enabled).collect() })
    }

    /// Lets the plugins change an object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        for plugin in &self.plugins {
            if let Some(mutate) = plugin.mutate.filter(|_| (plugin.handles)(attributes)) {
                mutate(attributes).await?;
            }
        }
        Ok(())
    }

    /// Lets the plugins check an object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        // Not a plugin: nobody can switch it off.
        escalation::check(attributes)?;
        for plugin in &self.plugins {
            if let Some(validate) = plugin.validate.filter(|_| (plugin.handles)(attributes)) {
                validate(attributes).await?;
            }
        }
        Ok(())
    }
}
