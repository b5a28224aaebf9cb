//! Listeners: which filter chain a connection gets, and what it does there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use leno_engine::compile::http::{EscapedSlashes, RouteSource};
use leno_engine::compile::listener::{FilterChain, TcpCluster, TerminalFilter, TransportProtocol, compile};
use leno_engine::compile::tls::{SecretSource, TrustSource};
use leno_engine::compile::{NoFiles, Warnings};
use leno_engine::decide::listener::{ConnectionInfo, choose};
use leno_model::route::StreamMatch;
use leno_model::visibility::{Exported, Scoped};
use leno_model::{MeshConfig, MtlsMode, OutboundPolicy, PathNormalization, Protocol, TcpRoute};
use leno_proto::envoy::config::listener::v3::Listener;
use leno_translate::{ResourceType, names};

use crate::mesh::{Mesh, backend, envoy, host, origin, service, sidecar, workload};

/// The chain that the engine chooses for a connection to `to`: plaintext or TLS, with the client's ALPN names or what
/// the HTTP inspector found.
fn chain(listener: &Listener, to: SocketAddr, transport: &str, alpn: &[&str]) -> Option<Arc<FilterChain>> {
    let listener = compile(listener, &NoFiles, &mut Warnings::default()).unwrap();
    let client = SocketAddr::from(([198, 18, 0, 2], 40_000));
    let alpn: Vec<&[u8]> = alpn.iter().map(|name| name.as_bytes()).collect();
    let connection = ConnectionInfo {
        destination: to,
        source: client,
        direct_source: client,
        sni: None,
        transport: if transport == "tls" {
            TransportProtocol::Tls
        } else {
            TransportProtocol::RawBuffer
        },
        application_protocols: &alpn,
        notes: None,
    };
    choose(&listener, &connection).cloned()
}

/// What a chain does: `mtls` or not, then `http <route configuration>` or `tcp <cluster>`s.
fn does(chain: &FilterChain) -> String {
    let tls = if chain.tls.is_some() { "mtls " } else { "" };
    match &chain.terminal {
        other @ (TerminalFilter::DirectResponse(_) | TerminalFilter::Echo) => panic!("{other:?}"),
        TerminalFilter::Http(manager) => match &manager.routes {
            RouteSource::Rds(name, _) => format!("{tls}http {name}"),
            RouteSource::Inline(table) => format!("{tls}http {}", table.name),
            RouteSource::Scoped(scoped) => format!("{tls}http {}", scoped.name),
        },
        TerminalFilter::Tcp(proxy) => match proxy.clusters.as_slice() {
            [only] => format!("{tls}tcp {}", only.name),
            several => {
                let share = |one: &TcpCluster| format!(" {}={}", one.name, one.weight);
                format!("{tls}tcp{}", several.iter().map(share).collect::<String>())
            }
        },
    }
}

fn served(listener: &Listener, port: u16, transport: &str, alpn: &[&str]) -> Option<String> {
    let to = SocketAddr::from(([127, 0, 0, 11], port));
    Some(does(&*chain(listener, to, transport, alpn)?))
}

#[test]
fn unknown_destinations_pass_but_unknown_vips_do_not() {
    let mut mesh = Mesh::bookinfo();
    let listener = mesh.listener(&sidecar("reviews-v1"), "virtualOutbound").unwrap();
    assert!(listener.use_original_dst.unwrap().value);
    let to = |listener: &Listener, address: &str| {
        let address: IpAddr = address.parse().unwrap();
        does(&chain(listener, SocketAddr::new(address, 80), "raw_buffer", &[]).unwrap())
    };
    for (address, cluster) in [
        ("10.0.0.1", "PassthroughCluster"),
        ("2001:db8::1", "PassthroughCluster"),
        ("240.240.9.9", "BlackHoleCluster"),
        ("fd00:6c65:6e6f::99", "BlackHoleCluster"),
    ] {
        assert_eq!(to(&listener, address), format!("tcp {cluster}"));
    }

    mesh.0.mesh = Arc::new(MeshConfig {
        outbound: OutboundPolicy::RegistryOnly,
        ..MeshConfig::default()
    });
    let listener = mesh.listener(&sidecar("reviews-v1"), "virtualOutbound").unwrap();
    assert_eq!(to(&listener, "10.0.0.1"), "tcp BlackHoleCluster");
    assert_eq!(to(&listener, "240.240.9.9"), "tcp BlackHoleCluster");
}

/// Every way into the mesh, with what it makes of a path: dot segments, slashes, escaped slashes.
fn normalised(mesh: &Mesh, listener: &str) -> Vec<(bool, bool, EscapedSlashes)> {
    let listener = mesh.listener(&sidecar("reviews-v1"), listener).unwrap();
    let listener = compile(&listener, &NoFiles, &mut Warnings::default()).unwrap();
    let managers = listener.chains.iter().filter_map(|chain| match &chain.terminal {
        TerminalFilter::Http(manager) => Some(manager),
        _ => None,
    });
    let options = managers.map(|m| (m.normalize_path, m.merge_slashes, m.escaped_slashes));
    options.collect()
}

#[test]
fn paths_are_normalised_as_the_mesh_says_on_both_sides() {
    let mut mesh = Mesh::bookinfo();
    let keep = EscapedSlashes::Kept;
    for (paths, wanted) in [
        (PathNormalization::None, (false, false, keep)),
        (PathNormalization::Base, (true, false, keep)),
        (PathNormalization::MergeSlashes, (true, true, keep)),
        (
            PathNormalization::DecodeAndMergeSlashes,
            (true, true, EscapedSlashes::Unescaped),
        ),
    ] {
        mesh.0.mesh = Arc::new(MeshConfig {
            paths,
            ..MeshConfig::default()
        });
        for listener in ["virtualInbound", "240.240.0.7_9080"] {
            let found = normalised(&mesh, listener);
            assert!(!found.is_empty(), "{listener}");
            assert!(found.iter().all(|one| *one == wanted), "{paths:?}: {found:?}");
        }
    }
}

#[test]
fn an_http_port_leads_to_its_services_routes_in_both_families() {
    let mesh = Mesh::bookinfo();
    for name in ["240.240.0.7_9080", "[fd00:6c65:6e6f::7]_9080"] {
        let listener = mesh.listener(&sidecar("ratings-v1"), name).unwrap();
        assert_eq!(listener.name, name);
        assert!(!listener.bind_to_port.unwrap().value);
        assert_eq!(
            served(&listener, 9080, "raw_buffer", &[]).unwrap(),
            "http reviews.default.svc.cluster.local:9080"
        );
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
        exported: Exported::Everywhere,
        hosts: vec![host("db")],
        tls: false,
        matches: vec![StreamMatch {
            port: Some(3306),
            ..StreamMatch::default()
        }],
        backends: vec![backend("db", None, 3), gone, backend("ratings", None, 0)],
    };
    let routes = Scoped::everywhere(vec![Arc::new(route)]);
    mesh.0.tcp_routes.insert(host("db"), routes);
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
        on("tls", &["h2"]).unwrap(),
        "mtls http inbound|9080||",
        "a gRPC library's, which says no more"
    );
    for other in [&["http/1.1"][..], &[]] {
        assert_eq!(on("tls", other), None, "an HTTP port takes no other TLS");
    }
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
    let chain = chain(
        &listener,
        SocketAddr::from(([127, 0, 0, 11], 9080)),
        "tls",
        MESH_HTTP,
    )
    .unwrap();
    let tls = chain.tls.as_ref().unwrap();
    assert!(tls.require_client_certificate);
    assert!(matches!(tls.common.certificates.as_slice(), [SecretSource::Sds(name, _)] if name == "default"));
    assert!(
        matches!(&tls.common.validation.as_ref().unwrap().trust, TrustSource::Sds(name, _) if name == "ROOTCA")
    );
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

#[test]
fn a_port_that_many_share_is_told_apart_by_name_within_subnets_and_outside() {
    let mesh = crate::full::everything(MtlsMode::Permissive);
    let listener = mesh.listener(&envoy("reviews-v1"), "0.0.0.0_9080").unwrap();
    let compiled = compile(&listener, &NoFiles, &mut Warnings::default()).unwrap();
    let goes = |to: &str, sni: Option<&str>| {
        let client = SocketAddr::from(([198, 18, 0, 2], 40_000));
        let connection = ConnectionInfo {
            destination: SocketAddr::new(to.parse().unwrap(), 9080),
            source: client,
            direct_source: client,
            sni,
            transport: match sni {
                Some(_) => TransportProtocol::Tls,
                None => TransportProtocol::RawBuffer,
            },
            application_protocols: &[],
            notes: None,
        };
        choose(&compiled, &connection).map(|chain| does(chain))
    };
    let tcp = |name: &str| Some(format!("tcp outbound|9080||{name}.default.svc.cluster.local"));
    for (to, sni, wanted) in [
        // Of two rules for a name and an address the first holds.
        ("10.1.1.1", Some("a.example"), "wiki"),
        ("192.0.2.1", Some("a.example"), "wiki"),
        ("192.0.2.1", Some("b.example"), "wiki"),
        ("203.0.113.1", Some("a.example"), "other-wiki"),
        ("203.0.113.1", Some("c.example"), "wiki"),
        // Rules without a subnet hold within one as well.
        ("10.1.1.1", Some("c.example"), "wiki"),
        ("fd00::1", Some("elsewhere.test"), "wiki"),
        ("10.1.1.1", None, "bytes"),
        ("192.0.2.1", None, "bytes"),
        ("203.0.113.1", None, "bytes"),
    ] {
        assert_eq!(goes(to, sni), tcp(wanted), "{to} {sni:?}");
    }
}
