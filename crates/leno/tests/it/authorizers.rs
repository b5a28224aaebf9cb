//! External authorizers in a mesh that runs: policies with action CUSTOM, and who is asked about what they match. The
//! authorizers are Python: grpcio's server for `envoy.service.auth.v3`, and one of HTTP.

mod connections;

use std::path::{Path, PathBuf};
use std::process::Command;

use leno_testkit::{Mesh, OrdinaryUser, Process, eventually, skip};

use crate::pod::Pod;
use crate::support::{SERVER, SERVICE, mesh, stdout};

/// Allows root, and nothing whose body is bad; whom it lets in it names. Each message is read field by field.
const GRPC: &str = r#"
import grpc
from concurrent import futures
def varint(b, i):
    n = s = 0
    while True:
        n |= (b[i] & 127) << s; s += 7; i += 1
        if b[i - 1] < 128: return n, i
def fields(b):
    i, out = 0, []
    while i < len(b):
        key, i = varint(b, i)
        if key & 7 == 0: value, i = varint(b, i)
        else: n, i = varint(b, i); value = b[i:i + n]; i += n
        out.append((key >> 3, value))
    return out
def get(b, *path):
    for number in path: b = dict(fields(b)).get(number, b"")
    return b
def put(number, value):
    if isinstance(value, int): return bytes([number << 3, value & 127 | 128, value >> 7])
    return bytes([number << 3 | 2, len(value)]) + value
def header(name, value): return put(1, put(1, name) + put(2, value))
def check(request, context):
    http = get(request, 1, 4, 2)
    headers = {get(v, 1): get(v, 2) for n, v in fields(http) if n == 3}
    body, path = get(http, 11), get(http, 4)
    print("asked", path.decode(), get(request, 1, 1, 4).decode(), body.decode(), flush=True)
    if headers.get(b"x-user") == b"root" and b"bad" not in body:
        return put(3, put(2, header(b"x-authorized-by", b"grpc")))
    return put(1, put(1, 7)) + put(2, put(1, put(1, 401)) + put(2, header(b"x-why", b"unknown")) + put(3, b"who are you"))
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(check) if details.method == "/envoy.service.auth.v3.Authorization/Check" else None
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([Handler()])
server.add_insecure_port("0.0.0.0:9000")
server.start(); server.wait_for_termination()
"#;

/// Allows root.
pub const HTTP: &str = r#"
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        print("asked", self.path, flush=True)
        ok = self.headers.get("x-user") == "root"
        body = b"" if ok else b"not you"
        self.send_response(200 if ok else 403)
        self.send_header("content-length", str(len(body))); self.send_header("x-authorized-by", "http")
        self.send_header("x-hidden", "yes"); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 9001), Handler).serve_forever()
"#;

const AUTHZ: &str = "
apiVersion: v1
kind: Service
metadata: {name: authz}
spec: {selector: {app: authz}, ports: [{name: grpc, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: authz-http}
spec: {selector: {app: authz-http}, ports: [{name: http, port: 9001}]}
";

const PROVIDERS: &str = "
accessLogFile: /dev/stdout
extensionProviders:
- name: opa
  envoyExtAuthzGrpc: {service: default/authz.default.svc.cluster.local, port: 9000, timeout: 5s, statusOnError: \"503\"}
- name: lenient
  envoyExtAuthzGrpc: {service: authz.default.svc.cluster.local, port: 9000, timeout: 5s, failOpen: true}
- name: reading
  envoyExtAuthzGrpc:
    service: authz.default.svc.cluster.local
    port: 9000
    timeout: 5s
    includeRequestBodyInCheck: {maxRequestBytes: 16, allowPartialMessage: true}
- name: web
  envoyExtAuthzHttp:
    service: authz-http.default.svc.cluster.local
    port: 9001
    timeout: 5s
    pathPrefix: /check
    includeRequestHeadersInCheck: [x-user]
    headersToUpstreamOnAllow: [x-authorized-*]
    headersToDownstreamOnDeny: [x-authorized-by]
";

fn custom(name: &str, provider: &str, paths: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: reviews}}}}\n  action: CUSTOM\n  provider: {{name: {provider}}}\n  rules:\n  - to: [{{operation: {{paths: [{paths}]}}}}]\n---\n"
    )
}

fn policies() -> String {
    [
        custom("ask", "opa", "\"/private*\", \"/headers/grpc\""),
        custom("ask-lenient", "lenient", "\"/open*\""),
        custom("ask-with-body", "reading", "\"/upload*\""),
        custom("ask-web", "web", "\"/web*\", \"/headers/http\""),
        custom("ask-nobody", "nobody", "\"/nobody*\""),
    ]
    .concat()
}

/// grpcio, where an ordinary user can read it.
fn grpcio(test: &str, user: &OrdinaryUser) -> Option<PathBuf> {
    let Some(from) = std::env::var_os("LENO_GRPC_PYTHON") else {
        skip(test, "no grpcio: set LENO_GRPC_PYTHON (pip install grpcio)");
        return None;
    };
    let to = user.home().join("grpc-python");
    let copy = Command::new("cp").arg("-rL").arg(from).arg(&to).status().unwrap();
    assert!(copy.success());
    Some(to)
}

/// The command that runs one of the authorizers.
fn authorizer(user: &OrdinaryUser, name: &str, script: &str, packages: &Path) -> [String; 4] {
    let script = user.write(name, script);
    [
        "env".to_owned(),
        format!("PYTHONPATH={}", packages.display()),
        "python3".to_owned(),
        script.display().to_string(),
    ]
}

fn run(mesh: &Mesh, args: &[&str], command: &[String]) -> Process {
    mesh.run(args, &command.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The body and the status that a client gets. `more`: arguments of curl.
#[track_caller]
fn ask(mesh: &Mesh, path: &str, more: &[&str]) -> String {
    let url = format!("http://reviews:9080{path}");
    let command = ["curl", "-sS", "--max-time", "20", "-w", " %{http_code}"];
    let output = mesh.client(&[&command[..], more, &[&url]].concat());
    stdout(&output).trim().replace('\n', "")
}

#[test]
fn what_policies_match_goes_to_their_providers_and_nothing_else() {
    let test = "what_policies_match_goes_to_their_providers_and_nothing_else";
    let mesh = mesh()
        .file("mesh.yaml", PROVIDERS)
        .file("authz.yaml", AUTHZ)
        .file("custom.yaml", &policies())
        .start();
    let Some(packages) = grpcio(test, &mesh.user) else {
        return;
    };
    let command = authorizer(&mesh.user, "authz.py", GRPC, &packages);
    let grpc = run(&mesh, &["--service", "authz", "--port", "9000:grpc"], &command);
    let command = authorizer(&mesh.user, "web.py", HTTP, &packages);
    let http = run(
        &mesh,
        &["--service", "authz-http", "--port", "9001:http"],
        &command,
    );
    let script = mesh.user.write("server.py", SERVER);
    let server = mesh.run(
        &["--service", "reviews", "--version", "v1", "--port", "9080:http"],
        &["python3", &script.display().to_string(), "v1", "9080"],
    );
    for service in ["authz", "authz-http", "reviews"] {
        mesh.wait_for_instances(service, 1);
    }
    let root = ["-H", "x-user: root"];
    eventually("the authorizer lets root in", || {
        match ask(&mesh, "/private", &root).as_str() {
            "v1 200" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    // Whoever is matched by nothing is not asked about.
    assert_eq!(ask(&mesh, "/", &[]), "v1 200");
    assert!(!grpc.output().contains("asked / "), "{}", grpc.output());
    assert_eq!(ask(&mesh, "/private", &[]), "who are you 401");
    let told = ask(&mesh, "/headers/grpc", &root);
    assert!(
        told.to_lowercase().contains("\"x-authorized-by\": \"grpc\""),
        "{told}"
    );
    let asked = grpc.wait_for_output("asked /private spiffe://cluster.local/ns/default/sa/");
    assert!(asked.contains("asked /headers/grpc "), "{asked}");

    // As much of a body as the provider wants.
    let upload = |text: &str| ask(&mesh, "/upload", &["-H", "x-user: root", "-d", text]);
    assert_eq!(upload("good"), "good 200");
    assert_eq!(upload("this is bad"), "who are you 401");
    assert_eq!(
        upload("sixteen bytes are told, this is bad"),
        "sixteen bytes are told, this is bad 200"
    );
    grpc.wait_for_output("sixteen bytes ar\n");

    // The one that speaks HTTP.
    assert_eq!(ask(&mesh, "/web/page", &root), "v1 200");
    let denied = ask(&mesh, "/web/page", &["-i"]);
    assert!(denied.ends_with("not you 403"), "{denied}");
    assert!(
        denied.contains("x-authorized-by: http") && !denied.contains("x-hidden"),
        "{denied}"
    );
    let told = ask(&mesh, "/headers/http", &root);
    assert!(
        told.to_lowercase().contains("\"x-authorized-by\": \"http\""),
        "{told}"
    );
    http.wait_for_output("asked /check/web/page");

    // Of a provider that nobody has declared everything is denied.
    assert_eq!(ask(&mesh, "/nobody", &root), "RBAC: access denied 403");

    // Nobody is there any more: closed, unless the provider says otherwise.
    drop(grpc);
    eventually("the authorizer has gone", || {
        match ask(&mesh, "/private", &root).as_str() {
            " 503" | "503" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    assert_eq!(ask(&mesh, "/open", &[]), "v1 200");

    let log = server.wait_for_output("ext_authz_error");
    for part in [
        "UAEX ext_authz_denied",
        "denied by the authorizer opa; asked by ns[default]-policy[ask]-rule[0] AuthorizationPolicy/default/ask",
        "denied by the authorizer web; asked by ns[default]-policy[ask-web]-rule[0]",
        "denied without an answer of the authorizer opa",
        "custom.yaml:9:5",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn an_envoy_asks_the_same_authorizer() {
    let test = "an_envoy_asks_the_same_authorizer";
    let files = [
        ("reviews.yaml", SERVICE),
        ("authz.yaml", AUTHZ),
        // Its own output is not open to it there.
        (
            "mesh.yaml",
            &PROVIDERS.replace("accessLogFile: /dev/stdout\n", ""),
        ),
        ("custom.yaml", &policies()),
    ];
    let Some(pod) = Pod::start(test, &files) else {
        return;
    };
    let Some(packages) = grpcio(test, &pod.user) else {
        return;
    };
    let started = |name, script, args: &[&str]| {
        let command = authorizer(&pod.user, name, script, &packages);
        pod.run(args, &command.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let grpc = started("authz.py", GRPC, &["--service", "authz", "--port", "9000:grpc"]);
    let _application = pod.application("v1");
    let _envoy = pod.agent(&[
        "--service",
        "reviews",
        "--service-account",
        "bee",
        "--port",
        "9080:http",
    ]);
    pod.wait_for(&["authz", "reviews"]);
    let ask = |path: &str, user: &str| {
        let url = format!("http://reviews:9080{path}");
        let user = format!("x-user: {user}");
        let command = [
            "curl",
            "-sS",
            "-m",
            "20",
            "-H",
            &user,
            "-w",
            " %{http_code}",
            &url,
        ];
        stdout(&pod.client(&command)).trim().replace('\n', "")
    };
    eventually("the authorizer lets root in", || match ask("/private", "root") {
        answer if answer == "v1 200" => Ok(()),
        other => Err(other),
    });
    assert_eq!(ask("/private", "you"), "who are you 401");
    assert_eq!(ask("/", "you"), "v1 200");
    assert_eq!(ask("/nobody", "root"), "RBAC: access denied 403");
    grpc.wait_for_output("asked /private spiffe://cluster.local/ns/default/sa/cee");
    let rejected = pod.stats("update_rejected");
    assert_eq!(rejected.iter().map(|(_, n)| n).sum::<u64>(), 0, "{rejected:?}");
}
