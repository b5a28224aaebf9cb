//! Sidecars: what the proxies of a namespace, or some of them, are told of the mesh.

use crate::in_force::Policies;
use crate::mesh::OutboundPolicy;
use crate::name::{Host, Labels, Origin};
use crate::service::Service;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sidecar {
    pub origin: Origin,
    /// None: all of its namespace; of the root namespace: all that have none of their own.
    pub selector: Option<Labels>,
    /// None: everything that is exported to them.
    pub egress: Option<Vec<Egress>>,
    /// None: as the mesh does.
    pub outbound: Option<OutboundPolicy>,
}

/// What may be called on a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Egress {
    /// None: on every port that no other says.
    pub port: Option<u16>,
    pub hosts: Vec<Imported>,
}

/// Hosts of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Imported {
    pub from: ImportedFrom,
    /// A host, `*.suffix` or `*`.
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImportedFrom {
    Anywhere,
    /// The proxy's own namespace.
    Own,
    Namespace(String),
    Nowhere,
}

// === impl Policies ===

impl Policies<Sidecar> {
    /// The one that holds for a proxy, as Istio chooses: of its namespace the first by name that selects it, else the
    /// first for all; else the root namespace's for all.
    pub fn for_proxy(&self, namespace: &str, labels: &Labels) -> Option<&Sidecar> {
        let of = |namespace: &str| {
            self.namespaces
                .get(namespace)
                .map_or(&[][..], |all| all.as_slice())
        };
        let selects = |sidecar: &Sidecar| {
            let selector = sidecar.selector.as_ref();
            selector.is_some_and(|by| by.iter().all(|(name, value)| labels.get(name) == Some(value)))
        };
        let own = of(namespace).iter().map(AsRef::as_ref);
        let root = of(&self.root).iter().map(AsRef::as_ref);
        own.clone()
            .find(|sidecar| selects(sidecar))
            .or_else(|| own.clone().chain(root).find(|sidecar| sidecar.selector.is_none()))
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Whether a proxy of the namespace `own` may call a service; `port`: on this port, else on any.
    pub fn imports(&self, own: &str, service: &Service, port: Option<u16>) -> bool {
        let matching = |egress: &Egress| egress.names(own, &service.namespace, &service.host);
        let Some(egress) = &self.egress else { return true };
        let for_others = || egress.iter().find(|egress| egress.port.is_none());
        match port {
            Some(port) => {
                let own_port = egress.iter().find(|egress| egress.port == Some(port));
                own_port.or_else(for_others).is_some_and(matching)
            }
            None => {
                let served = |egress: &&Egress| egress.port.is_none_or(|port| service.port(port).is_some());
                egress.iter().filter(served).any(matching)
            }
        }
    }

    /// Whether a route that an object of this namespace gives for these hosts holds for a proxy of the namespace `own`.
    pub fn imports_route(&self, own: &str, namespace: &str, hosts: &[Host]) -> bool {
        let Some(egress) = &self.egress else { return true };
        let names = |egress: &Egress| hosts.iter().any(|host| egress.names(own, namespace, host));
        egress.iter().any(names)
    }
}

impl Egress {
    fn names(&self, own: &str, namespace: &str, host: &Host) -> bool {
        self.hosts.iter().any(|imported| {
            let from = match &imported.from {
                ImportedFrom::Anywhere => true,
                ImportedFrom::Own => namespace == own,
                ImportedFrom::Namespace(named) => namespace == named,
                ImportedFrom::Nowhere => false,
            };
            from && match imported.host.strip_prefix('*') {
                Some(suffix) => host.as_str().ends_with(suffix),
                None => host.as_str() == imported.host,
            }
        })
    }
}
