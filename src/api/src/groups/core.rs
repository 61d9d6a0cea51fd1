//! The core group, `v1`.

mod component;
mod config;
mod event;
mod namespace;
mod node;
mod pod;
mod quota;
mod service;
mod volume;

pub(crate) use volume::check_claim;

use super::apps;
use crate::resource::{Action, CREATE_ONLY, ResourceDescriptor as Row, SUB_VERBS, Subresource as Sub};

const V1: (&str, &str) = ("", "v1");
const GET: &[&str] = &["get"];
const GET_CREATE: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

const POD_SUBRESOURCES: &[Sub] = &[
    Sub::connect("attach", "PodAttachOptions", GET_CREATE),
    Sub::of_kind("binding", Action::Binding, V1, "Binding"),
    Sub::of_parent("ephemeralcontainers", Action::EphemeralContainers, SUB_VERBS),
    Sub::of_kind("eviction", Action::Eviction, ("policy", "v1"), "Eviction"),
    Sub::connect("exec", "PodExecOptions", GET_CREATE),
    Sub::connect("log", "Pod", GET),
    Sub::connect("portforward", "PodPortForwardOptions", GET_CREATE),
    Sub::connect("proxy", "PodProxyOptions", PROXY),
    Sub::of_parent("resize", Action::Resize, SUB_VERBS),
    Sub::STATUS,
];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::namespaced(V1, "Binding", "bindings").not_stored(),
    Row::cluster(V1, "ComponentStatus", "componentstatuses")
        .short(&["cs"])
        .columns(component::COLUMNS)
        .not_stored()
        .only(&["get", "list"])
        .deprecated("v1 ComponentStatus is deprecated in v1.19+"),
    Row::namespaced(V1, "ConfigMap", "configmaps")
        .short(&["cm"])
        .strategy(&config::CONFIG_MAP)
        .columns(config::CONFIG_MAP_COLUMNS),
    Row::namespaced(V1, "Endpoints", "endpoints")
        .short(&["ep"])
        .strategy(&service::ENDPOINTS)
        .columns(service::ENDPOINTS_COLUMNS)
        .stored_in("services/endpoints")
        .deprecated("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    Row::namespaced(V1, "Event", "events")
        .short(&["ev"])
        .strategy(&event::STRATEGY)
        .columns(event::COLUMNS)
        .selectable(EVENT_FIELDS)
        .also(super::events::SERVED),
    Row::namespaced(V1, "LimitRange", "limitranges")
        .short(&["limits"])
        .strategy(&quota::LIMIT_RANGE)
        .columns(quota::LIMIT_RANGE_COLUMNS),
    Row::cluster(V1, "Namespace", "namespaces")
        .short(&["ns"])
        .strategy(&namespace::STRATEGY)
        .columns(namespace::COLUMNS)
        .selectable(&["status.phase"])
        .with(&[Sub::of_parent("finalize", Action::Finalize, &["update"]), Sub::STATUS]),
    Row::cluster(V1, "Node", "nodes")
        .short(&["no"])
        .strategy(&node::STRATEGY)
        .columns(node::COLUMNS)
        .stored_in("minions")
        .selectable(&["spec.unschedulable"])
        .with(&[Sub::connect("proxy", "NodeProxyOptions", PROXY), Sub::STATUS]),
    Row::namespaced(V1, "PersistentVolumeClaim", "persistentvolumeclaims")
        .short(&["pvc"])
        .strategy(&volume::CLAIM)
        .columns(volume::CLAIM_COLUMNS)
        .with_status(),
    Row::cluster(V1, "PersistentVolume", "persistentvolumes")
        .short(&["pv"])
        .strategy(&volume::VOLUME)
        .columns(volume::VOLUME_COLUMNS)
        .with_status(),
    Row::namespaced(V1, "Pod", "pods")
        .short(&["po"])
        .strategy(&pod::STRATEGY)
        .columns(pod::COLUMNS)
        .in_all()
        .selectable(POD_FIELDS)
        .with(POD_SUBRESOURCES),
    Row::namespaced(V1, "PodTemplate", "podtemplates").strategy(&pod::TEMPLATE).columns(pod::TEMPLATE_COLUMNS),
    Row::namespaced(V1, "ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .strategy(&apps::CONTROLLER)
        .columns(apps::CONTROLLER_COLUMNS)
        .in_all()
        .stored_in("controllers")
        .selectable(&["status.replicas"])
        .with(&[Sub::SCALE, Sub::STATUS]),
    Row::namespaced(V1, "ResourceQuota", "resourcequotas")
        .short(&["quota"])
        .strategy(&quota::QUOTA)
        .columns(quota::QUOTA_COLUMNS)
        .with_status(),
    Row::namespaced(V1, "Secret", "secrets")
        .strategy(&config::SECRET)
        .columns(config::SECRET_COLUMNS)
        .selectable(&["type"]),
    Row::namespaced(V1, "ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .columns(config::SERVICE_ACCOUNT_COLUMNS)
        .with(&[
            Sub::of_kind("token", Action::Token, ("authentication.k8s.io", "v1"), "TokenRequest").verbs(CREATE_ONLY)
        ]),
    Row::namespaced(V1, "Service", "services")
        .short(&["svc"])
        .strategy(&service::STRATEGY)
        .columns(service::COLUMNS)
        .in_all()
        .stored_in("services/specs")
        .selectable(&["spec.clusterIP", "spec.type"])
        .with(&[Sub::connect("proxy", "ServiceProxyOptions", PROXY), Sub::STATUS]),
];
