//! Keys over https, by an authority of one's own.

use std::process::Command;

use leno_testkit::{Issuer, Process, eventually};

use super::{ISSUER, NO_KEY, claims, gets, impatient, server, status_says, tokens, with};
use crate::support::stdout;

/// `NAME.pem` for certificate and key together: of the authority for this address, of the authority for another name, and for
/// this address of an authority that nobody knows.
const CERTIFICATES: &str = r#"
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" "${@:2}" 2>/dev/null; }
for ca in authority stranger; do new $ca -x509 -days 2 -out $ca.crt; done
signed() {
  new "$1" -out "$1.csr"; echo "subjectAltName=$3" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
  cat "$1.crt" "$1.key" > "$1.pem"
}
signed good authority IP:127.0.0.1
signed other authority DNS:other.example
signed false stranger IP:127.0.0.1
"#;

/// Serves `keys.json` with the certificate that is in `shown.pem` when somebody comes.
const KEYS: &str = r#"
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open("keys.json", "rb").read()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
class Server(http.server.ThreadingHTTPServer):
    def get_request(self):
        stream, address = super().get_request()
        stream.settimeout(20)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain("shown.pem")
        return context.wrap_socket(stream, server_side=True), address
server = Server(("127.0.0.1", 0), Handler)
print("port", server.server_port, flush=True)
server.serve_forever()
"#;

#[test]
fn keys_over_https_are_taken_from_whom_the_authority_vouches_for_and_from_nobody_else() {
    let made = tempfile::tempdir().unwrap();
    let mut shell = Command::new("bash");
    let output = shell
        .args(["-ec", CERTIFICATES])
        .current_dir(made.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let file = |name: &str| std::fs::read_to_string(made.path().join(name)).unwrap();

    let (first, next, last) = (Issuer::new("one"), Issuer::new("two"), Issuer::new("three"));
    let mesh = impatient()
        .control_arg("--jwks-ca=authority.crt")
        .beside("authority.crt", &file("authority.crt"))
        .beside("shown.pem", &file("good.pem"))
        .beside("keys.json", &first.key_set())
        .start();
    let script = mesh.user.write("keys.py", KEYS);
    let mut command = mesh.program("python3");
    command.arg(script);
    let keys = Process::spawn(command);
    let port = keys.wait_for_output("\n");
    let port = port.trim().strip_prefix("port ").unwrap().to_owned();
    let url = format!("https://127.0.0.1:{port}/keys");
    mesh.write("tokens.yaml", &tokens("tokens", ISSUER, ("jwksUri", &url), ""));
    let _server = server(&mesh);
    let token = |issuer: &Issuer| issuer.token(&claims(serde_json::json!({})));
    gets(&mesh, &token(&first), "v1 200");
    assert_eq!(with(&mesh, &token(&next)), NO_KEY);

    // Whoever has taken the server's place has keys of his own.
    for (shown, why) in [
        ("false.pem", "is signed by no authority"),
        (
            "other.pem",
            "has none of the expected names (expected 127.0.0.1; got other.example)",
        ),
    ] {
        mesh.user.write("shown.pem", &file(shown));
        mesh.user.write("keys.json", &next.key_set());
        let status = status_says(&mesh, why);
        for part in ["LN0331", url.as_str(), "the last good ones hold"] {
            assert!(status.contains(part), "{part}: {status}");
        }
        assert_eq!(with(&mesh, &token(&next)), NO_KEY, "{shown}");
        assert_eq!(with(&mesh, &token(&first)), "v1 200", "{shown}");
        mesh.user.write("shown.pem", &file("good.pem"));
        mesh.user.write("keys.json", &first.key_set());
        eventually("nothing is wrong any more", || {
            match stdout(&mesh.leno(&["status"])) {
                status if status.contains("LN0331") => Err(status),
                _ => Ok(()),
            }
        });
    }
    mesh.user.write("keys.json", &last.key_set());
    gets(&mesh, &token(&last), "v1 200");
}
