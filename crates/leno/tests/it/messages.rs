//! HTTP messages of every shape, as the application's own sockets see them.

use leno_testkit::{Mesh, Process};

use crate::client::{curl, python, serve};
use crate::support::mesh;

/// Answers each path with bytes of its own; what it was asked goes into `x-asked`.
const SERVER: &str = r#"
import socket, threading
ANSWERS = {
    "/length": b"content-length: 5\r\n\r\nhello",
    "/cookies": b"set-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n",
    "/trailers": b"trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n",
    "/close": b"connection: close\r\n\r\nuntil the end",
    "/head": b"content-length: 1000\r\n\r\n",
}
def serve(c):
    f = c.makefile("rb")
    while line := f.readline().decode():
        method, path, version = line.split()
        headers = {}
        while (line := f.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":"); headers[name.lower()] = value.strip()
        status = "200 OK"
        if path == "/204": status, rest = "204 No Content", b"\r\n"
        elif path == "/304": status, rest = "304 Not Modified", b"etag: \"x\"\r\n\r\n"
        elif path == "/continue":
            c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = f.read(int(headers["content-length"])); rest = b"content-length: %d\r\n\r\n" % len(body) + body
        else: rest = ANSWERS[path]
        asked = "%s %s %s host=%s" % (method, path, version, headers.get("host"))
        c.sendall(b"HTTP/1.1 %s\r\nx-asked: %s\r\n" % (status.encode(), asked.encode()) + rest)
        if path == "/close": return c.close()
s = socket.create_server(("", 8080))
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"#;

/// Sends bytes and gives what comes back until the other side is done.
const EXCHANGE: &str = r#"
import socket
def exchange(request):
    s = socket.create_connection(("shapes", 8080), timeout=20)
    s.sendall(request)
    answer = b""
    while part := s.recv(65536): answer += part
    return answer.decode()
"#;

#[track_caller]
fn shapes() -> (Mesh, Process) {
    let mesh = mesh().start();
    let args = ["--service", "shapes", "--port", "8080:http"];
    let server = serve(&mesh, &args, "shapes.py", SERVER);
    mesh.wait_for_instances("shapes", 1);
    (mesh, server)
}

fn url(path: &str) -> String {
    format!("http://shapes:8080{path}")
}

#[test]
fn answers_without_a_body_end_where_their_head_does() {
    let (mesh, _server) = shapes();
    let urls = ["/204", "/304", "/length"].map(url);
    let (head, report) = (url("/head"), "[%{http_code} %{num_connects}]");
    let mut args = Vec::new();
    for url in &urls {
        args.extend(["-w", report, url, "--next", "-sS", "--max-time", "20"]);
    }
    args.extend(["-I", "-w", report, &head]);
    let said = curl(&mesh, &args).to_lowercase();
    // All over the one connection that the first opened.
    for part in ["[204 1]", "[304 0]", "hello[200 0]", "content-length: 1000"] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(said.ends_with("[200 0]"), "{said}");
}

#[test]
fn trailers_repeated_headers_and_bodies_up_to_the_close_arrive() {
    let (mesh, _server) = shapes();
    let args = ["--raw", "-i", "-H", "TE: trailers", &url("/trailers")];
    let trailers = curl(&mesh, &args).to_lowercase();
    assert!(
        trailers.contains("5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"),
        "{trailers}"
    );
    let cookies = curl(&mesh, &["-i", &url("/cookies")]).to_lowercase();
    for cookie in ["set-cookie: a=1\r\n", "set-cookie: b=2\r\n"] {
        assert!(cookies.contains(cookie), "{cookies}");
    }
    assert_eq!(curl(&mesh, &[&url("/close")]), "until the end");
}

#[test]
fn the_server_is_asked_as_the_client_asked() {
    let (mesh, _server) = shapes();
    let asked = |args: &[&str]| {
        let said = curl(&mesh, &[&["-i"], args].concat());
        let line = said.lines().find_map(|l| l.strip_prefix("x-asked: "));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert_eq!(asked(&[&url("/length")]), "GET /length HTTP/1.1 host=shapes:8080");
    assert_eq!(
        asked(&["-X", "PURGE", "-H", "host: other.example", &url("/length")]),
        "PURGE /length HTTP/1.1 host=other.example"
    );
    let body = ["-H", "expect: 100-continue", "--data-binary", "of the request"];
    let said = curl(
        &mesh,
        &[&body[..], &["-v", "--stderr", "-", &url("/continue")]].concat(),
    );
    assert!(
        said.contains("HTTP/1.1 100 Continue") && said.contains("of the request"),
        "{said}"
    );
}

#[test]
fn pipelined_requests_and_http_1_0_are_answered_in_order() {
    let (mesh, _server) = shapes();
    let client = format!(
        r#"{EXCHANGE}
get = b"GET %s HTTP/1.1\r\nhost: shapes\r\n%s\r\n"
answer = exchange(get % (b"/length", b"") + get % (b"/204", b"") + get % (b"/length", b"connection: close\r\n"))
print([part[:3] for part in answer.split("HTTP/1.1 ") if part[:3].isdigit()], answer.count("hello"))
old = exchange(b"GET /length HTTP/1.0\r\nhost: shapes\r\n\r\n")
print(old.split()[1], old.endswith("\r\n\r\nhello"))
streamed = exchange(b"GET /trailers HTTP/1.0\r\nhost: shapes\r\n\r\n")
print("chunked" in streamed.lower(), streamed.endswith("\r\n\r\nhello"))
"#
    );
    assert_eq!(
        python(&mesh, "client.py", &client),
        "['200', '204', '200'] 2\n200 True\nFalse True\n"
    );
}

#[test]
fn what_is_no_proper_request_is_refused_and_never_reaches_the_server() {
    let (mesh, _server) = shapes();
    let client = r#"
import socket
head = b"POST /length HTTP/1.1\r\nhost: a\r\n"
bad = [
    b"GET /length HTTP/1.1\r\n\r\n",
    head + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    head + b"content-length: -1\r\n\r\n",
    head + b"transfer-encoding: gzip, identity\r\n\r\n",
    head + b"bad header: x\r\ncontent-length: 0\r\n\r\n",
    head + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
]
for request in bad:
    s = socket.create_connection(("shapes", 8080), timeout=5); s.sendall(request)
    print(s.makefile().readline().strip(), flush=True)
"#;
    let said = python(&mesh, "client.py", client);
    assert_eq!(said.lines().count(), 6, "{said}");
    // As Envoy: what a transfer coding means that nobody knows is not implemented (RFC 9112 §6.1).
    let refused = |line: &str| line.starts_with("HTTP/1.1 4") || line.starts_with("HTTP/1.1 501 ");
    assert!(said.lines().all(refused), "{said}");
}

#[test]
fn a_half_closed_connection_still_gets_its_answer() {
    let server = r#"
import socket, threading
def count(c):
    n = 0
    while part := c.recv(65536): n += len(part)
    c.sendall(b"%d bytes\n" % n); c.close()
s = socket.create_server(("", 7000))
while True: threading.Thread(target=count, args=(s.accept()[0],)).start()
"#;
    let client = r#"
import socket
s = socket.create_connection(("count", 7000), timeout=20)
s.sendall(b"x" * 3_000_000); s.shutdown(socket.SHUT_WR)
print(s.makefile().read(), end="")
"#;
    let mesh = mesh().start();
    let args = ["--service", "count", "--port", "7000:tcp"];
    let _workload = serve(&mesh, &args, "count.py", server);
    mesh.wait_for_instances("count", 1);
    assert_eq!(python(&mesh, "client.py", client), "3000000 bytes\n");
}
