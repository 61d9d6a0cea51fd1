//! One row of the resource table: everything the API server must know about a kind, as data.

use apimachinery::field::FieldError;
use apimachinery::object::Object;

pub use crate::column::Column;

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One per cluster.
    Cluster,
    /// One per namespace.
    Namespaced,
}

/// Which names a kind accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// A DNS-1123 subdomain, at most 253 characters.
    Subdomain,
    /// A DNS-1123 label, at most 63 characters.
    Label,
    /// A DNS-1035 label: a label that starts with a letter.
    Label1035,
    /// Anything that can be one segment of a path (RBAC names such as `system:node`).
    PathSegment,
    /// An IP address in canonical form.
    IpAddress,
}

/// A verb of the API, as discovery and RBAC spell it.
pub type Verb = &'static str;

/// The verbs of an ordinary stored kind.
pub const ALL_VERBS: &[Verb] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// The verbs of a subresource that is read and written with its parent.
pub const SUB_VERBS: &[Verb] = &["get", "patch", "update"];
/// The verbs of a kind that is asked and answered, never stored.
pub const CREATE_ONLY: &[Verb] = &["create"];

/// What a subresource does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads and writes the object; only `status` changes.
    Status,
    /// Reads and writes `autoscaling/v1` Scale of the object.
    Scale,
    /// Assigns a pod to a node.
    Binding,
    /// Deletes a pod if its disruption budgets allow it.
    Eviction,
    /// Adds ephemeral containers to a pod.
    EphemeralContainers,
    /// Changes container resources of a running pod.
    Resize,
    /// Changes the finalizers of a namespace.
    Finalize,
    /// Changes the approval conditions of a certificate signing request.
    Approval,
    /// Issues a service account token.
    Token,
    /// A byte stream to a node or pod: log, exec, attach, port-forward, proxy.
    Connect,
}

/// A subresource of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    /// The last segment of the path.
    pub name: &'static str,
    /// What it does.
    pub action: Action,
    /// The group and version of what is read and written; empty for those of the parent.
    pub group_version: (&'static str, &'static str),
    /// The kind of what is read and written; empty for the parent's kind.
    pub kind: &'static str,
    /// The verbs it takes.
    pub verbs: &'static [Verb],
}

impl Subresource {
    /// `status`, as most kinds have it.
    pub const STATUS: Self = Self::of_parent("status", Action::Status, SUB_VERBS);
    /// `scale`, as workloads have it.
    pub const SCALE: Self = Self::of_kind("scale", Action::Scale, ("autoscaling", "v1"), "Scale").verbs(SUB_VERBS);

    /// A subresource whose body is the parent object.
    pub const fn of_parent(name: &'static str, action: Action, verbs: &'static [Verb]) -> Self {
        Self { name, action, group_version: ("", ""), kind: "", verbs }
    }

    /// A subresource with a body of its own, which is only created.
    pub const fn of_kind(
        name: &'static str,
        action: Action,
        group_version: (&'static str, &'static str),
        kind: &'static str,
    ) -> Self {
        Self { name, action, group_version, kind, verbs: CREATE_ONLY }
    }

    /// A stream subresource, named by its options kind.
    pub const fn connect(name: &'static str, kind: &'static str, verbs: &'static [Verb]) -> Self {
        Self { name, action: Action::Connect, group_version: ("", "v1"), kind, verbs }
    }

    /// The same with other verbs.
    #[must_use]
    pub const fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }
}

/// The hooks of a kind in the generic verbs: plain functions, all optional.
#[derive(Clone, Copy)]
pub struct Strategy {
    /// Fills in documented defaults, on every write and every decode.
    pub default: fn(&mut Object),
    /// Resets what a client may not set on create.
    pub prepare_create: fn(&mut Object),
    /// Keeps from the old object what a client may not change on update.
    pub prepare_update: fn(&mut Object, &Object),
    /// Keeps from the old object all but the status, for a status update.
    pub prepare_status: fn(&mut Object, &Object),
    /// Checks an object about to be created.
    pub validate: fn(&Object) -> Vec<FieldError>,
    /// Checks what only a new object may not have.
    pub validate_create: fn(&Object) -> Vec<FieldError>,
    /// Checks the step from the old object (second) to the new one (first).
    pub validate_update: fn(&Object, &Object) -> Vec<FieldError>,
    /// Checks the step from the old object (second) to the new one (first) through a subresource.
    pub validate_part: fn(Action, &Object, &Object) -> Vec<FieldError>,
    /// Says what is accepted but unwise, for `Warning` headers.
    pub warnings: fn(&Object) -> Vec<String>,
    /// Which names are accepted.
    pub name: NameRule,
    /// A change outside metadata and status raises `metadata.generation`.
    pub generation: bool,
    /// PUT of a missing object creates it.
    pub create_on_update: bool,
    /// PUT without a resourceVersion overwrites.
    pub unconditional_update: bool,
}

fn nothing(_: &mut Object) {}
fn keep_nothing(_: &mut Object, _: &Object) {}
fn no_error(_: &Object) -> Vec<FieldError> {
    Vec::new()
}
fn no_step_error(_: &Object, _: &Object) -> Vec<FieldError> {
    Vec::new()
}
fn no_part_error(_: Action, _: &Object, _: &Object) -> Vec<FieldError> {
    Vec::new()
}
fn no_warning(_: &Object) -> Vec<String> {
    Vec::new()
}

/// A strategy that does nothing: the base of all others (`Strategy { validate, ..NOOP }`).
pub const NOOP: Strategy = Strategy {
    default: nothing,
    prepare_create: nothing,
    prepare_update: keep_nothing,
    prepare_status: keep_nothing,
    validate: no_error,
    validate_create: no_error,
    validate_update: no_step_error,
    validate_part: no_part_error,
    warnings: no_warning,
    name: NameRule::Subdomain,
    generation: false,
    create_on_update: false,
    unconditional_update: true,
};

/// Another group or version under which the same stored objects are served.
#[derive(Clone, Copy)]
pub struct Served {
    /// The group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// From the stored form to this one.
    pub from_stored: fn(&mut Object),
    /// From this form to the stored one.
    pub to_stored: fn(&mut Object),
    /// The paths a field selector may name in this form, each with its path in the stored form.
    pub selectable_fields: &'static [(&'static str, &'static str)],
}

/// Everything the API server must know about one kind.
#[derive(Clone, Copy)]
pub struct ResourceDescriptor {
    /// The API group; empty for core.
    pub group: &'static str,
    /// The version that is stored and preferred.
    pub version: &'static str,
    /// The kind, `Pod`.
    pub kind: &'static str,
    /// The name in paths, `pods`.
    pub plural: &'static str,
    /// What `kubectl` accepts instead of the plural.
    pub short_names: &'static [&'static str],
    /// Groups of kinds such as `all`.
    pub categories: &'static [&'static str],
    /// Cluster or namespace.
    pub scope: Scope,
    /// The etcd folder below `/registry/`; empty if the kind is never stored.
    pub storage_prefix: &'static str,
    /// The verbs it takes.
    pub verbs: &'static [Verb],
    /// Its subresources.
    pub subresources: &'static [Subresource],
    /// The columns of `kubectl get`; empty for Name and Age.
    pub columns: &'static [Column],
    /// The dotted paths a field selector may name, beside metadata.name and metadata.namespace.
    pub selectable_fields: &'static [&'static str],
    /// The hooks.
    pub strategy: &'static Strategy,
    /// Where else the same objects are served.
    pub also_served: &'static [Served],
    /// Since when nobody should use it any more and what to use instead, as clients are told; empty for most.
    pub deprecated: &'static str,
}

impl ResourceDescriptor {
    /// A kind that lives in namespaces, with all verbs and no hooks.
    pub const fn namespaced(
        (group, version): (&'static str, &'static str),
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            short_names: &[],
            categories: &[],
            scope: Scope::Namespaced,
            storage_prefix: plural,
            verbs: ALL_VERBS,
            subresources: &[],
            columns: &[],
            selectable_fields: &[],
            strategy: &NOOP,
            also_served: &[],
            deprecated: "",
        }
    }

    /// A kind with one object per name in the whole cluster.
    pub const fn cluster(
        group_version: (&'static str, &'static str),
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        let mut row = Self::namespaced(group_version, kind, plural);
        row.scope = Scope::Cluster;
        row
    }

    /// The same with short names.
    #[must_use]
    pub const fn short(mut self, short_names: &'static [&'static str]) -> Self {
        self.short_names = short_names;
        self
    }

    /// The same in the category `all`.
    #[must_use]
    pub const fn in_all(mut self) -> Self {
        self.categories = &["all"];
        self
    }

    /// The same in other categories.
    #[must_use]
    pub const fn categories(mut self, categories: &'static [&'static str]) -> Self {
        self.categories = categories;
        self
    }

    /// The same stored in another folder.
    #[must_use]
    pub const fn stored_in(mut self, storage_prefix: &'static str) -> Self {
        self.storage_prefix = storage_prefix;
        self
    }

    /// The same, only asked and answered.
    #[must_use]
    pub const fn not_stored(mut self) -> Self {
        self.storage_prefix = "";
        self.verbs = CREATE_ONLY;
        self
    }

    /// The same with these verbs only.
    #[must_use]
    pub const fn only(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }

    /// The same with subresources.
    #[must_use]
    pub const fn with(mut self, subresources: &'static [Subresource]) -> Self {
        self.subresources = subresources;
        self
    }

    /// The same with the one subresource `status`.
    #[must_use]
    pub const fn with_status(self) -> Self {
        self.with(&[Subresource::STATUS])
    }

    /// The same with printed columns.
    #[must_use]
    pub const fn columns(mut self, columns: &'static [Column]) -> Self {
        self.columns = columns;
        self
    }

    /// The same with selectable fields.
    #[must_use]
    pub const fn selectable(mut self, fields: &'static [&'static str]) -> Self {
        self.selectable_fields = fields;
        self
    }

    /// The same with hooks.
    #[must_use]
    pub const fn strategy(mut self, strategy: &'static Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// The same, served under other versions too.
    #[must_use]
    pub const fn also(mut self, also_served: &'static [Served]) -> Self {
        self.also_served = also_served;
        self
    }

    /// The same, with a warning to everybody who uses it.
    #[must_use]
    pub const fn deprecated(mut self, warning: &'static str) -> Self {
        self.deprecated = warning;
        self
    }

    /// The singular name, `pod`.
    pub fn singular(&self) -> String {
        self.kind.to_ascii_lowercase()
    }

    /// The kind of a list of these.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        join_group_version(self.group, self.version)
    }

    /// True for kinds that live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// True for kinds that are kept in etcd.
    pub fn is_stored(&self) -> bool {
        !self.storage_prefix.is_empty()
    }

    /// The subresource of a name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// The `apiVersion` of a group and version.
pub fn join_group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
