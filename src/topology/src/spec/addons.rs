//! What is installed into the cluster once it runs, as types of the topology file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults;

/// What is installed into the cluster once it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Addons {
    /// Service addresses (kube-proxy).
    pub proxy: ProxyAddon,
    /// Service names (cluster DNS).
    pub dns: DnsAddon,
}

/// kube-proxy, on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyAddon {
    /// Whether it is installed.
    #[serde(default = "defaults::yes")]
    pub enabled: bool,
}

/// The cluster's DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DnsAddon {
    /// Whether it is installed.
    #[serde(default = "defaults::yes")]
    pub enabled: bool,
    /// How many pods; 2 if the cluster has more than one node, else 1.
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<u16>,
}

impl Default for ProxyAddon {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for DnsAddon {
    fn default() -> Self {
        Self { enabled: true, replicas: None }
    }
}
