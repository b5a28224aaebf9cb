//! networking.istio.io Sidecar.

use serde::Deserialize;

use super::Labels;
use crate::decode::{Ignored, NotServed};
use crate::kinds::mesh_config::OutboundMode;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSpec {
    pub workload_selector: Option<WorkloadSelector>,
    pub egress: Vec<Egress>,
    ingress: Option<NotServed>,
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    inbound_connection_pool: Option<NotServed>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    pub labels: Labels,
}

/// What the workload calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Egress {
    /// None: every other port.
    pub port: Option<SidecarPort>,
    bind: Option<NotServed>,
    pub capture_mode: CaptureMode,
    /// `NAMESPACE/HOST`
    pub hosts: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarPort {
    pub number: i64,
    pub protocol: Option<String>,
    pub name: Option<String>,
    target_port: Option<Ignored>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    #[default]
    Default,
    Iptables,
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    pub mode: Option<OutboundMode>,
    egress_proxy: Option<NotServed>,
}
