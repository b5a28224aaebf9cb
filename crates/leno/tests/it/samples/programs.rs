//! The programs behind the samples' names, and the one that calls them; they know nothing of a mesh.

/// `[ADDRESS:]KIND:PORT:NAME`...: answers each request with its name and what was asked. `h2c` says no more than that it
/// is HTTP/2: the preface and an empty SETTINGS frame.
pub const APPLICATION: &str = r#"
import base64, hashlib, http.server, socketserver, ssl, sys, threading
def http_server(name):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"; disable_nagle_algorithm = True
        def do_GET(self):
            if self.headers.get("upgrade") == "websocket": return self.websocket()
            body = f"{name} {self.path}".encode()
            self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
            self.wfile.write(body)
        def websocket(self):
            key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            self.send_response(101); self.send_header("upgrade", "websocket"); self.send_header("connection", "upgrade")
            self.send_header("sec-websocket-accept", accept); self.end_headers()
            head = self.rfile.read(6); data = self.rfile.read(head[1] & 127)
            text = f"{name} ".encode() + bytes(b ^ head[2 + i % 4] for i, b in enumerate(data))
            self.wfile.write(bytes([0x81, len(text)]) + text); self.close_connection = True
        def log_message(self, *a): pass
    return Handler
def tcp_server(name):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile: self.wfile.write(name.encode() + b" " + line)
    return Handler
def tls_server(name):
    class Handler(socketserver.StreamRequestHandler):
        def setup(self):
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); tls.load_cert_chain("any.pem", "any.key")
            def note(connection, asked_for, context): self.asked_for = asked_for
            tls.sni_callback = note
            self.request = tls.wrap_socket(self.request, server_side=True); super().setup()
        def handle(self): self.wfile.write(f"{name} {self.asked_for}\n".encode())
    return Handler
def h2c_server(name):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            if self.rfile.read(24) != b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": return
            self.wfile.write(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            while True:
                head = self.rfile.read(9)
                if len(head) < 9: return
                self.rfile.read(int.from_bytes(head[:3], "big")); stream = head[5:9]
                if head[3] == 4 and not head[4] & 1: self.wfile.write(bytes([0, 0, 0, 4, 1, 0, 0, 0, 0]))
                if head[3] == 6 and not head[4] & 1: return
                # HEADERS that end the stream: `:status: 204` of HPACK's static table.
                if head[3] == 1: self.wfile.write(bytes([0, 0, 1, 1, 5]) + stream + bytes([0x89]))
    return Handler
kinds = {"http": http_server, "tcp": tcp_server, "tls": tls_server, "h2c": h2c_server}
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = daemon_threads = True; request_queue_size = 128
for serve in sys.argv[1:]:
    *address, kind, port, name = serve.split(":")
    server = Server((address[0] if address else "", int(port)), kinds[kind](name))
    threading.Thread(target=server.serve_forever).start()
"#;

/// `KIND HOST PORT COUNT WHAT`: calls so often, and prints how often each answer came.
pub const CALLER: &str = r#"
import collections, http.client, json, os, socket, ssl, subprocess, sys
kind, host, port, count, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
def connected():
    family = socket.AF_INET6 if kind.endswith("6") else socket.AF_INET
    *_, address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0]
    s = socket.socket(family); s.settimeout(20); s.connect(address); return s
def over_http():
    c = http.client.HTTPConnection(host, port); c.sock = connected()
    c.request("GET", what); r = c.getresponse(); body = r.read().decode(); c.close()
    return body if r.status == 200 else str(r.status)
def over_tcp():
    with connected() as s:
        s.sendall(what.encode() + b"\n"); return s.makefile().readline().strip() or "refused"
def over_tls():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); tls.check_hostname = False; tls.verify_mode = ssl.CERT_NONE
    with tls.wrap_socket(connected(), server_hostname=what) as s: return s.makefile().readline().strip()
def over_websocket():
    with connected() as s:
        stream = s.makefile("rb")
        s.sendall(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
                  "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        status = stream.readline().split()[1]
        while stream.readline().strip(): pass
        if status != b"101": return status.decode()
        mask = os.urandom(4)
        s.sendall(bytes([0x81, 0x80 | len(what)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(what.encode())))
        head = stream.read(2); return stream.read(head[1]).decode()
def over_h2c():
    url = f"http://{host}:{port}{what}"
    run = ["curl", "-sS", "-m", "20", "--http2-prior-knowledge", "-w", "%{http_code}/%{http_version}", "-o", "-", url]
    return subprocess.run(run, capture_output=True, text=True).stdout
calls = {"http": over_http, "tcp": over_tcp, "tls": over_tls, "websocket": over_websocket, "h2c": over_h2c}
answers = collections.Counter()
for _ in range(count):
    try: answers[calls[kind.rstrip("6")]()] += 1
    except socket.gaierror: answers["no such name"] += 1
    except OSError: answers["refused"] += 1
print(json.dumps(answers))
"#;

/// The machine's name server: every name has one IPv4 address, 198.18.7.3.
pub const NAMES: &str = r#"
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 53))
while True:
    query, client = s.recvfrom(512)
    end = query.index(0, 12) + 5
    answer = query[end - 4:end - 2] == b"\x00\x01"
    record = b"\xc0\x0c" + query[end - 4:end] + struct.pack(">IH4B", 5, 4, 198, 18, 7, 3) if answer else b""
    s.sendto(query[:2] + struct.pack(">5H", 0x8180, 1, answer, 0, 0) + query[12:end] + record, client)
"#;
