//! How a destination is called, by leno and by a stock Envoy: whoever is there sees the same of both.

use std::process::Output;

use leno_testkit::eventually;

use crate::pod::{MACHINE, Pod};
use crate::support::{SERVICE, stdout};

/// On ports of their own: one that tells the first line it gets; a proxy that tells what it is asked to connect to; one
/// that speaks HTTP over TLS with a certificate that nobody vouches for, and tells the name it was asked for; one of HTTP.
const SERVERS: &str = r#"
import http.server, socket, ssl, sys, threading
first, proxy, tls, plain, cert = *map(int, sys.argv[1:5]), sys.argv[5]
def serve(port, handle):
    listener = socket.create_server(("", port))
    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=handle, args=(connection,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
def tell_first(connection):
    line = connection.makefile("rb").readline()
    connection.sendall(b"got " + line); connection.close()
def tell_target(connection):
    head = connection.makefile("rb")
    line = head.readline()
    while head.readline().strip(): pass
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\ngot " + line)
    # Envoy 1.40 crashes where the far end of a POST ends before the client does.
    head.read(); connection.close()
def web(port, context):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            name = getattr(self.connection, "asked", "plaintext")
            body = ("got %s\n" % name).encode()
            self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
            self.wfile.write(body)
        def log_message(self, *a): pass
    server = http.server.ThreadingHTTPServer(("", port), Handler)
    if context: server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert + ".pem", cert + ".key")
def note(connection, name, context): connection.asked = name
context.sni_callback = note
serve(first, tell_first); serve(proxy, tell_target); web(tls, context); web(plain, None)
print("there", flush=True); threading.Event().wait()
"#;

/// Says hello to a port and tells what it answers; or gets `/` of it.
const CALLER: &str = r#"
import http.client, socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    if kind == "tcp":
        connection = socket.create_connection((host, port), 5)
        connection.settimeout(5); connection.sendall(b"hello\n")
        print(connection.makefile("rb").readline().decode().strip())
    else:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/", headers=dict(h.split("=") for h in sys.argv[4:]))
        answer = connection.getresponse()
        print(answer.status, answer.read().decode().strip() if answer.status == 200 else "")
except Exception as error:
    print("failed", error)
"#;

const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: first}
spec:
  hosts: [first.example]
  ports: [{number: 7001, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: MACHINE}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: proxy}
spec:
  hosts: [proxy.example]
  ports: [{number: 7002, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: MACHINE}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: secure}
spec:
  hosts: [secure.example]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 7003}]
  resolution: STATIC
  endpoints: [{address: MACHINE}]
---
apiVersion: v1
kind: Service
metadata: {name: machine}
spec: {selector: {app: machine}, ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine}
spec: {address: MACHINE, ports: {http: 7004}, labels: {app: machine}}
---
apiVersion: v1
kind: Service
metadata: {name: sliced}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sliced-1, labels: {kubernetes.io/service-name: sliced}}
addressType: IPv4
endpoints: [{addresses: [MACHINE]}, {addresses: [192.0.2.1], conditions: {ready: false}}]
ports: [{name: http, port: 7004}]
";

type Call<'a> = &'a dyn Fn(&[&str]) -> Output;

fn rule(host: &str, policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {}}}\nspec: {{host: {host}, trafficPolicy: {policy}}}\n---\n",
        host.split('.').next().unwrap_or(host)
    )
}

#[test]
fn who_is_called_sees_the_same_of_envoy_and_of_leno() {
    let test = "who_is_called_sees_the_same_of_envoy_and_of_leno";
    let mesh = MESH.replace("MACHINE", MACHINE);
    let files = [("reviews.yaml", SERVICE), ("outside.yaml", mesh.as_str())];
    let Some(pod) = Pod::start(test, &files) else {
        return;
    };
    let certificate = pod.user.home().join("nobody");
    let name = certificate.display().to_string();
    let made = pod.outside(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=nobody",
            "-addext",
            "subjectAltName=DNS:other.example",
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ],
    );
    assert!(made.status.success(), "{made:?}");
    let servers = pod.user.write("servers.py", SERVERS).display().to_string();
    let servers = pod.beside("python3", &[&servers, "7001", "7002", "7003", "7004", &name]);
    servers.wait_for_output("there");
    let _envoy = [
        pod.application("v1"),
        pod.agent(&[
            "--service",
            "reviews",
            "--service-account",
            "bee",
            "--port",
            "9080:http",
        ]),
    ];
    pod.wait_for(&["reviews"]);

    let script = pod.user.write("caller.py", CALLER).display().to_string();
    let from_envoy = |args: &[&str]| pod.inside("python3", &[&[&*script], args].concat());
    let from_leno = |args: &[&str]| pod.client(&[&["python3", &*script], args].concat());
    let callers: [(&str, Call<'_>); 2] = [("Envoy", &from_envoy), ("leno", &from_leno)];
    let all_get = |call: &str, begins: &str| {
        for (who, caller) in callers {
            eventually(&format!("{call} through {who} is answered {begins}"), || {
                let args: Vec<&str> = call.split(' ').collect();
                let got = stdout(&caller(&args));
                if got.trim().starts_with(begins) {
                    Ok(())
                } else {
                    Err(got)
                }
            });
        }
    };

    // Without rules.
    all_get("tcp first.example 7001", "got hello");
    all_get("tcp proxy.example 7002", "failed");
    all_get("http machine 80", "200 got plaintext");
    all_get("http sliced 80", "200 got plaintext");
    all_get("http secure.example 80", "503");

    let write = |text: &str| drop(pod.user.write("mesh/rules.yaml", text));
    write(
        &[
            rule("first.example", "{proxyProtocol: {version: V1}}"),
            rule(
                "proxy.example",
                "{tunnel: {targetHost: db.example.com, targetPort: 5432}}",
            ),
            rule(
                "secure.example",
                "{tls: {mode: SIMPLE, sni: other.example, insecureSkipVerify: true}}",
            ),
        ]
        .concat(),
    );
    all_get("tcp first.example 7001", "got PROXY TCP");
    all_get(
        "tcp proxy.example 7002",
        "got CONNECT db.example.com:5432 HTTP/1.1",
    );
    all_get("http secure.example 80", "200 got other.example");

    write(
        &[
            rule("first.example", "{proxyProtocol: {version: V2}}"),
            rule(
                "proxy.example",
                "{tunnel: {protocol: POST, targetHost: db.example.com, targetPort: 5432}}",
            ),
            // Nobody vouches for its certificate.
            rule("secure.example", "{tls: {mode: SIMPLE, sni: other.example}}"),
            rule("machine", "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}"),
        ]
        .concat(),
    );
    all_get("tcp proxy.example 7002", "got POST / HTTP/1.1");
    all_get("http secure.example 80", "503");
    // The server knows no HTTP/2.
    all_get("http machine 80", "50");
    // The first line of version 2 is CR LF.
    for (who, caller) in callers {
        eventually(&format!("version 2 through {who}"), || {
            match stdout(&caller(&["tcp", "first.example", "7001"])).trim() {
                "got" => Ok(()),
                other => Err(other.to_owned()),
            }
        });
    }
}
