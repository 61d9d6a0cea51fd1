//! The environment of a container.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cri::api::KeyValue;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret, Service};

use super::expansion::expand;
use super::field::{self, Facts};
use super::identity;

/// Why a container cannot be given its environment; the words end up in its waiting message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// The object is not there.
    #[error("{kind} {name:?} not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object is there, the key is not.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    Key {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The absent key.
        key: String,
    },
    /// The field cannot be asked for.
    #[error("unsupported fieldPath: {path}")]
    Field {
        /// The path as written.
        path: String,
    },
}

/// The objects that environments are made from, fetched beforehand.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// By name, in the namespace of the pod.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// By name, in the namespace of the pod.
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// The services that the pod is told of.
    pub services: Vec<Arc<Service>>,
}

/// The names that a container's environment refers to: `ConfigMaps`, then Secrets.
pub fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.as_ref().map(|reference| reference.name.clone()));
        secrets.extend(from.secret_ref.as_ref().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.as_ref().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_key_ref.as_ref().map(|reference| reference.name.clone()));
    }
    (config_maps, secrets)
}

/// Everything the container finds in its environment, in the order upstream gives it.
pub fn environment(
    pod: &Pod,
    container: &Container,
    objects: &Objects,
    facts: &Facts,
) -> Result<Vec<KeyValue>, EnvironmentError> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut services = service_variables(pod, &objects.services);
    for (name, value) in from_objects(container, objects)? {
        services.remove(&name);
        set(&mut known, &mut order, name, value);
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => match from_source(pod, container, source, objects, facts)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(variable.value.as_deref().unwrap_or_default(), |name| {
                known.get(name).or_else(|| services.get(name)).cloned()
            }),
        };
        services.remove(&variable.name);
        set(&mut known, &mut order, variable.name.clone(), value);
    }
    let own =
        order.into_iter().map(|name| KeyValue { value: known.get(&name).cloned().unwrap_or_default(), key: name });
    Ok(own.chain(services.into_iter().map(|(key, value)| KeyValue { key, value })).collect())
}

fn set(known: &mut BTreeMap<String, String>, order: &mut Vec<String>, name: String, value: String) {
    if known.insert(name.clone(), value).is_none() {
        order.push(name);
    }
}

fn from_objects(container: &Container, objects: &Objects) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut found = Vec::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match objects.config_maps.get(&reference.name) {
                Some(map) => found
                    .extend(map.data.iter().flatten().map(|(key, value)| (format!("{prefix}{key}"), value.clone()))),
                None if reference.optional == Some(true) => {}
                None => {
                    return Err(EnvironmentError::Missing { kind: "configmap", name: reference.name.clone() });
                }
            }
        }
        if let Some(reference) = &from.secret_ref {
            match objects.secrets.get(&reference.name) {
                Some(secret) => found.extend(
                    secret.data.iter().flatten().map(|(key, value)| (format!("{prefix}{key}"), text(&value.0))),
                ),
                None if reference.optional == Some(true) => {}
                None => {
                    return Err(EnvironmentError::Missing { kind: "secret", name: reference.name.clone() });
                }
            }
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    objects: &Objects,
    facts: &Facts,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(reference) = &source.field_ref {
        let path = reference.field_path.clone();
        return field::field(pod, &path, facts).map(Some).ok_or(EnvironmentError::Field { path });
    }
    if let Some(reference) = &source.resource_field_ref {
        let path = reference.resource.clone();
        return field::resource(pod, &container.name, reference, facts)
            .map(Some)
            .ok_or(EnvironmentError::Field { path });
    }
    let found = if let Some(reference) = &source.config_map_key_ref {
        let map = objects.config_maps.get(&reference.name);
        let value = map.and_then(|map| map.data.as_ref()?.get(&reference.key).cloned());
        Lookup {
            kind: ("configmap", "ConfigMap"),
            name: &reference.name,
            key: &reference.key,
            optional: reference.optional,
            there: map.is_some(),
            value,
        }
    } else if let Some(reference) = &source.secret_key_ref {
        let secret = objects.secrets.get(&reference.name);
        let value = secret.and_then(|secret| secret.data.as_ref()?.get(&reference.key).map(|value| text(&value.0)));
        Lookup {
            kind: ("secret", "Secret"),
            name: &reference.name,
            key: &reference.key,
            optional: reference.optional,
            there: secret.is_some(),
            value,
        }
    } else {
        return Ok(Some(String::new()));
    };
    found.decide(identity::namespace(pod))
}

/// One key of one object, and what became of looking for it.
struct Lookup<'a> {
    kind: (&'static str, &'static str),
    name: &'a str,
    key: &'a str,
    optional: Option<bool>,
    there: bool,
    value: Option<String>,
}

impl Lookup<'_> {
    fn decide(self, namespace: &str) -> Result<Option<String>, EnvironmentError> {
        if self.value.is_some() || self.optional == Some(true) {
            return Ok(self.value);
        }
        if !self.there {
            return Err(EnvironmentError::Missing { kind: self.kind.0, name: self.name.to_owned() });
        }
        Err(EnvironmentError::Key {
            kind: self.kind.1,
            namespace: namespace.to_owned(),
            name: self.name.to_owned(),
            key: self.key.to_owned(),
        })
    }
}

/// The variables that tell of services: those of the pod's namespace, and the API server's in any case.
fn service_variables(pod: &Pod, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut variables = BTreeMap::new();
    for service in services {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let api_server = namespace == "default" && name == "kubernetes";
        if api_server || (links && namespace == identity::namespace(pod)) {
            describe_service(name, service, &mut variables);
        }
    }
    variables
}

fn describe_service(name: &str, service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
        return;
    };
    let prefix = shout(name);
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    variables.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let number = port.port.to_string();
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{number}", protocol.to_lowercase());
        if index == 0 {
            variables.insert(format!("{prefix}_SERVICE_PORT"), number.clone());
            variables.insert(format!("{prefix}_PORT"), url.clone());
        }
        if let Some(port_name) = port.name.as_deref().filter(|port_name| !port_name.is_empty()) {
            variables.insert(format!("{prefix}_SERVICE_PORT_{}", shout(port_name)), number.clone());
        }
        let port_prefix = format!("{prefix}_PORT_{number}_{protocol}");
        variables.insert(port_prefix.clone(), url);
        variables.insert(format!("{port_prefix}_PROTO"), protocol.to_lowercase());
        variables.insert(format!("{port_prefix}_PORT"), number);
        variables.insert(format!("{port_prefix}_ADDR"), ip.to_owned());
    }
}

fn shout(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Command and arguments with `$(NAME)` replaced from the finished environment.
pub fn expand_all(texts: Option<&Vec<String>>, environment: &[KeyValue]) -> Vec<String> {
    let lookup =
        |name: &str| environment.iter().find(|variable| variable.key == name).map(|variable| variable.value.clone());
    texts.into_iter().flatten().map(|text| expand(text, lookup)).collect()
}

/// Whether any variable of the container asks for an address of the pod, which is known only once the sandbox runs.
pub fn needs_pod_ip(variables: Option<&Vec<EnvVar>>) -> bool {
    let path = |variable: &EnvVar| {
        variable
            .value_from
            .as_ref()?
            .field_ref
            .as_ref()
            .map(|reference| reference.field_path.starts_with("status.podIP"))
    };
    variables.into_iter().flatten().any(|variable| path(variable) == Some(true))
}

#[cfg(test)]
mod tests;
