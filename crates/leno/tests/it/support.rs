//! The programs that the mesh's workloads run, and what tests ask of them.

use std::path::Path;
use std::process::Output;

use leno_testkit::{Mesh, MeshBuilder, Process};

pub const LENO: &str = env!("CARGO_BIN_EXE_leno");

/// Answers every request with its version, and the headers it got where asked for; knows nothing of leno.
pub const SERVER: &str = r#"
import http.server, json, socket, sys
version, port = sys.argv[1], int(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/status/"):
            code, body = int(self.path.split("/")[2]), b""
        elif self.path.startswith("/headers"):
            code, body = 200, json.dumps(dict(self.headers.items())).encode()
        elif self.path.startswith("/peer"):
            code, body = 200, json.dumps(self.client_address[0]).encode()
        else:
            code, body = 200, version.encode() + b"\n"
        self.send_response(code); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if len(sys.argv) > 3 and sys.argv[3] == "v6" else socket.AF_INET
    daemon_threads = True
Server(("::1" if Server.address_family == socket.AF_INET6 else "", port), Handler).serve_forever()
"#;

pub const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
";

pub const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

pub fn mesh() -> MeshBuilder {
    MeshBuilder::new(Path::new(LENO)).file("services.yaml", SERVICE)
}

/// `leno run --service reviews --version V --port 9080 -- python3 server.py V 9080`
#[track_caller]
pub fn reviews(mesh: &Mesh, version: &str) -> Process {
    let script = mesh.user.write("server.py", SERVER);
    mesh.run(
        &["--service", "reviews", "--version", version, "--port", "9080"],
        &["python3", &script.display().to_string(), version, "9080"],
    )
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A route that gives `v1` and `v2` these weights.
pub fn weighted(v1: u32, v2: u32) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {{host: reviews, subset: v1}}
      weight: {v1}
    - destination: {{host: reviews, subset: v2}}
      weight: {v2}
"
    )
}

/// A program that calls `reviews` over one keep-alive connection, COUNT times, and prints each answer on a line.
pub const CALLER: &str = r#"
import http.client, sys
count, path = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "/"
c = http.client.HTTPConnection("reviews", 9080, timeout=20)
for _ in range(count):
    c.request("GET", path); r = c.getresponse(); body = r.read().decode().strip()
    print(r.status, body, flush=True)
"#;
