//! core/v1 Service: a name, ports, and which workloads stand behind it.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Labels;
use crate::decode::{Ignored, NotServed};
use crate::quantity::IntOrString;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    pub ports: Vec<ServicePort>,
    pub selector: Labels,
    #[serde(rename = "type")]
    pub kind: Option<ServiceType>,
    /// Addresses are the mesh's own to give.
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<IgnoredAny>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<IgnoredAny>,
    ip_families: Option<IgnoredAny>,
    ip_family_policy: Option<IgnoredAny>,
    allocate_load_balancer_node_ports: Option<IgnoredAny>,
    health_check_node_port: Option<IgnoredAny>,
    pub external_name: Option<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<NotServed>,
    external_traffic_policy: Option<Ignored>,
    pub internal_traffic_policy: Option<InternalTrafficPolicy>,
    load_balancer_class: Option<Ignored>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Option<Ignored>,
    load_balancer_source_ranges: Option<NotServed>,
    pub publish_not_ready_addresses: Option<bool>,
    session_affinity: Option<SessionAffinity>,
    session_affinity_config: Option<Ignored>,
    pub traffic_distribution: Option<TrafficDistribution>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum InternalTrafficPolicy {
    Cluster,
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TrafficDistribution {
    /// Kubernetes' old name of PreferSameZone.
    PreferClose,
    PreferSameZone,
    PreferSameNode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ServiceType {
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SessionAffinity {
    None,
    #[serde(rename = "ClientIP")]
    ClientIp,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    pub port: i64,
    #[serde(default)]
    pub name: String,
    pub protocol: Option<Transport>,
    pub app_protocol: Option<String>,
    pub target_port: Option<IntOrString>,
    node_port: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Transport {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "SCTP")]
    Sctp,
}

impl ServiceSpec {
    /// `sessionAffinity: ClientIP`
    pub fn client_ip_affinity(&self) -> bool {
        self.session_affinity == Some(SessionAffinity::ClientIp)
    }
}
