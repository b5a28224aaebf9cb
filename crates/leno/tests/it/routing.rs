//! Retries, timeouts, precedence, and what the access log says of each.

use leno_testkit::{Mesh, Process, eventually};

use crate::client::{curl, serve};
use crate::support::{mesh, reviews, stdout};

/// One line a request; what the format asks for and the connection does not have is `-`.
const ACCESS_LOG: &str = r#"
accessLogFile: /dev/stdout
accessLogFormat: "LOG %REQ(:PATH)% code=%RESPONSE_CODE% flags=%RESPONSE_FLAGS% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% cluster=%UPSTREAM_CLUSTER% client=%DOWNSTREAM_PEER_URI_SAN% self=%DOWNSTREAM_LOCAL_URI_SAN% server=%UPSTREAM_PEER_URI_SAN%\n"
"#;

/// `/fail/N` fails N times before it succeeds, telling which attempt that was; `/slow` takes its time; `/rule` tells
/// which rule brought the request here.
const SERVER: &str = r#"
import http.server, collections, time
failures = collections.Counter()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        code, body = 200, self.headers.get("x-rule", "none")
        if self.path.startswith("/fail/"):
            failures[self.path] += 1
            if failures[self.path] <= int(self.path.split("/")[2]): code = 503
            body = "attempt " + self.headers.get("x-envoy-attempt-count", "?")
        if self.path == "/slow": time.sleep(3)
        self.send_response(code); self.send_header("content-length", str(len(body) + 1)); self.end_headers()
        self.wfile.write(body.encode() + b"\n")
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 9080), Handler).serve_forever()
"#;

const URL: &str = "http://reviews:9080";

#[track_caller]
fn start(mesh: &Mesh) -> Process {
    let args = [
        "--service",
        "reviews",
        "--service-account",
        "reviews",
        "--port",
        "9080",
    ];
    let server = serve(mesh, &args, "routed.py", SERVER);
    mesh.wait_for_instances("reviews", 1);
    server
}

fn virtual_service(http: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - route: [{{destination: {{host: reviews}}}}]
    {http}
"
    )
}

/// The status and body of a call, and the line that the client's sidecar logged of it.
#[track_caller]
fn call(mesh: &Mesh, path: &str) -> (String, String) {
    let url = format!("{URL}{path}");
    let output = mesh.client(&["curl", "-sS", "--max-time", "20", &url, "-w", "%{http_code}"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said
        .lines()
        .find(|line| line.starts_with(&format!("LOG {path} ")));
    (
        stdout(&output),
        line.unwrap_or_else(|| panic!("no line: {said}")).to_owned(),
    )
}

#[test]
fn failures_are_retried_as_often_as_the_route_says() {
    let route = virtual_service("retries: {attempts: 2, perTryTimeout: 5s, retryOn: 5xx}");
    let mesh = mesh()
        .file("mesh.yaml", ACCESS_LOG)
        .file("route.yaml", &route)
        .start();
    let _workload = start(&mesh);
    let (answer, line) = call(&mesh, "/fail/2");
    assert_eq!(answer, "attempt 3\n200");
    assert!(line.contains("code=200 flags=- attempts=3 "), "{line}");
    // One failure more than there are attempts: the last answer passes, and the log says why.
    let (answer, line) = call(&mesh, "/fail/3");
    assert_eq!(answer, "attempt 3\n503");
    assert!(line.contains("code=503 flags=URX attempts=3 "), "{line}");
}

#[test]
fn a_request_that_takes_longer_than_its_route_allows_is_answered_504() {
    let mesh = mesh()
        .file("mesh.yaml", ACCESS_LOG)
        .file("route.yaml", &virtual_service("timeout: 300ms"))
        .start();
    let _workload = start(&mesh);
    let (answer, line) = call(&mesh, "/slow");
    assert_eq!(answer, "upstream request timeout504");
    assert!(line.contains("code=504 flags=UT "), "{line}");
}

#[test]
fn of_the_rules_of_an_http_route_the_most_specific_wins_wherever_it_stands() {
    let rule = |name: &str, matches: &str| {
        format!(
            "
  - matches: [{{{matches}}}]
    filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-rule, value: {name}}}]}}}}]
    backendRefs: [{{name: reviews, port: 9080}}]"
        )
    };
    let shop = "path: {type: PathPrefix, value: /shop}";
    let jane = "{name: x-user, value: jane}";
    let rules = [
        rule("root", "path: {type: PathPrefix, value: /}"),
        rule("shop", shop),
        rule("jane", &format!("{shop}, headers: [{jane}]")),
        rule(
            "jane-beta",
            &format!("{shop}, headers: [{jane}, {{name: x-beta, value: '1'}}]"),
        ),
        rule(
            "get",
            &format!("{shop}, method: GET, headers: [{{name: x-get, value: '1'}}]"),
        ),
        rule("cart", "path: {type: Exact, value: /shop/cart}"),
    ];
    let route = format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: reviews}}
spec:
  parentRefs: [{{group: '', kind: Service, name: reviews}}]
  rules:{}
",
        rules.concat()
    );
    let mesh = mesh().file("route.yaml", &route).start();
    let _workload = start(&mesh);
    let calls: [(&str, &[&str], &str); 9] = [
        ("/", &[], "root"),
        // A prefix ends at a slash.
        ("/shopping", &[], "root"),
        ("/shop", &[], "shop"),
        ("/shop/", &["x-user: joe"], "shop"),
        ("/shop/x", &["x-user: jane"], "jane"),
        ("/shop/x", &["x-user: jane", "x-beta: 1"], "jane-beta"),
        // A method counts for more than any number of headers.
        ("/shop/x", &["x-user: jane", "x-beta: 1", "x-get: 1"], "get"),
        ("/shop/cart", &["x-user: jane", "x-beta: 1"], "cart"),
        ("/shop/cart/x", &[], "shop"),
    ];
    let mut args = Vec::new();
    let urls: Vec<String> = calls.iter().map(|(path, ..)| format!("{URL}{path}")).collect();
    for (url, (_, headers, _)) in urls.iter().zip(&calls) {
        args.extend(["--next", "-sS", "--max-time", "20", url]);
        args.extend(headers.iter().flat_map(|header| ["-H", *header]));
    }
    let answers = curl(&mesh, &args);
    let expected: Vec<&str> = calls.iter().map(|(.., rule)| *rule).collect();
    assert_eq!(answers.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_route_to_a_service_without_endpoints_is_answered_503_with_its_reason() {
    let empty = "
apiVersion: v1
kind: Service
metadata: {name: empty}
spec:
  selector: {app: empty}
  ports: [{name: http, port: 9080}]
";
    let mesh = mesh()
        .file("mesh.yaml", ACCESS_LOG)
        .file("empty.yaml", empty)
        .start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    assert_eq!(call(&mesh, "/").0, "v1\n200");
    let route = virtual_service("").replace("destination: {host: reviews}", "destination: {host: empty}");
    mesh.write("route.yaml", &route);
    let (answer, line) = eventually("the route is in force", || {
        let (answer, line) = call(&mesh, "/");
        if answer.ends_with("503") {
            Ok((answer, line))
        } else {
            Err(answer)
        }
    });
    assert_eq!(answer, "no healthy upstream503");
    assert!(
        line.contains("code=503 flags=UH ")
            && line.contains("cluster=outbound|9080||empty.default.svc.cluster.local"),
        "{line}"
    );
}

#[test]
fn each_side_of_a_call_logs_who_the_other_is() {
    let mesh = mesh().file("mesh.yaml", ACCESS_LOG).start();
    let server = start(&mesh);
    let output = mesh
        .command(&["run", "--service", "client", "--service-account", "caller", "--"])
        .args(["curl", "-sS", "--max-time", "20", &format!("{URL}/rule")])
        .output()
        .unwrap();
    let (caller, reviews) = (
        "spiffe://cluster.local/ns/default/sa/caller",
        "spiffe://cluster.local/ns/default/sa/reviews",
    );
    let outbound = String::from_utf8_lossy(&output.stderr);
    let expected =
        format!("cluster=outbound|9080||reviews.default.svc.cluster.local client=- self=- server={reviews}");
    assert!(outbound.contains(&expected), "{outbound}");
    let expected = format!("cluster=inbound|9080|| client={caller} self={reviews} server=-");
    server.wait_for_output(&expected);
}
