//! TLS that ends at the gateway, is renewed under it, or passes through.

use std::path::PathBuf;
use std::process::Command;

use leno_testkit::{Mesh, eventually};

use super::{GATEWAY_API, curl, free_port, gateway, shop, wait_for};
use crate::support::{reviews, stdout};

/// A certificate of its own for a name, in the user's home: certificate and key.
pub(super) fn certificate(mesh: &Mesh, file: &str, name: &str, days: u32) -> (PathBuf, PathBuf) {
    let home = mesh.user.home();
    let (cert, key) = (home.join(format!("{file}.pem")), home.join(format!("{file}.key")));
    let script = "set -e
openssl ecparam -name prime256v1 -genkey -noout -out $2
openssl req -new -key $2 -subj /CN=$3 -out request.pem
printf 'subjectAltName=DNS:%s' $3 > names
openssl x509 -req -in request.pem -signkey $2 -days $4 -extfile names -out $1";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([&cert, &key])
        .args([name, &days.to_string()])
        .current_dir(home)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    for path in [&cert, &key] {
        let text = std::fs::read_to_string(path).unwrap();
        mesh.user
            .write(path.file_name().unwrap().to_str().unwrap(), &text);
    }
    (cert, key)
}

/// As `kubectl create secret tls` would write it.
pub(super) fn secret(mesh: &Mesh, name: &str, file: &str, days: u32) -> String {
    let (cert, key) = certificate(mesh, file, "shop.example.com", days);
    let indented = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let (cert, key) = (indented(&cert), indented(&key));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\nstringData:\n  \
         tls.crt: |\n{cert}  tls.key: |\n{key}"
    )
}

/// `curl https://shop.example.com:PORT/PATH`, which trusts this certificate.
pub(super) fn https(mesh: &Mesh, port: u16, trust: &str, more: &[&str]) -> String {
    let resolve = format!("shop.example.com:{port}:127.0.0.1");
    let trust = mesh
        .user
        .home()
        .join(format!("{trust}.pem"))
        .display()
        .to_string();
    let url = format!("https://shop.example.com:{port}/v1");
    let args = [
        "--resolve",
        &resolve,
        "--cacert",
        &trust,
        "-w",
        "%{http_code} %{http_version}",
        &url,
    ];
    let output = curl(&[more, &args].concat());
    stdout(&output).replace('\n', " ") + &String::from_utf8_lossy(&output.stderr)
}

const SHOP: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [shop.example.com]
    tls: {httpsRedirect: true}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
  - port: {number: 444, name: https-mutual, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: MUTUAL, serverCertificate: HOME/files.pem, privateKey: HOME/files.key, caCertificates: HOME/client.pem}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [shop]
  http:
  - route: [{destination: {host: reviews}}]
";

#[test]
fn tls_ends_at_the_gateway_with_certificates_of_secrets_and_files_that_may_change() {
    let mesh = shop().start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    mesh.write("secret.yaml", &secret(&mesh, "shop", "first", 10));
    certificate(&mesh, "files", "shop.example.com", 10);
    certificate(&mesh, "client", "somebody", 10);
    mesh.write(
        "shop.yaml",
        &SHOP.replace("HOME", &mesh.user.home().display().to_string()),
    );
    let (http, tls, mutual) = (free_port(), free_port(), free_port());
    let _gateway = gateway(&mesh, &[(80, http), (443, tls), (444, mutual)], &[]);
    eventually("TLS by a Secret", || match https(&mesh, tls, "first", &[]) {
        answer if answer == "v1 200 2" => Ok(()),
        other => Err(other),
    });
    assert_eq!(https(&mesh, tls, "first", &["--http1.1"]), "v1 200 1.1");
    assert_eq!(https(&mesh, tls, "first", &["--tls-max", "1.2"]), "v1 200 2");
    // Another name has no certificate here.
    let resolve = format!("other.example.com:{tls}:127.0.0.1");
    let url = format!("https://other.example.com:{tls}/");
    let other = curl(&["-k", "--resolve", &resolve, &url]);
    assert!(!other.status.success(), "{other:?}");
    // Plaintext is sent to HTTPS.
    let url = format!("http://127.0.0.1:{http}/v1?q=1");
    let redirected = curl(&[
        "-H",
        "host: shop.example.com",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        &url,
    ]);
    assert_eq!(stdout(&redirected), "301 https://shop.example.com/v1?q=1");
    // Who shows no certificate, or one that nobody vouches for, stays outside.
    let home = mesh.user.home().display().to_string();
    let shown = |name: &str| [format!("{home}/{name}.pem"), format!("{home}/{name}.key")];
    eventually("TLS by files", || {
        let [cert, key] = shown("client");
        match https(&mesh, mutual, "files", &["--cert", &cert, "--key", &key]) {
            answer if answer == "v1 200 2" => Ok(()),
            other => Err(other),
        }
    });
    assert!(!https(&mesh, mutual, "files", &[]).contains("200"));
    let [cert, key] = shown("first");
    assert!(!https(&mesh, mutual, "files", &["--cert", &cert, "--key", &key]).contains("200"));
    // A new certificate in the Secret, and in the file: without a restart.
    mesh.write("secret.yaml", &secret(&mesh, "shop", "second", 10));
    certificate(&mesh, "files", "shop.example.com", 20);
    eventually("the new certificates are shown", || {
        let [cert, key] = shown("client");
        let answers = [
            https(&mesh, tls, "second", &[]),
            https(&mesh, mutual, "files", &["--cert", &cert, "--key", &key]),
        ];
        match answers.iter().all(|answer| answer == "v1 200 2") {
            true => Ok(()),
            false => Err(answers),
        }
    });
}

#[test]
fn a_listener_of_the_gateway_api_ends_tls_and_nobody_else_is_told_the_key() {
    let mesh = shop().start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    mesh.write("secret.yaml", &secret(&mesh, "shop", "first", 10));
    let listener = "listeners: [{name: https, port: 443, protocol: HTTPS, hostname: '*.example.com', tls: {certificateRefs: [{name: shop}]}}]";
    let api = GATEWAY_API
        .replace("listeners: [{name: http, port: 81, protocol: HTTP}]", listener)
        .replace("front.example.com", "shop.example.com");
    mesh.write("api.yaml", &api);
    let tls = free_port();
    let _gateway = gateway(&mesh, &[(443, tls)], &["--gateway", "front"]);
    eventually("TLS", || match https(&mesh, tls, "first", &[]) {
        answer if answer == "v1 200 2" => Ok(()),
        other => Err(other),
    });
    // What is shown of the gateway and of the sidecar has no key in it.
    let key = std::fs::read_to_string(mesh.user.home().join("first.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    for workload in ["istio-ingressgateway", "reviews"] {
        let shown = mesh.leno(&["config", "all", workload, "-o", "json"]);
        assert!(shown.status.success() && !shown.stdout.is_empty());
        assert!(!stdout(&shown).contains(line));
        assert!(!stdout(&shown).contains("PRIVATE KEY"));
    }
    // Another mesh member that only claims to be a gateway of another namespace gets nothing.
    let other = free_port();
    let stranger = gateway(
        &mesh,
        &[(443, other)],
        &["--namespace", "elsewhere", "--name", "stranger"],
    );
    stranger.wait_for_output("ready");
    assert!(!https(&mesh, other, "first", &[]).contains("200"));
}

const PASSED: &str = "
apiVersion: v1
kind: Service
metadata: {name: secure}
spec:
  selector: {app: secure}
  ports: [{name: tls, port: 8443}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: ['*.example.com']
    tls: {mode: PASSTHROUGH}
  - port: {number: 31400, name: tcp, protocol: TCP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ['*']
  gateways: [shop]
  tls:
  - match: [{port: 443, sniHosts: [shop.example.com]}]
    route: [{destination: {host: secure, port: {number: 8443}}}]
  tcp:
  - match: [{port: 31400}]
    route: [{destination: {host: reviews, port: {number: 9080}}}]
";

/// HTTP over the application's own TLS.
const SECURE: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"v1")
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("", 8443), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); tls.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

#[test]
fn tls_passes_by_its_name_and_bytes_by_their_port() {
    let mesh = shop().file("passed.yaml", PASSED).start();
    let _workload = reviews(&mesh, "v1");
    let (cert, key) = certificate(&mesh, "own", "shop.example.com", 10);
    let script = mesh.user.write("secure.py", SECURE).display().to_string();
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let command = ["python3", &script, &cert, &key];
    let _secure = mesh.run(&["--service", "secure", "--port", "8443:tls"], &command);
    mesh.wait_for_instances("secure", 1);
    mesh.wait_for_instances("reviews", 1);
    let (tls, tcp) = (free_port(), free_port());
    let _gateway = gateway(&mesh, &[(443, tls), (31400, tcp)], &[]);
    eventually("TLS of the application's own", || {
        match https(&mesh, tls, "own", &[]) {
            answer if answer == "v1200 1.1" => Ok(()),
            other => Err(other),
        }
    });
    wait_for(tcp, "whoever", "/", "v1 200");
}
