//! What a client dials and what a server serves: both are listeners.

use std::net::SocketAddr;

use leno_model::MtlsMode;
use leno_proto::ToAny;

use super::{called, tls};
use crate::Proxy;
use crate::authorization::{AuthorizationInput, authorization_input};
use crate::connection_manager::FAULT_FILTER;
use crate::parts::{ads, network_filter, socket_address};
use crate::pb::core::TrafficDirection;
use crate::pb::hcm::http_connection_manager::RouteSpecifier;
use crate::pb::hcm::{self, HttpConnectionManager};
use crate::pb::listener::{ApiListener, FilterChain, Listener};
use crate::pb::route::{
    NonForwardingAction, Route, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
    route_match::PathSpecifier,
};
use crate::pb::{fault, router};
use crate::reader::Reader;

/// Istio's name for a server's listener, before the address that the server listens on.
const SERVER: &str = "xds.istio.io/grpc/lds/inbound/";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GrpcListener {
    Client {
        name: String,
        routes: String,
    },
    Server {
        address: SocketAddr,
        mtls: bool,
        authorization: AuthorizationInput,
    },
}

pub(crate) fn listener_input(reader: &mut Reader<'_>, proxy: &Proxy, name: &str) -> Option<GrpcListener> {
    if let Some(address) = name.strip_prefix(SERVER) {
        let address: SocketAddr = address.parse().ok()?;
        let mtls = proxy.workload.as_ref().and_then(|id| reader.mtls(id));
        let (mode, _) = crate::sidecar::mtls_mode(mtls, address.port());
        let workload = proxy.workload.as_ref().and_then(|id| reader.workload(id));
        let labels = workload.map_or(&proxy.labels, |workload| &workload.labels);
        let authorization = authorization_input(reader, proxy, labels, &[]);
        return Some(GrpcListener::Server {
            address,
            // A server of gRPC's takes either TLS or plaintext on a port. Who may choose takes TLS: the mesh's own
            // clients speak it to whatever is not DISABLE.
            mtls: mode != MtlsMode::Disable,
            authorization,
        });
    }
    let (service, served) = called(reader, proxy, name)?;
    Some(GrpcListener::Client {
        name: name.into(),
        routes: format!("{}:{}", service.host, served.port),
    })
}

pub(crate) fn listener(input: &GrpcListener) -> Listener {
    match input {
        GrpcListener::Client { name, routes } => client(name, routes),
        GrpcListener::Server {
            address,
            mtls,
            authorization,
        } => server(*address, *mtls, authorization),
    }
}

fn client(name: &str, routes: &str) -> Listener {
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(hcm::Rds {
            config_source: ads(),
            route_config_name: routes.into(),
        })),
        http_filters: vec![
            http_filter(FAULT_FILTER, &fault::HttpFault::default()),
            http_filter("envoy.filters.http.router", &router::Router::default()),
        ],
        ..Default::default()
    };
    Listener {
        name: name.into(),
        api_listener: Some(ApiListener {
            api_listener: Some(manager.to_any()),
        }),
        ..Default::default()
    }
}

/// Every call is the application's own.
fn server(address: SocketAddr, mtls: bool, authorization: &AuthorizationInput) -> Listener {
    let everything = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(Action::NonForwardingAction(NonForwardingAction::default())),
        ..Default::default()
    };
    let routes = RouteConfiguration {
        name: "inbound".into(),
        virtual_hosts: vec![VirtualHost {
            name: "inbound".into(),
            domains: vec!["*".into()],
            routes: vec![everything],
            ..Default::default()
        }],
        ..Default::default()
    };
    let router = http_filter("envoy.filters.http.router", &router::Router::default());
    let mut filters = authorization.grpc_filters();
    filters.push(router);
    let manager = HttpConnectionManager {
        stat_prefix: format!("inbound_{address}"),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: filters,
        ..Default::default()
    };
    Listener {
        name: format!("{SERVER}{address}"),
        address: socket_address(&address.ip().to_string(), address.port()),
        traffic_direction: TrafficDirection::Inbound.into(),
        filter_chains: vec![FilterChain {
            name: "inbound".into(),
            filters: vec![network_filter(
                "envoy.filters.network.http_connection_manager",
                &manager,
            )],
            transport_socket: mtls.then(tls::server),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn http_filter(name: &str, config: &impl ToAny) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config.to_any())),
        ..Default::default()
    }
}
