//! Services: a name, ports, and which workloads stand behind it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::name::{Host, Labels, Origin};
use crate::visibility::Exported;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub host: Host,
    pub name: String,
    pub namespace: String,
    pub ports: Vec<ServicePort>,
    /// Empty: no workload is selected.
    pub selector: Labels,
    /// What its name resolves to: virtual addresses, v4 and v6, in 240.240.0.0/16 and its IPv6 sibling, or those of
    /// `addresses` that are single ones. None: the mesh does not answer for the name.
    pub vips: Vec<IpAddr>,
    /// Where it is called, if its object says that itself.
    pub addresses: Vec<IpNet>,
    pub backing: Backing,
    /// Endpoints that other objects describe and its selector matches, besides the workloads.
    pub described: Vec<Endpoint>,
    /// Which endpoints are preferred, where no DestinationRule says it. None: none is.
    pub distribution: Option<Distribution>,
    /// Only endpoints of the caller's own node.
    pub same_node: bool,
    /// Endpoints that are not ready take part.
    pub unready: bool,
    /// The calls of one client go to one endpoint, where no DestinationRule says how they are shared.
    pub sticky: bool,
    /// Not of the mesh: nobody there understands what sidecars tell each other.
    pub external: bool,
    /// Whom the other side of mesh mTLS may be, besides the workloads' own identities (SPIFFE ids).
    pub subject_alt_names: Vec<String>,
    /// Who may call it.
    pub exported: Exported,
    /// True when a `--service` flag declared it and no object did.
    pub undeclared: bool,
    pub origin: Origin,
}

/// What stands behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    /// The workloads that its selector matches.
    Workloads,
    /// The address that the caller found out by itself (`resolution: NONE`).
    Caller,
    /// These addresses.
    Fixed(Vec<Endpoint>),
    /// What these names resolve to, asked again and again by each proxy.
    Dns {
        endpoints: Vec<Endpoint>,
        /// One address of all stands for the name (`DNS_ROUND_ROBIN`).
        one: bool,
    },
}

/// Endpoints that are preferred (`trafficDistribution`): the nearest, of which zone or node is the last to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    SameZone,
    SameNode,
}

/// An endpoint that an object describes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// An IP address, a name, or a socket: `unix:///run/app.sock`, `unix://@abstract`.
    pub address: String,
    /// By the name of the service's port, or of what that is sent to.
    pub ports: Vec<(String, u16)>,
    pub labels: Labels,
    /// `region/zone/subzone`.
    pub locality: String,
    pub weight: u32,
    pub service_account: Option<String>,
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

impl Service {
    /// One name for many: nobody can be asked for its address.
    pub fn is_wildcard(&self) -> bool {
        self.host.as_str().starts_with('*')
    }

    /// It is known by what a connection says (Host, SNI) and by its port alone: any address may be its.
    pub fn is_anywhere(&self) -> bool {
        self.backing == Backing::Caller && self.addresses.is_empty()
    }

    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }
}

impl Protocol {
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
}
