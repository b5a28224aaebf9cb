//! Workloads: the instances that registered, or that a WorkloadEntry describes.

use std::net::IpAddr;

use crate::name::{Labels, WorkloadId};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    pub id: WorkloadId,
    pub name: String,
    pub namespace: String,
    pub service_account: String,
    pub labels: Labels,
    /// Where others reach it: its own loopback address, or what `--advertise` said.
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<WorkloadPort>,
    /// `--service NAME`: the service this workload declares itself to be.
    pub service: Option<String>,
    /// All declared ports listen.
    pub healthy: bool,
    /// Accepts the mesh's mTLS (a leno or Envoy sidecar is in front of it).
    pub mesh_tls: bool,
    /// HTTP goes to it as HTTP/2 over mTLS (its proxy is leno and restores the version).
    pub http2_upgrade: bool,
    /// `region/zone/subzone`.
    pub locality: String,
    pub weight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadPort {
    pub port: u16,
    pub name: String,
    pub protocol: crate::service::Protocol,
}
