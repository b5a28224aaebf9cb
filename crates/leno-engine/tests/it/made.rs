//! Messages for tests, made short.

use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::endpoint::Assignment;
use leno_engine::compile::listener::Listener;
use leno_engine::compile::route::RouteTable;
use leno_engine::compile::{self, NoFiles, Rejection, Warnings};
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_proto::ToAny;
use leno_proto::envoy::config::cluster::v3 as cluster;
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::config::endpoint::v3 as endpoint;
use leno_proto::envoy::config::listener::v3 as listener;
use leno_proto::envoy::config::route::v3 as route;
use leno_proto::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use leno_proto::google::protobuf::{BoolValue, Duration, UInt32Value};

pub(crate) fn u32_value(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) fn bool_value(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(crate) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

pub(crate) fn address(ip: &str, port: u32) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: ip.into(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    }
}

pub(crate) fn cidr(text: &str) -> core::CidrRange {
    let (prefix, length) = text.split_once('/').expect("a range");
    core::CidrRange {
        address_prefix: prefix.into(),
        prefix_len: u32_value(length.parse().expect("a length")),
    }
}

/// A chain to a TCP proxy of the same name.
pub(crate) fn tcp_chain(name: &str, matches: listener::FilterChainMatch) -> listener::FilterChain {
    let proxy = tcp_proxy::TcpProxy {
        stat_prefix: name.into(),
        cluster_specifier: Some(tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(name.into())),
        ..Default::default()
    };
    listener::FilterChain {
        name: name.into(),
        filter_chain_match: Some(matches),
        filters: vec![listener::Filter {
            name: "tcp".into(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(proxy.to_any())),
        }],
        ..Default::default()
    }
}

pub(crate) fn listener(chains: Vec<listener::FilterChain>) -> listener::Listener {
    listener::Listener {
        name: "l".into(),
        address: Some(address("0.0.0.0", 15001)),
        filter_chains: chains,
        ..Default::default()
    }
}

pub(crate) fn compile_listener(message: &listener::Listener) -> Result<Listener, Rejection> {
    compile::listener::compile(message, &NoFiles, &mut Warnings::default())
}

pub(crate) fn host(name: &str, domains: &[&str], routes: Vec<route::Route>) -> route::VirtualHost {
    route::VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|d| (*d).to_owned()).collect(),
        routes,
        ..Default::default()
    }
}

pub(crate) fn prefix(prefix: &str) -> route::RouteMatch {
    route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix(prefix.into())),
        ..Default::default()
    }
}

pub(crate) fn to_cluster(cluster: &str) -> route::RouteAction {
    route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    }
}

pub(crate) fn forward(matches: route::RouteMatch, action: route::RouteAction) -> route::Route {
    route::Route {
        r#match: Some(matches),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    }
}

pub(crate) fn table(hosts: Vec<route::VirtualHost>) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: "t".into(),
        virtual_hosts: hosts,
        ..Default::default()
    }
}

pub(crate) fn compile_table(message: &route::RouteConfiguration) -> Result<RouteTable, Rejection> {
    compile::route::compile(message, &NoFiles, &mut Warnings::default())
}

/// One host, one route.
pub(crate) fn one_route(route: route::Route) -> RouteTable {
    compile_table(&table(vec![host("all", &["*"], vec![route])])).expect("compiles")
}

pub(crate) fn request(authority: &str, path: &str) -> RequestHead {
    RequestHead {
        version: Version::Http11,
        method: "GET".into(),
        scheme: "http".into(),
        authority: authority.to_owned().into(),
        path: path.to_owned().into(),
        headers: Headers::default(),
        upgrade: None,
    }
}

pub(crate) fn response(status: u16) -> ResponseHead {
    ResponseHead {
        version: Version::Http11,
        status,
        headers: Headers::default(),
    }
}

pub(crate) fn lb_endpoint(ip: &str, weight: u32) -> endpoint::LbEndpoint {
    endpoint::LbEndpoint {
        load_balancing_weight: u32_value(weight),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(address(ip, 80)),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

pub(crate) fn locality(priority: u32, endpoints: Vec<endpoint::LbEndpoint>) -> endpoint::LocalityLbEndpoints {
    endpoint::LocalityLbEndpoints {
        priority,
        lb_endpoints: endpoints,
        ..Default::default()
    }
}

pub(crate) fn assignment(localities: Vec<endpoint::LocalityLbEndpoints>) -> Assignment {
    let message = endpoint::ClusterLoadAssignment {
        cluster_name: "c".into(),
        endpoints: localities,
        ..Default::default()
    };
    compile::endpoint::compile(&message, &compile::NoFiles, &mut Warnings::default()).expect("compiles")
}

pub(crate) fn eds_cluster() -> cluster::Cluster {
    cluster::Cluster {
        name: "c".into(),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: Some(core::ConfigSource {
                config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
                    core::AggregatedConfigSource {},
                )),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn compile_cluster(message: &cluster::Cluster) -> Result<Cluster, Rejection> {
    compile::cluster::compile(message, &NoFiles, &mut Warnings::default())
}
