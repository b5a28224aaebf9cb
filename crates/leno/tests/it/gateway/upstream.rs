//! What a gateway shows to a server outside: certificates of a Secret, or of files on its machine.

use leno_testkit::{Process, eventually, free_port};

use super::tls::{certificate, secret};
use super::{answer, gateway, shop};

/// Takes only clients with the certificate of `trust`, and tells whose it is.
const SERVER: &str = r#"
import http.server, ssl, sys
port, cert, key, trust = int(sys.argv[1]), *sys.argv[2:5]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        subject = self.connection.getpeercert()["subject"]
        body = (dict(part[0] for part in subject)["commonName"] + "\n").encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key); context.load_verify_locations(trust); context.verify_mode = ssl.CERT_REQUIRED
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("there", flush=True); server.serve_forever()
"#;

const ROUTES: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: out}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: server}
spec:
  hosts: [server.example]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: PORT}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: out}
spec:
  hosts: [out.example.com]
  gateways: [out]
  http: [{route: [{destination: {host: server.example}}]}]
---
";

fn rule(tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: server}}\nspec: {{host: server.example, trafficPolicy: {{tls: {tls}}}}}\n"
    )
}

#[test]
fn a_gateway_shows_certificates_of_secrets_and_files_to_servers_outside() {
    let mesh = shop().start();
    let home = mesh.user.home().display().to_string();
    certificate(&mesh, "server", "server.example", 10);
    // Its certificate is in the Secret `client`.
    let client = secret(&mesh, "client", "client", 10);
    let roots = std::fs::read_to_string(mesh.user.home().join("server.pem")).unwrap();
    let roots: String = roots.lines().map(|line| format!("    {line}\n")).collect();
    mesh.write("secret.yaml", &format!("{client}  ca.crt: |\n{roots}"));
    let port = free_port();
    let script = mesh.user.write("server.py", SERVER);
    let mut command = mesh.user.command("python3");
    command.arg(script).arg(port.to_string());
    command.args(["server.pem", "server.key", "client.pem"].map(|file| format!("{home}/{file}")));
    let server = Process::spawn(command);
    server.wait_for_output("there");

    mesh.write("routes.yaml", &ROUTES.replace("PORT", &port.to_string()));
    let opened = free_port();
    let _gateway = gateway(&mesh, &[(80, opened)], &[]);
    let wait_for = |wanted: &str, why: &str| {
        eventually(why, || {
            let got = answer(opened, "out.example.com", "/");
            if got.starts_with(wanted) || got.ends_with(wanted) {
                Ok(())
            } else {
                Err(got)
            }
        });
    };
    wait_for("503", "plaintext is not taken");
    mesh.write("rule.yaml", &rule("{mode: MUTUAL, credentialName: client}"));
    wait_for("shop.example.com 200", "the Secret's certificate is shown");
    mesh.write("rule.yaml", &rule("{mode: SIMPLE, credentialName: client}"));
    wait_for("503", "SIMPLE shows none");
    let files = format!(
        "{{mode: MUTUAL, clientCertificate: {home}/client.pem, privateKey: {home}/client.key, caCertificates: {home}/server.pem}}"
    );
    mesh.write("rule.yaml", &rule(&files));
    wait_for("shop.example.com 200", "the files' certificate is shown");
    let other = files.replace("mode: MUTUAL", "mode: MUTUAL, subjectAltNames: [other.example]");
    mesh.write("rule.yaml", &rule(&other));
    wait_for("503", "the server has another name");
}
