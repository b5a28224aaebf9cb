//! discovery.k8s.io/v1 EndpointSlice: addresses behind a Service.

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSliceSpec {
    pub address_type: AddressType,
    #[serde(default)]
    pub endpoints: Vec<SliceEndpoint>,
    #[serde(default)]
    pub ports: Vec<SlicePort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum AddressType {
    IPv4,
    IPv6,
    #[serde(rename = "FQDN")]
    Fqdn,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    pub addresses: Vec<String>,
    pub conditions: Conditions,
    pub node_name: Option<String>,
    pub zone: Option<String>,
    hostname: Option<IgnoredAny>,
    target_ref: Option<IgnoredAny>,
    hints: Option<IgnoredAny>,
    deprecated_topology: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// None: nobody knows, which is as good as ready.
    pub ready: Option<bool>,
    serving: Option<IgnoredAny>,
    terminating: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlicePort {
    /// As the Service's port is called.
    pub name: Option<String>,
    pub port: Option<i64>,
    protocol: Option<IgnoredAny>,
    app_protocol: Option<IgnoredAny>,
}

/// The label that says which Service it is of.
pub const SERVICE: &str = "kubernetes.io/service-name";
