//! The rules of EnvoyFilter, Telemetry, ProxyConfig, WasmPlugin and Ingress.

use leno_api::{Code, Severity, read};

use crate::errors;

fn object(api: &str, kind: &str, spec: &str) -> String {
    format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n{spec}")
}

fn envoy_filter(patch: &str) -> String {
    let spec = format!("  configPatches:\n  - {patch}\n");
    object("networking.istio.io/v1alpha3", "EnvoyFilter", &spec)
}

fn codes(text: &str) -> Vec<Code> {
    errors(text).into_iter().map(|(code, _)| code).collect()
}

/// Each is refused for its own reason, and the first is not refused at all.
fn check(good: &str, bad: &[(&str, Code)], wrap: impl Fn(&str) -> String) {
    assert_eq!(codes(&wrap(good)), [], "{good}");
    for (text, code) in bad {
        assert_eq!(codes(&wrap(text)), [*code], "{text}");
    }
}

#[test]
fn envoy_filter_rules() {
    let merge = "patch: {operation: MERGE, value: {name: a}}";
    let bad = [
        (format!("{{{merge}}}"), Code::MissingField),
        ("{applyTo: CLUSTER}".into(), Code::MissingField),
        ("{applyTo: CLUSTER, patch: {value: {name: a}}}".into(), Code::MissingField),
        ("{applyTo: CLUSTER, patch: {operation: MERGE}}".into(), Code::MissingField),
        (format!("{{applyTo: CLUSTERS, {merge}}}"), Code::WrongValue),
        (
            format!("{{applyTo: CLUSTER, match: {{listener: {{}}}}, {merge}}}"),
            Code::BadCombination,
        ),
        (
            format!("{{applyTo: CLUSTER, match: {{cluster: {{}}, listener: {{}}}}, {merge}}}"),
            Code::BadCombination,
        ),
        (
            format!("{{applyTo: CLUSTER, match: {{proxy: {{proxyVersion: '('}}}}, {merge}}}"),
            Code::BadRegex,
        ),
        (
            format!("{{applyTo: CLUSTER, match: {{cluster: {{portNumber: 70000}}}}, {merge}}}"),
            Code::OutOfRange,
        ),
        (
            format!("{{applyTo: CLUSTER, match: {{context: WAYPOINT}}, {merge}}}"),
            Code::BadCombination,
        ),
        (
            format!("{{applyTo: HTTP_FILTER, match: {{listener: {{filterChain: {{filter: {{}}}}}}}}, {merge}}}"),
            Code::MissingField,
        ),
        (
            format!(
                "{{applyTo: NETWORK_FILTER, match: {{listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager, subFilter: {{name: b}}}}}}}}}}, {merge}}}"
            ),
            Code::BadCombination,
        ),
        (
            format!(
                "{{applyTo: HTTP_FILTER, match: {{listener: {{filterChain: {{filter: {{name: b, subFilter: {{name: c}}}}}}}}}}, {merge}}}"
            ),
            Code::BadCombination,
        ),
        ("{applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {}}}".into(), Code::NotServed),
        (
            "{applyTo: CLUSTER, patch: {operation: MERGE, value: {nam: a}}}".into(),
            Code::BadPatch,
        ),
        (
            "{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 5}}}".into(),
            Code::BadPatch,
        ),
        (
            "{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {name: a, typed_config: {'@type': type.googleapis.com/no.such.Type}}}}".into(),
            Code::BadPatch,
        ),
    ];
    let bad: Vec<(&str, Code)> = bad.iter().map(|(text, code)| (text.as_str(), *code)).collect();
    check(&format!("{{applyTo: CLUSTER, {merge}}}"), &bad, envoy_filter);
}

#[test]
fn what_is_wrong_in_a_patch_is_shown_where_it_is_written() {
    let text = "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: a}
spec:
  configPatches:
  - applyTo: CLUSTER
    patch:
      operation: MERGE
      value:
        circuit_breakers:
          thresholds:
          - max_connections: 1
          - max_conections: 2
";
    let parsed = read("a.yaml", text.as_bytes());
    let found = &parsed.diagnostics[0];
    assert_eq!((found.place.line, found.place.column), (13, 13));
    assert_eq!(
        found.path,
        "spec.configPatches[0].patch.value.circuit_breakers.thresholds[1].max_conections"
    );
    assert!(
        found.message.contains("did you mean `max_connections`?"),
        "{}",
        found.message
    );
    assert_eq!(parsed.rejected.len(), 1);
    // Its neighbour is good, and is kept.
    let both = format!(
        "{text}---\n{}",
        envoy_filter("{applyTo: CLUSTER, patch: {operation: REMOVE}}")
    );
    assert_eq!(read("a.yaml", both.as_bytes()).objects.len(), 1);
}

#[test]
fn what_istio_passes_over_is_warned_of() {
    let warned = |patch: &str| {
        let parsed = read("a.yaml", envoy_filter(patch).as_bytes());
        let warnings = parsed
            .diagnostics
            .iter()
            .filter(|found| found.severity == Severity::Warning);
        warnings.map(|found| found.code).collect::<Vec<_>>()
    };
    assert_eq!(
        warned("{applyTo: HTTP_FILTER, patch: {operation: REMOVE}}"),
        [Code::NoEffect]
    );
    assert_eq!(
        warned("{applyTo: ROUTE_CONFIGURATION, patch: {operation: ADD, value: {name: a}}}"),
        [Code::NoEffect]
    );
    assert_eq!(
        warned("{applyTo: CLUSTER, patch: {operation: REPLACE, value: {name: a}}}"),
        [Code::NoEffect]
    );
    assert_eq!(
        warned(
            "{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: envoy.tcp_proxy}}}}, patch: {operation: REMOVE}}"
        ),
        [Code::FormerName]
    );
    assert_eq!(warned("{applyTo: CLUSTER, patch: {operation: REMOVE}}"), []);
}

#[test]
fn telemetry_rules() {
    let bad = [
        ("  tracing: [{randomSamplingPercentage: 101}]\n", Code::OutOfRange),
        ("  tracing: [{customTags: {a: {}}}]\n", Code::OneOf),
        (
            "  tracing: [{customTags: {a: {literal: {value: x}, header: {name: y}}}}]\n",
            Code::OneOf,
        ),
        (
            "  tracing: [{customTags: {a: {header: {name: ''}}}}]\n",
            Code::Empty,
        ),
        (
            "  accessLogging: [{filter: {expression: 'a ==='}}]\n",
            Code::BadExpression,
        ),
        ("  accessLogging: [{providers: [{name: ''}]}]\n", Code::Empty),
        ("  accessLogging: [{match: {mode: BOTH}}]\n", Code::WrongValue),
        (
            "  metrics: [{overrides: [{match: {metric: REQUEST_COUNT, customMetric: a}}]}]\n",
            Code::BadCombination,
        ),
        (
            "  selector: {matchLabels: {a: b}}\n  targetRefs: [{group: networking.istio.io, kind: Gateway, name: a}]\n",
            Code::BadCombination,
        ),
    ];
    let good = "  accessLogging: [{filter: {expression: 'response.code >= 400'}}]\n";
    check(good, &bad, |spec| {
        object("telemetry.istio.io/v1", "Telemetry", spec)
    });
}

#[test]
fn provider_rules() {
    let provider = |said: &str| format!("kind: MeshConfig\nextensionProviders:\n- {{name: a, {said}}}\n");
    let bad = [
        ("envoyFileAccessLog: {}", Code::MissingField),
        (
            "envoyFileAccessLog: {path: /a, logFormat: {text: '%STRTA_TIME%'}}",
            Code::BadAccessLogFormat,
        ),
        (
            "envoyFileAccessLog: {path: /a, logFormat: {labels: {a: '%STRTA_TIME%'}}}",
            Code::BadAccessLogFormat,
        ),
        ("zipkin: {service: 'http://a', port: 1}", Code::BadHost),
        ("opentelemetry: {service: a.b, port: 0}", Code::OutOfRange),
        ("envoyOtelAls: {service: a.b}", Code::OutOfRange),
        ("zipkin: {service: a.b, port: 1, timeout: 1s}", Code::NotServed),
    ];
    check("zipkin: {service: a.b, port: 1}", &bad, provider);
}

#[test]
fn a_plugin_that_lets_in_is_an_error_and_another_a_warning() {
    let plugin = |more: &str| {
        let spec = format!("  url: oci://a/b\n{more}");
        object("extensions.istio.io/v1alpha1", "WasmPlugin", &spec)
    };
    assert_eq!(codes(&plugin("")), []);
    assert_eq!(codes(&plugin("  phase: STATS\n")), []);
    assert_eq!(codes(&plugin("  phase: AUTHN\n")), [Code::NotServed]);
    assert_eq!(codes(&plugin("  phase: AUTHZ\n")), [Code::NotServed]);
    let parsed = read("a.yaml", plugin("").as_bytes());
    assert_eq!(parsed.diagnostics[0].code, Code::NotServed);
}

#[test]
fn other_meshes_objects_are_refused_by_name_and_those_that_protect_are_errors() {
    let of = |api: &str, kind: &str| {
        let parsed = read("a.yaml", object(api, kind, "  {}\n").as_bytes());
        let found = &parsed.diagnostics[0];
        assert!(
            found.message.contains("is not served by leno yet"),
            "{}",
            found.message
        );
        (found.code, found.severity)
    };
    let (code, warning, error) = (Code::NotServed, Severity::Warning, Severity::Error);
    assert_eq!(of("linkerd.io/v1alpha2", "ServiceProfile"), (code, warning));
    assert_eq!(of("split.smi-spec.io/v1alpha4", "TrafficSplit"), (code, warning));
    assert_eq!(
        of("specs.smi-spec.io/v1alpha4", "HTTPRouteGroup"),
        (code, warning)
    );
    assert_eq!(of("access.smi-spec.io/v1alpha3", "TrafficTarget"), (code, error));
    assert_eq!(
        of("policy.linkerd.io/v1alpha1", "AuthorizationPolicy"),
        (code, error)
    );
}

#[test]
fn ingress_rules() {
    let path = |path: &str| {
        format!(
            "  rules: [{{http: {{paths: [{{{path}, backend: {{service: {{name: a, port: {{number: 80}}}}}}}}]}}}}]\n"
        )
    };
    let backend = |backend: &str| format!("  defaultBackend: {backend}\n");
    let bad = [
        ("  rules: []\n".to_owned(), Code::MissingField),
        (path("path: a, pathType: Exact"), Code::BadPath),
        (path("path: /a//b, pathType: Prefix"), Code::BadPath),
        (path("path: /a/%2F, pathType: Exact"), Code::BadPath),
        (path("path: /a"), Code::MissingField),
        (path("path: /a, pathType: Regex"), Code::WrongValue),
        (backend("{service: {name: a, port: {}}}"), Code::OneOf),
        (backend("{service: {name: a, port: {name: b, number: 1}}}"), Code::OneOf),
        (backend("{service: {name: A, port: {number: 1}}}"), Code::BadName),
        (backend("{resource: {kind: B, name: c}}"), Code::NotServed),
        (
            "  rules: [{host: 10.0.0.1, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]\n"
                .to_owned(),
            Code::BadHost,
        ),
    ];
    for (spec, code) in &bad {
        let found = codes(&object("networking.k8s.io/v1", "Ingress", spec));
        assert!(found.contains(code), "{spec}: {found:?}");
    }
    let good = path("path: /, pathType: Prefix");
    assert_eq!(codes(&object("networking.k8s.io/v1", "Ingress", &good)), []);
    assert_eq!(
        codes(&object("networking.k8s.io/v1beta1", "Ingress", &good)),
        [Code::UnknownKind]
    );
}
