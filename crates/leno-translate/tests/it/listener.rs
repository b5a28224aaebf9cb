//! Listeners: which filter chain a connection gets, and what it does there.

use leno_model::{MeshConfig, MtlsMode, OutboundPolicy, Protocol, TcpRoute};
use leno_proto::FromAny;
use leno_proto::envoy::config::listener::v3::filter::ConfigType;
use leno_proto::envoy::config::listener::v3::{FilterChain, Listener};
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use leno_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use leno_proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use leno_translate::{ResourceType, names};
use std::sync::Arc;

use crate::mesh::{Mesh, backend, envoy, host, origin, service, sidecar, workload};

/// What the last filter of a chain does: `http <route configuration>` or `tcp <cluster>…`.
fn does(chain: &FilterChain) -> String {
    let Some(ConfigType::TypedConfig(config)) = &chain.filters[0].config_type else {
        panic!("a filter without configuration");
    };
    if let Ok(manager) = config.unpack::<HttpConnectionManager>() {
        return match manager.route_specifier.unwrap() {
            RouteSpecifier::Rds(rds) => format!("http {}", rds.route_config_name),
            RouteSpecifier::RouteConfig(inline) => format!("http {}", inline.name),
            RouteSpecifier::ScopedRoutes(_) => panic!("scoped routes"),
        };
    }
    match config.unpack::<TcpProxy>().unwrap().cluster_specifier.unwrap() {
        ClusterSpecifier::Cluster(cluster) => format!("tcp {cluster}"),
        ClusterSpecifier::WeightedClusters(several) => {
            let share = |c: &leno_proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight| format!(" {}={}", c.name, c.weight);
            format!("tcp{}", several.clusters.iter().map(share).collect::<String>())
        }
    }
}

/// The connection's chain by Envoy's rules, as far as the sidecar's listeners use them: destination port, address,
/// transport, ALPN; a more specific chain hides the others at each step.
fn chain_for<'l>(
    listener: &'l Listener,
    (port, vip): (u16, bool),
    transport: &str,
    alpn: &[&str],
) -> Option<&'l FilterChain> {
    let mut chains: Vec<&FilterChain> = listener.filter_chains.iter().collect();
    let narrow = |chains: Vec<&'l FilterChain>,
                  named: &dyn Fn(&FilterChain) -> bool,
                  any: &dyn Fn(&FilterChain) -> bool| {
        let exact: Vec<_> = chains.iter().copied().filter(|c| named(c)).collect();
        if exact.is_empty() {
            chains.into_iter().filter(|c| any(c)).collect()
        } else {
            exact
        }
    };
    let m = |c: &FilterChain| c.filter_chain_match.clone().unwrap_or_default();
    chains = narrow(
        chains,
        &|c| m(c).destination_port.is_some_and(|p| p.value == u32::from(port)),
        &|c| m(c).destination_port.is_none(),
    );
    chains = narrow(chains, &|c| vip && !m(c).prefix_ranges.is_empty(), &|c| {
        m(c).prefix_ranges.is_empty()
    });
    chains = narrow(chains, &|c| m(c).transport_protocol == transport, &|c| {
        m(c).transport_protocol.is_empty()
    });
    // The first of the client's names that any chain has.
    let has = |c: &FilterChain, name: &str| m(c).application_protocols.iter().any(|p| p == name);
    let offered = alpn.iter().find(|name| chains.iter().any(|c| has(c, name)));
    chains = narrow(chains, &|c| offered.is_some_and(|name| has(c, name)), &|c| {
        m(c).application_protocols.is_empty()
    });
    assert!(chains.len() <= 1, "ambiguous: {chains:?}");
    chains.pop().or(listener.default_filter_chain.as_ref())
}

fn served(listener: &Listener, port: u16, transport: &str, alpn: &[&str]) -> Option<String> {
    let chain = chain_for(listener, (port, false), transport, alpn)?;
    let tls = if chain.transport_socket.is_some() {
        "mtls "
    } else {
        ""
    };
    Some(format!("{tls}{}", does(chain)))
}

#[test]
fn unknown_destinations_pass_but_unknown_vips_do_not() {
    let mut mesh = Mesh::bookinfo();
    let listener = mesh.listener(&sidecar("reviews-v1"), "virtualOutbound").unwrap();
    assert!(listener.use_original_dst.unwrap().value);
    let to = |listener: &Listener, vip| does(chain_for(listener, (80, vip), "raw_buffer", &[]).unwrap());
    assert_eq!(to(&listener, false), "tcp PassthroughCluster");
    assert_eq!(to(&listener, true), "tcp BlackHoleCluster");

    mesh.0.mesh = Arc::new(MeshConfig {
        outbound: OutboundPolicy::RegistryOnly,
        ..MeshConfig::default()
    });
    let listener = mesh.listener(&sidecar("reviews-v1"), "virtualOutbound").unwrap();
    assert_eq!(to(&listener, false), "tcp BlackHoleCluster");
    assert_eq!(to(&listener, true), "tcp BlackHoleCluster");
}

#[test]
fn an_http_port_leads_to_its_services_routes_in_both_families() {
    let mesh = Mesh::bookinfo();
    for name in ["240.240.0.7_9080", "[fd00:6c65:6e6f::7]_9080"] {
        let listener = mesh.listener(&sidecar("ratings-v1"), name).unwrap();
        assert_eq!(listener.name, name);
        assert!(!listener.bind_to_port.unwrap().value);
        let chain = chain_for(&listener, (9080, true), "raw_buffer", &[]).unwrap();
        assert_eq!(does(chain), "http reviews.default.svc.cluster.local:9080");
    }
}

#[test]
fn what_the_mesh_does_not_have_has_no_listener() {
    let mesh = Mesh::bookinfo();
    for name in [
        "240.240.0.7_81",
        "240.240.0.99_9080",
        "10.0.0.1_80",
        "nonsense",
        "_",
        "240.240.0.7_",
    ] {
        assert!(mesh.listener(&sidecar("ratings-v1"), name).is_none(), "{name}");
    }
}

#[test]
fn a_port_of_unknown_protocol_is_looked_at_and_never_held_up_as_http() {
    let mesh = Mesh::bookinfo();
    let listener = mesh.listener(&sidecar("reviews-v1"), "240.240.0.8_9080").unwrap();
    let inspectors: Vec<_> = listener
        .listener_filters
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert!(inspectors.contains(&"envoy.filters.listener.http_inspector"));
    assert!(listener.continue_on_listener_filters_timeout);
    let host = "ratings.default.svc.cluster.local";
    assert_eq!(
        served(&listener, 9080, "raw_buffer", &["http/1.1"]),
        Some(format!("http {host}:9080"))
    );
    assert_eq!(
        served(&listener, 9080, "raw_buffer", &[]),
        Some(format!("tcp outbound-tcp|9080||{host}"))
    );
    assert_eq!(
        served(&listener, 9080, "tls", &["h2"]),
        Some(format!("tcp outbound-tcp|9080||{host}"))
    );
}

#[test]
fn an_opaque_port_is_never_looked_at() {
    let mesh = Mesh::bookinfo();
    let listener = mesh.listener(&sidecar("reviews-v1"), "240.240.0.9_3306").unwrap();
    assert!(listener.listener_filters.is_empty());
    assert_eq!(
        served(&listener, 3306, "raw_buffer", &[]).unwrap(),
        "tcp outbound|3306||db.default.svc.cluster.local"
    );
}

#[test]
fn tcp_routes_split_by_weight_and_refuse_what_does_not_resolve() {
    let mut mesh = Mesh::bookinfo();
    let mut gone = backend("gone", None, 1);
    gone.invalid = true;
    let route = TcpRoute {
        origin: origin("TCPRoute", "db"),
        hosts: vec![host("db")],
        ports: vec![3306],
        backends: vec![backend("db", None, 3), gone, backend("ratings", None, 0)],
    };
    mesh.0.tcp_routes.insert(host("db"), vec![Arc::new(route)]);
    let listener = mesh.listener(&sidecar("reviews-v1"), "240.240.0.9_3306").unwrap();
    assert_eq!(
        served(&listener, 3306, "raw_buffer", &[]).unwrap(),
        "tcp outbound|3306||db.default.svc.cluster.local=3 BlackHoleCluster=1"
    );
}

const MESH_HTTP: &[&str] = &["istio-h2", "istio", "h2"];
const MESH_TCP: &[&str] = &["istio"];

#[test]
fn permissive_takes_mesh_mtls_and_plaintext() {
    let mesh = Mesh::bookinfo();
    // HTTP, as the service says; the workload itself did not.
    let listener = mesh.listener(&sidecar("reviews-v1"), "virtualInbound").unwrap();
    let on = |transport, alpn: &[&str]| served(&listener, 9080, transport, alpn);
    assert_eq!(on("tls", MESH_HTTP).unwrap(), "mtls http inbound|9080||");
    assert_eq!(on("raw_buffer", &[]).unwrap(), "http inbound|9080||");
    assert_eq!(
        on("tls", &["h2"]),
        None,
        "an HTTP port takes no TLS but the mesh's"
    );
    assert_eq!(served(&listener, 81, "raw_buffer", &[]), None, "not declared");
}

#[test]
fn strict_takes_mesh_mtls_only_and_says_by_whose_word() {
    let mut mesh = Mesh::bookinfo();
    for name in ["reviews-v1", "ratings-v1", "db-v1"] {
        mesh.mtls(name, MtlsMode::Strict);
    }
    for (name, port) in [("reviews-v1", 9080), ("ratings-v1", 9080), ("db-v1", 3306)] {
        let listener = mesh.listener(&sidecar(name), "virtualInbound").unwrap();
        for alpn in [&[][..], &["http/1.1"], &["h2c"]] {
            assert_eq!(served(&listener, port, "raw_buffer", alpn), None, "{name}");
        }
        assert!(
            served(&listener, port, "tls", MESH_TCP)
                .unwrap()
                .starts_with("mtls")
        );
        let said = format!("{:?}", listener.metadata.unwrap().filter_metadata["leno"]);
        assert!(
            said.contains("PeerAuthentication/default/strict (mesh.yaml:1:1)"),
            "{said}"
        );
    }
}

#[test]
fn disable_takes_plaintext_and_passes_the_applications_own_tls() {
    let mut mesh = Mesh::bookinfo();
    mesh.mtls("reviews-v1", MtlsMode::Disable);
    mesh.mtls("db-v1", MtlsMode::Disable);
    let listener = mesh.listener(&sidecar("reviews-v1"), "virtualInbound").unwrap();
    assert_eq!(
        served(&listener, 9080, "raw_buffer", &[]).unwrap(),
        "http inbound|9080||"
    );
    let listener = mesh.listener(&sidecar("db-v1"), "virtualInbound").unwrap();
    assert_eq!(
        served(&listener, 3306, "raw_buffer", &[]).unwrap(),
        "tcp inbound|3306||"
    );
}

#[test]
fn a_detected_port_tells_http_from_bytes_by_alpn_or_by_looking() {
    let mesh = Mesh::bookinfo();
    let listener = mesh.listener(&sidecar("ratings-v1"), "virtualInbound").unwrap();
    let on = |transport, alpn: &[&str]| served(&listener, 9080, transport, alpn).unwrap();
    assert_eq!(
        on("tls", &["istio-http/1.1", "istio"]),
        "mtls http inbound|9080||"
    );
    assert_eq!(on("tls", MESH_TCP), "mtls tcp inbound|9080||");
    assert_eq!(on("tls", &["h2"]), "tcp inbound|9080||", "its own TLS");
    assert_eq!(on("raw_buffer", &["http/1.1"]), "http inbound|9080||");
    assert_eq!(on("raw_buffer", &[]), "tcp inbound|9080||");
}

#[test]
fn mesh_mtls_demands_a_certificate_under_the_mesh_root() {
    let mesh = Mesh::bookinfo();
    let listener = mesh.listener(&sidecar("reviews-v1"), "virtualInbound").unwrap();
    let chain = chain_for(&listener, (9080, false), "tls", MESH_HTTP).unwrap();
    let socket = chain.transport_socket.clone().unwrap();
    let Some(leno_proto::envoy::config::core::v3::transport_socket::ConfigType::TypedConfig(config)) =
        socket.config_type
    else {
        panic!("no configuration");
    };
    let tls = config.unpack::<DownstreamTlsContext>().unwrap();
    assert!(tls.require_client_certificate.unwrap().value);
    let common = tls.common_tls_context.unwrap();
    assert_eq!(common.tls_certificate_sds_secret_configs[0].name, "default");
    assert!(format!("{:?}", common.validation_context_type).contains("ROOTCA"));
}

#[test]
fn envoy_is_given_everything_and_leno_two_listeners() {
    let mesh = Mesh::bookinfo();
    let (all, _) = names(&mesh.0, &sidecar("reviews-v1"), ResourceType::Listener);
    assert_eq!(all, ["virtualInbound", "virtualOutbound"]);
    let (all, _) = names(&mesh.0, &envoy("reviews-v1"), ResourceType::Listener);
    assert_eq!(
        all,
        [
            "0.0.0.0_9080",
            "240.240.0.8_9080",
            "240.240.0.9_3306",
            "[fd00:6c65:6e6f::8]_9080",
            "[fd00:6c65:6e6f::9]_3306",
            "virtualInbound",
            "virtualOutbound"
        ]
    );
    for name in all {
        assert!(mesh.listener(&envoy("reviews-v1"), &name).is_some(), "{name}");
    }
    let port = mesh.listener(&envoy("reviews-v1"), "0.0.0.0_9080").unwrap();
    assert_eq!(
        served(&port, 9080, "raw_buffer", &["http/1.1"]).unwrap(),
        "http 9080"
    );
    assert_eq!(
        served(&port, 9080, "raw_buffer", &[]).unwrap(),
        "tcp PassthroughCluster"
    );
}

#[test]
fn inspectors_keep_off_ports_where_nobody_may_speak_first() {
    let mut mesh = Mesh::bookinfo();
    let ports = [
        (9080, Protocol::Http),
        (3306, Protocol::Opaque),
        (7000, Protocol::Detect),
    ];
    mesh.add(service("mixed", 20, &ports));
    mesh.join("mixed", workload("mixed", "v1", 21, &ports));
    mesh.mtls("mixed-v1", MtlsMode::Disable);
    let listener = mesh.listener(&envoy("mixed-v1"), "virtualInbound").unwrap();
    let off = |name: &str| {
        let filter = listener
            .listener_filters
            .iter()
            .find(|f| f.name.ends_with(name))
            .unwrap();
        let text = format!("{:?}", filter.filter_disabled);
        [9080, 3306, 7000].map(|port| text.contains(&format!("start: {port}")))
    };
    assert_eq!(off("http_inspector"), [true, true, false]);
    assert_eq!(off("tls_inspector"), [true, true, true]);
}
