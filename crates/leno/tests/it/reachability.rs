//! Who reaches whom: each mode of mutual TLS, by leno's sidecar, by an Envoy and by a client without either, to a workload
//! on leno and to one on Envoy, over HTTP and TCP. The matrix is printed, expected beside got.

use leno_testkit::{Process, eventually};

use crate::pod::{POD, Pod};
use crate::support::stdout;

/// HTTP tells whether a certificate was shown, TCP says what it is told.
const SERVER: &str = r#"
import http.server, socketserver, threading

class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        said = b"mtls" if "x-forwarded-client-cert" in self.headers else b"plain"
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def log_message(self, *args):
        pass

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

threading.Thread(target=Server(("", 9000), Echo).serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("", 9080), Http).serve_forever()
"#;

/// `call.py HOST`: what each protocol brings, `nothing` where it is refused.
const CLIENT: &str = r#"
import socket, sys, urllib.request

def http(host):
    return urllib.request.urlopen(f"http://{host}:9080/", timeout=5).read().decode()

def tcp(host):
    connection = socket.create_connection((host, 9000), 5)
    connection.sendall(b"hello\n")
    return connection.makefile().readline().strip()

for call in (http, tcp):
    try:
        print(call(sys.argv[1]) or "nothing")
    except OSError:
        print("nothing")
"#;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports: [{name: http, port: 9080}, {name: tcp, port: 9000}]
";

fn mode(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: default, namespace: istio-system}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
    )
}

/// What HTTP and TCP are to bring.
fn expected(mode: &str, client: &str) -> [&'static str; 2] {
    match (mode, client) {
        ("STRICT", "plain") => ["nothing", "nothing"],
        (_, "plain") | ("DISABLE", _) => ["plain", "hello"],
        _ => ["mtls", "hello"],
    }
}

struct Mesh {
    pod: Pod,
    script: String,
    _servers: [Process; 3],
}

impl Mesh {
    /// `ratings` on leno, `reviews` on Envoy.
    fn start(test: &str) -> Option<Self> {
        let services = ["ratings", "reviews"].map(|name| SERVICE.replace("NAME", name));
        let permissive = mode("PERMISSIVE");
        let files = [
            ("ratings.yaml", services[0].as_str()),
            ("reviews.yaml", services[1].as_str()),
            ("mode.yaml", permissive.as_str()),
        ];
        let pod = Pod::start(test, &files)?;
        let server = pod.user.write("both.py", SERVER).display().to_string();
        let script = pod.user.write("call.py", CLIENT).display().to_string();
        let ports = ["--port", "9080:http", "--port", "9000:tcp"];
        let on = |service| [&["--service", service][..], &ports].concat();
        let servers = [
            pod.run(&on("ratings"), &["python3", &server]),
            pod.application_of("python3", &[&server]),
            pod.agent(&on("reviews")),
        ];
        pod.wait_for(&["ratings", "reviews"]);
        Some(Self {
            pod,
            script,
            _servers: servers,
        })
    }

    fn address_of_ratings(&self) -> String {
        let status = self.pod.status();
        let mut proxies = status["proxies"].as_array().into_iter().flatten();
        let ratings = proxies.find(|proxy| proxy["service"] == "ratings").unwrap();
        ratings["address"].as_str().unwrap().to_owned()
    }

    fn call(&self, client: &str, server: &str) -> [String; 2] {
        let output = match (client, server) {
            ("sidecar", server) => self.pod.client(&["python3", &self.script, server]),
            ("Envoy", server) => self.pod.inside("python3", &[&self.script, server]),
            (_, "reviews") => self.pod.outside("python3", &[&self.script, POD]),
            _ => {
                let address = self.address_of_ratings();
                self.pod.outside("python3", &[&self.script, &address])
            }
        };
        let text = stdout(&output);
        let mut lines = text.lines().map(str::to_owned);
        [lines.next(), lines.next()].map(Option::unwrap_or_default)
    }

    /// Those of a mode. Err: not all are as expected.
    fn rows(&self, mode: &str) -> Result<Vec<String>, Vec<String>> {
        let (mut rows, mut good) = (Vec::new(), true);
        for client in ["sidecar", "Envoy", "plain"] {
            for (server, on) in [("ratings", "leno"), ("reviews", "Envoy")] {
                let (wanted, got) = (expected(mode, client), self.call(client, server));
                good &= got == wanted;
                for (protocol, (wanted, got)) in ["HTTP", "TCP"].iter().zip(wanted.iter().zip(&got)) {
                    rows.push(format!(
                        "{mode:<11} {client:<8} {on:<8} {protocol:<5} {wanted:<8} {got}"
                    ));
                }
            }
        }
        if good { Ok(rows) } else { Err(rows) }
    }
}

#[test]
fn who_reaches_whom_is_what_the_modes_say() {
    let Some(mesh) = Mesh::start("who_reaches_whom_is_what_the_modes_say") else {
        return;
    };
    println!(
        "{:<11} {:<8} {:<8} {:<5} {:<8} got",
        "mode", "client", "server", "", "expected"
    );
    for mode in ["PERMISSIVE", "STRICT", "DISABLE"] {
        mesh.pod.user.write("mesh/mode.yaml", &self::mode(mode));
        // What was open, and what a change closes, is not yet the new mode's.
        let rows = eventually(&format!("{mode} holds"), || mesh.rows(mode));
        println!("{}", rows.join("\n"));
    }
    eventually("nothing was rejected", || {
        let rejected = mesh.pod.stats("update_rejected");
        match rejected.iter().all(|(_, count)| *count == 0) {
            true => Ok(()),
            false => Err(rejected),
        }
    });
}
