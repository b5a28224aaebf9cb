//! What leaves the mesh where only what is named may (`REGISTRY_ONLY`): by the name that a call itself says, not by the address
//! that it goes to.

use std::process::Output;

use leno_testkit::{Mesh, MeshBuilder, Process, eventually};

use crate::support::{mesh, stdout};

/// 198.18.7.3 is every host outside of the mesh.
const MACHINE: &str = "
ip addr add 198.18.7.3/32 dev lo
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=any -keyout any.key -out any.pem 2>&1
";

/// The outside: what was asked for, over HTTP and TLS.
const OUTSIDE: &str = r#"
import http.server, ssl, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"outside " + self.headers["host"].encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
plain = http.server.ThreadingHTTPServer(("198.18.7.3", 80), Handler)
secure = http.server.ThreadingHTTPServer(("198.18.7.3", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain("any.pem", "any.key")
secure.socket = context.wrap_socket(secure.socket, server_side=True)
threading.Thread(target=plain.serve_forever, daemon=True).start()
print("up", flush=True)
secure.serve_forever()
"#;

const CLOSED: &str = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\naccessLogFile: /dev/stdout\n";

/// One host that callers find out the address of, and one that the mesh has the address of.
const NAMED: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: allowed}
spec:
  hosts: [allowed.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: known}
spec:
  hosts: [known.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 198.18.7.3}]
";

fn closed() -> MeshBuilder {
    mesh()
        .on_a_machine(MACHINE)
        .file("mesh.yaml", CLOSED)
        .file("named.yaml", NAMED)
}

#[track_caller]
fn outside(mesh: &Mesh) -> Process {
    let script = mesh.user.write("outside.py", OUTSIDE);
    let mut command = mesh.program("python3");
    command.arg(script);
    let outside = Process::spawn(command);
    outside.wait_for_output("up");
    outside
}

/// `curl URL`, and where the host in it is said to be.
fn curl<'a>(url: &'a str, at: &'a [String]) -> Vec<&'a str> {
    let mut args = vec!["curl", "-sk", "--max-time", "20", "-w", " %{http_code}", url];
    for one in at {
        args.extend(["--resolve", one]);
    }
    args
}

fn said(output: &Output) -> String {
    stdout(output).trim().to_owned()
}

#[test]
fn a_host_that_is_named_is_reached_and_another_at_the_same_address_and_port_is_not() {
    let mesh = closed().start();
    let _outside = outside(&mesh);
    let at = ["allowed", "other"]
        .map(|name| [80, 443].map(|port| format!("{name}.example.com:{port}:198.18.7.3")));
    let at = at.concat();
    let get = |url: &str| said(&mesh.client(&curl(url, &at)));
    let answers = [
        ("http://allowed.example.com/", "outside allowed.example.com 200"),
        ("http://other.example.com/", "502"),
        ("https://allowed.example.com/", "outside allowed.example.com 200"),
        ("https://other.example.com/", "000"),
        // By name: the mesh says where it is.
        ("http://known.example.com/", "outside known.example.com 200"),
        ("https://known.example.com/", "outside known.example.com 200"),
        // By address: nobody has said a name that is known.
        ("http://198.18.7.3/", "502"),
        ("https://198.18.7.3/", "000"),
    ];
    for (url, wanted) in answers {
        eventually(&format!("{url} brings {wanted}"), || match get(url) {
            got if got == wanted => Ok(()),
            got => Err(got),
        });
    }
    // The caller's log says what became of those that are not named.
    let script = format!(
        "{}; {}; echo done; exec sleep 600",
        curl("http://other.example.com/log", &at)
            .join(" ")
            .replace("%{http_code}", "x")
            .replace(" x ", " 'x' "),
        curl("https://other.example.com/", &at)
            .join(" ")
            .replace("%{http_code}", "x")
            .replace(" x ", " 'x' "),
    );
    let client = mesh.run(&["--service", "client"], &["sh", "-c", &script]);
    // As Istio's: `block_all` of HTTP, which is answered, and `BlackHoleCluster` of what only a connection is known of.
    eventually("both are in the log", || {
        let log = client.output();
        let told = |parts: &[&str]| {
            log.lines()
                .any(|line| parts.iter().all(|part| line.contains(part)))
        };
        let http = told(&[
            "GET /log HTTP/1.1\" 502 - direct_response",
            "other.example.com",
            "block_all",
        ]);
        match http
            && told(&[
                "\"- - -\" 0 UH",
                "BlackHoleCluster",
                "198.18.7.3:443",
                "other.example.com",
            ]) {
            true => Ok(()),
            false => Err(log),
        }
    });

    for (url, refused) in [
        ("http://other.example.com/", Some("block_all")),
        ("https://other.example.com/", Some("BlackHoleCluster")),
        ("http://known.example.com/", None),
        ("https://known.example.com/", None),
    ] {
        let told = stdout(&mesh.leno(&["explain", "client", url]));
        match refused {
            Some(by) => assert!(
                told.contains(by) && told.contains("REFUSED") && told.contains("REGISTRY_ONLY"),
                "{told}"
            ),
            None => assert!(
                told.contains("|known.example.com") && !told.contains("REFUSED"),
                "{told}"
            ),
        }
    }
}

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: out}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [known.example.com]
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: [known.example.com]
    tls: {mode: PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: out}
spec:
  hosts: [known.example.com]
  gateways: [out]
  http: [{route: [{destination: {host: known.example.com, port: {number: 80}}}]}]
  tls:
  - match: [{sniHosts: [known.example.com]}]
    route: [{destination: {host: known.example.com, port: {number: 443}}}]
";

#[test]
fn an_egress_gateway_lets_out_what_it_routes_and_nothing_else() {
    let mesh = closed().file("gateway.yaml", GATEWAY).start();
    let _outside = outside(&mesh);
    let mut command = mesh.command(&["proxy", "gateway", "--name", "istio-egressgateway"]);
    command.args(["--bind", "127.0.0.1", "--metrics-port", "0"]);
    command.args([
        "--label",
        "istio=egressgateway",
        "--map",
        "80:8080",
        "--map",
        "443:8443",
    ]);
    let _gateway = Process::spawn(command);
    let at = ["known", "other"]
        .map(|name| [8080, 8443].map(|port| format!("{name}.example.com:{port}:127.0.0.1")));
    let at = at.concat();
    for (url, wanted) in [
        (
            "http://known.example.com:8080/",
            "outside known.example.com:8080 200",
        ),
        (
            "https://known.example.com:8443/",
            "outside known.example.com:8443 200",
        ),
        ("http://other.example.com:8080/", "404"),
        ("https://other.example.com:8443/", "000"),
    ] {
        eventually(&format!("{url} brings {wanted}"), || {
            let [program, args @ ..] = &curl(url, &at)[..] else {
                unreachable!()
            };
            match said(&mesh.program(program).args(args).output().unwrap()) {
                got if got == wanted => Ok(()),
                got => Err(got),
            }
        });
    }
}
