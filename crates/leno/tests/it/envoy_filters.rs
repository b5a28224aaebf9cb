//! EnvoyFilter and Telemetry: what they say of a proxy is the same to see whether the proxy is leno's or a stock Envoy.

use std::process::Output;

use leno_testkit::{Process, eventually};

use crate::pod::Pod;
use crate::support::{SERVICE, stdout};

/// Each part of it shows in an answer of `reviews` or of a call to it.
const FILTERS: &str = r#"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: changes, namespace: istio-system}
spec:
  configPatches:
  # A header of answers, by a filter before the router.
  - applyTo: HTTP_FILTER
    match: &inbound
      context: SIDECAR_INBOUND
      listener:
        filterChain:
          filter:
            name: envoy.filters.network.http_connection_manager
            subFilter: {name: envoy.filters.http.router}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.header_mutation
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
          mutations:
            response_mutations: [{append: {header: {key: x-filter, value: inserted}}}]
  # Istio's sample: a filter that is there for a route that has a limit.
  - applyTo: HTTP_FILTER
    match: *inbound
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          "@type": type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          value: {stat_prefix: http_local_rate_limiter}
  - applyTo: HTTP_ROUTE
    match:
      context: SIDECAR_INBOUND
      routeConfiguration: {vhost: {name: "inbound|http|9080"}}
    patch:
      operation: INSERT_FIRST
      value:
        match: {prefix: /limited}
        route: {cluster: "inbound|9080||"}
        typed_per_filter_config:
          envoy.filters.http.local_ratelimit:
            "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            stat_prefix: limited
            token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s}
            filter_enabled: {default_value: {numerator: 100}}
            filter_enforced: {default_value: {numerator: 100}}
            response_headers_to_add: [{header: {key: x-local-rate-limit, value: "true"}}]
  # What is merged into the routes of a port shows in each answer.
  - applyTo: ROUTE_CONFIGURATION
    match: {context: SIDECAR_INBOUND, routeConfiguration: {portNumber: 9080}}
    patch:
      operation: MERGE
      value: {response_headers_to_add: [{header: {key: x-routes, value: merged}}]}
  # The caller's side.
  - applyTo: HTTP_ROUTE
    match:
      context: SIDECAR_OUTBOUND
      routeConfiguration: {vhost: {name: "reviews.default.svc.cluster.local:9080"}}
    patch:
      operation: INSERT_FIRST
      value: {match: {prefix: /teapot}, direct_response: {status: 418}}
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {service: reviews.default.svc.cluster.local}}
    patch:
      # The cluster has thresholds already, of which Envoy takes the first.
      operation: MERGE_AND_REPLACE_LIST
      value: {circuit_breakers: {thresholds: [{max_retries: 7}]}}
  - applyTo: NETWORK_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
    patch:
      operation: MERGE
      value:
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          via: changed
"#;

const TELEMETRY: &str = "
kind: MeshConfig
extensionProviders:
- {name: errors, envoyFileAccessLog: {path: LOG, logFormat: {text: 'logged %REQ(:PATH)% %RESPONSE_CODE%'}}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: errors, namespace: istio-system}
spec:
  accessLogging:
  - match: {mode: SERVER}
    providers: [{name: errors}]
    filter: {expression: 'response.code >= 400'}
";

fn reviews(pod: &Pod, on_leno: bool) -> Vec<Process> {
    let version = "v1";
    if on_leno {
        let server = pod.server(version);
        let command: Vec<&str> = server.iter().map(String::as_str).collect();
        return vec![pod.run(&["--service", "reviews", "--port", "9080"], &command)];
    }
    let agent = pod.agent(&["--service", "reviews", "--port", "9080:http"]);
    vec![pod.application(version), agent]
}

/// Status and head of an answer, in lower case.
fn ask(call: &dyn Fn(&[&str]) -> Output, path: &str) -> String {
    let url = format!("http://reviews:9080{path}");
    let output = call(&["-s", "-m", "10", "-o", "/dev/null", "-D", "-", &url]);
    stdout(&output).to_ascii_lowercase()
}

#[test]
fn a_filter_shows_the_same_on_leno_and_on_envoy() {
    let test = "a_filter_shows_the_same_on_leno_and_on_envoy";
    let Some(pod) = Pod::start(test, &[("reviews.yaml", SERVICE), ("filters.yaml", FILTERS)]) else {
        return;
    };
    // The one is asked by the other: each is once the server and once the client.
    for on_leno in [true, false] {
        let _servers = reviews(&pod, on_leno);
        pod.wait_for(&["reviews"]);
        let from_leno = |args: &[&str]| pod.client(&[&["curl"], args].concat());
        let status = |path: &str| {
            ask(&from_leno, path)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let answer = eventually("reviews answers", || {
            let answer = ask(&from_leno, "/");
            if answer.contains(" 200") {
                Ok(answer)
            } else {
                Err(answer)
            }
        });
        for header in ["x-filter: inserted", "x-routes: merged", "via: changed"] {
            assert!(
                answer.contains(header),
                "on leno: {on_leno}, no {header}: {answer}"
            );
        }
        assert!(status("/limited").contains(" 200"));
        let limited = ask(&from_leno, "/limited");
        assert!(
            limited.contains(" 429") && limited.contains("x-local-rate-limit: true"),
            "{limited}"
        );
        assert!(status("/teapot").contains(" 418"));
        if !on_leno {
            let from_envoy = |args: &[&str]| pod.inside("curl", args);
            assert!(ask(&from_envoy, "/teapot").contains(" 418"));
            let clusters = pod.inside("curl", &["-s", "-m", "5", "http://127.0.0.1:15000/clusters"]);
            let retries = "reviews.default.svc.cluster.local::default_priority::max_retries::7";
            assert!(stdout(&clusters).contains(retries), "{}", stdout(&clusters));
            let rejected: u64 = pod.stats("update_rejected").iter().map(|(_, n)| n).sum();
            assert_eq!(rejected, 0);
        }
        assert!(!stdout(&pod.leno(&["status"])).contains("REJECTED"));
    }
}

#[test]
fn a_log_of_what_an_expression_is_true_of_is_the_same_on_leno_and_on_envoy() {
    let test = "a_log_of_what_an_expression_is_true_of_is_the_same_on_leno_and_on_envoy";
    let Some(pod) = Pod::start(test, &[("reviews.yaml", SERVICE)]) else {
        return;
    };
    let log = pod.user.write("requests.log", "");
    let telemetry = TELEMETRY.replace("LOG", &log.display().to_string());
    pod.user.write("mesh/telemetry.yaml", &telemetry);
    for on_leno in [true, false] {
        std::fs::write(&log, "").unwrap();
        let servers = reviews(&pod, on_leno);
        pod.wait_for(&["reviews"]);
        let from_leno = |args: &[&str]| pod.client(&[&["curl"], args].concat());
        let lines = eventually("what has failed is logged", || {
            ask(&from_leno, "/status/200");
            ask(&from_leno, "/status/418");
            let text = std::fs::read_to_string(&log).unwrap();
            if text.contains("logged /status/418 418\n") {
                Ok(text)
            } else {
                Err(text)
            }
        });
        assert!(!lines.contains("/status/200"), "on leno: {on_leno}: {lines}");
        drop(servers);
    }
}

/// Writes down what it is sent.
const COLLECTOR: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        length, body = self.headers.get("content-length"), b""
        if length is not None:
            body = self.rfile.read(int(length))
        while length is None:
            chunk = self.rfile.read(int(self.rfile.readline(), 16)); self.rfile.readline()
            if not chunk: break
            body += chunk
        with open(sys.argv[1], "ab") as file: file.write(body + b"\n")
        self.send_response(202); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 9411), Handler).serve_forever()
"#;

const TRACES: &str = "
kind: MeshConfig
extensionProviders:
- {name: zipkin, zipkin: {service: zipkin.default.svc.cluster.local, port: 9411}}
---
apiVersion: v1
kind: Service
metadata: {name: zipkin}
spec: {selector: {app: zipkin}, ports: [{name: http, port: 9411}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: traces, namespace: istio-system}
spec:
  tracing:
  - match: {mode: SERVER}
    providers: [{name: zipkin}]
    randomSamplingPercentage: 100
    customTags: {team: {literal: {value: shop}}}
";

#[test]
fn spans_of_leno_and_of_envoy_reach_a_collector_in_the_mesh() {
    let test = "spans_of_leno_and_of_envoy_reach_a_collector_in_the_mesh";
    let Some(pod) = Pod::start(test, &[("reviews.yaml", SERVICE), ("traces.yaml", TRACES)]) else {
        return;
    };
    let spans = pod.user.write("spans.json", "").display().to_string();
    let script = pod.user.write("collector.py", COLLECTOR).display().to_string();
    let _collector = pod.run(
        &["--service", "zipkin", "--port", "9411:http"],
        &["python3", &script, &spans],
    );
    for on_leno in [true, false] {
        let servers = reviews(&pod, on_leno);
        pod.wait_for(&["reviews", "zipkin"]);
        let from_leno = |args: &[&str]| pod.client(&[&["curl"], args].concat());
        let path = format!("/traced-{on_leno}");
        let text = eventually("a span is there", || {
            ask(&from_leno, &path);
            let text = std::fs::read_to_string(&spans).unwrap();
            if text.contains(&path) { Ok(text) } else { Err(text) }
        });
        let of_path = text.lines().find(|line| line.contains(&path)).unwrap();
        for tag in ["\"team\":\"shop\"", "\"istio.canonical_service\":\"reviews\""] {
            assert!(of_path.contains(tag), "on leno: {on_leno}, no {tag}: {of_path}");
        }
        drop(servers);
    }
}
