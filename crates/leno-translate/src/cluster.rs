//! Clusters: how a service, or the application behind us, is called.

mod balance;
mod protection;
mod transport;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use leno_model::service::TargetPort;
use leno_model::{
    Backing, ConnectionPool, Host, Protocol, Service, ServicePort, TlsMode, TrafficPolicy, Workload,
};

use crate::Proxy;
use crate::endpoint::{self, EndpointsInput, locality};
use crate::naming::{self, BLACK_HOLE, ClusterName, INBOUND_PASSTHROUGH, PASSTHROUGH, ServiceName};
use crate::parts::{ads, duration, list, metadata, nested, socket_address, string, structure};
use crate::pb::cluster::Cluster;
use crate::pb::cluster::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use crate::pb::{core, endpoint as eds, protobuf};
use crate::reader::Reader;
use crate::traffic_policy::policy;
use transport::Transport;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClusterInput {
    Outbound(Box<OutboundCluster>),
    Inbound(InboundCluster),
    Passthrough,
    BlackHole,
    InboundPassthrough,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OutboundCluster {
    /// For the bytes of a port that else is taken for HTTP.
    tcp: bool,
    port: u16,
    service: ServiceName,
    subset: Option<String>,
    /// What says how, without what stands in `transport` and in endpoints.
    said: TrafficPolicy,
    /// Localities share the load by weights of their own.
    weighted: bool,
    /// The user's object that says how, if any: Istio's path of it, and where it was written.
    policy: Option<(String, String)>,
    transport: Transport,
    http: UpstreamHttp,
    discovery: Discovered,
    external: bool,
}

/// Where the endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Discovered {
    Eds,
    /// The connection's own destination.
    Caller,
    Dns {
        endpoints: EndpointsInput,
        one: bool,
        leno: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InboundCluster {
    port: u16,
    http: UpstreamHttp,
    services: Vec<ServiceName>,
}

/// Which HTTP is spoken upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UpstreamHttp {
    Http1,
    Http2,
    AsDownstream,
    /// As downstream, over connections of which nobody promised that they are HTTP: the port's protocol is detected.
    Detected,
    /// Bytes only.
    None,
}

pub(crate) fn cluster_input(reader: &mut Reader<'_>, proxy: &Proxy, name: &str) -> Option<ClusterInput> {
    Some(match ClusterName::parse(name)? {
        ClusterName::Outbound {
            port,
            subset,
            host,
            tcp,
        } => {
            let service = reader.service(&host)?;
            let served = service.ports.iter().find(|served| served.port == port)?;
            if tcp && (served.protocol != Protocol::Detect || !proxy.tells_http_from_bytes()) {
                return None;
            }
            let outbound = outbound_input(reader, proxy, (service, served), subset, tcp)?;
            ClusterInput::Outbound(Box::new(outbound))
        }
        ClusterName::Inbound { port } => ClusterInput::Inbound(inbound_input(reader, proxy, port)?),
        ClusterName::Passthrough => ClusterInput::Passthrough,
        ClusterName::BlackHole => ClusterInput::BlackHole,
        ClusterName::InboundPassthrough => ClusterInput::InboundPassthrough,
    })
}

fn outbound_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    (service, served): (&Service, &ServicePort),
    subset: Option<String>,
    tcp: bool,
) -> Option<OutboundCluster> {
    let (host, port) = (&service.host, served.port);
    let rule = reader.policy(proxy, host);
    if let Some(subset) = &subset {
        rule?.subsets.iter().find(|known| known.name == *subset)?;
    }
    let policy = policy(reader, proxy, host, subset.as_deref(), port).unwrap_or_default();
    let http = match served.protocol {
        _ if tcp => UpstreamHttp::None,
        Protocol::Http2 | Protocol::Grpc => UpstreamHttp::Http2,
        Protocol::Http | Protocol::Detect if policy.pool.client_protocol => UpstreamHttp::AsDownstream,
        // As in Istio: whoever is there understands HTTP/2, whatever the client speaks.
        Protocol::Http if policy.pool.http2_upgrade == Some(true) => UpstreamHttp::Http2,
        // As in Istio: what clients outside speak says nothing of what a service understands.
        Protocol::Http | Protocol::Detect if proxy.is_gateway() => UpstreamHttp::Http1,
        Protocol::Detect if !proxy.on_demand => UpstreamHttp::Detected,
        Protocol::Http | Protocol::Detect => {
            let workloads = service.backing == Backing::Workloads && service.described.is_empty();
            if workloads && upgrades(reader, proxy, (host, &served.target), &policy) {
                UpstreamHttp::Http2
            } else {
                UpstreamHttp::AsDownstream
            }
        }
        Protocol::Tcp | Protocol::Tls | Protocol::Opaque => UpstreamHttp::None,
        Protocol::Udp => return None,
    };
    let sni = naming::mesh_sni(port, subset.as_deref(), host);
    let transport = transport::transport(reader, proxy, service, &policy, sni, http)?;
    let discovery = match &service.backing {
        Backing::Workloads | Backing::Fixed(_) => Discovered::Eds,
        Backing::Caller => Discovered::Caller,
        Backing::Dns { endpoints: _, one } => {
            let name = naming::outbound_cluster(port, subset.as_deref(), host);
            Discovered::Dns {
                endpoints: endpoint::endpoints_input(reader, proxy, &name)?,
                one: *one,
                leno: proxy.on_demand,
            }
        }
    };
    let locality = locality::setting(reader, service, &policy);
    Some(OutboundCluster {
        tcp,
        port,
        service: service.into(),
        subset,
        weighted: locality.is_some_and(|setting| !setting.said.distribute.is_empty()),
        said: TrafficPolicy {
            tls: None,
            locality: None,
            tunnel: None,
            ports: Vec::new(),
            ..policy
        },
        policy: rule.map(|rule| (naming::object_path(&rule.origin), rule.origin.place.to_string())),
        transport,
        http,
        discovery,
        external: service.external,
    })
}

/// Whether HTTP goes as HTTP/2 although the client spoke HTTP/1.1: between leno's proxies, of which the far one
/// restores the version. One endpoint that is something else keeps the client's version for all of them.
fn upgrades(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    (host, target): (&Host, &TargetPort),
    policy: &TrafficPolicy,
) -> bool {
    let wanted = policy.pool.http2_upgrade.unwrap_or(reader.mesh().http2_upgrade);
    let secured = match policy.tls {
        None => reader.mesh().auto_mtls,
        Some(TlsMode::IstioMutual { .. }) => true,
        Some(TlsMode::Disable | TlsMode::Originate(_)) => false,
    };
    let endpoints = reader.endpoints(host);
    let restores = |workload: &Arc<Workload>| {
        endpoint::target_port(workload, target)
            .is_none_or(|port| workload.http2_upgrade && endpoint::speaks_mesh_tls(reader, workload, port))
    };
    proxy.on_demand && wanted && secured && endpoints.iter().all(restores)
}

/// None: the workload has no such port.
fn inbound_input(reader: &mut Reader<'_>, proxy: &Proxy, port: u16) -> Option<InboundCluster> {
    let inbound = crate::sidecar::inbound_port(reader, proxy, port)?;
    let http = match inbound.protocol {
        Protocol::Http2 | Protocol::Grpc => UpstreamHttp::Http2,
        Protocol::Http | Protocol::Detect => UpstreamHttp::AsDownstream,
        Protocol::Tcp | Protocol::Tls | Protocol::Opaque | Protocol::Udp => UpstreamHttp::None,
    };
    Some(InboundCluster {
        port,
        http,
        services: inbound.services,
    })
}

/// All that a proxy without on-demand discovery needs; the other kind asks for what its listeners and routes name.
pub(crate) fn cluster_names(reader: &mut Reader<'_>, proxy: &Proxy) -> Vec<String> {
    let mut names: BTreeSet<String> = [PASSTHROUGH, BLACK_HOLE].map(str::to_owned).into();
    let declared = proxy.workload.as_ref().and_then(|id| reader.workload(id));
    for port in declared.map_or(&[][..], |workload| workload.ports.as_slice()) {
        names.insert(naming::inbound_cluster(port.port));
    }
    if proxy.on_demand {
        return names.into_iter().collect();
    }
    names.insert(INBOUND_PASSTHROUGH.into());
    for service in reader.reached() {
        let subsets = reader
            .policy(proxy, &service.host)
            .map_or(&[][..], |rule| &rule.subsets);
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            names.insert(naming::outbound_cluster(port.port, None, &service.host));
            names.extend(
                subsets
                    .iter()
                    .map(|subset| naming::outbound_cluster(port.port, Some(&subset.name), &service.host)),
            );
        }
    }
    names.into_iter().collect()
}

pub(crate) fn cluster(input: &ClusterInput) -> Cluster {
    match input {
        ClusterInput::Outbound(input) => outbound(input),
        ClusterInput::Inbound(input) => inbound(input),
        ClusterInput::Passthrough => original_destination(PASSTHROUGH),
        ClusterInput::InboundPassthrough => original_destination(INBOUND_PASSTHROUGH),
        ClusterInput::BlackHole => Cluster {
            load_assignment: Some(eds::ClusterLoadAssignment {
                cluster_name: BLACK_HOLE.into(),
                ..Default::default()
            }),
            ..plain(BLACK_HOLE, DiscoveryType::Static, LbPolicy::RoundRobin)
        },
    }
}

/// Istio's default connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a name is asked for again.
const DNS_REFRESH: Duration = Duration::from_secs(30);

fn plain(name: &str, discovery: DiscoveryType, balance: LbPolicy) -> Cluster {
    Cluster {
        name: name.into(),
        connect_timeout: duration(CONNECT_TIMEOUT),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        lb_policy: balance.into(),
        ..Default::default()
    }
}

fn original_destination(name: &str) -> Cluster {
    Cluster {
        typed_extension_protocol_options: protection::http_options(
            UpstreamHttp::AsDownstream,
            &ConnectionPool::default(),
        ),
        circuit_breakers: protection::circuit_breakers(&ConnectionPool::default(), None),
        ..plain(name, DiscoveryType::OriginalDst, LbPolicy::ClusterProvided)
    }
}

#[expect(
    deprecated,
    reason = "leno's engine, as Istio, takes DNS settings where Envoy has always had them"
)]
fn outbound(input: &OutboundCluster) -> Cluster {
    let said = &input.said;
    let pool = &said.pool;
    let (subset, host) = (input.subset.as_deref(), &input.service.host);
    // Endpoints and statistics go by Istio's name.
    let service_name = naming::outbound_cluster(input.port, subset, host);
    let (name, alt_stat_name) = if input.tcp {
        let name = naming::outbound_tcp_cluster(input.port, subset, host);
        (name, service_name.clone())
    } else {
        (service_name.clone(), String::new())
    };
    let (discovery, balance, config) = match &input.discovery {
        Discovered::Eds if balance::passes_through(&input.said) => balance::as_called(),
        Discovered::Caller => balance::as_called(),
        Discovered::Eds => {
            let (policy, config) = balance::policy(&input.said);
            (DiscoveryType::Eds, policy, config)
        }
        Discovered::Dns { one, .. } => {
            let (policy, config) = balance::policy(&input.said);
            let discovery = if *one {
                DiscoveryType::LogicalDns
            } else {
                DiscoveryType::StrictDns
            };
            (discovery, policy, config)
        }
    };
    let eds = matches!(discovery, DiscoveryType::Eds).then(|| EdsClusterConfig {
        eds_config: ads(),
        service_name,
    });
    let dns = match &input.discovery {
        Discovered::Dns { endpoints, leno, .. } => Some((endpoint::assignment(endpoints), *leno)),
        Discovered::Eds | Discovered::Caller => None,
    };
    let (transport_socket, transport_socket_matches) = input.transport.sockets();
    Cluster {
        alt_stat_name,
        dns_refresh_rate: dns.as_ref().and_then(|_| duration(DNS_REFRESH)),
        // leno's proxy asks the system's resolver, which does not tell a record's lifetime.
        respect_dns_ttl: dns.as_ref().is_some_and(|(_, leno)| !leno),
        load_assignment: dns.map(|(assignment, _)| assignment),
        connect_timeout: duration(pool.connect_timeout.unwrap_or(CONNECT_TIMEOUT)),
        eds_cluster_config: eds,
        lb_config: config,
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: protection::panic_threshold(said.outlier.as_ref()),
            locality_config_specifier: input.weighted.then(balance::by_locality),
            ..Default::default()
        }),
        circuit_breakers: protection::circuit_breakers(pool, said.retry_budget.as_ref()),
        outlier_detection: said.outlier.as_ref().map(protection::outlier_detection),
        upstream_connection_options: pool.keepalive.as_ref().map(protection::keepalive),
        typed_extension_protocol_options: protection::http_options(input.http, pool),
        transport_socket,
        transport_socket_matches,
        metadata: outbound_metadata(input),
        ..plain(&name, discovery, balance)
    }
}

fn service_metadata(service: &ServiceName) -> protobuf::Value {
    nested(structure([
        ("host", string(service.host.to_string())),
        ("name", string(&service.name)),
        ("namespace", string(&service.namespace)),
    ]))
}

/// Whose cluster it is, for metrics; the rule that shaped it, for people.
fn outbound_metadata(input: &OutboundCluster) -> Option<core::Metadata> {
    let mut istio = structure([("services", list(vec![service_metadata(&input.service)]))]);
    let port = protobuf::value::Kind::NumberValue(input.port.into());
    istio.fields.insert(
        "default_original_port".into(),
        protobuf::Value { kind: Some(port) },
    );
    if input.external {
        let yes = protobuf::value::Kind::BoolValue(true);
        istio
            .fields
            .insert("external".into(), protobuf::Value { kind: Some(yes) });
    }
    if let Some((path, _)) = &input.policy {
        istio.fields.insert("config".into(), string(path));
    }
    if let Some(subset) = &input.subset {
        istio.fields.insert("subset".into(), string(subset));
    }
    match &input.policy {
        None => metadata([("istio", istio)]),
        Some((_, place)) => metadata([("istio", istio), ("leno", structure([("place", string(place))]))]),
    }
}

/// The application itself, on its loopback.
fn inbound(input: &InboundCluster) -> Cluster {
    let name = naming::inbound_cluster(input.port);
    let application = eds::LbEndpoint {
        host_identifier: Some(eds::lb_endpoint::HostIdentifier::Endpoint(eds::Endpoint {
            address: socket_address("127.0.0.1", input.port),
            ..Default::default()
        })),
        ..Default::default()
    };
    let services = input.services.iter().map(service_metadata).collect();
    Cluster {
        load_assignment: Some(eds::ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![eds::LocalityLbEndpoints {
                lb_endpoints: vec![application],
                ..Default::default()
            }],
            ..Default::default()
        }),
        circuit_breakers: protection::circuit_breakers(&ConnectionPool::default(), None),
        typed_extension_protocol_options: protection::http_options(input.http, &ConnectionPool::default()),
        metadata: metadata([("istio", structure([("services", list(services))]))]),
        ..plain(&name, DiscoveryType::Static, LbPolicy::RoundRobin)
    }
}
