//! Services: a name, ports, and which workloads stand behind it.

use std::net::IpAddr;

use crate::name::{Host, Labels, Origin};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub host: Host,
    pub name: String,
    pub namespace: String,
    pub ports: Vec<ServicePort>,
    /// Empty: no workload is selected.
    pub selector: Labels,
    /// Virtual addresses, v4 and v6, in 240.240.0.0/16 and its IPv6 sibling.
    pub vips: Vec<IpAddr>,
    /// True when a `--service` flag declared it and no object did.
    pub undeclared: bool,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    pub port: u16,
    pub name: String,
    pub protocol: Protocol,
    pub target: TargetPort,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetPort {
    Number(u16),
    Named(String),
}

/// What a port speaks, by `appProtocol`, else by the port's name prefix as in Istio, else detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http,
    Http2,
    Grpc,
    Tcp,
    Tls,
    /// mysql, redis, mongo: TCP that the name says so; never sniffed.
    Opaque,
    Udp,
    /// Not said: detect, without hanging a server-first protocol.
    Detect,
}

impl Protocol {
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
}
