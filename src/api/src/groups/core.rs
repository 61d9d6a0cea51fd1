//! The core group, `v1`.

use crate::resource::{
    Action, CREATE_ONLY, ResourceDescriptor as Row, SUB_VERBS, Subresource as Sub,
};

const V1: (&str, &str) = ("", "v1");
const GET: &[&str] = &["get"];
const GET_CREATE: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

const POD_SUBRESOURCES: &[Sub] = &[
    Sub::connect("attach", "PodAttachOptions", GET_CREATE),
    Sub::of_kind("binding", Action::Binding, V1, "Binding"),
    Sub::of_parent(
        "ephemeralcontainers",
        Action::EphemeralContainers,
        SUB_VERBS,
    ),
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
    Row::namespaced(V1, "ConfigMap", "configmaps").short(&["cm"]),
    Row::namespaced(V1, "Endpoints", "endpoints")
        .short(&["ep"])
        .stored_in("services/endpoints"),
    Row::namespaced(V1, "Event", "events")
        .short(&["ev"])
        .selectable(EVENT_FIELDS)
        .also(super::events::SERVED),
    Row::namespaced(V1, "LimitRange", "limitranges").short(&["limits"]),
    Row::cluster(V1, "Namespace", "namespaces")
        .short(&["ns"])
        .selectable(&["status.phase"])
        .with(&[
            Sub::of_parent("finalize", Action::Finalize, &["update"]),
            Sub::STATUS,
        ]),
    Row::cluster(V1, "Node", "nodes")
        .short(&["no"])
        .stored_in("minions")
        .selectable(&["spec.unschedulable"])
        .with(&[
            Sub::connect("proxy", "NodeProxyOptions", PROXY),
            Sub::STATUS,
        ]),
    Row::namespaced(V1, "PersistentVolumeClaim", "persistentvolumeclaims")
        .short(&["pvc"])
        .with_status(),
    Row::cluster(V1, "PersistentVolume", "persistentvolumes")
        .short(&["pv"])
        .with_status(),
    Row::namespaced(V1, "Pod", "pods")
        .short(&["po"])
        .in_all()
        .selectable(POD_FIELDS)
        .with(POD_SUBRESOURCES),
    Row::namespaced(V1, "PodTemplate", "podtemplates"),
    Row::namespaced(V1, "ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .in_all()
        .stored_in("controllers")
        .selectable(&["status.replicas"])
        .with(&[Sub::SCALE, Sub::STATUS]),
    Row::namespaced(V1, "ResourceQuota", "resourcequotas")
        .short(&["quota"])
        .with_status(),
    Row::namespaced(V1, "Secret", "secrets").selectable(&["type"]),
    Row::namespaced(V1, "ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .with(&[Sub::of_kind(
            "token",
            Action::Token,
            ("authentication.k8s.io", "v1"),
            "TokenRequest",
        )
        .verbs(CREATE_ONLY)]),
    Row::namespaced(V1, "Service", "services")
        .short(&["svc"])
        .in_all()
        .stored_in("services/specs")
        .selectable(&["spec.clusterIP", "spec.type"])
        .with(&[
            Sub::connect("proxy", "ServiceProxyOptions", PROXY),
            Sub::STATUS,
        ]),
];
