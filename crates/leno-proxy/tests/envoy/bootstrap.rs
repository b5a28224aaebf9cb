//! One bootstrap for both: a listener and a cluster for each upstream, every request of the one goes to the other.

use std::net::SocketAddr;

use leno_proto::ToAny;
use leno_proto::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use leno_proto::envoy::config::bootstrap::v3::{Admin, Bootstrap};
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use leno_proto::envoy::config::core::v3::{Address, Http1ProtocolOptions, SocketAddress, address};
use leno_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use leno_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use leno_proto::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use leno_proto::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action, route_match,
};
use leno_proto::envoy::extensions::filters::http::router::v3::Router;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, UpgradeConfig,
};
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use leno_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use leno_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use leno_proto::google::protobuf::{BoolValue, Duration};

/// The n-th listener is called `n` and sends to the n-th upstream.
pub(crate) fn bootstrap(upstreams: &[SocketAddr]) -> Bootstrap {
    let each = upstreams.iter().enumerate();
    Bootstrap {
        admin: Some(Admin {
            address: Some(socket(([127, 0, 0, 1], 0).into())),
            ..Default::default()
        }),
        static_resources: Some(StaticResources {
            listeners: each.clone().map(|(n, _)| listener(&n.to_string())).collect(),
            clusters: each
                .map(|(n, upstream)| cluster(&n.to_string(), *upstream))
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn listener(name: &str) -> Listener {
    Listener {
        name: name.into(),
        address: Some(socket(([127, 0, 0, 1], 0).into())),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.http_connection_manager".into(),
                config_type: Some(filter::ConfigType::TypedConfig(manager(name).to_any())),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn manager(cluster: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "test".into(),
        // Neither product's own name, no random header: what is left is comparable.
        server_name: "proxy".into(),
        generate_request_id: Some(BoolValue { value: false }),
        http_protocol_options: Some(http1()),
        // Long enough that a busy machine loses no answer to a close.
        delayed_close_timeout: Some(Duration { seconds: 2, nanos: 0 }),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".into(),
            ..Default::default()
        }],
        route_specifier: Some(RouteSpecifier::RouteConfig(routes(cluster))),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(http_filter::ConfigType::TypedConfig(Router::default().to_any())),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// What leno always does, and Envoy when told to.
fn http1() -> Http1ProtocolOptions {
    Http1ProtocolOptions {
        accept_http_10: true,
        enable_trailers: true,
        ..Default::default()
    }
}

fn routes(cluster: &str) -> RouteConfiguration {
    let to = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    RouteConfiguration {
        name: "all".into(),
        virtual_hosts: vec![VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes: vec![Route {
                r#match: Some(RouteMatch {
                    path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
                    ..Default::default()
                }),
                action: Some(route::Action::Route(to)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn cluster(name: &str, upstream: SocketAddr) -> Cluster {
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket(upstream)),
            ..Default::default()
        })),
        ..Default::default()
    };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::HttpProtocolOptions(http1())),
        })),
        ..Default::default()
    };
    let extension = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    Cluster {
        name: name.into(),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.into(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![endpoint],
                ..Default::default()
            }],
            ..Default::default()
        }),
        typed_extension_protocol_options: [(extension.to_owned(), options.to_any())].into(),
        ..Default::default()
    }
}

fn socket(address: SocketAddr) -> Address {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..Default::default()
    };
    Address {
        address: Some(address::Address::SocketAddress(socket)),
    }
}
