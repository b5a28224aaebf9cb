//! AuthorizationPolicies by their meaning: Istio's own cases (`istio-authz` of the public cases), where the RBAC that
//! istiod makes of a policy is given. On requests that hit and miss every condition of every rule, three must agree: the
//! real Envoy under the given RBAC, leno's engine under the given RBAC, and leno's engine under what leno makes of the
//! policy.
//!
//! What stands in `aside.txt` is not compared, for the reason that is given there; an entry that is not needed fails.

mod facts;
mod given;
mod live;
mod own;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use leno_proto::envoy::config::listener::v3::filter::ConfigType;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use leno_proto::{FromAny, ToAny};

use facts::{Facts, requests};
use given::{Guards, Local};

const ASIDE: &str = include_str!("aside.txt");

/// Another input than that of the same name.
const INPUTS: [(&str, &str); 4] = [
    ("http/custom-bad", "http/custom-simple-http"),
    ("http/custom-grpc-provider", "http/custom-simple-http"),
    (
        "http/custom-grpc-provider-no-namespace",
        "http/custom-simple-http",
    ),
    ("http/custom-http-provider", "http/custom-simple-http"),
];

/// The MeshConfig of Istio's test of these files.
const PROVIDERS: [(&str, &str); 4] = [
    ("http/custom-grpc-provider", OF_GRPC),
    ("http/custom-grpc-provider-no-namespace", OF_GRPC_NO_NAMESPACE),
    ("http/custom-http-provider", OF_HTTP),
    ("tcp/custom-both-http-tcp", OF_GRPC),
];

const OF_GRPC: &str = "
---
kind: MeshConfig
extensionProviders:
- name: default
  envoyExtAuthzGrpc:
    service: foo/my-custom-ext-authz.foo.svc.cluster.local
    port: 9000
    timeout: 2ms
    failOpen: true
    statusOnError: \"403\"
    includeRequestBodyInCheck: {maxRequestBytes: 4096, allowPartialMessage: true}
---
apiVersion: v1
kind: Service
metadata: {name: my-custom-ext-authz, namespace: foo}
spec: {ports: [{name: grpc, port: 9000}]}
";

const OF_GRPC_NO_NAMESPACE: &str = "
---
kind: MeshConfig
extensionProviders:
- name: default
  envoyExtAuthzGrpc:
    service: my-custom-ext-authz.foo.svc.cluster.local
    port: 9000
    failOpen: true
    statusOnError: \"403\"
---
apiVersion: v1
kind: Service
metadata: {name: my-custom-ext-authz, namespace: foo}
spec: {ports: [{name: grpc, port: 9000}]}
";

const OF_HTTP: &str = "
---
kind: MeshConfig
extensionProviders:
- name: default
  envoyExtAuthzHttp:
    service: foo/my-custom-ext-authz.foo.svc.cluster.local
    port: 9000
    timeout: 10s
    failOpen: true
    statusOnError: \"403\"
    pathPrefix: /check
    includeRequestHeadersInCheck: [x-custom-id, x-prefix-*, \"*-suffix\"]
    includeHeadersInCheck: [should-not-include-when-IncludeRequestHeadersInCheck-is-set]
    includeAdditionalHeadersInCheck: {x-header-1: value-1, x-header-2: value-2}
    includeRequestBodyInCheck: {maxRequestBytes: 2048, allowPartialMessage: true, packAsBytes: true}
    headersToUpstreamOnAllow: [Authorization, x-prefix-*, \"*-suffix\"]
    headersToDownstreamOnDeny: [Set-cookie, x-prefix-*, \"*-suffix\"]
    headersToDownstreamOnAllow: [Set-cookie, x-prefix-*, \"*-suffix\"]
---
apiVersion: v1
kind: Service
metadata: {name: my-custom-ext-authz, namespace: foo}
spec: {ports: [{name: http, port: 9000}]}
";

/// The trust domain and its aliases, as Istio's test of these files sets them.
const TRUST: [(&str, &[&str]); 4] = [
    ("http/simple-policy-td-aliases", &["td1", "cluster.local"]),
    (
        "http/simple-policy-multiple-td-aliases",
        &["td1", "cluster.local", "some-td"],
    ),
    ("http/simple-policy-principal-with-wildcard", &["td1", "foobar"]),
    (
        "http/td-aliases-source-principal",
        &["new-td", "old-td", "some-trustdomain"],
    ),
];

fn cases() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = std::env::var_os("LENO_CASES").map_or_else(|| root.join("../shared/cases"), PathBuf::from);
    let path = path.join("istio-authz");
    if !path.is_dir() {
        leno_testkit::skip("Istio's cases of AuthorizationPolicy", "LENO_CASES not found");
        return None;
    }
    Some(path)
}

/// One input with one set of outputs.
#[derive(Debug, Default)]
struct Case {
    name: String,
    input: String,
    outputs: Vec<String>,
    trust: Vec<String>,
}

/// By name; those that stand aside are left out.
fn all(root: &Path) -> Vec<Case> {
    let mut aside: BTreeMap<&str, &str> = ASIDE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .collect();
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for directory in ["http", "tcp"] {
        let mut files: Vec<String> = std::fs::read_dir(root.join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("-out"))
            .collect();
        files.sort();
        for file in files {
            let name = format!("{directory}/{file}");
            if aside.remove(name.as_str()).is_some() {
                continue;
            }
            let (case, _) = file.split_once("-out").unwrap();
            let stem = format!("{directory}/{}", case.strip_prefix("extended-").unwrap_or(case));
            let input = INPUTS
                .iter()
                .find(|(of, _)| *of == stem)
                .map_or(stem.as_str(), |(_, other)| other);
            let mut input = std::fs::read_to_string(root.join(format!("{input}-in.yaml"))).unwrap();
            let providers = PROVIDERS.iter().find(|(of, _)| *of == stem);
            input.push_str(providers.map_or("", |(_, providers)| providers));
            let output = std::fs::read_to_string(root.join(&name)).unwrap();
            let trust = TRUST
                .iter()
                .find(|(of, _)| *of == stem)
                .map_or(&["cluster.local"][..], |(_, trust)| trust);
            let of = cases.entry(format!("{directory}/{case}")).or_default();
            of.name = format!("{directory}/{case}");
            of.input = input;
            of.outputs.push(output);
            of.trust = trust.iter().map(|name| (*name).to_owned()).collect();
        }
    }
    assert!(aside.is_empty(), "aside for what is not there: {aside:?}");
    cases.into_values().collect()
}

/// A case, made ready.
struct Ready {
    name: String,
    tcp: bool,
    requests: Vec<Facts>,
    /// The given filters, as JSON.
    filters: Vec<serde_json::Value>,
    given: Guards,
    own: Guards,
}

fn ready(case: &Case) -> Ready {
    let mut local = Local::default();
    let input = local.text(&case.input);
    let filters: Vec<serde_json::Value> = case
        .outputs
        .iter()
        .map(|text| serde_saphyr::from_str(&local.text(text)).unwrap())
        .collect();
    let tcp = case.name.starts_with("tcp/");
    let own = own::Mesh::new(&input, &case.trust);
    Ready {
        name: case.name.clone(),
        tcp,
        requests: requests(&own.rules()),
        given: Guards::given(&filters, tcp),
        own: own.guards(tcp),
        filters,
    }
}

#[test]
fn istios_own_cases_mean_the_same() {
    let Some(root) = cases() else { return };
    let mut wrong = String::new();
    let (mut asked, mut denied, mut files) = (0, 0, BTreeSet::new());
    for case in all(&root) {
        let ready = ready(&case);
        files.insert(ready.name.clone());
        for request in &ready.requests {
            asked += 1;
            let (given, own) = (ready.given.denies(request), ready.own.denies(request));
            denied += usize::from(given);
            if given != own {
                let _ = writeln!(
                    wrong,
                    "{}: given denies {given}, own {own}: {request:?}",
                    ready.name
                );
            }
        }
    }
    println!("{} files, {asked} requests, {denied} denied", files.len());
    assert!(asked > 500 && denied > 100 && denied < asked, "{asked} {denied}");
    assert!(wrong.is_empty(), "{wrong}");
}

/// The filters that ask an authorizer, as they are made for each case whose provider is there; and whom they are for.
#[test]
fn istios_authorizers_are_asked_the_same_about_the_same() {
    let Some(root) = cases() else { return };
    let (mut wrong, mut asked, mut compared) = (String::new(), 0, 0);
    for case in all(&root) {
        let stem = case.name.replace("extended-", "");
        if !PROVIDERS.iter().any(|(of, _)| *of == stem) {
            continue;
        }
        let tcp = case.name.starts_with("tcp/");
        let mut local = Local::default();
        let own = own::Mesh::new(&local.text(&case.input), &case.trust);
        let filters = case.outputs.iter();
        let filters: Vec<serde_json::Value> = filters
            .map(|text| serde_saphyr::from_str(&local.text(text)).unwrap())
            .collect();
        for filter in &filters {
            if filter["name"].as_str().unwrap().ends_with("ext_authz") {
                compared += 1;
                assert_eq!(own.asks(tcp), own::asks_as(filter, tcp), "{}", case.name);
            }
        }
        let (given, own) = (
            Guards::given(&own::enforced(&filters), tcp),
            own.guards_if_asked(tcp),
        );
        for request in requests(&own::Mesh::new(&local.text(&case.input), &case.trust).rules()) {
            let (there, here) = (given.denies(&request), own.denies(&request));
            asked += usize::from(there);
            if there != here {
                let _ = writeln!(
                    wrong,
                    "{}: given asks {there}, own {here}: {request:?}",
                    case.name
                );
            }
        }
    }
    println!("{compared} filters, {asked} asked");
    assert!(compared >= 7 && asked > 10, "{compared} {asked}");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn envoy_under_istios_rbac_decides_as_leno_does() {
    let Some(root) = cases() else { return };
    let Some(program) = live::program("envoy_under_istios_rbac_decides_as_leno_does") else {
        return;
    };
    let mut wrong = String::new();
    let mut asked = 0;
    for case in all(&root) {
        let ready = ready(&case);
        let envoy = live::Envoy::start(&program, &ready.filters, ready.tcp);
        for request in &ready.requests {
            asked += 1;
            let (there, own) = (envoy.denies(request), ready.own.denies(request));
            if there != own {
                let _ = writeln!(
                    wrong,
                    "{}: Envoy denies {there}, leno {own}: {request:?}",
                    ready.name
                );
            }
        }
    }
    println!("{asked} requests");
    assert!(wrong.is_empty(), "{wrong}");
}

/// The names and kinds of what guards a listener's chains, in order.
fn guards(listener: &leno_proto::envoy::config::listener::v3::Listener, chain: &str) -> Vec<String> {
    let found = listener.filter_chains.iter().find(|known| known.name == chain);
    let found = found.unwrap_or_else(|| panic!("{:?}", listener.filter_chains));
    let mut all: Vec<String> = found.filters.iter().map(|filter| filter.name.clone()).collect();
    for filter in &found.filters {
        let Some(config) = &filter.config_type else {
            continue;
        };
        let ConfigType::TypedConfig(any) = config else {
            continue;
        };
        if let Ok(manager) = any.unpack::<HttpConnectionManager>() {
            all.extend(manager.http_filters.iter().map(|filter| filter.name.clone()));
        }
    }
    all
}

#[test]
fn each_action_has_its_filter_in_istios_order_and_connections_theirs() {
    let input = ["AUDIT", "DENY", "ALLOW"].map(|action| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {}, namespace: foo}}\nspec: {{action: {action}, rules: [{{}}]}}\n---\n",
            action.to_lowercase()
        )
    });
    let mesh = own::Mesh::new(&input.concat(), &["cluster.local".to_owned()]);
    let listener = mesh.listener();
    let manager = "envoy.filters.network.http_connection_manager";
    let of_requests = guards(&listener, "0.0.0.0_80-mtls-http");
    let http = "envoy.filters.http.rbac";
    let of_http: Vec<&str> = of_requests
        .iter()
        .map(String::as_str)
        .filter(|name| *name == http || *name == manager)
        .collect();
    assert_eq!(of_http, [manager, http, http, http]);
    let network = "envoy.filters.network.rbac";
    let proxy = "envoy.filters.network.tcp_proxy";
    assert_eq!(
        guards(&listener, "0.0.0.0_81-plain-tls"),
        [network, network, network, proxy]
    );
}

#[test]
fn a_grpc_library_gets_filters_that_differ_by_name_and_no_templates() {
    let input = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: foo}\nspec: {rules: [{to: [{operation: {paths: [\"/a.b/{*}\", \"/{**}/x\"]}}]}]}\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: b, namespace: foo}\nspec: {action: DENY, rules: [{to: [{operation: {paths: [/no]}}]}]}\n";
    let mesh = own::Mesh::new(input, &["cluster.local".to_owned()]);
    let mut listener = mesh.grpc_listener();
    let names = guards(&listener, "inbound");
    let rbac: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.contains("http.rbac"))
        .collect();
    assert_eq!(rbac, ["envoy.filters.http.rbac-0", "envoy.filters.http.rbac-1"]);
    let said = format!("{listener:?}");
    assert!(!said.contains("uri_template"), "{said}");
    // Certificates and the application's own calls are only gRPC's to understand.
    let chain = &mut listener.filter_chains[0];
    chain.transport_socket = None;
    let Some(ConfigType::TypedConfig(config)) = &mut chain.filters[0].config_type else {
        panic!("{chain:?}");
    };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration::default())),
        ..config.unpack().unwrap()
    };
    *config = manager.to_any();
    let guards = Guards::of(&listener);
    let asks = |path: &str| guards.denies(&Facts::asking(path));
    assert!(!asks("/a.b/method") && !asks("/p/q/x"));
    assert!(asks("/axb/method") && asks("/a.b/c/d") && asks("/no"));
}

#[test]
fn a_policy_for_a_gateway_guards_that_gateways_port_and_nothing_else() {
    let policy = |name: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: for-{name}, namespace: foo}}\nspec: {{action: DENY, targetRefs: [{{group: networking.istio.io, kind: Gateway, name: {name}}}], rules: [{{to: [{{operation: {{paths: [/{name}]}}}}]}}]}}\n---\n"
        )
    };
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: foo}\nspec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]}\n";
    let input = policy("edge") + &policy("other") + gateway;
    let mesh = own::Mesh::new(&input, &["cluster.local".to_owned()]);
    let guards = Guards::of(&mesh.gateway_listener());
    let denies = |path: &str| guards.denies(&Facts::asking(path));
    assert_eq!((denies("/edge"), denies("/other")), (true, false));
    assert!(!mesh.guards(false).denies(&Facts::asking("/edge")));
}
