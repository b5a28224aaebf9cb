//! Istio's bookinfo as a running mesh: every version of every service, their databases, a virtual machine outside of the
//! mesh, and a client.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use leno_testkit::{Mesh, MeshBuilder, Process, eventually};
use serde_json::{Value, json};

use crate::support::{LENO, stdout};

/// Ratings as its database says; the database speaks first, as MySQL does.
const RATINGS: &str = r#"
import http.server, json, socket, sys
version, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"; disable_nagle_algorithm = True
    def do_GET(self):
        try:
            with socket.create_connection((host, port), timeout=20) as db:
                lines = db.makefile("rw")
                assert lines.readline() == "ready\n"
                lines.write("stars\n"); lines.flush()
                stars = int(lines.readline())
            code, body = 200, json.dumps({"id": 0, "ratings": {"Reviewer1": stars, "Reviewer2": stars}}).encode()
        except Exception as error:
            code, body = 503, repr(error).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(body))); self.send_header("x-served-by", "ratings-" + version)
        self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 9080), Handler).serve_forever()
"#;

const DATABASE: &str = r#"
import socketserver, sys
address, port, stars = sys.argv[1], int(sys.argv[2]), sys.argv[3]
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"ready\n")
        if self.rfile.readline() == b"stars\n": self.wfile.write(stars.encode() + b"\n")
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = daemon_threads = True
Server((address, port), Handler).serve_forever()
"#;

/// Calls what it is told to, as often as it is told to, over one connection, and says who answered.
const CLIENT: &str = r#"
import collections, http.client, http.server, json, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"; disable_nagle_algorithm = True
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answers, begun = collections.Counter(), time.monotonic()
        c = http.client.HTTPConnection(asked["host"], asked["port"], timeout=30)
        for _ in range(asked["count"]):
            try:
                c.request("GET", asked["path"], headers=asked["headers"]); r = c.getresponse(); text = r.read().decode()
                answers[r.headers.get("x-served-by", "200") if r.status == 200 else str(r.status)] += 1
            except OSError as error:
                c.close(); text = str(error); answers[text] += 1
        c.close()
        told = {"answers": answers, "body": text, "seconds": time.monotonic() - begun}
        body = json.dumps(told).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"#;

/// www.googleapis.com as far as this machine is concerned: TLS on port 443, and it says which name it was asked for.
const GOOGLE: &str = r#"
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.headers['host']} {self.connection.asked_for} {self.path}".encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
def asked_for(connection, name, context): connection.asked_for = name
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); tls.load_cert_chain("google.pem", "google.key")
tls.sni_callback = asked_for
server = http.server.ThreadingHTTPServer(("198.18.7.2", 443), Handler)
server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// The machine's name server, which knows of one host: its IPv4 address, and that it has no other.
const NAMES: &str = r#"
import socket, struct
known = b"\x03www\x0agoogleapis\x03com\x00"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 53))
while True:
    query, client = s.recvfrom(512)
    name, kind = query[12:query.index(0, 12) + 1], query[query.index(0, 12) + 1:][:4]
    answer = kind[:2] == b"\x00\x01" and name.lower() == known
    record = b"\xc0\x0c" + kind + struct.pack(">IH4B", 5, 4, 198, 18, 7, 2) if answer else b""
    head = query[:2] + struct.pack(">5H", 0x8180 if name.lower() == known else 0x8183, 1, answer, 0, 0)
    s.sendto(head + name + kind + record, client)
"#;

/// 198.18.7.1 is a virtual machine outside of the mesh, 198.18.7.2 is www.googleapis.com, for which this machine's
/// authority vouches.
const MACHINE: &str = r#"
ip addr add 198.18.7.1/32 dev lo
ip addr add 198.18.7.2/32 dev lo
echo nameserver 127.0.0.1 > resolv.conf
mount --bind resolv.conf /etc/resolv.conf
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $key -subj /CN=authority -keyout authority.key -out authority.pem 2>&1
openssl req -x509 -CA authority.pem -CAkey authority.key $key -subj /CN=google -keyout google.key -out google.pem \
    -addext subjectAltName=DNS:www.googleapis.com -addext basicConstraints=CA:FALSE 2>&1
mkdir trusted
cp authority.pem trusted/ca-certificates.crt
mount --bind trusted /etc/ssl/certs
"#;

/// As in Istio's lesson on virtual machines.
const VIRTUAL_MACHINE: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: mysqldb, namespace: vm}
spec:
  hosts: [mysqldb.vm.svc.cluster.local]
  location: MESH_EXTERNAL
  ports: [{number: 3306, name: mysql, protocol: MySQL}]
  resolution: STATIC
  endpoints: [{address: 198.18.7.1}]
";

/// In force while a file leaves it and another enters: what answers with 599 has not heard of the next one.
const NOTHING_YET: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: HOST}
spec:
  hosts: [HOST]
  http:
  - fault: {abort: {httpStatus: 599, percentage: {value: 100}}}
    route: [{destination: {host: HOST}}]
---
";
pub const HOSTS: [&str; 4] = ["productpage", "details", "reviews", "ratings"];

const PAGE: &str = "http://127.0.0.1:9080";

pub struct Site {
    pub mesh: Mesh,
    pub bookinfo: PathBuf,
    processes: Vec<Process>,
}

/// What the client was told.
#[derive(Debug)]
pub struct Told {
    /// Instance, or a status that is not 200, and how often it answered.
    pub answers: BTreeMap<String, usize>,
    pub body: String,
    pub seconds: f64,
}

impl Site {
    #[track_caller]
    pub fn start(bookinfo: &Path) -> Self {
        let mut builder = MeshBuilder::new(Path::new(LENO)).on_a_machine(MACHINE);
        for name in ["bookinfo", "bookinfo-versions", "bookinfo-mysql", "bookinfo-db"] {
            let text = fs::read_to_string(bookinfo.join(format!("platform/kube/{name}.yaml"))).unwrap();
            builder = builder.file(&format!("{name}.yaml"), &text);
        }
        let mesh = builder.file("vm.yaml", VIRTUAL_MACHINE).start();
        let mut site = Self {
            processes: Vec::new(),
            mesh,
            bookinfo: bookinfo.to_owned(),
        };
        site.start_processes();
        site
    }

    fn start_processes(&mut self) {
        for (file, text) in [
            ("ratings.py", RATINGS),
            ("database.py", DATABASE),
            ("client.py", CLIENT),
            ("google.py", GOOGLE),
            ("names.py", NAMES),
        ] {
            self.mesh.user.write(file, text);
        }
        let samples = [
            ("details", "v1"),
            ("details", "v2"),
            ("reviews", "v1"),
            ("reviews", "v2"),
            ("reviews", "v3"),
            ("ratings", "v1"),
        ];
        for (service, version) in samples {
            self.run(service, version, "9080:http", &[], &[]);
        }
        self.run("productpage", "v1", "9080:http", &["--publish", "9080:9080"], &[]);
        self.run(
            "client",
            "v1",
            "8000:http",
            &["--publish", "8000:8000"],
            &["client.py"],
        );
        self.run(
            "mongodb",
            "v1",
            "27017",
            &[],
            &["database.py", "0.0.0.0", "27017", "1"],
        );
        self.run(
            "mysqldb",
            "v1",
            "3306",
            &[],
            &["database.py", "0.0.0.0", "3306", "2"],
        );
        for (version, host, port) in [
            ("v2", "mongodb", "27017"),
            ("v2-mysql", "mysqldb", "3306"),
            ("v2-mysql-vm", "mysqldb.vm.svc.cluster.local", "3306"),
        ] {
            let command = ["ratings.py", version, host, port];
            self.run("ratings", version, "9080:http", &[], &command);
        }
        for outside in [
            &["database.py", "198.18.7.1", "3306", "3"][..],
            &["google.py"],
            &["names.py"],
        ] {
            let mut command = self.mesh.program("python3");
            command.args(outside);
            self.processes.push(Process::spawn(command));
        }
        let gateway = self.mesh.command(&["proxy", "gateway", "--metrics-port", "0"]);
        self.processes.push(Process::spawn(gateway));
        for (service, count) in [
            ("productpage", 1),
            ("details", 2),
            ("reviews", 3),
            ("ratings", 4),
            ("client", 1),
            ("mongodb", 1),
            ("mysqldb", 1),
        ] {
            self.mesh.wait_for_instances(service, count);
        }
    }

    /// A workload: leno's own sample of this name, or a Python program.
    fn run(&mut self, service: &str, version: &str, port: &str, flags: &[&str], program: &[&str]) {
        let leno = self.mesh.binary().display().to_string();
        let sample = [&leno, "sample", service, "--version", version];
        let python = [&["python3"], program].concat();
        let command = if program.is_empty() { &sample[..] } else { &python };
        let args = ["--service", service, "--version", version, "--port", port];
        let workload = self.mesh.run(&[&args, flags].concat(), command);
        self.processes.push(workload);
    }

    /// Puts a file of Istio's, as it is, in the place of the one before it.
    pub fn put(&self, file: &str) {
        self.put_as("row.yaml", file);
    }

    pub fn put_as(&self, name: &str, file: &str) {
        let text = fs::read_to_string(self.bookinfo.join(file)).unwrap();
        self.mesh.write(name, &text);
    }

    /// Takes the last file away, and waits until that is known.
    #[track_caller]
    pub fn clear(&self) {
        let nothing_yet: String = HOSTS
            .iter()
            .map(|host| NOTHING_YET.replace("HOST", host))
            .collect();
        self.mesh.write("row.yaml", &nothing_yet);
        for host in HOSTS {
            self.eventually(host, "", 1, &["599"]);
        }
    }

    /// What the client is told by a service of bookinfo, `count` times, as this user (or as none).
    #[track_caller]
    pub fn ask(&self, service: &str, user: &str, count: usize) -> Told {
        self.ask_for(service, 9080, &format!("/{service}/0"), user, count)
    }

    #[track_caller]
    pub fn ask_for(&self, host: &str, port: u16, path: &str, user: &str, count: usize) -> Told {
        let path = if path == "/productpage/0" {
            "/productpage"
        } else {
            path
        };
        let headers = if user.is_empty() {
            json!({})
        } else {
            json!({ "end-user": user })
        };
        let asked = json!({ "host": host, "port": port, "path": path, "headers": headers, "count": count });
        let told = self.curl(&["http://127.0.0.1:8000", "-d", &asked.to_string()]);
        let told: Value = serde_json::from_str(&told).unwrap_or_else(|e| panic!("{asked}: {e}: {told}"));
        Told {
            answers: serde_json::from_value(told["answers"].clone()).unwrap(),
            body: told["body"].as_str().unwrap().to_owned(),
            seconds: told["seconds"].as_f64().unwrap(),
        }
    }

    /// Waits until each of `count` requests is answered by one of these, and each of these answers.
    #[track_caller]
    pub fn eventually(&self, service: &str, user: &str, count: usize, expected: &[&str]) {
        eventually(
            &format!("{service} for `{user}` is answered by {expected:?}"),
            || {
                let told = self.ask(service, user, count);
                if told.answers.keys().eq(expected) {
                    Ok(())
                } else {
                    Err(told)
                }
            },
        );
    }

    /// A page that this machine's browser asks productpage for, signed in as this user (or not).
    #[track_caller]
    pub fn page(&self, path: &str, user: &str) -> String {
        self.curl(&[&format!("{PAGE}{path}"), "-b", &format!("user={user}")])
    }

    /// The status of an answer.
    #[track_caller]
    pub fn status(&self, url: &str, args: &[&str]) -> String {
        self.curl(&[&["-o", "/dev/null", "-w", "%{http_code}", url], args].concat())
    }

    /// What cert-manager starts to answer a challenge.
    pub fn challenge_resolver(&self, token: &str) -> Process {
        let file = format!("challenges/.well-known/acme-challenge/{token}");
        self.mesh.user.write(&file, token);
        let args = [
            "--service",
            "cert-manager-resolver",
            "--namespace",
            "istio-system",
            "--port",
            "8089",
        ];
        let serve = ["python3", "-m", "http.server", "-d", "challenges", "8089"];
        self.mesh.run(&args, &serve)
    }

    /// curl on this machine, outside of the mesh.
    #[track_caller]
    pub fn curl(&self, args: &[&str]) -> String {
        let answer = self.try_curl(args);
        answer.unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// Without an answer there is only what curl says of it.
    pub fn try_curl(&self, args: &[&str]) -> Result<String, String> {
        let mut curl = self.mesh.program("curl");
        let output = curl
            .args(["-sS", "--max-time", "60"])
            .args(args)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(stdout(&output))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}
