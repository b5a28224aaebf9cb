//! Connections without HTTP: an AuthorizationPolicy with action CUSTOM has them asked about before anything behind is reached.

use leno_testkit::eventually;

use super::{AUTHZ, authorizer, grpcio, run};
use crate::support::{mesh, stdout};

/// Lets in whose certificate says `sa/good`; says who came, and where to.
const ASKED: &str = r#"
import grpc
from concurrent import futures
def check(request, context):
    good = b"/sa/good" in request
    print("asked of", "good" if good else "somebody else", flush=True)
    # CheckResponse.status.code: OK, or PERMISSION_DENIED.
    return b"\x0a\x00" if good else b"\x0a\x02\x08\x07"
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(check) if details.method == "/envoy.service.auth.v3.Authorization/Check" else None
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([Handler()])
server.add_insecure_port("0.0.0.0:9000")
server.start(); server.wait_for_termination()
"#;

/// Echoes lines at both ports, and says when somebody comes.
const ECHO: &str = r#"
import socketserver, threading
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        print("connected", flush=True)
        for line in self.rfile: self.wfile.write(line); self.wfile.flush()
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True; daemon_threads = True
for port in (9100, 9101, 9102): threading.Thread(target=Server(("", port), Echo).serve_forever).start()
"#;

/// A line to a port: what comes back.
const CALL: &str = r#"
import socket, sys
try:
    s = socket.create_connection(("echo", int(sys.argv[1])), 20); s.sendall(b"hello\n")
    print(s.makefile().readline().strip() or "nothing")
except OSError: print("nothing")
"#;

const FILES: &str = "
kind: MeshConfig
accessLogFile: /dev/stdout
extensionProviders:
- name: strict
  envoyExtAuthzGrpc: {service: authz.default.svc.cluster.local, port: 9000, timeout: 5s}
- name: lenient
  envoyExtAuthzGrpc: {service: authz.default.svc.cluster.local, port: 9000, timeout: 5s, failOpen: true}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask}
spec:
  selector: {matchLabels: {app: echo}}
  action: CUSTOM
  provider: {name: strict}
  rules: [{to: [{operation: {ports: ['9100']}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask-lenient}
spec:
  selector: {matchLabels: {app: echo}}
  action: CUSTOM
  provider: {name: lenient}
  rules: [{to: [{operation: {ports: ['9101']}}]}]
";

#[test]
fn connections_are_asked_about_and_without_an_answer_it_is_as_the_provider_says() {
    let test = "connections_are_asked_about_and_without_an_answer_it_is_as_the_provider_says";
    let mesh = mesh().file("authz.yaml", AUTHZ).file("ask.yaml", FILES).start();
    let Some(packages) = grpcio(test, &mesh.user) else {
        return;
    };
    let command = authorizer(&mesh.user, "asked.py", ASKED, &packages);
    let authz = run(&mesh, &["--service", "authz", "--port", "9000:grpc"], &command);
    let script = mesh.user.write("echo.py", ECHO).display().to_string();
    let ports = ["--port", "9100:tcp", "--port", "9101:tcp", "--port", "9102:tcp"];
    let echo = mesh.run(
        &[&["--service", "echo"][..], &ports].concat(),
        &["python3", &script],
    );
    for service in ["authz", "echo"] {
        mesh.wait_for_instances(service, 1);
    }
    let call = mesh.user.write("call.py", CALL).display().to_string();
    let say = |account: &str, port: &str| {
        let mut command = mesh.command(&["run", "--service", "client", "--service-account", account, "--"]);
        let output = command.args(["python3", &call, port]).output().unwrap();
        let said = stdout(&output);
        said.lines().next().unwrap_or_default().to_owned()
    };
    let brings = |account: &str, port: &str, wanted: &str| {
        eventually(&format!("{account} at {port}: {wanted}"), || {
            match say(account, port) {
                got if got == wanted => Ok(()),
                got => Err(got),
            }
        });
    };
    brings("good", "9100", "hello");
    brings("good", "9101", "hello");
    let before = (
        authz.output().matches("asked of").count(),
        echo.output().matches("connected").count(),
    );
    assert_eq!(say("bad", "9100"), "nothing");
    assert_eq!(say("bad", "9101"), "nothing");
    // Of a port that no policy matches nobody is asked.
    assert_eq!(say("bad", "9102"), "hello");
    authz.wait_for_output("asked of somebody else");
    assert_eq!(
        authz.output().matches("asked of").count(),
        before.0 + 2,
        "{}",
        authz.output()
    );
    // The application has not been reached by those that were denied.
    assert_eq!(echo.output().matches("connected").count(), before.1 + 1);

    drop(authz);
    brings("good", "9100", "nothing");
    assert_eq!(say("good", "9101"), "hello");
    assert_eq!(say("bad", "9101"), "hello");
    assert_eq!(say("bad", "9100"), "nothing");

    let log = eventually("all is in the log", || match echo.output() {
        log if log.contains("which has not answered") => Ok(log),
        log => Err(log),
    });
    for part in [
        "denied by the authorizer strict; asked by ns[default]-policy[ask]-rule[0] AuthorizationPolicy/default/ask",
        "denied by the authorizer lenient; asked by ns[default]-policy[ask-lenient]-rule[0]",
        "denied by the authorizer strict, which has not answered",
        "\"- - -\" 0 UAEX - ext_authz_close",
        "\"- - -\" 0 UAEX - ext_authz_error",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}
