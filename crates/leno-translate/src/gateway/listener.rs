//! A gateway's port.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use leno_model::gateway::{CertificateSource, GatewayProtocol, GatewayStream, GatewayTls};
use leno_model::{Origin, PathNormalization, telemetry};

use super::certificate::{self, Certificate};
use super::{Form, Served, at, opened};
use crate::access_log::{LogInput, refusal_log};
use crate::audit_log::{AuditLog, audit_log};
use crate::authentication::{AuthenticationInput, all_places, authentication_input};
use crate::authorization::{self, AuthorizationInput, authorization_input};
use crate::connection_manager::{ConnectionManager, Side};
use crate::naming;
use crate::parts::{bool_value, nested, socket_address, structure};
use crate::pb::core::TrafficDirection::Outbound;
use crate::pb::listener::{AdditionalAddress, FilterChain, FilterChainMatch, Listener};
use crate::pb::{core, protobuf};
use crate::reader::Reader;
use crate::sidecar::screen::{self, TLS, guarded_chain};
use crate::tcp::{TcpTargets, guarded_proxy, shares};
use crate::telemetry::told;
use crate::{GatewayPorts, Proxy};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GatewayListener {
    name: String,
    /// One or more.
    addresses: Vec<IpAddr>,
    /// The one that is opened.
    port: u16,
    /// Chains are chosen by the client's hello.
    encrypted: bool,
    chains: Vec<Chain>,
    leno: bool,
    log: Option<LogInput>,
    paths: PathNormalization,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Chain {
    name: String,
    /// Names in the hello; empty: any.
    names: Vec<String>,
    tls: Option<(GatewayTls, Certificate)>,
    carries: Carries,
    guards: Guards,
}

/// What requests and connections are held to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Guards {
    authentication: AuthenticationInput,
    authorization: AuthorizationInput,
    audit: Option<AuditLog>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Carries {
    /// Under these routes.
    Http(String),
    Bytes(TcpTargets),
}

pub(crate) fn listener_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    ports: &GatewayPorts,
    name: &str,
) -> Option<GatewayListener> {
    let address = naming::parse_address_listener(name)?;
    let bind = (!address.ip().is_unspecified()).then_some(address.ip());
    let port = address.port();
    let servers = at(reader, proxy, bind, port);
    let form = servers.first()?.form();
    let mut chains = Vec::new();
    match form {
        // All of them are one route configuration.
        Form::Http => {
            let guards = guards(reader, proxy, &servers);
            chains.extend(servers.first().map(|first| plaintext(first, guards)));
        }
        Form::Encrypted => {
            let mut taken = BTreeSet::new();
            for served in servers {
                chains.extend(encrypted(reader, proxy, served, &mut taken));
            }
        }
        Form::Tcp => {
            let mut streams = servers
                .iter()
                .filter_map(|served| Some((served, served.stream(proxy)?)));
            let (served, stream) = streams.next()?;
            let targets = shares(reader, proxy, &stream.route, port);
            chains.push(Chain {
                name: served.label(),
                names: Vec::new(),
                tls: None,
                carries: Carries::Bytes(targets),
                guards: guards(reader, proxy, &[*served]),
            });
        }
    }
    if chains.is_empty() {
        return None;
    }
    let addresses = match (bind, ports.bind.as_slice()) {
        (Some(address), _) => vec![address],
        (None, []) => vec![Ipv4Addr::UNSPECIFIED.into()],
        (None, several) => several.to_vec(),
    };
    Some(GatewayListener {
        name: name.to_owned(),
        addresses,
        port: opened(ports, port),
        encrypted: form == Form::Encrypted,
        chains,
        leno: proxy.on_demand,
        log: told(reader, proxy, telemetry::Side::Client).map(|log| log.with_denials(proxy.on_demand)),
        paths: reader.mesh().paths,
    })
}

/// The policies for the proxy, and for the Gateways of these servers.
fn guards(reader: &mut Reader<'_>, proxy: &Proxy, servers: &[Served<'_>]) -> Guards {
    let gateways: Vec<&Origin> = servers.iter().map(|served| &served.gateway.origin).collect();
    let authentication = authentication_input(reader, proxy, &proxy.labels, &gateways);
    let authorization = authorization_input(reader, proxy, &proxy.labels, &gateways);
    Guards {
        audit: audit_log(proxy, &authentication, &authorization),
        authentication,
        authorization,
    }
}

fn plaintext(served: &Served<'_>, guards: Guards) -> Chain {
    Chain {
        name: served.label(),
        names: Vec::new(),
        tls: None,
        carries: Carries::Http(served.routes()),
        guards,
    }
}

/// The chains of a server. `taken`: names of the chains before: of two for the same name Envoy refuses both, and with
/// them the whole listener.
fn encrypted(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    served: Served<'_>,
    taken: &mut BTreeSet<String>,
) -> Vec<Chain> {
    let server = served.server;
    let mut free = |names: &[String]| -> Option<Vec<String>> {
        let any = ["*".to_owned()];
        let names = if names.is_empty() { &any[..] } else { names };
        let mut free = names.to_vec();
        free.retain(|name| taken.insert(name.clone()));
        match (free.is_empty(), free.iter().any(|name| name == "*")) {
            (true, _) => None,
            (_, true) => Some(Vec::new()),
            (_, false) => Some(free),
        }
    };
    let label = served.label();
    let Some(tls) = &server.tls else {
        let seen = |(_, stream): &(usize, &GatewayStream)| stream.route.exported.to(&proxy.namespace);
        let streams = server.streams.iter().enumerate().filter(seen);
        let mut chains = Vec::new();
        for (i, stream) in streams {
            if let Some(names) = free(&stream.names) {
                let targets = shares(reader, proxy, &stream.route, server.port);
                chains.push(Chain {
                    name: format!("{label}/{i}"),
                    names,
                    tls: None,
                    carries: Carries::Bytes(targets),
                    guards: guards(reader, proxy, &[served]),
                });
            }
        }
        return chains;
    };
    let carries = match server.protocol {
        GatewayProtocol::Http => Carries::Http(served.routes()),
        GatewayProtocol::Tls | GatewayProtocol::Tcp => match served.stream(proxy) {
            Some(stream) => Carries::Bytes(shares(reader, proxy, &stream.route, server.port)),
            None => return Vec::new(),
        },
    };
    // Envoy would hold the whole listener back for a certificate that is not there; leno's proxy serves the other names
    // meanwhile, and says which it cannot.
    if !proxy.on_demand && !is_there(reader, proxy, tls) {
        return Vec::new();
    }
    let certificate = certificate::named(proxy, tls);
    let guards = guards(reader, proxy, &[served]);
    let chain = free(&server.hosts).map(|names| Chain {
        name: label,
        names,
        tls: Some((tls.clone(), certificate)),
        carries,
        guards,
    });
    chain.into_iter().collect()
}

fn is_there(reader: &mut Reader<'_>, proxy: &Proxy, tls: &GatewayTls) -> bool {
    match &tls.certificate {
        CertificateSource::Secret { namespace, name } => {
            let namespace = namespace.as_deref().unwrap_or(&proxy.namespace);
            reader
                .secret(namespace, name)
                .is_some_and(|secret| !secret.chain.is_empty())
        }
        CertificateSource::Files { .. } => true,
    }
}

pub(crate) fn listener(input: &GatewayListener) -> Listener {
    let mut addresses = input.addresses.iter().map(IpAddr::to_string);
    let first = addresses.next().unwrap_or_default();
    let more = addresses.map(|address| AdditionalAddress {
        address: socket_address(&address, input.port),
        ..Default::default()
    });
    let chains = input.chains.iter().map(|chain| filter_chain(input, chain));
    let mut listener = Listener {
        name: input.name.clone(),
        address: socket_address(&first, input.port),
        additional_addresses: more.collect(),
        traffic_direction: Outbound.into(),
        bind_to_port: bool_value(true),
        filter_chains: chains.collect(),
        access_log: refusal_log(input.log.as_ref()),
        metadata: places(&input.chains),
        ..Default::default()
    };
    if input.encrypted {
        listener.listener_filters = vec![screen::inspect_tls(&[])];
        // Here, unlike in the mesh, a client speaks first, and one that does not shall not stay.
        listener.listener_filters_timeout = None;
    }
    listener
}

/// Where the policies of all chains are written.
fn places(chains: &[Chain]) -> Option<core::Metadata> {
    let all = chains.iter().filter_map(|Chain { guards, .. }| {
        all_places(guards.authentication.places(), guards.authorization.places())
    });
    let fields: HashMap<String, protobuf::Value> = all.flatten().collect();
    (!fields.is_empty()).then(|| {
        let places = nested(protobuf::Struct { fields });
        core::Metadata {
            filter_metadata: [("leno".to_owned(), structure([(authorization::PLACES, places)]))].into(),
            ..Default::default()
        }
    })
}

fn filter_chain(input: &GatewayListener, made: &Chain) -> FilterChain {
    let log = input.log.as_ref();
    let filters = match &made.carries {
        Carries::Http(routes) => {
            let tokens = made.guards.authentication.http_filter().into_iter();
            let manager = ConnectionManager {
                stat_prefix: format!("outbound_{};", input.name),
                log,
                audit: made.guards.audit,
                leno: input.leno,
                guards: tokens.chain(made.guards.authorization.http_filters()).collect(),
                paths: input.paths,
                side: Side::Gateway {
                    routes: routes.clone(),
                },
            };
            vec![manager.filter()]
        }
        Carries::Bytes(targets) => {
            let mut filters = made.guards.authorization.network_filters();
            filters.push(guarded_proxy(&made.name, targets, log, made.guards.audit));
            filters
        }
    };
    let matches = FilterChainMatch {
        server_names: made.names.clone(),
        transport_protocol: if input.encrypted {
            TLS.into()
        } else {
            String::new()
        },
        ..Default::default()
    };
    let http = matches!(made.carries, Carries::Http(_));
    FilterChain {
        transport_socket: made
            .tls
            .as_ref()
            .map(|(tls, certificate)| certificate::socket(tls, certificate, http)),
        ..guarded_chain(&made.name, matches, filters)
    }
}
