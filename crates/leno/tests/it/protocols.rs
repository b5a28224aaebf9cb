//! What applications speak passes through: who speaks first, how long, and in which version of what.

use std::fs;

use leno_testkit::Mesh;

use crate::client::{curl, printed, python, serve};
use crate::support::{SERVER, mesh};

/// As MySQL: the server greets, and only then does the client speak.
const GREETER: &str = r#"
import socket, threading
def greet(c):
    c.sendall(b"\x4a\0\0\0\x0a8.0.0-greeting\0")
    c.sendall(b"you said " + c.recv(100)); c.close()
s = socket.create_server(("", 4406))
while True: threading.Thread(target=greet, args=(s.accept()[0],)).start()
"#;

#[test]
fn a_server_that_speaks_first_is_not_held_up() {
    let client = r#"
import socket, time
begin = time.monotonic()
for _ in range(3):
    s = socket.create_connection(("db", 4406), timeout=20)
    greeting = s.recv(100); assert greeting == b"\x4a\0\0\0\x0a8.0.0-greeting\0", greeting
    s.sendall(b"SELECT 1")
    answer = b""
    while part := s.recv(100): answer += part
    assert answer == b"you said SELECT 1", answer
print("slow" if time.monotonic() - begin > 3 else "fast")
"#;
    let mesh = mesh().start();
    let _workload = serve(
        &mesh,
        &["--service", "db", "--port", "4406"],
        "greeter.py",
        GREETER,
    );
    mesh.wait_for_instances("db", 1);
    assert_eq!(python(&mesh, "client.py", client), "fast\n");
}

#[test]
fn redis_answers_on_a_detected_and_on_a_declared_port() {
    let mesh = mesh().start();
    let redis = |service: &str, port: &str| {
        let server = [
            "redis-server",
            "--port",
            "6379",
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        mesh.run(&["--service", service, "--port", port], &server)
    };
    let _servers = [redis("redis", "6379"), redis("cache", "6379:tcp")];
    for host in ["redis", "cache"] {
        mesh.wait_for_instances(host, 1);
        let script = format!(
            "redis-cli -h {host} ping && redis-cli -h {host} set color green && redis-cli -h {host} get color"
        );
        assert_eq!(
            printed(&mesh, &["sh", "-c", &script]),
            "PONG\nOK\ngreen\n",
            "{host}"
        );
    }
}

/// Answers with the request's chunks, each as soon as it is there, and the trailers.
const ECHO_CHUNKS: &str = r#"
import socket, threading
def echo(c):
    f = c.makefile("rb")
    while f.readline() != b"\r\n": pass
    c.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while size := int(f.readline(), 16):
        data = f.read(size); f.readline()
        c.sendall(b"%x\r\n%s\r\n" % (size, data))
    c.sendall(b"0\r\n\r\n"); c.close()
s = socket.create_server(("", 8080))
while True: threading.Thread(target=echo, args=(s.accept()[0],)).start()
"#;

#[test]
fn chunks_stream_both_ways_while_the_request_is_still_being_sent() {
    // Each chunk is sent only when the one before it has come back.
    let client = r#"
import socket
s = socket.create_connection(("echo", 8080), timeout=20); f = s.makefile("rb")
s.sendall(b"POST / HTTP/1.1\r\nhost: echo\r\ntransfer-encoding: chunked\r\n\r\n")
def echoed():
    size = int(f.readline(), 16); data = f.read(size); f.readline(); return data
for i in range(5):
    chunk = b"chunk %d" % i
    s.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    if i == 0:
        print(f.readline().decode().split()[1])
        while (line := f.readline()) != b"\r\n":
            if line.lower().startswith(b"transfer-encoding"): print(line.decode().lower().strip())
    print(echoed().decode())
s.sendall(b"0\r\n\r\n")
print(echoed() == b"")
"#;
    let mesh = mesh().start();
    let _workload = serve(
        &mesh,
        &["--service", "echo", "--port", "8080:http"],
        "echo.py",
        ECHO_CHUNKS,
    );
    mesh.wait_for_instances("echo", 1);
    assert_eq!(
        python(&mesh, "client.py", client),
        "200\ntransfer-encoding: chunked\nchunk 0\nchunk 1\nchunk 2\nchunk 3\nchunk 4\nTrue\n"
    );
}

/// The least that is an HTTP/2 server: every request gets `200`, a body, and a trailer.
const H2_SERVER: &str = r#"
import socket, struct, threading
DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
def literal(name, value): return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
def serve(c):
    f = c.makefile("rb")
    if f.read(24) != b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
        c.sendall(b"HTTP/1.1 505 not HTTP/2\r\ncontent-length: 0\r\n\r\n"); return c.close()
    c.sendall(frame(SETTINGS, 0, 0))
    while head := f.read(9):
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream, payload = int.from_bytes(head[5:], "big"), f.read(length)
        if kind == SETTINGS and not flags & 1: c.sendall(frame(SETTINGS, 1, 0))
        if kind == PING and not flags & 1: c.sendall(frame(PING, 1, 0, payload))
        if kind == GOAWAY: return
        if kind in (HEADERS, DATA) and flags & 1:
            c.sendall(frame(HEADERS, 4, stream, b"\x88") + frame(DATA, 0, stream, b"over HTTP/2\n")
                + frame(HEADERS, 5, stream, literal(b"grpc-status", b"0")))
s = socket.create_server(("", 8080))
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"#;

#[test]
fn http2_in_plaintext_stays_http2_to_the_end_with_its_trailers() {
    let mesh = mesh().start();
    let _servers = [("declared", "8080:http2"), ("detected", "8080")]
        .map(|(service, port)| serve(&mesh, &["--service", service, "--port", port], "h2.py", H2_SERVER));
    for host in ["declared", "detected"] {
        mesh.wait_for_instances(host, 1);
        let url = format!("http://{host}:8080/");
        let said = curl(
            &mesh,
            &[
                "-v",
                "--stderr",
                "-",
                "--http2-prior-knowledge",
                &url,
                "-w",
                "%{http_version}\n",
            ],
        );
        assert!(
            said.contains("over HTTP/2\n") && said.ends_with("2\n"),
            "{host}: {said}"
        );
        assert!(said.contains("grpc-status: 0"), "{host}: no trailer: {said}");
    }
}

/// RFC 6455: upgrades, and sends every text frame back.
const WEBSOCKET: &str = r#"
import base64, hashlib, socket, threading
def echo(c):
    f, key = c.makefile("rb"), b""
    while (line := f.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key": key = value.strip()
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: " + accept + b"\r\n\r\n")
    while head := f.read(2):
        length, mask = head[1] & 127, f.read(4)
        text = bytes(b ^ mask[i % 4] for i, b in enumerate(f.read(length)))
        c.sendall(head[:1] + bytes([length]) + text)
    c.close()
s = socket.create_server(("", 8080))
while True: threading.Thread(target=echo, args=(s.accept()[0],)).start()
"#;

#[test]
fn a_websocket_is_upgraded_and_its_frames_pass() {
    let client = r#"
import socket
s = socket.create_connection(("chat", 8080), timeout=20); f = s.makefile("rb")
s.sendall(b"GET /ws HTTP/1.1\r\nhost: chat\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
print(f.readline().decode().strip())
while (line := f.readline()) != b"\r\n":
    if line.lower().startswith(b"sec-websocket-accept"): print(line.decode().split(": ")[1].strip())
for text in (b"one", b"two", b"three"):
    s.sendall(b"\x81" + bytes([128 | len(text)]) + b"abcd" + bytes(b ^ b"abcd"[i % 4] for i, b in enumerate(text)))
    head = f.read(2); print(head[0], f.read(head[1]).decode())
s.shutdown(socket.SHUT_WR)
print(f.read())
"#;
    let mesh = mesh().start();
    let _workload = serve(
        &mesh,
        &["--service", "chat", "--port", "8080:http"],
        "chat.py",
        WEBSOCKET,
    );
    mesh.wait_for_instances("chat", 1);
    // The key and its answer are RFC 6455's own example.
    assert_eq!(
        python(&mesh, "client.py", client),
        "HTTP/1.1 101 Switching Protocols\ns3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n129 one\n129 two\n129 three\nb''\n"
    );
}

#[test]
fn a_large_body_arrives_whole_both_ways() {
    let mesh = mesh().start();
    let script = mesh.user.write("server.py", SERVER).display().to_string();
    let _workload = mesh.run(
        &["--service", "store", "--port", "8080:http"],
        &["python3", &script, "v1", "8080"],
    );
    mesh.wait_for_instances("store", 1);
    // No two blocks alike: a block lost or doubled would show.
    let text: String = (0..20 * 1024 * 1024 / 16).map(|i| format!("{i:015}\n")).collect();
    mesh.user.write("sent", &text);
    let sizes = curl(
        &mesh,
        &[
            "--data-binary",
            "@sent",
            "-o",
            "received",
            "http://store:8080/",
            "-w",
            "%{http_code}",
        ],
    );
    assert_eq!(sizes, "200");
    let received = fs::read(mesh.user.home().join("received")).unwrap();
    assert_eq!(received.len(), text.len());
    assert!(received == text.as_bytes(), "the bytes differ");
}

#[test]
fn an_app_protocol_outweighs_the_ports_name() {
    let service = |name: &str, port_name: &str, protocol: &str| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: {port_name}, port: 8080, appProtocol: {protocol}}}]
"
        )
    };
    let mesh = mesh()
        .file("web.yaml", &service("web", "tcp-web", "http"))
        .file("raw.yaml", &service("raw", "http-raw", "tcp"))
        .start();
    let _servers = ["web", "raw"].map(|name| server(&mesh, name));
    for (name, as_http) in [("web", true), ("raw", false)] {
        mesh.wait_for_instances(name, 1);
        let headers = curl(&mesh, &[&format!("http://{name}:8080/headers")]).to_lowercase();
        assert_eq!(headers.contains("x-request-id"), as_http, "{name}: {headers}");
    }
}

fn server(mesh: &Mesh, name: &str) -> leno_testkit::Process {
    let script = mesh.user.write("server.py", SERVER).display().to_string();
    mesh.run(
        &["--service", name, "--port", "8080"],
        &["python3", &script, name, "8080"],
    )
}
