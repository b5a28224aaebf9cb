//! EnvoyFilter where no call shows it: filters, chains, clusters and listeners, as the engine compiles them, and what an
//! answer depends on. What calls show is in `cases/envoy-filter-*`.

use std::collections::BTreeMap;
use std::time::Duration;

use leno_engine::compile::{self, NoFiles, Warnings};
use leno_model::delta::Key;
use leno_model::{Change, Protocol, World};
use leno_proto::FromAny;
use leno_proto::envoy::config::listener::v3::{FilterChain, Listener, filter};
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use leno_translate::{Proxy, ResourceType, names};

use crate::envoy::accepts;
use crate::mesh::{Mesh, envoy, sidecar, workload};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 81}]}
";

/// An EnvoyFilter of the root namespace with these patches.
fn filter(patches: &str) -> String {
    format!(
        "{SERVICES}---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: changes, namespace: istio-system}}
spec:
  configPatches:
{patches}"
    )
}

fn mesh(yaml: &str) -> Mesh {
    let parsed = leno_api::read("mesh.yaml", yaml.as_bytes());
    let errors: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(|found| found.is_error())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let file = Change::File {
        file: "mesh.yaml".into(),
        objects: parsed.objects,
    };
    let ports = [(8080, Protocol::Http), (81, Protocol::Tcp)];
    let mut world = World::default();
    let web = workload("web", "1", 5, &ports);
    world.apply([file, Change::Workload(web)], Duration::from_secs(1));
    Mesh((**world.snapshot()).clone())
}

fn inbound(mesh: &Mesh) -> Listener {
    listener(mesh, &sidecar("web-1"), "virtualInbound")
}

/// The engine takes whatever comes of it.
fn listener(mesh: &Mesh, proxy: &Proxy, name: &str) -> Listener {
    let listener = mesh.listener(proxy, name).unwrap();
    compile::listener::compile(&listener, &NoFiles, &mut Warnings::default()).unwrap();
    listener
}

fn chain<'l>(listener: &'l Listener, name: &str) -> &'l FilterChain {
    let mut chains = listener.filter_chains.iter();
    chains.find(|chain| chain.name == name).unwrap()
}

fn manager(chain: &FilterChain) -> Option<HttpConnectionManager> {
    let Some(filter::ConfigType::TypedConfig(config)) = &chain.filters.last()?.config_type else {
        return None;
    };
    config.unpack().ok()
}

fn http_filters(chain: &FilterChain) -> Vec<String> {
    let filters = manager(chain).unwrap().http_filters.into_iter();
    filters.map(|filter| filter.name).collect()
}

const HTTP: &str = "0.0.0.0_8080-mtls-http";
const BYTES: &str = "0.0.0.0_81-plain-tcp";

/// An HTTP filter that changes a header.
fn header(name: &str) -> String {
    format!(
        "{{name: {name}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation}}}}"
    )
}

fn http_filter(operation: &str, sub_filter: &str) -> String {
    let sub_filter = match sub_filter {
        "" => String::new(),
        name => format!(", subFilter: {{name: {name}}}"),
    };
    filter(&format!(
        "
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager{sub_filter}}}}}}}
    patch: {{operation: {operation}, value: {}}}",
        header("new")
    ))
}

#[test]
fn an_http_filter_is_inserted_where_its_operation_says() {
    let router = "envoy.filters.http.router";
    let exchange = "istio.metadata_exchange";
    let rows: [(&str, &str, &[&str]); 8] = [
        ("INSERT_FIRST", "", &["new", exchange, router]),
        ("INSERT_BEFORE", "", &["new", exchange, router]),
        ("INSERT_BEFORE", router, &[exchange, "new", router]),
        ("INSERT_AFTER", exchange, &[exchange, "new", router]),
        ("INSERT_AFTER", "nobody", &[exchange, router]),
        ("REPLACE", exchange, &["new", router]),
        ("REMOVE", exchange, &[router]),
        ("REMOVE", "", &[exchange, router]),
    ];
    for (operation, sub_filter, want) in rows {
        let listener = inbound(&mesh(&http_filter(operation, sub_filter)));
        assert_eq!(
            http_filters(chain(&listener, HTTP)),
            want,
            "{operation} {sub_filter}"
        );
    }
}

#[test]
fn a_filter_goes_to_the_context_that_is_said_and_to_no_other() {
    let mesh = mesh(&http_filter("INSERT_FIRST", ""));
    let has = |listener: &Listener| {
        let chains = listener
            .filter_chains
            .iter()
            .chain(&listener.default_filter_chain);
        let mut managers = chains.filter_map(manager);
        managers.any(|manager| manager.http_filters.iter().any(|filter| filter.name == "new"))
    };
    assert!(has(&inbound(&mesh)));
    let outbound = listener(&mesh, &envoy("web-1"), "0.0.0.0_80");
    assert!(
        outbound
            .filter_chains
            .iter()
            .any(|chain| manager(chain).is_some())
    );
    assert!(!has(&outbound));
}

#[test]
fn chains_are_told_apart_by_each_of_their_conditions() {
    let patched = |by: &str| {
        let mesh = mesh(&filter(&format!(
            "
  - applyTo: FILTER_CHAIN
    match: {{context: SIDECAR_INBOUND, listener: {by}}}
    patch: {{operation: MERGE, value: {{transport_socket_connect_timeout: 7s}}}}"
        )));
        let listener = inbound(&mesh);
        let chains = listener.filter_chains.iter();
        let timed = chains.filter(|chain| {
            let timeout = chain.transport_socket_connect_timeout;
            timeout.is_some_and(|timeout| timeout.seconds == 7)
        });
        timed.map(|chain| chain.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(patched("{portNumber: 81}").len(), 3);
    assert_eq!(patched("{filterChain: {destinationPort: 8080}}").len(), 2);
    assert_eq!(patched("{filterChain: {name: 0.0.0.0_81-plain-tcp}}"), [BYTES]);
    let encrypted = patched("{filterChain: {destinationPort: 8080, transportProtocol: tls}}");
    assert_eq!(encrypted, [HTTP]);
    let mesh_http = patched("{filterChain: {applicationProtocols: 'istio-http/1.1,h2'}}");
    assert_eq!(mesh_http, [HTTP]);
    assert!(patched("{filterChain: {applicationProtocols: 'istio-http/1.1,nothing'}}").is_empty());
    assert!(patched("{filterChain: {sni: a.example}}").is_empty());
    assert!(patched("{name: 0.0.0.0_8080}").is_empty());
}

#[test]
fn a_chain_can_be_removed() {
    let mesh = mesh(&filter(
        "
  - applyTo: FILTER_CHAIN
    match: {listener: {filterChain: {name: 0.0.0.0_81-plain-tcp}}}
    patch: {operation: REMOVE}",
    ));
    let names: Vec<String> = inbound(&mesh)
        .filter_chains
        .into_iter()
        .map(|chain| chain.name)
        .collect();
    assert!(names.iter().any(|name| name == "0.0.0.0_81-plain-tls"));
    assert!(!names.iter().any(|name| name == BYTES));
}

#[test]
fn a_connection_manager_is_merged_with_and_a_list_in_it_grows_or_is_replaced() {
    for (operation, upgrades) in [
        ("MERGE", &["websocket", "CONNECT"][..]),
        ("MERGE_AND_REPLACE_LIST", &["CONNECT"]),
    ] {
        let mesh = mesh(&filter(&format!(
            "
  - applyTo: NETWORK_FILTER
    match: {{context: SIDECAR_INBOUND, listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager}}}}}}}}
    patch:
      operation: {operation}
      value:
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          common_http_protocol_options: {{idle_timeout: 30s}}
          upgrade_configs: [{{upgrade_type: CONNECT}}]"
        )));
        let listener = inbound(&mesh);
        let manager = manager(chain(&listener, HTTP)).unwrap();
        let idle = manager
            .common_http_protocol_options
            .unwrap()
            .idle_timeout
            .unwrap();
        assert_eq!(idle.seconds, 30);
        let kinds: Vec<_> = manager
            .upgrade_configs
            .iter()
            .map(|upgrade| &upgrade.upgrade_type)
            .collect();
        assert_eq!(kinds, upgrades);
        assert!(!manager.stat_prefix.is_empty(), "what is not named stays");
    }
}

#[test]
fn an_http_filter_is_merged_with() {
    let mesh = mesh(&filter(
        "
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        filterChain:
          filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}
    patch:
      operation: MERGE
      value:
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          suppress_envoy_headers: true",
    ));
    use leno_proto::envoy::extensions::filters::http::router::v3::Router;
    use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_filter;
    let listener = inbound(&mesh);
    let router = manager(chain(&listener, HTTP))
        .unwrap()
        .http_filters
        .pop()
        .unwrap();
    let Some(http_filter::ConfigType::TypedConfig(config)) = router.config_type else {
        panic!("no configuration");
    };
    assert!(config.unpack::<Router>().unwrap().suppress_envoy_headers);
}

#[test]
fn inbound_routes_are_changed_in_their_listener() {
    let mesh = mesh(&filter(
        "
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_INBOUND, routeConfiguration: {vhost: {name: 'inbound|http|8080'}}}
    patch: {operation: MERGE, value: {route: {timeout: 3s}}}
  - applyTo: ROUTE_CONFIGURATION
    match: {context: SIDECAR_INBOUND, routeConfiguration: {portNumber: 8080}}
    patch: {operation: MERGE, value: {response_headers_to_remove: [server]}}
  - applyTo: ROUTE_CONFIGURATION
    match: {context: SIDECAR_INBOUND, routeConfiguration: {portNumber: 81}}
    patch: {operation: MERGE, value: {response_headers_to_remove: [not-here]}}",
    ));
    let listener = inbound(&mesh);
    let Some(RouteSpecifier::RouteConfig(routes)) = manager(chain(&listener, HTTP)).unwrap().route_specifier
    else {
        panic!("inbound routes stand in the listener");
    };
    assert_eq!(routes.response_headers_to_remove, ["server"]);
    use leno_proto::envoy::config::route::v3::route::Action;
    let Some(Action::Route(action)) = &routes.virtual_hosts[0].routes[0].action else {
        panic!("no route");
    };
    assert_eq!(action.timeout.unwrap().seconds, 3);
    assert!(action.cluster_specifier.is_some(), "what is not named stays");
}

#[test]
fn clusters_are_told_apart_by_each_of_their_conditions() {
    let patched = |by: &str, name: &str| {
        let mesh = mesh(&filter(&format!(
            "
  - applyTo: CLUSTER
    match: {by}
    patch: {{operation: MERGE, value: {{connect_timeout: 7s}}}}"
        )));
        let cluster = mesh.cluster(&sidecar("web-1"), name).unwrap();
        compile::cluster::compile(&cluster, &NoFiles, &mut Warnings::default()).unwrap();
        cluster
            .connect_timeout
            .is_some_and(|timeout| timeout.seconds == 7)
    };
    let (out, bytes) = (
        "outbound|80||web.default.svc.cluster.local",
        "outbound|81||web.default.svc.cluster.local",
    );
    let inbound = "inbound|8080||";
    for (by, for_out, for_bytes, for_inbound) in [
        ("{}", true, true, true),
        ("{context: SIDECAR_OUTBOUND}", true, true, false),
        ("{context: SIDECAR_INBOUND}", false, false, true),
        ("{context: GATEWAY}", false, false, false),
        ("{cluster: {portNumber: 81}}", false, true, false),
        ("{cluster: {portNumber: 8080}}", false, false, true),
        (
            "{cluster: {service: web.default.svc.cluster.local}}",
            true,
            true,
            true,
        ),
        ("{cluster: {service: other}}", false, false, false),
        ("{cluster: {subset: v1}}", false, false, false),
        ("{cluster: {name: 'inbound|8080||'}}", false, false, true),
    ] {
        let got = [out, bytes, inbound].map(|name| patched(by, name));
        assert_eq!(got, [for_out, for_bytes, for_inbound], "{by}");
    }
}

#[test]
fn the_socket_of_a_cluster_is_changed_where_it_stands() {
    let mesh = mesh(&filter(
        "
  - applyTo: CLUSTER
    match: {cluster: {service: web.default.svc.cluster.local}}
    patch:
      operation: MERGE
      value:
        transport_socket:
          name: envoy.transport_sockets.tls
          typed_config:
            '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
            sni: changed.example",
    ));
    let cluster = mesh.cluster(&sidecar("web-1"), "outbound|80||web.default.svc.cluster.local");
    let cluster = cluster.unwrap();
    assert_eq!(cluster.transport_socket, None, "it cannot have both");
    use leno_proto::envoy::config::core::v3::transport_socket::ConfigType;
    use leno_proto::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
    let socket = cluster.transport_socket_matches[0]
        .transport_socket
        .clone()
        .unwrap();
    let Some(ConfigType::TypedConfig(config)) = socket.config_type else {
        panic!("no configuration");
    };
    let context: UpstreamTlsContext = config.unpack().unwrap();
    assert_eq!(context.sni, "changed.example");
    assert!(context.common_tls_context.is_some(), "what is not named stays");
}

#[test]
fn what_is_added_is_in_the_wildcard_and_what_is_removed_is_not() {
    let mesh = mesh(&filter(
        "
  - applyTo: CLUSTER
    patch: {operation: ADD, value: {name: extra, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: extra}}}
  - applyTo: CLUSTER
    match: {context: GATEWAY}
    patch: {operation: ADD, value: {name: for-gateways, type: STATIC, load_assignment: {cluster_name: for-gateways}}}
  - applyTo: CLUSTER
    match: {cluster: {name: BlackHoleCluster}}
    patch: {operation: REMOVE}
  - applyTo: LISTENER
    match: {listener: {portNumber: 80}}
    patch: {operation: REMOVE}",
    ));
    let proxy = envoy("web-1");
    let of = |kind| names(&mesh.0, &proxy, kind).0;
    let clusters = of(ResourceType::Cluster);
    assert!(clusters.iter().any(|name| name == "extra"));
    assert!(
        !clusters
            .iter()
            .any(|name| name == "for-gateways" || name == "BlackHoleCluster")
    );
    assert!(!of(ResourceType::Listener).iter().any(|name| name == "0.0.0.0_80"));
    assert!(mesh.cluster(&sidecar("web-1"), "extra").is_some());
    assert!(mesh.listener(&proxy, "0.0.0.0_80").is_none());
}

#[test]
fn listener_filters_are_inserted_and_removed() {
    let mesh = mesh(&filter(
        "
  - applyTo: LISTENER_FILTER
    match: {context: SIDECAR_INBOUND, listener: {listenerFilter: envoy.filters.listener.tls_inspector}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: proxy_protocol
        typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}
  - applyTo: LISTENER_FILTER
    match: {context: SIDECAR_INBOUND, listener: {listenerFilter: envoy.filters.listener.original_dst}}
    patch: {operation: REMOVE}",
    ));
    let listener = inbound(&mesh);
    let names: Vec<_> = listener
        .listener_filters
        .iter()
        .map(|filter| filter.name.as_str())
        .collect();
    assert_eq!(names, ["proxy_protocol", "envoy.filters.listener.tls_inspector"]);
}

#[test]
fn a_proxy_is_told_by_its_version_and_metadata() {
    let mesh = mesh(&filter(
        r"
  - applyTo: CLUSTER
    match: {proxy: {proxyVersion: '^1\.2[0-9].*', metadata: {TEAM: shop}}}
    patch: {operation: MERGE, value: {connect_timeout: 7s}}",
    ));
    let patched = |metadata: &[(&str, &str)]| {
        let metadata: BTreeMap<String, String> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let proxy = Proxy {
            metadata,
            ..sidecar("web-1")
        };
        let cluster = mesh.cluster(&proxy, "BlackHoleCluster").unwrap();
        cluster
            .connect_timeout
            .is_some_and(|timeout| timeout.seconds == 7)
    };
    assert!(patched(&[("ISTIO_VERSION", "1.28.1"), ("TEAM", "shop")]));
    assert!(!patched(&[("ISTIO_VERSION", "1.30.0"), ("TEAM", "shop")]));
    assert!(!patched(&[("ISTIO_VERSION", "1.28.1"), ("TEAM", "other")]));
    assert!(
        !patched(&[("TEAM", "shop")]),
        "a proxy that does not say its version"
    );
}

#[test]
fn only_the_namespaces_that_matter_are_depended_on_and_others_resources_stay_as_they_are() {
    let plain = mesh(SERVICES);
    let other = filter("\n  - {applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 7s}}}")
        .replace("istio-system", "elsewhere");
    let elsewhere = mesh(&other);
    let ask = |mesh: &Mesh| mesh.ask(&sidecar("web-1"), ResourceType::Cluster, "BlackHoleCluster");
    let (before, after) = (ask(&plain), ask(&elsewhere));
    let keys: Vec<&Key> = before
        .deps
        .iter()
        .filter(|key| matches!(key, Key::EnvoyFilters(_)))
        .collect();
    assert_eq!(
        keys,
        [
            &Key::EnvoyFilters("default".into()),
            &Key::EnvoyFilters("istio-system".into())
        ]
    );
    assert_eq!(before.resource.unwrap().version, after.resource.unwrap().version);
}

#[test]
fn a_change_of_an_envoy_filter_is_a_change_of_its_namespace_only() {
    let read = |yaml: &str| leno_api::read("mesh.yaml", yaml.as_bytes()).objects;
    let patch = |seconds: u32| {
        filter(&format!(
            "\n  - {{applyTo: CLUSTER, patch: {{operation: MERGE, value: {{connect_timeout: {seconds}s}}}}}}"
        ))
    };
    let mut world = World::default();
    let mut apply = |yaml: &str| {
        let change = Change::File {
            file: "mesh.yaml".into(),
            objects: read(yaml),
        };
        world.apply([change], Duration::from_secs(1)).delta.changed
    };
    apply(&patch(1));
    let changed: Vec<Key> = apply(&patch(2)).into_iter().collect();
    assert_eq!(changed, [Key::EnvoyFilters("istio-system".into())]);
}

#[test]
fn envoy_takes_what_is_patched() {
    let mesh = mesh(&filter(&format!(
        "
  - applyTo: HTTP_FILTER
    match: {{listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager}}}}}}}}
    patch: {{operation: INSERT_FIRST, value: {}}}
  - applyTo: NETWORK_FILTER
    match: {{listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager}}}}}}}}
    patch:
      operation: MERGE
      value:
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          common_http_protocol_options: {{idle_timeout: 30s}}
  - applyTo: HTTP_ROUTE
    patch: {{operation: INSERT_FIRST, value: {{match: {{prefix: /teapot}}, direct_response: {{status: 418}}}}}}
  - applyTo: CLUSTER
    match: {{cluster: {{service: web.default.svc.cluster.local}}}}
    patch: {{operation: MERGE, value: {{circuit_breakers: {{thresholds: [{{max_retries: 7}}]}}}}}}
  - applyTo: CLUSTER
    patch: {{operation: ADD, value: {{name: extra, type: STATIC, load_assignment: {{cluster_name: extra}}}}}}
  - applyTo: LISTENER
    patch:
      operation: ADD
      value:
        name: extra
        address: {{socket_address: {{address: 127.0.0.1, port_value: 9}}}}
        filter_chains:
        - filters:
          - name: tcp
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
              stat_prefix: extra
              cluster: extra",
        header("new")
    )));
    accepts("envoy_takes_what_is_patched", &mesh, &envoy("web-1"), &["80"]);
}
