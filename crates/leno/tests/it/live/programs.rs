//! The two ends of a call: a server that tells what it was told, and a client that tells what it heard.

use std::net::IpAddr;

use leno_testkit::case::Call;
use serde_json::json;

use crate::pod::Pod;

/// `server.py NAME PORT...`: HTTP, TLS with either in it, or a line of bytes, on every port.
pub const SERVER: &str = r#"
import http.server, json, os, socket, ssl, sys, threading
NAME = sys.argv[1]
HOME = os.path.dirname(os.path.abspath(__file__))
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
TLS.load_cert_chain(os.path.join(HOME, "server.pem"))

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def handle(self):
        if self.rfile.peek(5)[:5] == b"bytes":
            self.rfile.readline()
            self.wfile.write(NAME.encode() + b"\n")
        else:
            super().handle()
    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        told = {"workload": NAME, "path": self.path, "host": self.headers.get("host"),
                "headers": {name.lower(): value for name, value in self.headers.items()}}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer
    def log_message(self, *args): pass

class Server:
    server_name = NAME

def serve(connection, address):
    try:
        if connection.recv(1, socket.MSG_PEEK) == b"\x16":
            connection = TLS.wrap_socket(connection, server_side=True)
        Handler(connection, address, Server)
    except OSError:
        pass
    finally:
        connection.close()

def listen(port):
    listener = socket.create_server(("", port))
    while True:
        threading.Thread(target=serve, args=listener.accept(), daemon=True).start()

for port in sys.argv[2:]:
    threading.Thread(target=listen, args=(int(port),)).start()
"#;

/// `client.py CALLS`: each as often as it says, over a connection of its own; prints what came of each time.
pub const CLIENT: &str = r#"
import http.client, json, socket, ssl, sys
ANYBODY = ssl.create_default_context()
ANYBODY.check_hostname, ANYBODY.verify_mode = False, ssl.CERT_NONE

def call(to):
    try:
        address = to["at"] or socket.getaddrinfo(to["name"], to["port"], socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except socket.gaierror:
        return {"error": "no name"}
    try:
        with socket.create_connection((address, to["port"]), timeout=10) as connection:
            if to["tls"]:
                connection = ANYBODY.wrap_socket(connection, server_hostname=to["name"])
            if not to["http"]:
                connection.sendall(b"bytes\n")
                said = connection.makefile().readline().strip()
                return {"workload": said} if said else {"error": "refused"}
            lines = ["%s %s HTTP/1.1" % (to["method"], to["path"]), "host: " + to["authority"], "connection: close"]
            lines += ["%s: %s" % header for header in to["headers"].items()]
            connection.sendall("\r\n".join(lines + ["", ""]).encode())
            response = http.client.HTTPResponse(connection, method=to["method"])
            response.begin()
            body = response.read().decode()
            heard = {name.lower(): value for name, value in response.getheaders()}
    except (OSError, http.client.HTTPException):
        return {"error": "refused"}
    answer = {"status": response.status, "body": body, "answer": heard}
    if response.status == 200 and body.startswith("{"):
        answer.update(json.loads(body))
    return answer

print(json.dumps([[call(to) for _ in range(to["times"])] for to in json.loads(sys.argv[1])]))
"#;

/// What TLS that is the application's own is ended with.
#[track_caller]
pub fn certificate(pod: &Pod) {
    let file = pod.user.home().join("server.pem").display().to_string();
    let made = pod.outside(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=server",
            "-keyout",
            &file,
            "-out",
            "chain.pem",
        ],
    );
    assert!(made.status.success(), "{made:?}");
    let both =
        ["server.pem", "chain.pem"].map(|name| std::fs::read_to_string(pod.user.home().join(name)).unwrap());
    pod.user.write("server.pem", &both.concat());
}

/// A service that says by being there that the file has been read.
pub fn marker(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, annotations: {{networking.istio.io/exportTo: \"*\"}}}}\nspec:\n  selector: {{app: {name}}}\n  ports: [{{name: http, port: 9080}}]\n"
    )
}

/// The client's argument. `gateway`: by how much a gateway's ports on this machine are higher than the calls'.
pub fn calls(calls: &[&Call], shares: u32, gateway: Option<u16>) -> String {
    let each = calls.iter().map(|call| {
        let (name, port) = call.host_and_port();
        json!({
            "name": name,
            "port": port + gateway.unwrap_or(0),
            "at": gateway.map(|_| IpAddr::from([127, 0, 0, 1])).or(call.at),
            "tls": call.is_encrypted(),
            "http": call.scheme().starts_with("http"),
            "authority": call.authority(),
            "path": call.path(),
            "method": call.method.as_deref().unwrap_or("GET"),
            "headers": call.headers,
            "times": if call.shares.is_empty() { 1 } else { shares },
        })
    });
    json!(each.collect::<Vec<_>>()).to_string()
}
