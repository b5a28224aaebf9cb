//! Gateways: Istio's Gateway and the Gateway API's in one form, each with the routes that are bound to it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::name::{Labels, Origin};
use crate::route::{HttpRoute, TcpRoute};

/// The label by which a proxy says that it is for one Gateway of the Gateway API only, in its own namespace.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gateway {
    pub origin: Origin,
    pub selector: GatewaySelector,
    pub servers: Vec<GatewayServer>,
}

/// Which gateway proxies serve it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GatewaySelector {
    /// Istio: those with all of these labels, in any namespace.
    Labels(Labels),
    /// Gateway API: those of its namespace that are for it, or for no Gateway in particular.
    Name,
}

/// A port, or for TLS some of its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayServer {
    /// Istio's port name, the Gateway API's listener name.
    pub name: String,
    /// `file:line:column`.
    pub place: String,
    pub port: u16,
    /// None: every address.
    pub bind: Option<IpAddr>,
    pub protocol: GatewayProtocol,
    /// Ended here; None: not encrypted, or not ended here.
    pub tls: Option<GatewayTls>,
    /// Requests are sent to HTTPS instead of being served.
    pub https_redirect: bool,
    /// What is served: `*`, `*.example.com` or `www.example.com`.
    pub hosts: Vec<String>,
    /// Of HTTP.
    pub virtual_hosts: Vec<GatewayHost>,
    /// Of the other protocols, in order.
    pub streams: Vec<GatewayStream>,
    /// Objects whose routes are bound to it.
    pub attached_routes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayProtocol {
    Http,
    /// TLS: ended here with bytes in it, or passed on by the name in the hello.
    Tls,
    Tcp,
}

/// Routes for a name, or for all of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayHost {
    pub domain: String,
    pub routes: Vec<Arc<HttpRoute>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayStream {
    /// Names in the hello; empty: any, or none.
    pub names: Vec<String>,
    pub route: Arc<TcpRoute>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayTls {
    pub clients: ClientCertificates,
    pub certificate: CertificateSource,
    /// Whom a client certificate may name; empty: anybody that is vouched for.
    pub subject_alt_names: Vec<String>,
    /// TLS 1.3 at least; else 1.2.
    pub only_tls13: bool,
    /// TLS 1.2 at most.
    pub only_tls12: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientCertificates {
    NotAsked,
    Optional,
    Required,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    Secret {
        /// None: the proxy's.
        namespace: Option<String>,
        name: String,
    },
    /// On the gateway's machine.
    Files {
        chain: String,
        key: String,
        roots: Option<String>,
    },
}

/// A Secret's certificate.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GatewaySecret {
    pub origin: Origin,
    /// PEM; empty, with the key, where there are roots alone.
    pub chain: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
    /// PEM, of those who vouch for clients.
    pub roots: Option<Vec<u8>>,
}

// === impl Gateway ===

impl Gateway {
    /// Whether a gateway proxy of this namespace and with these labels serves it.
    pub fn is_served_by(&self, namespace: &str, labels: &Labels) -> bool {
        let only = labels.get(GATEWAY_NAME);
        match &self.selector {
            GatewaySelector::Labels(selector) => {
                selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            }
            GatewaySelector::Name => {
                *self.origin.namespace == *namespace && only.is_none_or(|name| **name == *self.origin.name)
            }
        }
    }
}

// === impl GatewaySecret ===

/// Nothing of what is secret.
impl fmt::Debug for GatewaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewaySecret")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
