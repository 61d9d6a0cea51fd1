//! `ServiceAccount`: every pod runs as a service account and gets its token, the CA and its namespace as files.

mod secrets;

use apimachinery::{Object, Status, Value, value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};
use crate::verbs::generate_name;

/// On an account that lets its pods use only the secrets it names.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// Where containers find token, CA and namespace.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The name of the volume begins so.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Pods of files on a node have this annotation and no service account.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// How long a token lives; the odd seconds tell tokens made for pods from others, as upstream.
const TOKEN_SECONDS: i64 = 3607;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "ServiceAccount",
    by_default: true,
    handles: |attributes| {
        let debugged =
            attributes.operation == Operation::Update && attributes.info.subresource == "ephemeralcontainers";
        attributes.is_new_pod() || (attributes.is("", "pods") && debugged)
    },
    mutate: Some(mutate),
    validate: Some(validate),
};

/// An account may insist that its pods mount only the secrets it names.
fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let Some(pod) = attributes.object.as_deref().filter(|pod| pod.annotation(MIRROR).is_none()) else {
            return Ok(());
        };
        let (namespace, name) = (&attributes.info.namespace, pod.str_at(&["spec", "serviceAccountName"]));
        let account = attributes.app.registry.get_fresh("", "serviceaccounts", namespace, name).await;
        let account = account.map(|account| account.object()).unwrap_or_default();
        let insists =
            account.annotation(ENFORCE).is_some_and(|wish| matches!(wish, "true" | "True" | "TRUE" | "1" | "t"));
        let foreign = if insists { secrets::foreign(pod, &account) } else { None };
        foreign.map_or(Ok(()), |why| Err(attributes.forbidden(why)))
    }
    .boxed()
}

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let refused = |status: Status, attributes: &Attributes<'_>| attributes.forbidden(status.message());
        if !attributes.is_new_pod() {
            return Ok(());
        }
        let Some(pod) = attributes.object.as_deref_mut() else { return Ok(()) };
        if pod.annotation(MIRROR).is_some() {
            return check_mirror(pod).map_err(|status| refused(status, attributes));
        }
        if pod.str_at(&["spec", "serviceAccountName"]).is_empty() {
            pod.set_at(&["spec", "serviceAccountName"], "default");
        }
        let name = pod.str_at(&["spec", "serviceAccountName"]).to_owned();
        pod.set_at(&["spec", "serviceAccount"], name.as_str());
        let namespace = attributes.info.namespace.clone();
        let registry = &attributes.app.registry;
        let Some(account) = registry.get_fresh("", "serviceaccounts", &namespace, &name).await else {
            return Err(attributes.forbidden(format_args!(
                "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
            )));
        };
        let account = account.object();
        let Some(pod) = attributes.object.as_deref_mut() else { return Ok(()) };
        if automounts(pod, &account) {
            mount(pod);
        }
        let secrets = account.list_at(&["imagePullSecrets"]);
        if pod.list_at(&["spec", "imagePullSecrets"]).is_empty() && !secrets.is_empty() {
            pod.set_at(&["spec", "imagePullSecrets"], Value::List(secrets.to_vec()));
        }
        Ok(())
    }
    .boxed()
}

/// A mirror pod must not give its kubelet access to anything.
fn check_mirror(pod: &Object) -> Result<(), Status> {
    if !pod.str_at(&["spec", "serviceAccountName"]).is_empty() {
        return Err(Status::bad_request("a mirror pod may not reference service accounts"));
    }
    let volumes = pod.list_at(&["spec", "volumes"]);
    if volumes.iter().any(|volume| volume.get("secret").is_some()) {
        return Err(Status::bad_request("a mirror pod may not reference secrets"));
    }
    let tokens = volumes
        .iter()
        .flat_map(|volume| volume.at(&["projected", "sources"]).and_then(Value::as_list).unwrap_or_default());
    if tokens.into_iter().any(|source| source.get("serviceAccountToken").is_some()) {
        return Err(Status::bad_request("a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

fn automounts(pod: &Object, account: &Object) -> bool {
    let wish = |value: Option<&Value>| value.and_then(Value::as_bool);
    wish(pod.at(&["spec", "automountServiceAccountToken"]))
        .or_else(|| wish(account.at(&["automountServiceAccountToken"])))
        .unwrap_or(true)
}

/// Adds the volume, unless the pod brings one, and mounts it where nothing else is mounted.
fn mount(pod: &mut Object) {
    let present = pod
        .list_at(&["spec", "volumes"])
        .iter()
        .map(|volume| volume.str("name"))
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = present.clone().unwrap_or_else(|| generate_name(VOLUME_PREFIX));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod.at_mut(&["spec", list]).and_then(Value::as_list_mut) else { continue };
        for container in containers {
            mounted |= mount_in(container, &name);
        }
    }
    if mounted && present.is_none() {
        let mut volumes = pod.list_at(&["spec", "volumes"]).to_vec();
        volumes.push(volume(&name));
        pod.set_at(&["spec", "volumes"], Value::List(volumes));
    }
}

fn mount_in(container: &mut Value, volume: &str) -> bool {
    if container.list("volumeMounts").iter().any(|mount| mount.str("mountPath") == MOUNT_PATH) {
        return false;
    }
    let mut mounts = container.list("volumeMounts").to_vec();
    mounts.push(value!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
    container.set_at(&["volumeMounts"], Value::List(mounts));
    true
}

fn volume(name: &str) -> Value {
    value!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
            "defaultMode": 420,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    #[test]
    fn the_token_is_mounted_once_where_nothing_else_is() {
        let mut pod = object(value!({"spec": {"containers": [
            {"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]},
        ]}}));
        mount(&mut pod);
        let volumes = pod.list_at(&["spec", "volumes"]);
        assert_eq!(volumes.len(), 1);
        assert!(volumes[0].str("name").starts_with(VOLUME_PREFIX));
        let mounts = |index: &str| pod.list_at(&["spec", "containers", index, "volumeMounts"]);
        assert_eq!(mounts("0")[0].str("name"), volumes[0].str("name"));
        assert_eq!(mounts("1")[0].str("name"), "own");
        let before = pod.clone();
        mount(&mut pod);
        assert_eq!(pod, before);
    }

    #[test]
    fn the_pod_decides_before_its_account() {
        let no = object(value!({"automountServiceAccountToken": false}));
        let silent = object(value!({"spec": {}}));
        let yes = object(value!({"spec": {"automountServiceAccountToken": true}}));
        assert!(!automounts(&silent, &no));
        assert!(automounts(&yes, &no));
        assert!(automounts(&silent, &Object::default()));
    }

    #[test]
    fn a_mirror_pod_has_no_secrets() {
        assert!(check_mirror(&object(value!({"spec": {}}))).is_ok());
        for spec in [
            value!({"serviceAccountName": "default"}),
            value!({"volumes": [{"name": "s", "secret": {"secretName": "x"}}]}),
            value!({"volumes": [volume("x")]}),
        ] {
            assert!(check_mirror(&object(value!({"spec": (spec)}))).is_err());
        }
    }
}
