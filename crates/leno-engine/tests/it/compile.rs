//! What is refused, and where; and that nothing from the wire makes the compiler panic.

use leno_engine::compile::access_log::{Format, Heads, NoValues};
use leno_engine::compile::listener::TerminalFilter;
use leno_engine::compile::{self, NoFiles, Warnings};
use leno_proto::ToAny;
use leno_proto::envoy::config::cluster::v3 as cluster;
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::config::endpoint::v3 as endpoint;
use leno_proto::envoy::config::listener::v3 as listener;
use leno_proto::envoy::config::route::v3 as route;
use leno_proto::envoy::extensions::filters::http::router::v3::Router;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use leno_proto::envoy::extensions::transport_sockets::tls::v3 as tls;
use leno_proto::google::protobuf::Any;
use proptest::prelude::*;
use prost::Message;

use crate::made::{
    bool_value, cidr, compile_cluster, compile_listener, compile_table, eds_cluster, forward, host, listener,
    prefix, request, response, table, tcp_chain, to_cluster, u32_value,
};

fn http_filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn manager(filters: Vec<hcm::HttpFilter>) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        http_filters: filters,
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table(
            vec![host("all", &["*"], vec![forward(prefix("/"), to_cluster("c"))])],
        ))),
        ..Default::default()
    }
}

fn http_listener(manager: &hcm::HttpConnectionManager) -> listener::Listener {
    let mut chain = tcp_chain("http", listener::FilterChainMatch::default());
    chain.filters = vec![listener::Filter {
        name: "http".into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(manager.to_any())),
    }];
    listener(vec![chain])
}

fn router() -> hcm::HttpFilter {
    http_filter("envoy.filters.http.router", Router::default().to_any())
}

fn why_not(message: &listener::Listener) -> String {
    compile_listener(message).expect_err("refused").to_string()
}

#[test]
fn an_unknown_extension_is_named_with_its_place() {
    let strange = Any {
        type_url: "type.googleapis.com/example.Strange".into(),
        value: Vec::new(),
    };
    let message = http_listener(&manager(vec![http_filter("strange", strange.clone()), router()]));
    assert_eq!(
        why_not(&message),
        "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config: \
         extension \"type.googleapis.com/example.Strange\" is not supported"
    );
    let optional = hcm::HttpFilter {
        is_optional: true,
        ..http_filter("strange", strange)
    };
    assert!(compile_listener(&http_listener(&manager(vec![optional, router()]))).is_ok());
}

#[test]
fn the_router_is_the_last_filter() {
    let without = http_listener(&manager(vec![]));
    assert!(why_not(&without).ends_with("the last filter must be the router"));
    let twice = http_listener(&manager(vec![router(), router()]));
    assert!(why_not(&twice).ends_with("a filter after the router"));
}

#[test]
fn a_field_that_decides_and_is_not_supported_is_refused_by_its_path() {
    let mut action = to_cluster("c");
    action.retry_policy_typed_config = Some(Default::default());
    let message = table(vec![host("h", &["*"], vec![forward(prefix("/"), action)])]);
    assert_eq!(
        compile_table(&message).unwrap_err().to_string(),
        "virtual_hosts[0].routes[0].route.retry_policy_typed_config: not supported"
    );
}

#[test]
fn a_field_that_changes_nothing_here_is_warned_of() {
    let mut message = eds_cluster();
    message.track_timeout_budgets = true;
    let mut warnings = Warnings::default();
    assert!(compile::cluster::compile(&message, &NoFiles, &mut warnings).is_ok());
    let told: Vec<String> = warnings.0.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["track_timeout_budgets: leno has its own statistics"]);
}

#[test]
fn what_is_not_done_on_a_connection_is_told() {
    let chosen = core::Http2ProtocolOptions {
        allow_metadata: true,
        ..Default::default()
    };
    let lax = hcm::HttpConnectionManager {
        http2_protocol_options: Some(chosen),
        ..manager(vec![router()])
    };
    let why = why_not(&http_listener(&lax));
    assert!(
        why.ends_with("http2_protocol_options.allow_metadata: not supported"),
        "{why}"
    );

    let mut message = listener(vec![tcp_chain("a", Default::default())]);
    // protocol: istio-peer-exchange
    let exchange = Any {
        type_url: "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange".into(),
        value: [&[0x0a, 19][..], b"istio-peer-exchange"].concat(),
    };
    let filter = listener::Filter {
        name: "exchange".into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(exchange)),
    };
    message.filter_chains[0].filters.insert(0, filter);
    let mut warnings = Warnings::default();
    compile::listener::compile(&message, &NoFiles, &mut warnings).expect("it may be named");
    let told: Vec<String> = warnings.0.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("not exchanged over TCP"), "{told:?}");
}

#[test]
fn expressions_are_anchored_limited_and_cannot_escape_the_anchors() {
    use route::route_match::PathSpecifier;
    let with = |regex: &str| {
        let matches = route::RouteMatch {
            path_specifier: Some(PathSpecifier::SafeRegex(
                leno_proto::envoy::r#type::matcher::v3::RegexMatcher {
                    regex: regex.into(),
                    ..Default::default()
                },
            )),
            ..Default::default()
        };
        compile_table(&table(vec![host(
            "h",
            &["*"],
            vec![forward(matches, to_cluster("c"))],
        )]))
    };
    for bad in ["", "(", "a)|(b", r"[\w]{100}{100}{100}"] {
        let error = with(bad).unwrap_err();
        let path = "virtual_hosts[0].routes[0].match.safe_regex.regex";
        assert_eq!(error.path.to_string(), path, "{bad}");
    }
    assert!(with("/a|/b").is_ok());
}

#[test]
fn values_out_of_range_are_refused() {
    let port = |port| {
        let matches = listener::FilterChainMatch {
            destination_port: u32_value(port),
            ..Default::default()
        };
        compile_listener(&listener(vec![tcp_chain("c", matches)]))
    };
    assert!(port(65_535).is_ok());
    assert!(port(65_536).is_err());
    let range = listener::FilterChainMatch {
        prefix_ranges: vec![cidr("10.0.0.0/33")],
        ..Default::default()
    };
    assert_eq!(
        why_not(&listener(vec![tcp_chain("c", range)])),
        "filter_chains[0].filter_chain_match.prefix_ranges[0].prefix_len: too long for 10.0.0.0: 33"
    );
    let maglev = |size| {
        compile_cluster(&cluster::Cluster {
            lb_policy: cluster::cluster::LbPolicy::Maglev.into(),
            lb_config: Some(cluster::cluster::LbConfig::MaglevLbConfig(
                cluster::cluster::MaglevLbConfig {
                    table_size: Some(leno_proto::google::protobuf::UInt64Value { value: size }),
                },
            )),
            ..eds_cluster()
        })
    };
    assert!(maglev(65_537).is_ok());
    assert!(maglev(65_536).is_err());
}

#[test]
fn a_cluster_without_endpoints_is_a_black_hole() {
    let black_hole = cluster::Cluster {
        name: "BlackHoleCluster".into(),
        ..Default::default()
    };
    assert!(compile_cluster(&black_hole).is_ok());
}

fn downstream_tls(context: &tls::DownstreamTlsContext) -> listener::Listener {
    let mut chain = tcp_chain("tls", listener::FilterChainMatch::default());
    chain.transport_socket = Some(core::TransportSocket {
        name: "tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(context.to_any())),
    });
    listener(vec![chain])
}

#[test]
fn a_demanded_client_certificate_must_be_verifiable() {
    let context = tls::DownstreamTlsContext {
        require_client_certificate: bool_value(true),
        common_tls_context: Some(tls::CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![tls::SdsSecretConfig {
                name: "default".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(
        why_not(&downstream_tls(&context)),
        "filter_chains[0].transport_socket.typed_config.require_client_certificate: \
         without a validation context any certificate would do"
    );
}

#[test]
fn certificates_in_files_are_read_by_the_caller() {
    struct Here;
    impl compile::Files for Here {
        fn read(&self, path: &str) -> Result<Vec<u8>, String> {
            match path {
                "/missing" => Err("no such file".to_owned()),
                path => Ok(path.as_bytes().to_vec()),
            }
        }
    }
    let file = |path: &str| {
        Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::Filename(path.into())),
            ..Default::default()
        })
    };
    let listener = |chain: &str| {
        downstream_tls(&tls::DownstreamTlsContext {
            common_tls_context: Some(tls::CommonTlsContext {
                tls_certificates: vec![tls::TlsCertificate {
                    certificate_chain: file(chain),
                    private_key: file("/key"),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    let compile = |message| compile::listener::compile(&message, &Here, &mut Warnings::default());
    assert!(compile(listener("/chain")).is_ok());
    let error = compile(listener("/missing")).unwrap_err().to_string();
    assert!(
        error.ends_with("tls_certificates[0].certificate_chain.filename: /missing: no such file"),
        "{error}"
    );
}

#[test]
fn defaults_are_envoys() {
    let compiled = compile_listener(&http_listener(&manager(vec![router()]))).expect("compiles");
    let chain = compiled.chains.first().expect("a chain");
    let TerminalFilter::Http(manager) = &chain.terminal else {
        panic!("{:?}", chain.terminal);
    };
    assert_eq!(manager.limits.max_header_bytes, 60 * 1024);
    assert_eq!(manager.limits.max_headers, 100);
    assert_eq!(manager.timeouts.idle.map(|t| t.as_secs()), Some(3600));
    assert_eq!(manager.timeouts.stream_idle.map(|t| t.as_secs()), Some(300));
    assert!(manager.generate_request_id);
    let cluster = compile_cluster(&eds_cluster()).expect("compiles");
    assert_eq!(cluster.panic_threshold, 50);
    assert_eq!(cluster.connect_timeout.as_secs(), 5);
    assert_eq!(
        (
            cluster.limits.default.max_requests,
            cluster.limits.default.max_retries
        ),
        (1024, 3)
    );
}

fn formatted(format: &str) -> String {
    let mut request = request("a.example", "/p?q");
    request.headers.append("x-id", "0123456789");
    let mut response = response(503);
    response.headers.append("x-r", "r");
    let heads = Heads {
        request: Some(&request),
        response: Some(&response),
        ..Heads::default()
    };
    let mut out = Vec::new();
    Format::parse(format)
        .expect("parses")
        .write(heads, &NoValues, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn formats_have_envoys_operators() {
    for (format, wanted) in [
        ("plain", "plain"),
        ("100%%", "100%"),
        (
            "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%",
            "GET /p?q HTTP/1.1",
        ),
        ("%REQ(X-ID):4%|%RESP(x-r)%|%RESP(x-none)%", "0123|r|-"),
        ("%RESPONSE_CODE% %REQ(:AUTHORITY)%", "503 a.example"),
        ("%START_TIME(%Y/%m/%dT%H:%M:%S%z)%", "-"),
    ] {
        assert_eq!(formatted(format), wanted, "{format}");
    }
    for bad in [
        "%",
        "%REQ%",
        "%REQ(a",
        "%NO_SUCH_THING%",
        "%REQ(a?b?c)%",
        "%REQ(a):x%",
        "%PROTOCOL(x)%",
    ] {
        assert!(Format::parse(bad).is_err(), "{bad}");
    }
}

/// Valid messages of every kind, to be damaged.
fn seeds() -> Vec<Vec<u8>> {
    let listener = http_listener(&manager(vec![router()]));
    let table = table(vec![host(
        "h",
        &["*.a"],
        vec![forward(prefix("/"), to_cluster("c"))],
    )]);
    let assignment = endpoint::ClusterLoadAssignment {
        endpoints: vec![crate::made::locality(
            1,
            vec![crate::made::lb_endpoint("10.0.0.1", 3)],
        )],
        ..Default::default()
    };
    vec![
        listener.encode_to_vec(),
        table.encode_to_vec(),
        assignment.encode_to_vec(),
        eds_cluster().encode_to_vec(),
    ]
}

fn compile_as_everything(bytes: &[u8]) {
    let mut warnings = Warnings::default();
    if let Ok(message) = listener::Listener::decode(bytes) {
        let _ = compile::listener::compile(&message, &NoFiles, &mut warnings);
    }
    if let Ok(message) = route::RouteConfiguration::decode(bytes)
        && let Ok(table) = compile::route::compile(&message, &NoFiles, &mut warnings)
    {
        let cx = leno_engine::decide::route::RouteContext::new(1, false);
        let _ = table.route(&request("x.a", "/"), &cx);
    }
    if let Ok(message) = endpoint::ClusterLoadAssignment::decode(bytes) {
        let _ = compile::endpoint::compile(&message, &NoFiles, &mut warnings);
    }
    if let Ok(message) = cluster::Cluster::decode(bytes) {
        let _ = compile::cluster::compile(&message, &NoFiles, &mut warnings);
    }
}

proptest! {
    #[test]
    fn damaged_messages_never_panic(
        seed in 0..4_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = seeds().swap_remove(seed);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        compile_as_everything(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        compile_as_everything(&bytes);
    }

    #[test]
    fn formats_never_panic(text in "[%A-Z()?:0-9a-z -]{0,40}") {
        let _ = Format::parse(&text);
    }

    #[test]
    fn any_text_parses_or_is_refused_as_a_format(text in any::<String>()) {
        if let Ok(format) = Format::parse(&text) {
            let mut out = Vec::new();
            format.write(Heads::default(), &NoValues, &mut out);
        }
    }
}
