//! Clusters: what is spoken to a service's endpoints, and who they may be.

use std::time::Duration;

use leno_model::policy::{LoadBalancer, Origination};
use leno_model::{ConnectionPool, MtlsMode, OutlierDetection, Protocol, TlsMode, TrafficPolicy};
use leno_proto::FromAny;
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use leno_proto::envoy::config::core::v3::TransportSocket;
use leno_proto::envoy::config::core::v3::transport_socket::ConfigType;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use leno_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use leno_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use leno_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use leno_translate::{ResourceType, names};

use crate::mesh::{Mesh, envoy, service, sidecar, workload};

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
const RATINGS: &str = "outbound|9080||ratings.default.svc.cluster.local";

fn upstream_http(cluster: &Cluster) -> Option<&'static str> {
    let options = cluster.typed_extension_protocol_options.values().next()?;
    let options = options.unpack::<HttpProtocolOptions>().unwrap();
    Some(match options.upstream_protocol_options.unwrap() {
        UpstreamProtocolOptions::ExplicitHttpConfig(_) => "http2",
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(_) => "as downstream",
        UpstreamProtocolOptions::AutoConfig(_) => "auto",
    })
}

fn tls(socket: &TransportSocket) -> UpstreamTlsContext {
    let Some(ConfigType::TypedConfig(config)) = &socket.config_type else {
        panic!()
    };
    config.unpack().unwrap()
}

fn mesh_tls(cluster: &Cluster) -> UpstreamTlsContext {
    let first = &cluster.transport_socket_matches[0];
    assert!(format!("{:?}", first.r#match).contains("tlsMode"));
    tls(first.transport_socket.as_ref().unwrap())
}

fn identities(tls: &UpstreamTlsContext) -> Vec<String> {
    let validation = tls
        .common_tls_context
        .clone()
        .unwrap()
        .validation_context_type
        .unwrap();
    let ValidationContextType::CombinedValidationContext(combined) = validation else {
        panic!()
    };
    let sans = combined
        .default_validation_context
        .unwrap()
        .match_typed_subject_alt_names;
    sans.into_iter()
        .map(|san| match san.matcher.unwrap().match_pattern.unwrap() {
            MatchPattern::Exact(id) => id,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn auto_mtls_expects_the_service_accounts_behind_the_service() {
    let mut mesh = Mesh::bookinfo();
    let mut other = workload("reviews", "v3", 30, &[(9080, Protocol::Http)]);
    other.service_account = "bob".into();
    mesh.join("reviews", other);
    let cluster = mesh.cluster(&sidecar("ratings-v1"), REVIEWS).unwrap();
    let tls = mesh_tls(&cluster);
    assert_eq!(
        identities(&tls),
        [
            "spiffe://cluster.local/ns/default/sa/bob",
            "spiffe://cluster.local/ns/default/sa/reviews"
        ]
    );
    assert_eq!(tls.sni, "outbound_.9080_._.reviews.default.svc.cluster.local");
    assert_eq!(cluster.transport_socket_matches[1].name, "tlsMode-disabled");
    assert_eq!(cluster.lb_policy(), LbPolicy::LeastRequest);
    assert_eq!(cluster.connect_timeout.unwrap().seconds, 10);
}

#[test]
fn between_lenos_proxies_http_goes_as_http2() {
    let mesh = Mesh::bookinfo();
    let cluster = mesh.cluster(&sidecar("ratings-v1"), REVIEWS).unwrap();
    assert_eq!(upstream_http(&cluster), Some("http2"));
    let alpn = mesh_tls(&cluster).common_tls_context.unwrap().alpn_protocols;
    assert_eq!(alpn, ["istio-h2", "istio", "h2"]);
}

#[test]
fn the_clients_version_is_kept_towards_anything_else() {
    let kept = |change: &dyn Fn(&mut Mesh)| {
        let mut mesh = Mesh::bookinfo();
        change(&mut mesh);
        let cluster = mesh.cluster(&sidecar("ratings-v1"), REVIEWS).unwrap();
        upstream_http(&cluster) == Some("as downstream")
    };
    let policy = |policy: TrafficPolicy| move |mesh: &mut Mesh| mesh.policy("reviews", policy.clone(), &[]);
    let pool = ConnectionPool {
        http2_upgrade: Some(false),
        ..ConnectionPool::default()
    };
    assert!(kept(&policy(TrafficPolicy {
        pool,
        ..TrafficPolicy::default()
    })));
    assert!(kept(&policy(TrafficPolicy {
        tls: Some(TlsMode::Disable),
        ..TrafficPolicy::default()
    })));
    assert!(kept(&|mesh| mesh.mtls("reviews-v2", MtlsMode::Disable)));
    assert!(kept(&|mesh| {
        let mut plain = workload("reviews", "v3", 30, &[]);
        plain.http2_upgrade = false;
        mesh.join("reviews", plain);
    }));
    let envoys = Mesh::bookinfo().cluster(&envoy("ratings-v1"), REVIEWS).unwrap();
    assert_eq!(
        upstream_http(&envoys),
        Some("as downstream"),
        "Envoy never gets it"
    );
}

fn offer(cluster: &Cluster) -> Vec<String> {
    mesh_tls(cluster).common_tls_context.unwrap().alpn_protocols
}

#[test]
fn on_a_detected_port_http_and_bytes_are_told_apart_by_alpn() {
    let mesh = Mesh::bookinfo();
    let proxy = sidecar("reviews-v1");
    let http = mesh.cluster(&proxy, RATINGS).unwrap();
    assert_eq!(upstream_http(&http), Some("http2"));
    assert_eq!(offer(&http), ["istio-h2", "istio", "h2"]);
    let bytes = mesh
        .cluster(&proxy, "outbound-tcp|9080||ratings.default.svc.cluster.local")
        .unwrap();
    assert_eq!(upstream_http(&bytes), None);
    assert_eq!(offer(&bytes), ["istio"]);
    assert_eq!(bytes.alt_stat_name, RATINGS);
    assert_eq!(bytes.eds_cluster_config.unwrap().service_name, RATINGS);
    // Envoy has one cluster, and changes the offer by a filter.
    let one = mesh.cluster(&envoy("reviews-v1"), RATINGS).unwrap();
    assert_eq!(upstream_http(&one), Some("as downstream"));
    assert_eq!(offer(&one), ["istio"]);
}

#[test]
fn grpc_is_http2_for_everybody_and_opaque_ports_are_no_http() {
    let mut mesh = Mesh::bookinfo();
    mesh.add(service("api", 40, &[(50051, Protocol::Grpc)]));
    let name = "outbound|50051||api.default.svc.cluster.local";
    assert_eq!(
        upstream_http(&mesh.cluster(&envoy("reviews-v1"), name).unwrap()),
        Some("http2")
    );
    let db = "outbound|3306||db.default.svc.cluster.local";
    assert_eq!(
        upstream_http(&mesh.cluster(&sidecar("reviews-v1"), db).unwrap()),
        None
    );
}

#[test]
fn tls_modes_of_a_policy_override_auto_mtls() {
    let with = |mode: TlsMode| {
        let mut mesh = Mesh::bookinfo();
        let policy = TrafficPolicy {
            tls: Some(mode),
            ..TrafficPolicy::default()
        };
        mesh.policy("reviews", policy, &[]);
        mesh.cluster(&sidecar("ratings-v1"), REVIEWS).unwrap()
    };
    let disabled = with(TlsMode::Disable);
    assert!(disabled.transport_socket.is_none() && disabled.transport_socket_matches.is_empty());
    let mutual = with(TlsMode::IstioMutual {
        sni: None,
        names: Vec::new(),
    });
    assert!(mutual.transport_socket_matches.is_empty());
    assert_eq!(identities(&tls(&mutual.transport_socket.unwrap())).len(), 1);
    let simple = with(TlsMode::Originate(Box::new(Origination {
        sni: Some("example.com".into()),
        ..Origination::default()
    })));
    let simple = tls(&simple.transport_socket.unwrap());
    assert_eq!(simple.sni, "example.com");
    let common = simple.common_tls_context.unwrap();
    assert!(
        common.tls_certificate_sds_secret_configs.is_empty(),
        "our certificate is the mesh's business"
    );
    assert!(format!("{:?}", common.validation_context_type).contains("example.com"));
}

#[test]
fn a_policy_sets_balancer_limits_and_ejection() {
    let mut mesh = Mesh::bookinfo();
    let policy = TrafficPolicy {
        balancer: Some(LoadBalancer::HashHeader("x-user".into())),
        pool: ConnectionPool {
            max_connections: Some(7),
            connect_timeout: Some(Duration::from_secs(1)),
            ..ConnectionPool::default()
        },
        outlier: Some(OutlierDetection {
            consecutive_5xx: Some(0),
            consecutive_gateway_errors: Some(3),
            max_ejection_percent: Some(100),
            ..OutlierDetection::default()
        }),
        ..TrafficPolicy::default()
    };
    mesh.policy("reviews", policy, &["v1"]);
    for subset in ["", "v1"] {
        let name = format!("outbound|9080|{subset}|reviews.default.svc.cluster.local");
        let cluster = mesh.cluster(&sidecar("ratings-v1"), &name).unwrap();
        assert_eq!(cluster.lb_policy(), LbPolicy::RingHash);
        assert_eq!(cluster.connect_timeout.unwrap().seconds, 1);
        let limits = cluster.circuit_breakers.unwrap().thresholds.remove(0);
        assert_eq!(limits.max_connections.unwrap().value, 7);
        assert_eq!(limits.max_requests.unwrap().value, u32::MAX, "not said: no limit");
        let outlier = cluster.outlier_detection.unwrap();
        assert_eq!(outlier.enforcing_consecutive_5xx.unwrap().value, 0);
        assert_eq!(outlier.consecutive_gateway_failure.unwrap().value, 3);
        assert_eq!(
            cluster
                .common_lb_config
                .unwrap()
                .healthy_panic_threshold
                .unwrap()
                .value,
            0.0
        );
    }
}

#[test]
fn there_are_no_clusters_of_unknown_hosts_ports_and_subsets() {
    let mut mesh = Mesh::bookinfo();
    mesh.policy("reviews", TrafficPolicy::default(), &["v1"]);
    for name in [
        "outbound|9080|v9|reviews.default.svc.cluster.local",
        "outbound|81||reviews.default.svc.cluster.local",
        "outbound|9080||gone.default.svc.cluster.local",
        "outbound-tcp|9080||reviews.default.svc.cluster.local",
        "inbound|81||",
        "whatever",
    ] {
        assert!(mesh.cluster(&sidecar("reviews-v1"), name).is_none(), "{name}");
    }
}

#[test]
fn the_inbound_cluster_is_the_application_on_loopback() {
    let mesh = Mesh::bookinfo();
    let cluster = mesh.cluster(&sidecar("reviews-v1"), "inbound|9080||").unwrap();
    let text = format!("{:?}", cluster.load_assignment);
    assert!(text.contains("127.0.0.1") && text.contains("9080"), "{text}");
    assert!(format!("{:?}", cluster.metadata).contains("reviews.default.svc.cluster.local"));
    assert_eq!(upstream_http(&cluster), Some("as downstream"));
}

#[test]
fn passthrough_goes_where_the_client_went_and_the_black_hole_nowhere() {
    let mesh = Mesh::bookinfo();
    let proxy = sidecar("reviews-v1");
    let original = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into());
    for name in ["PassthroughCluster", "InboundPassthroughCluster"] {
        let cluster = mesh.cluster(&proxy, name).unwrap();
        assert_eq!(cluster.cluster_discovery_type, Some(original.clone()));
        assert_eq!(cluster.lb_policy(), LbPolicy::ClusterProvided);
    }
    let hole = mesh.cluster(&proxy, "BlackHoleCluster").unwrap();
    assert!(hole.load_assignment.unwrap().endpoints.is_empty() && hole.eds_cluster_config.is_none());
}

#[test]
fn every_name_of_a_wildcard_has_its_cluster() {
    let mut mesh = Mesh::bookinfo();
    mesh.policy("reviews", TrafficPolicy::default(), &["v1", "v2"]);
    let (leno, _) = names(&mesh.0, &sidecar("reviews-v1"), ResourceType::Cluster);
    assert_eq!(leno, ["BlackHoleCluster", "PassthroughCluster", "inbound|9080||"]);
    let (all, _) = names(&mesh.0, &envoy("reviews-v1"), ResourceType::Cluster);
    assert_eq!(all.len(), 4 + 3 + 2, "{all:?}");
    for name in all {
        assert!(mesh.cluster(&envoy("reviews-v1"), &name).is_some(), "{name}");
    }
}

#[test]
fn peers_may_be_of_the_trust_domain_by_any_of_its_names() {
    let mut mesh = Mesh::bookinfo();
    let config = std::sync::Arc::make_mut(&mut mesh.0.mesh);
    config.trust_domain_aliases = vec!["old.example".into()];
    let cluster = mesh.cluster(&envoy("reviews"), RATINGS).unwrap();
    let known = identities(&mesh_tls(&cluster));
    let names = ["cluster.local", "old.example"].map(|domain| format!("spiffe://{domain}/ns/default/sa/"));
    for name in names {
        assert!(known.iter().any(|id| id.starts_with(&name)), "{name}: {known:?}");
    }
}
