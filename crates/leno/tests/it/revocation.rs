//! A certificate is taken back as the page says: who has it is let in no more, anywhere.

use std::path::Path;
use std::process::Output;

use leno_testkit::{Mesh, eventually};
use serde_json::Value;

use crate::pod::Pod;
use crate::support::{mesh, reviews, stdout};

/// Calls until it is refused, and stays then.
const SUSPECT: &str = r#"
import http.client, time
c = http.client.HTTPConnection("reviews", 9080, timeout=20)
def call():
    c.request("GET", "/"); r = c.getresponse(); r.read(); return r.status
print("up", call(), flush=True)
status = 200
while status == 200: status = call(); time.sleep(0.02)
print("code", status, flush=True)
time.sleep(100)
"#;

/// Where the page says how a list is made.
const PAGE: &str = include_str!("../../../../docs/identity.md");

/// As the page has it; of nobody without those lines that take something back.
fn list(leno: &Path, of_suspect: bool) -> String {
    let mut blocks = PAGE
        .split("```\n")
        .filter(|block| block.starts_with("cat > crl.cnf"));
    let script = blocks.next().expect("the page makes a list");
    let leno = format!("{} cert inspect", leno.display());
    let lines = script
        .lines()
        .filter(|line| of_suspect || !line.contains("suspect.pem"));
    // A second list counts on.
    let lines = lines.map(|line| match line.contains("touch index.txt") {
        true => "test -e index.txt || { touch index.txt; echo 01 > crlnumber; }".to_owned(),
        false => line.replace("leno cert inspect", &leno),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn make_list(mesh: &Mesh, of_suspect: bool) {
    let script = list(mesh.binary(), of_suspect);
    let output = mesh.program("sh").args(["-ec", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[track_caller]
fn revoked(mesh: &Mesh, count: u64) {
    in_force(count, || mesh.leno(&["cert", "root", "-o", "json"]));
}

#[track_caller]
fn in_force(count: u64, tell: impl Fn() -> Output) {
    eventually("the list is in force", || {
        let output = tell();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match told["revoked"].as_u64() {
            Some(now) if now == count => Ok(()),
            _ => Err(told),
        }
    });
}

#[test]
fn a_revoked_certificate_is_refused_by_workloads_and_by_the_control_plane() {
    let mut mesh = mesh().start();
    let workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    // A list that takes nothing back lets everybody in.
    make_list(&mesh, false);
    let curl = [
        "curl",
        "-s",
        "-m",
        "10",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://reviews:9080/",
    ];
    eventually("calls go on under an empty list", || {
        match stdout(&mesh.client(&curl)).as_str() {
            "200" => Ok(()),
            other => Err(other.to_owned()),
        }
    });

    // Calls over a connection that it has, and that stays open between sidecars, when told to.
    let script = mesh.user.write("suspect.py", SUSPECT).display().to_string();
    let suspect = mesh.run(
        &["--service", "suspect", "--service-account", "suspect"],
        &["python3", &script],
    );
    suspect.wait_for_output("up 200");
    make_list(&mesh, true);
    revoked(&mesh, 1);
    let answer = suspect.wait_for_output("code ");
    assert!(answer.contains("code 503"), "{answer}");
    let said = workload.wait_for_output("has been revoked");
    assert!(said.contains("TLS handshake failed"), "{said}");
    assert_eq!(stdout(&mesh.client(&curl)), "200");

    // It does not outlive a restart of the control plane, which refuses it as well.
    mesh.control().stop();
    mesh.start_control();
    let said = mesh.control().wait_for_output("revoked");
    assert!(said.contains("LN0502"), "{said}");

    // A list that nobody could use is refused by name, and the one before stays.
    mesh.user.write("state/ca-crl.pem", "nonsense");
    let said = mesh.control().wait_for_output("LN0508");
    assert!(
        said.contains("ca-crl.pem") && said.contains("stay in force"),
        "{said}"
    );
    revoked(&mesh, 1);
}

/// Answers HTTP, and never ends what it says at `/stream`; echoes what it is told over TCP.
const SERVING: &str = r#"
import http.server, socketserver, sys, threading, time
http_port, tcp_port = [int(port) for port in sys.argv[1:3]] if len(sys.argv) > 2 else (9080, 9000)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        if self.path == "/stream":
            self.send_header("transfer-encoding", "chunked"); self.end_headers()
            while True: self.wfile.write(b"2\r\nhi\r\n"); time.sleep(0.05)
        self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line); self.wfile.flush()
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True; daemon_threads = True
threading.Thread(target=Server(("", tcp_port), Echo).serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("", http_port), Handler).serve_forever()
"#;

/// What it has open to `suspect` and how each of it ends: requests over one connection, an answer that goes on, and a
/// connection that says nothing.
const HOLDING: &str = r#"
import http.client, socket, threading, time
def connection(): return http.client.HTTPConnection("suspect", 9080, timeout=100)
def calling():
    c = connection(); status = 200
    while status == 200:
        try: c.request("GET", "/"); r = c.getresponse(); r.read(); status = r.status
        except (OSError, http.client.HTTPException): c.close()  # Cut off on its way.
        time.sleep(0.02)
    print("calls end with", status, flush=True)
def streaming():
    c = connection(); c.request("GET", "/stream"); r = c.getresponse(); r.read(2)
    print("streaming", flush=True)
    try:
        while r.read(2): pass
    except (OSError, http.client.HTTPException): pass
    print("the stream ends", flush=True)
def silent():
    s = socket.create_connection(("suspect", 9000), 100)
    s.sendall(b"hello\n"); print("told", s.makefile().readline(), flush=True)
    try: s.recv(1)
    except OSError: pass
    print("the silence ends", flush=True)
for one in (calling, streaming, silent): threading.Thread(target=one).start()
"#;

const SUSPECT_SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: suspect}
spec: {selector: {app: suspect}, ports: [{name: http, port: 9080}, {name: tcp, port: 9000}]}
";

#[test]
fn what_is_open_to_a_server_ends_once_its_certificate_is_revoked() {
    let mesh = mesh()
        .file("suspect.yaml", SUSPECT_SERVICE)
        .file("mesh.yaml", "accessLogFile: /dev/stdout\n")
        .start();
    let script = mesh.user.write("serving.py", SERVING).display().to_string();
    let account = ["--service-account", "suspect"];
    let ports = [
        "--service",
        "suspect",
        "--port",
        "9080:http",
        "--port",
        "9000:tcp",
    ];
    let _suspect = mesh.run(&[&ports[..], &account].concat(), &["python3", &script]);
    let _other = reviews(&mesh, "v1");
    for service in ["suspect", "reviews"] {
        mesh.wait_for_instances(service, 1);
    }
    make_list(&mesh, false);
    revoked(&mesh, 0);
    let script = mesh.user.write("holding.py", HOLDING).display().to_string();
    let client = mesh.run(&["--service", "holder"], &["python3", &script]);
    client.wait_for_output("streaming");
    client.wait_for_output("told hello");
    assert!(!client.output().contains("end"), "{}", client.output());

    make_list(&mesh, true);
    revoked(&mesh, 1);
    client.wait_for_output("the stream ends");
    client.wait_for_output("the silence ends");
    client.wait_for_output("calls end with 503");
    // Of the answer that went on and of the connection, on this side.
    eventually("both are in the log", || {
        let log = client.output();
        let cut = |part: &str| log.lines().any(|line| line.contains(part));
        match cut("GET /stream HTTP/1.1\" 200 LR certificate_revoked") && cut("\"- - -\" 0 LR") {
            true => Ok(()),
            false => Err(log),
        }
    });
    let answer = mesh.client(&["curl", "-sS", "-m", "10", "http://reviews:9080/"]);
    assert_eq!(stdout(&answer), "v1\n");
}

/// Serves as `SERVING` does, and says how a line to HOST that it tells again and again over TCP comes back.
const BOTH: &str = r#"
import socket, sys, threading, time
def call():
    try:
        s = socket.create_connection((sys.argv[1], 9000), 20); s.sendall(b"hello\n")
        return s.makefile().readline().strip() or "nothing"
    except OSError: return "nothing"
def calling():
    said = ""
    while True:
        now = call()
        if now != said: said = now; print("it brings", said, flush=True)
        time.sleep(0.05)
threading.Thread(target=calling, daemon=True).start()
"#;

#[test]
fn an_envoy_refuses_who_has_been_revoked_and_takes_the_others() {
    let test = "an_envoy_refuses_who_has_been_revoked_and_takes_the_others";
    let named = |name: &str| SUSPECT_SERVICE.replace("suspect", name);
    // Two workloads of one machine have ports of their own.
    let moved = [
        ("port: 9080", "port: 9080, targetPort: 9081"),
        ("port: 9000", "port: 9000, targetPort: 9001"),
    ];
    let ratings = moved
        .iter()
        .fold(named("ratings"), |yaml, (from, to)| yaml.replace(from, to));
    let services = [named("reviews"), ratings, named("suspect")];
    let files = [
        ("reviews.yaml", services[0].as_str()),
        ("ratings.yaml", services[1].as_str()),
        ("suspect.yaml", services[2].as_str()),
    ];
    let Some(pod) = Pod::start(test, &files) else {
        return;
    };
    let serving = pod.user.write("serving.py", SERVING).display().to_string();
    let script = format!("{BOTH}{SERVING}");
    let both = pod.user.write("both.py", &script).display().to_string();
    let ports = ["--port", "9080:http", "--port", "9000:tcp"];
    let of = |name| [&["--service", name, "--service-account", name][..], &ports].concat();
    let _application = pod.application_of("python3", &[&serving]);
    let _envoy = pod.agent(&of("reviews"));
    let ratings = [
        "--service",
        "ratings",
        "--port",
        "9081:http",
        "--port",
        "9001:tcp",
    ];
    let _ratings = pod.run(&ratings, &["python3", &serving, "9081", "9001"]);
    pod.wait_for(&["ratings", "reviews"]);
    let suspect = pod.run(&of("suspect"), &["python3", &both, "reviews"]);
    pod.wait_for(&["ratings", "reviews", "suspect"]);
    let made = |of_suspect| {
        let script = list(pod.binary(), of_suspect);
        let output = pod.outside("sh", &["-ec", &script]);
        assert!(output.status.success(), "{output:?}");
        in_force(u64::from(of_suspect), || {
            pod.leno(&["cert", "root", "-o", "json"])
        });
    };
    made(false);
    // A new connection of the Envoy's each time.
    let call = "import socket, sys\ntry:\n s = socket.create_connection((sys.argv[1], 9000), 10); s.sendall(b'hello\\n'); print(s.makefile().readline().strip() or 'nothing')\nexcept OSError: print('nothing')";
    let from_envoy = |host: &str| {
        stdout(&pod.inside("python3", &["-c", call, host]))
            .trim()
            .to_owned()
    };
    let brings = |host: &str, what: &str| {
        eventually(&format!("{host} brings {what}"), || match from_envoy(host) {
            said if said == what => Ok(()),
            other => Err(other),
        });
    };
    suspect.wait_for_output("it brings hello");
    brings("ratings", "hello");
    brings("suspect", "hello");

    made(true);
    // As a client of the Envoy, and as its server.
    suspect.wait_for_output("it brings nothing");
    brings("suspect", "nothing");
    brings("ratings", "hello");
    assert_eq!(
        stdout(&pod.client(&["python3", "-c", call, "reviews"])).trim(),
        "hello"
    );
    let refused = pod.stats(".ssl.fail_verify_error");
    let by = |listener: bool| {
        let of = refused
            .iter()
            .filter(|(name, _)| name.starts_with("listener.") == listener);
        of.map(|(_, n)| n).sum::<u64>()
    };
    assert!(by(true) > 0 && by(false) > 0, "{refused:?}");
    let rejected = pod.stats("update_rejected");
    assert_eq!(rejected.iter().map(|(_, n)| n).sum::<u64>(), 0, "{rejected:?}");
}
