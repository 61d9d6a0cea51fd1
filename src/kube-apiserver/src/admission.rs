//! What changes and checks objects on their way in. The order of the list is the order of work.

mod always_pull_images;
mod certificates;
mod claim_resize;
mod configuration;
mod default_ingress_class;
mod default_storage_class;
mod default_tolerations;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_security;
mod priority;
mod privileged;
mod resource_quota;
mod runtime_class;
mod service_account;
mod service_addresses;
mod simple;
mod storage_protection;
mod taint_nodes;
mod topology_labels;

use std::sync::Arc;

use apimachinery::{Object, Status};
use futures::future::BoxFuture;

use crate::app::App;
use crate::authz::escalation;
use crate::config::AccessArgs;
use crate::metrics::{AdmissionTimes, Phase};
use crate::registry::Resource;
use crate::request_info::RequestInfo;
use crate::settings_file::SettingsFileError;
use crate::user::User;
use crate::verbs::Warnings;
use configuration::Settings;

pub use resource_quota::Charges;

/// All plugins in upstream's order: first those that may change an object, each also checking what it must;
/// quotas are charged when nothing else can refuse any more.
const PLUGINS: &[Plugin] = &[
    simple::ALWAYS_ADMIT,
    namespace_lifecycle::PLUGIN,
    simple::NAMESPACE_EXISTS,
    simple::ANTI_AFFINITY,
    limit_ranger::PLUGIN,
    service_account::PLUGIN,
    node_restriction::PLUGIN,
    taint_nodes::PLUGIN,
    always_pull_images::PLUGIN,
    pod_security::PLUGIN,
    priority::PLUGIN,
    default_tolerations::PLUGIN,
    simple::DEVICE_TOLERATION,
    default_storage_class::PLUGIN,
    storage_protection::PLUGIN,
    simple::OWNERS,
    claim_resize::PLUGIN,
    runtime_class::PLUGIN,
    certificates::APPROVAL,
    certificates::SIGNING,
    certificates::SUBJECT,
    default_ingress_class::PLUGIN,
    simple::DENY_EXTERNAL_IPS,
    topology_labels::PLUGIN,
    resource_quota::PLUGIN,
    simple::ALWAYS_DENY,
];

/// What is done to every object, whatever the flags say.
const ALWAYS: &[Plugin] =
    &[certificates::REQUESTER, certificates::TIMES, service_addresses::PLUGIN, privileged::PLUGIN];

/// Plugins that do something only with kinds this release does not serve or does not act upon yet. Whoever makes such an
/// object gets a warning from its row of the table.
const WITHOUT_EFFECT: &[&str] = &[
    "ClusterTrustBundleAttest",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// Plugins of upstream that cannot be switched on here, so that nobody believes in what is not there.
const MISSING: &[&str] =
    &["EventRateLimit", "ImagePolicyWebhook", "NamespaceAutoProvision", "PodNodeSelector", "PodTolerationRestriction"];

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
    /// What is to be given back if the write does not happen.
    pub charges: &'a Charges,
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
    settings: Settings,
    times: Arc<AdmissionTimes>,
}

/// Why admission cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// A plugin nobody knows.
    #[error("admission plugin {0:?} is unknown")]
    Unknown(String),
    /// A plugin of upstream that is not here.
    #[error("admission plugin {0:?} is not part of this release: leave it out of --enable-admission-plugins")]
    Missing(String),
    /// A plugin is switched on and off.
    #[error("admission plugin {0:?} is in both --enable-admission-plugins and --disable-admission-plugins")]
    Contradiction(String),
    /// The settings of the plugins.
    #[error("--admission-control-config-file cannot be used")]
    Settings(#[from] SettingsFileError),
}

impl Admission {
    /// The plugins the flags ask for.
    ///
    /// # Errors
    /// If a flag names a plugin that is not here, or the file of settings cannot be used.
    pub fn new(args: &AccessArgs) -> Result<Self, AdmissionError> {
        let (enabled, disabled) = (&args.enable_admission_plugins, &args.disable_admission_plugins);
        for name in enabled.iter().chain(disabled) {
            let known = PLUGINS.iter().any(|plugin| plugin.name == name) || WITHOUT_EFFECT.contains(&name.as_str());
            let missing = MISSING.contains(&name.as_str());
            if missing && enabled.contains(name) {
                return Err(AdmissionError::Missing(name.clone()));
            }
            if !known && !missing {
                return Err(AdmissionError::Unknown(name.clone()));
            }
            if enabled.contains(name) && disabled.contains(name) {
                return Err(AdmissionError::Contradiction(name.clone()));
            }
        }
        for name in enabled.iter().filter(|name| WITHOUT_EFFECT.contains(&name.as_str())) {
            tracing::warn!(name, "this admission plugin has no effect in this release, though a flag switches it on");
        }
        let on = |plugin: &&Plugin| {
            let lists = |list: &[String]| list.iter().any(|name| name == plugin.name);
            (plugin.by_default && !lists(disabled)) || lists(enabled)
        };
        let plugins: Vec<&'static Plugin> = ALWAYS.iter().chain(PLUGINS.iter().filter(on)).collect();
        let times = Arc::new(AdmissionTimes::new(plugins.iter().map(|plugin| plugin.name)));
        let settings = Settings::load(args.admission_control_config_file.as_deref())?;
        Ok(Self { plugins, settings, times })
    }

    /// How long plugins take.
    pub fn times(&self) -> Arc<AdmissionTimes> {
        Arc::clone(&self.times)
    }

    /// Lets the plugins change an object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let mut clock = self.times.clock(Phase::Admit, attributes.operation);
        let mut done = Ok(());
        for (place, plugin) in self.plugins.iter().enumerate() {
            if let Some(mutate) = plugin.mutate.filter(|_| (plugin.handles)(attributes)) {
                done = mutate(attributes).await;
                clock.plugin(place, done.is_err());
            }
            if done.is_err() {
                break;
            }
        }
        clock.end(done.is_err());
        done
    }

    /// Lets the plugins check an object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        // Not a plugin: nobody can switch it off.
        escalation::check(attributes)?;
        let mut clock = self.times.clock(Phase::Validate, attributes.operation);
        let mut done = Ok(());
        for (place, plugin) in self.plugins.iter().enumerate() {
            if let Some(validate) = plugin.validate.filter(|_| (plugin.handles)(attributes)) {
                done = validate(attributes).await;
                clock.plugin(place, done.is_err());
            }
            if done.is_err() {
                break;
            }
        }
        clock.end(done.is_err());
        done
    }
}

/// Of several default classes the newest counts, then the first by name.
fn newest(classes: impl Iterator<Item = Object>) -> Option<Object> {
    classes.max_by(|a, b| a.creation_timestamp().cmp(b.creation_timestamp()).then_with(|| b.name().cmp(a.name())))
}

#[cfg(test)]
mod tests;
