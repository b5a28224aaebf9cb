//! Inbound: what the workload accepts, on each of its ports.
//!
//! Which chain serves a connection is decided by Istio's rules: mesh mTLS is known by its ALPN names, so that under
//! PERMISSIVE an application's own TLS still reaches it; under STRICT plaintext has no chain and is refused.

use std::collections::HashMap;

use leno_model::service::TargetPort;
use leno_model::telemetry;
use leno_model::{
    MtlsMode, Origin, PathNormalization, PeerMtls, Protocol, Service, ServicePort, Workload, WorkloadPort,
};

use super::screen::{self, PLAINTEXT_HTTP, RAW, TLS, chain, guarded_chain, protocols};
use crate::Proxy;
use crate::access_log::{LogInput, refusal_log};
use crate::audit_log::{AuditLog, audit_log};
use crate::authentication::{AuthenticationInput, all_places, authentication_input};
use crate::authorization::{self, AuthorizationInput, authorization_input};
use crate::connection_manager::{ConnectionManager, Side};
use crate::naming::{self, BLACK_HOLE, INBOUND_PASSTHROUGH, ServiceName, VIRTUAL_INBOUND};
use crate::parts::{metadata, nested, string, u32_value};
use crate::pb::core::TrafficDirection::Inbound;
use crate::pb::listener::{FilterChain, FilterChainMatch, Listener};
use crate::pb::{core, protobuf};
use crate::reader::Reader;
use crate::tcp::{TcpTargets, guarded_proxy, tcp_proxy};
use crate::telemetry::told;
use crate::tls::{self, MESH_HTTP, MESH_TCP};

/// Where captured connections arrive.
const PORT: u16 = 15006;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VirtualInbound {
    ports: Vec<InboundPort>,
    /// For ports that nobody declared, where such can arrive: capture by a whole pod's rules, not by leno's
    /// listeners.
    others: Option<MtlsMode>,
    ipv6: bool,
    leno: bool,
    authentication: AuthenticationInput,
    authorization: AuthorizationInput,
    log: Option<LogInput>,
    audit: Option<AuditLog>,
    paths: PathNormalization,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InboundPort {
    port: u16,
    protocol: Protocol,
    mode: MtlsMode,
    decided_by: Option<Origin>,
    /// The service, for the name of the operation.
    service: Option<String>,
}

pub(super) fn virtual_inbound_input(reader: &mut Reader<'_>, proxy: &Proxy) -> VirtualInbound {
    let id = proxy.workload.as_ref();
    let mtls = id.and_then(|id| reader.mtls(id));
    let workload = id.and_then(|id| reader.workload(id));
    let ports = match workload {
        Some(workload) => ports(reader, workload, mtls),
        None => Vec::new(),
    };
    let labels = workload.map_or(&proxy.labels, |workload| &workload.labels);
    let mode = mtls.map_or(MtlsMode::Permissive, |mtls| mtls.mode);
    let authentication = authentication_input(reader, proxy, labels, &[]);
    let authorization = authorization_input(reader, proxy, labels, &[]);
    VirtualInbound {
        ports,
        others: (!proxy.on_demand).then_some(mode),
        ipv6: super::has_ipv6(reader, proxy),
        leno: proxy.on_demand,
        audit: audit_log(proxy, &authentication, &authorization),
        authentication,
        authorization,
        log: told(reader, proxy, telemetry::Side::Server).map(|log| log.with_denials(proxy.on_demand)),
        paths: reader.mesh().paths,
    }
}

/// The declared ports.
fn ports(reader: &mut Reader<'_>, workload: &Workload, mtls: Option<&PeerMtls>) -> Vec<InboundPort> {
    let services = selecting(reader, workload);
    let mut ports: Vec<InboundPort> = workload
        .ports
        .iter()
        .filter(|declared| declared.protocol != Protocol::Udp)
        .map(|declared| {
            let served = served(&services, declared);
            let (mode, decided_by) = mode(mtls, declared.port);
            InboundPort {
                port: declared.port,
                protocol: served.protocol,
                mode,
                decided_by,
                service: served.services.first().map(|service| service.host.to_string()),
            }
        })
        .collect();
    ports.sort_by_key(|port| port.port);
    ports.dedup_by_key(|port| port.port);
    ports
}

/// What stands behind a declared port.
pub(crate) struct Served {
    pub(crate) protocol: Protocol,
    pub(crate) services: Vec<ServiceName>,
}

/// None: the workload declares no such port.
pub(crate) fn inbound_port(reader: &mut Reader<'_>, proxy: &Proxy, port: u16) -> Option<Served> {
    let workload = reader.workload(proxy.workload.as_ref()?)?;
    let declared = workload.ports.iter().find(|declared| declared.port == port)?;
    Some(served(&selecting(reader, workload), declared))
}

/// The services whose endpoint the workload is.
fn selecting<'a>(reader: &mut Reader<'a>, workload: &Workload) -> Vec<&'a Service> {
    let mut services = reader.own_services();
    services.retain(|service| selects(service, workload));
    services
}

/// What the port speaks is said by the workload, else by the first service that says it.
fn served(services: &[&Service], declared: &WorkloadPort) -> Served {
    let targeting = |service: &&&Service| {
        let mut ports = service.ports.iter();
        ports.any(|port| targets(port, declared))
    };
    let said = services.iter().flat_map(|service| &service.ports);
    let said = said
        .filter(|port| targets(port, declared) && port.protocol != Protocol::Udp)
        .map(|port| port.protocol);
    let protocol = [declared.protocol]
        .into_iter()
        .chain(said)
        .find(|protocol| *protocol != Protocol::Detect);
    Served {
        protocol: protocol.unwrap_or(Protocol::Detect),
        services: services
            .iter()
            .filter(targeting)
            .map(|service| (*service).into())
            .collect(),
    }
}

fn targets(port: &ServicePort, declared: &WorkloadPort) -> bool {
    match &port.target {
        TargetPort::Number(number) => *number == declared.port,
        TargetPort::Named(name) => *name == declared.name,
    }
}

fn selects(service: &Service, workload: &Workload) -> bool {
    !service.selector.is_empty()
        && service.namespace == workload.namespace
        && service
            .selector
            .iter()
            .all(|(name, value)| workload.labels.get(name) == Some(value))
}

/// The mTLS mode of a port, and who said so.
pub(crate) fn mode(mtls: Option<&PeerMtls>, port: u16) -> (MtlsMode, Option<Origin>) {
    let Some(mtls) = mtls else {
        return (MtlsMode::Permissive, None);
    };
    let exception = mtls.ports.iter().find(|(number, _)| *number == port);
    (
        exception.map_or(mtls.mode, |(_, mode)| *mode),
        mtls.origin.clone(),
    )
}

pub(super) fn virtual_inbound(input: &VirtualInbound) -> Listener {
    let log = input.log.as_ref();
    let mut listener = screen::wildcard(VIRTUAL_INBOUND, PORT, input.ipv6, Inbound);
    let to_itself = FilterChainMatch {
        destination_port: u32_value(PORT.into()),
        ..Default::default()
    };
    let refuse = tcp_proxy(BLACK_HOLE, &TcpTargets::one(BLACK_HOLE), log);
    listener.filter_chains = vec![chain("virtualInbound-blackhole", to_itself, refuse)];
    let guards = input.authorization.network_filters();
    let bytes = |proxy| [guards.clone(), vec![proxy]].concat();
    for port in &input.ports {
        let cluster = naming::inbound_cluster(port.port);
        let accepted = accepted(class(port.protocol), port.mode);
        let chains = accepted.iter().map(|accept| {
            let filters = match accept.http {
                true => vec![http(port, &cluster, input)],
                false => bytes(guarded_proxy(
                    &cluster,
                    &TcpTargets::one(&cluster),
                    log,
                    input.audit,
                )),
            };
            let name = format!("0.0.0.0_{}-{}", port.port, accept.name);
            accept.chain(&name, Some(port.port), filters)
        });
        listener.filter_chains.extend(chains);
    }
    if let Some(mode) = input.others {
        let through = || {
            let to = TcpTargets::one(INBOUND_PASSTHROUGH);
            bytes(guarded_proxy(INBOUND_PASSTHROUGH, &to, log, input.audit))
        };
        let accepted = accepted(Class::Tcp, mode);
        let chains = accepted
            .iter()
            .map(|accept| accept.chain(&format!("virtualInbound-{}", accept.name), None, through()));
        listener.filter_chains.extend(chains);
    }
    listener.listener_filters = inspectors(input);
    screen::wait_for_inspectors(&mut listener);
    listener.access_log = refusal_log(log);
    listener.metadata = reasons(input);
    listener
}

/// The inspectors wait for the client's first bytes: not on ports where the server may speak first. leno's own
/// proxy reads ahead without holding up either side, and knows what its chains need.
fn inspectors(input: &VirtualInbound) -> Vec<crate::pb::listener::ListenerFilter> {
    let except = |wanted: fn(&InboundPort) -> bool| -> Vec<u16> {
        let without = input.ports.iter().filter(|port| !wanted(port));
        without.map(|port| port.port).collect()
    };
    let detects = |port: &InboundPort| class(port.protocol) == Class::Detect;
    let mut filters = vec![screen::original_destination()];
    filters.push(screen::inspect_tls(&except(|port| {
        port.mode != MtlsMode::Disable
    })));
    if input.ports.iter().any(detects) {
        filters.push(screen::inspect_http(&except(|port| {
            class(port.protocol) == Class::Detect && port.mode != MtlsMode::Strict
        })));
    }
    filters
}

/// Whose word it is that a port takes no plaintext, and where the policies are written: for the log.
fn reasons(input: &VirtualInbound) -> Option<core::Metadata> {
    let strict = input.ports.iter().filter(|port| port.mode == MtlsMode::Strict);
    let strict: HashMap<String, protobuf::Value> = strict
        .filter_map(|port| {
            let origin = port.decided_by.as_ref()?;
            let reason = string(format!("{origin} ({})", origin.place));
            Some((port.port.to_string(), reason))
        })
        .collect();
    let strict = Some(strict).filter(|strict| !strict.is_empty());
    let places = all_places(input.authentication.places(), input.authorization.places());
    let parts = [("strict", strict), (authorization::PLACES, places)];
    let fields: HashMap<String, protobuf::Value> = parts
        .into_iter()
        .filter_map(|(name, fields)| Some((name.to_owned(), nested(protobuf::Struct { fields: fields? }))))
        .collect();
    if fields.is_empty() {
        return None;
    }
    metadata([("leno", protobuf::Struct { fields })])
}

/// What a port is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Http,
    Tcp,
    Detect,
}

fn class(protocol: Protocol) -> Class {
    match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => Class::Http,
        Protocol::Tcp | Protocol::Tls | Protocol::Opaque | Protocol::Udp => Class::Tcp,
        Protocol::Detect => Class::Detect,
    }
}

/// One way into a port.
struct Accept {
    name: &'static str,
    /// Empty: either.
    transport: &'static str,
    /// Empty: any.
    alpn: Vec<&'static str>,
    http: bool,
    /// The sidecar ends the TLS; else the bytes go on as they are.
    mtls: bool,
}

impl Accept {
    fn new(name: &'static str, transport: &'static str, alpn: &[&'static str]) -> Self {
        Self {
            name,
            transport,
            alpn: alpn.to_vec(),
            http: name.ends_with("http"),
            mtls: name.starts_with("mtls"),
        }
    }

    fn chain(&self, name: &str, port: Option<u16>, filters: Vec<crate::pb::listener::Filter>) -> FilterChain {
        let matches = FilterChainMatch {
            destination_port: port.and_then(|port| u32_value(port.into())),
            transport_protocol: self.transport.into(),
            application_protocols: protocols(&self.alpn),
            ..Default::default()
        };
        FilterChain {
            transport_socket: self.mtls.then(|| tls::mesh_downstream(self.http)),
            ..guarded_chain(name, matches, filters)
        }
    }
}

/// Istio's table: what a port of this class accepts under this mode.
fn accepted(class: Class, mode: MtlsMode) -> Vec<Accept> {
    let mesh = [MESH_TCP, MESH_HTTP].concat();
    let new = Accept::new;
    match (class, mode) {
        (Class::Http, MtlsMode::Strict) => vec![new("mtls-http", TLS, &[])],
        (Class::Tcp, MtlsMode::Strict) => vec![new("mtls-tcp", TLS, &[])],
        (Class::Detect, MtlsMode::Strict) => {
            vec![new("mtls-http", TLS, MESH_HTTP), new("mtls-tcp", TLS, &[])]
        }
        (Class::Http, MtlsMode::Permissive) => {
            // A gRPC library without a proxy offers `h2` and nothing of the mesh's. The application speaks
            // plaintext HTTP here, so TLS can only be meant for us.
            let mesh = [&mesh[..], &["h2"]].concat();
            vec![new("mtls-http", TLS, &mesh), new("plain-http", RAW, &[])]
        }
        (Class::Tcp, MtlsMode::Permissive) => vec![
            new("mtls-tcp", TLS, &mesh),
            new("plain-tls", TLS, &[]),
            new("plain-tcp", RAW, &[]),
        ],
        (Class::Detect, MtlsMode::Permissive) => vec![
            new("mtls-http", TLS, MESH_HTTP),
            new("mtls-tcp", TLS, MESH_TCP),
            new("plain-tls", TLS, &[]),
            new("plain-http", RAW, PLAINTEXT_HTTP),
            new("plain-tcp", RAW, &[]),
        ],
        (Class::Http, MtlsMode::Disable) => vec![new("plain-http", "", &[])],
        (Class::Tcp, MtlsMode::Disable) => vec![new("plain-tcp", "", &[])],
        (Class::Detect, MtlsMode::Disable) => {
            // Both by transport: a chain that names it would hide one that does not.
            vec![new("plain-http", RAW, PLAINTEXT_HTTP), new("plain-tcp", RAW, &[])]
        }
    }
}

fn http(port: &InboundPort, cluster: &str, input: &VirtualInbound) -> crate::pb::listener::Filter {
    let tokens = input.authentication.http_filter().into_iter();
    let manager = ConnectionManager {
        stat_prefix: format!("inbound_0.0.0.0_{};", port.port),
        log: input.log.as_ref(),
        audit: input.audit,
        leno: input.leno,
        guards: tokens.chain(input.authorization.http_filters()).collect(),
        paths: input.paths,
        side: Side::Inbound(Box::new(crate::route::inbound(
            cluster,
            port.port,
            port.service.as_deref(),
        ))),
    };
    manager.filter()
}
