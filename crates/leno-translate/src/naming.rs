//! Istio's names for resources: `outbound|9080|v1|reviews.default.svc.cluster.local`, `240.240.0.7_9080`.
//!
//! They are an interface: proxies subscribe by them, dashboards and access logs show them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use leno_model::gateway::{Gateway, GatewaySelector};
use leno_model::{Host, Origin, Service};

use crate::parts::bracketed;

pub(crate) const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
pub(crate) const VIRTUAL_INBOUND: &str = "virtualInbound";
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// NDS has one resource, sent whole; this is what a delta subscription calls it.
pub(crate) const NAME_TABLE: &str = "name-table";

/// A gateway's listener: `0.0.0.0_443`, by the port that its Gateway says.
pub(crate) fn gateway_listener(bind: Option<IpAddr>, port: u16) -> String {
    address_listener(bind.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port)
}

/// A gateway's HTTP routes: `http.80`, for all that share the port.
pub(crate) fn gateway_http_routes(bind: Option<IpAddr>, port: u16) -> String {
    match bind {
        None => format!("http.{port}"),
        Some(address) => format!("http.{port}.{address}"),
    }
}

/// A gateway's HTTPS routes: `https.443.SERVER.GATEWAY.NAMESPACE`, for each server its own.
pub(crate) fn gateway_https_routes(gateway: &Gateway, server: &str, port: u16) -> String {
    let origin = &gateway.origin;
    // The two dialects may have the same names.
    let dialect = match gateway.selector {
        GatewaySelector::Labels(_) => "",
        GatewaySelector::Name => "-gateway-api",
    };
    format!(
        "https.{port}.{server}.{}{dialect}.{}",
        origin.name, origin.namespace
    )
}

/// A certificate, as Istio names those of Kubernetes.
pub(crate) fn secret(namespace: &str, name: &str) -> String {
    format!("kubernetes://{namespace}/{name}")
}

/// The roots that vouch for the clients of whoever shows it.
pub(crate) fn secret_roots(namespace: &str, name: &str) -> String {
    format!("kubernetes://{namespace}/{name}{ROOTS}")
}

const ROOTS: &str = "-cacert";

/// Namespace, name, and whether the roots are meant.
pub(crate) fn parse_secret(name: &str) -> Option<(&str, &str, bool)> {
    let (namespace, name) = name.strip_prefix("kubernetes://")?.split_once('/')?;
    match name.strip_suffix(ROOTS) {
        Some(name) => Some((namespace, name, true)),
        None => Some((namespace, name, false)),
    }
}

/// A cluster's name, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterName {
    Outbound {
        port: u16,
        subset: Option<String>,
        host: Host,
        /// See [`outbound_tcp_cluster`].
        tcp: bool,
    },
    Inbound {
        port: u16,
    },
    Passthrough,
    BlackHole,
    InboundPassthrough,
}

impl ClusterName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            PASSTHROUGH => return Some(Self::Passthrough),
            BLACK_HOLE => return Some(Self::BlackHole),
            INBOUND_PASSTHROUGH => return Some(Self::InboundPassthrough),
            _ => {}
        }
        let mut parts = name.split('|');
        let (direction, port) = (parts.next()?, parts.next()?.parse().ok()?);
        let (subset, host) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        match direction {
            "outbound" | "outbound-tcp" if !host.is_empty() => Some(Self::Outbound {
                port,
                subset: (!subset.is_empty()).then(|| subset.to_owned()),
                host: Host::new(host),
                tcp: direction == "outbound-tcp",
            }),
            "inbound" if subset.is_empty() && host.is_empty() => Some(Self::Inbound { port }),
            _ => None,
        }
    }
}

pub(crate) fn outbound_cluster(port: u16, subset: Option<&str>, host: &Host) -> String {
    format!("outbound|{port}|{}|{host}", subset.unwrap_or_default())
}

/// The same endpoints for what turned out not to be HTTP, on a port whose protocol is detected.
///
/// leno's proxy gets two clusters for such a port, because what is offered by ALPN differs: the far side takes HTTP
/// and bytes apart by it. Istio has one cluster and a filter in its own build of Envoy that changes the offer.
pub(crate) fn outbound_tcp_cluster(port: u16, subset: Option<&str>, host: &Host) -> String {
    format!("outbound-tcp|{port}|{}|{host}", subset.unwrap_or_default())
}

/// What stands for a backend that does not resolve. There never is such a cluster, whatever services there are:
/// a reference may be invalid although its target exists (no ReferenceGrant), and then must not reach it.
pub(crate) fn invalid_cluster(port: u16, subset: Option<&str>, host: &Host) -> String {
    format!("invalid|{port}|{}|{host}", subset.unwrap_or_default())
}

pub(crate) fn inbound_cluster(port: u16) -> String {
    format!("inbound|{port}||")
}

/// The SNI of mesh mTLS, which tells an SNI-routing gateway the cluster: the name with `_.` for `|`.
pub(crate) fn mesh_sni(port: u16, subset: Option<&str>, host: &Host) -> String {
    format!("outbound_.{port}_.{}_.{host}", subset.unwrap_or_default())
}

/// `240.240.0.7_9080`, `[fd00:6c65:6e6f::7]_9080`.
pub(crate) fn address_listener(address: IpAddr, port: u16) -> String {
    format!("{}_{port}", bracketed(address))
}

/// The listener of all HTTP services of a port, as Envoy gets it.
pub(crate) fn port_listener(port: u16) -> String {
    format!("0.0.0.0_{port}")
}

pub(crate) fn parse_address_listener(name: &str) -> Option<SocketAddr> {
    let (address, port) = name.rsplit_once('_')?;
    let address = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

/// A route configuration's name, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteName {
    /// `9080`: every HTTP service of the port.
    Port(u16),
    /// `reviews.default.svc.cluster.local:9080`.
    Service(Host, u16),
}

impl RouteName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => {
                Some(Self::Service(Host::new(host), port.parse().ok()?))
            }
            Some(_) => None,
            None => Some(Self::Port(name.parse().ok()?)),
        }
    }
}

/// The names by which a client in `namespace` may call a service, the full one first.
///
/// Only hosts of the cluster domain have short forms; `reviews` alone means the one next door.
pub(crate) fn aliases(service: &ServiceName, namespace: &str) -> Vec<String> {
    let mut names = vec![service.host.to_string()];
    if service.host != Host::in_cluster(&service.name, &service.namespace) {
        return names;
    }
    let qualified = format!("{}.{}", service.name, service.namespace);
    if service.namespace == namespace {
        names.push(service.name.clone());
    }
    names.push(format!("{qualified}.svc"));
    names.push(qualified);
    names
}

/// What a service is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceName {
    pub(crate) host: Host,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

impl From<&Service> for ServiceName {
    fn from(service: &Service) -> Self {
        Self {
            host: service.host.clone(),
            name: service.name.clone(),
            namespace: service.namespace.clone(),
        }
    }
}

/// `/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews`
pub(crate) fn object_path(origin: &Origin) -> String {
    let group = match &*origin.kind {
        "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute" | "GatewayClass" => {
            "gateway.networking.k8s.io/v1"
        }
        _ => "networking.istio.io/v1",
    };
    let kind = kebab(&origin.kind);
    format!(
        "/apis/{group}/namespaces/{}/{kind}/{}",
        origin.namespace, origin.name
    )
}

/// `VirtualService` → `virtual-service`, `HTTPRoute` → `http-route`.
fn kebab(kind: &str) -> String {
    let chars: Vec<char> = kind.chars().collect();
    let mut name = String::with_capacity(kind.len() + 2);
    for (at, c) in chars.iter().enumerate() {
        let follows_lower = at > 0 && chars.get(at - 1).is_some_and(|c| c.is_lowercase());
        let ends_acronym = at > 0 && chars.get(at + 1).is_some_and(|c| c.is_lowercase());
        if c.is_uppercase() && (follows_lower || ends_acronym) {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_read_back() {
        let host = Host::in_cluster("reviews", "default");
        assert_eq!(
            ClusterName::parse(&outbound_cluster(9080, Some("v1"), &host)),
            Some(ClusterName::Outbound {
                port: 9080,
                subset: Some("v1".into()),
                host: host.clone(),
                tcp: false
            })
        );
        assert_eq!(
            ClusterName::parse("inbound|80||"),
            Some(ClusterName::Inbound { port: 80 })
        );
    }

    #[test]
    fn what_is_no_cluster_name_is_none() {
        let host = Host::in_cluster("reviews", "default");
        for name in [
            "",
            "outbound",
            "outbound|x||a",
            "outbound|80||",
            "outbound|80||a|b",
            "inbound|80|v1|a",
            "outbound|70000||a",
            &invalid_cluster(80, None, &host),
        ] {
            assert_eq!(ClusterName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn listener_names_are_read_back_for_both_families() {
        for address in ["240.240.0.7", "fd00:6c65:6e6f::7"] {
            let address: IpAddr = address.parse().unwrap();
            let name = address_listener(address, 9080);
            assert_eq!(
                parse_address_listener(&name),
                Some(SocketAddr::new(address, 9080))
            );
        }
        assert_eq!(parse_address_listener("virtualInbound"), None);
    }

    #[test]
    fn kinds_are_written_as_istio_does() {
        assert_eq!(kebab("VirtualService"), "virtual-service");
        assert_eq!(kebab("HTTPRoute"), "http-route");
        assert_eq!(kebab("DestinationRule"), "destination-rule");
    }
}
