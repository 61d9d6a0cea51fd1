//! Plugins of a few lines that are off unless asked for.

use apimachinery::{Object, Status, Value, value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};
use crate::authz;

/// `AlwaysAdmit`: does nothing, for those who still name it.
pub(super) const ALWAYS_ADMIT: Plugin =
    Plugin { name: "AlwaysAdmit", by_default: false, handles: |_| false, mutate: None, validate: None };

/// `AlwaysDeny`: refuses every write.
pub(super) const ALWAYS_DENY: Plugin = Plugin {
    name: "AlwaysDeny",
    by_default: false,
    handles: |_| true,
    mutate: None,
    validate: Some(|attributes| {
        refuse_if(attributes, Some("admission control is denying all modifications".to_owned()))
    }),
};

/// `DenyServiceExternalIPs`: nobody adds external addresses to Services.
pub(super) const DENY_EXTERNAL_IPS: Plugin = Plugin {
    name: "DenyServiceExternalIPs",
    by_default: false,
    handles: |attributes| attributes.operation != Operation::Delete && attributes.is("", "services"),
    mutate: None,
    validate: Some(|attributes| {
        let of = |service: Option<&Object>| service.map(|one| one.list_at(&["spec", "externalIPs"]).to_vec());
        let (new, old) = (of(attributes.object.as_deref()), of(attributes.old).unwrap_or_default());
        let added = new.unwrap_or_default().iter().any(|address| !old.contains(address));
        refuse_if(attributes, added.then(|| "Use of external IPs is denied by admission control.".to_owned()))
    }),
};

/// `ExtendedResourceToleration`: who asks for a device may run where only those may.
pub(super) const DEVICE_TOLERATION: Plugin = Plugin {
    name: "ExtendedResourceToleration",
    by_default: false,
    handles: |attributes| attributes.is_new_pod(),
    mutate: Some(|attributes| {
        if let Some(pod) = attributes.object.as_deref_mut() {
            tolerate_devices(pod);
        }
        futures::future::ready(Ok(())).boxed()
    }),
    validate: None,
};

/// `LimitPodHardAntiAffinityTopology`: pods keep apart from others on a node, not in a whole zone.
pub(super) const ANTI_AFFINITY: Plugin = Plugin {
    name: "LimitPodHardAntiAffinityTopology",
    by_default: false,
    handles: |attributes| attributes.is_new_pod(),
    mutate: None,
    validate: Some(|attributes| {
        let path = ["spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
        let terms = attributes.object.as_deref().map(|pod| pod.list_at(&path)).unwrap_or_default();
        let wide = terms.iter().find(|term| term.str("topologyKey") != "kubernetes.io/hostname");
        let told = wide.map(|term| {
            format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {} but only key \
                 kubernetes.io/hostname is allowed",
                term.str("topologyKey")
            )
        });
        refuse_if(attributes, told)
    }),
};

/// `NamespaceExists`: only what is in a namespace that exists is written.
pub(super) const NAMESPACE_EXISTS: Plugin = Plugin {
    name: "NamespaceExists",
    by_default: false,
    handles: |attributes| attributes.resource.descriptor.is_namespaced(),
    mutate: None,
    validate: Some(|attributes| {
        async move {
            let namespace = &attributes.info.namespace;
            let found = attributes.app.registry.get_fresh("", "namespaces", "", namespace).await;
            found.map(|_| ()).ok_or_else(|| Status::not_found("", "namespaces", namespace))
        }
        .boxed()
    }),
};

/// `OwnerReferencesPermissionEnforcement`: who sets an owner may delete the object; who blocks the owner's end may
/// change its finalizers.
pub(super) const OWNERS: Plugin = Plugin {
    name: "OwnerReferencesPermissionEnforcement",
    by_default: false,
    handles: |attributes| attributes.operation != Operation::Delete && attributes.info.subresource != "status",
    mutate: None,
    validate: Some(|attributes| {
        let outcome = check_owners(attributes);
        futures::future::ready(outcome).boxed()
    }),
};

fn refuse_if<'a>(attributes: &'a Attributes<'_>, why: Option<String>) -> BoxFuture<'a, Result<(), Status>> {
    let outcome = why.map_or(Ok(()), |why| Err(attributes.forbidden(why)));
    futures::future::ready(outcome).boxed()
}

fn tolerate_devices(pod: &mut Object) {
    let is_device = |name: &str| {
        name.split_once('/').is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
    };
    let mut devices = std::collections::BTreeSet::new();
    for list in ["containers", "initContainers"] {
        for container in pod.list_at(&["spec", list]) {
            let requests = container.at(&["resources", "requests"]).and_then(Value::as_map);
            devices.extend(
                requests
                    .into_iter()
                    .flat_map(apimachinery::value::Map::keys)
                    .filter(|key| is_device(key))
                    .map(str::to_owned),
            );
        }
    }
    let mut tolerations = pod.list_at(&["spec", "tolerations"]).to_vec();
    for device in devices {
        let wanted = value!({"key": (device.as_str()), "operator": "Exists"});
        if !tolerations.contains(&wanted) {
            tolerations.push(wanted);
        }
    }
    if !tolerations.is_empty() {
        pod.set_at(&["spec", "tolerations"], Value::List(tolerations));
    }
}

fn check_owners(attributes: &Attributes<'_>) -> Result<(), Status> {
    let Some(new) = attributes.object.as_deref() else { return Ok(()) };
    let known = attributes.old.map(Object::owner_references).unwrap_or_default();
    if new.owner_references() == known {
        return Ok(());
    }
    let descriptor = attributes.resource.descriptor;
    let may = |verb: &str, subresource: &str, (group, plural, name): (&str, &str, &str)| {
        let asked = authz::Attributes {
            name,
            subresource,
            namespace: &attributes.info.namespace,
            ..authz::Attributes::resource(attributes.user, verb, (group, plural))
        };
        attributes.app.authorizer.authorize(&asked).allowed
    };
    if !may("delete", "", (descriptor.group, descriptor.plural, new.name())) {
        return Err(attributes.forbidden("cannot set an ownerRef on a resource you can't delete: , <nil>"));
    }
    let blocks = |owner: &&Value| owner.get("blockOwnerDeletion") == Some(&Value::Bool(true));
    for owner in new.owner_references().iter().filter(blocks) {
        let was_blocked = known.iter().filter(blocks).any(|one| one.str("uid") == owner.str("uid"));
        let group = owner.str("apiVersion").split_once('/').map_or("", |(group, _)| group);
        let row = api::resources().iter().find(|row| row.group == group && row.kind == owner.str("kind"));
        let allowed = row.is_none_or(|row| may("update", "finalizers", (row.group, row.plural, owner.str("name"))));
        if !was_blocked && !allowed {
            return Err(attributes.forbidden(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers \
                 on: , <nil>",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_devices_tolerates_their_taints() {
        let container = |name: &str| value!({"resources": {"requests": {name: "1", "cpu": "1"}}});
        let mut pod = Object::try_from(value!({"spec": {
            "containers": [(container("example.com/gpu"))],
            "initContainers": [(container("example.com/gpu")), (container("memory"))],
        }}))
        .unwrap();
        tolerate_devices(&mut pod);
        let once = value!([{"key": "example.com/gpu", "operator": "Exists"}]);
        assert_eq!(pod.at(&["spec", "tolerations"]), Some(&once));
        tolerate_devices(&mut pod);
        assert_eq!(pod.at(&["spec", "tolerations"]), Some(&once));
    }
}
