//! AuthorizationPolicies in a mesh that runs: who is let in, what a caller is told, and what the server's side says of it.

use leno_testkit::{Mesh, Process, eventually};

use crate::support::{SERVER, mesh, stdout};

const LOG: &str = "accessLogFile: /dev/stdout\n";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n"
    )
}

/// reviews, which answers `v1` to anything.
#[track_caller]
fn server(mesh: &Mesh) -> Process {
    let script = mesh.user.write("server.py", SERVER);
    let server = mesh.run(
        &["--service", "reviews", "--version", "v1", "--port", "9080:http"],
        &["python3", &script.display().to_string(), "v1", "9080"],
    );
    mesh.wait_for_instances("reviews", 1);
    server
}

/// The status and the body that a workload with this service account gets.
#[track_caller]
fn get(mesh: &Mesh, account: &str, path: &str) -> String {
    let url = format!("http://reviews:9080{path}");
    let output = mesh
        .command(&["run", "--service", "client", "--service-account", account, "--"])
        .args(["curl", "-sS", "--max-time", "20", "-w", " %{http_code}", &url])
        .output()
        .unwrap();
    stdout(&output).trim().replace('\n', "")
}

#[test]
fn a_caller_is_allowed_by_identity_denied_by_path_and_told_nothing_more() {
    let mesh = mesh()
        .file("mesh.yaml", LOG)
        .file(
            "allow.yaml",
            &policy(
                "allow-web",
                "selector: {matchLabels: {app: reviews}}\n  rules:\n  - from: [{source: {principals: [cluster.local/ns/default/sa/web]}}]\n    to: [{operation: {methods: [GET]}}]",
            ),
        )
        .file(
            "deny.yaml",
            &policy(
                "no-admin",
                "action: DENY\n  rules:\n  - to: [{operation: {ports: [\"9080\"], paths: [\"/admin*\"]}}]",
            ),
        )
        .start();
    let server = server(&mesh);
    eventually("the allowed caller gets an answer", || {
        match get(&mesh, "web", "/") {
            answer if answer == "v1 200" => Ok(()),
            other => Err(other),
        }
    });
    assert_eq!(get(&mesh, "web", "/admin/users"), "RBAC: access denied 403");
    assert_eq!(get(&mesh, "stranger", "/"), "RBAC: access denied 403");

    let log = server.wait_for_output("allow-web]-rule[0] AuthorizationPolicy");
    let line = |part: &str| {
        let found = log
            .lines()
            .find(|line| line.contains(part) && line.contains(" 403 "));
        found
            .unwrap_or_else(|| panic!("no line with {part}: {log}"))
            .to_owned()
    };
    let by_path = line("/admin/users");
    for part in [
        "rbac_access_denied_matched_policy[ns[default]-policy[no-admin]-rule[0]]",
        "denied by ns[default]-policy[no-admin]-rule[0] AuthorizationPolicy/default/no-admin",
        "deny.yaml:7:5",
    ] {
        assert!(by_path.contains(part), "{part}: {by_path}");
    }
    let by_default = line("matched_policy[none]");
    for part in [
        "no policy allows it; nearest is ns[default]-policy[allow-web]-rule[0]",
        "allow.yaml:7:5",
        "identity is \"spiffe://cluster.local/ns/default/sa/stranger\", not spiffe://cluster.local/ns/default/sa/web",
    ] {
        assert!(by_default.contains(part), "{part}: {by_default}");
    }
}

#[test]
fn an_empty_policy_denies_everything_until_it_goes() {
    let mesh = mesh().file("deny-all.yaml", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: nothing}\nspec: {}\n").start();
    let _server = server(&mesh);
    eventually("everything is denied", || match get(&mesh, "web", "/") {
        answer if answer == "RBAC: access denied 403" => Ok(()),
        other => Err(other),
    });
    mesh.remove("deny-all.yaml");
    eventually("everything is allowed again", || match get(&mesh, "web", "/") {
        answer if answer == "v1 200" => Ok(()),
        other => Err(other),
    });
}

/// Echoes lines, and says nothing of HTTP.
pub const ECHO: &str = r#"
import socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line); self.wfile.flush()
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True; daemon_threads = True
Server(("", 9000), Handler).serve_forever()
"#;

/// One connection for ever: says a line a time, and how it ended.
const TALKER: &str = r#"
import socket, time
s = socket.create_connection(("echo", 9000), timeout=20)
f = s.makefile("rwb")
n = 0
while True:
    n += 1
    try:
        f.write(b"%d\n" % n); f.flush()
        got = f.readline()
    except OSError:
        got = b""
    if not got:
        print("ended", flush=True)
        break
    print("echo", n, flush=True)
    time.sleep(0.05)
"#;

#[test]
fn a_connection_that_lasts_ends_only_when_it_is_not_allowed_any_more() {
    let mesh = mesh().file("mesh.yaml", LOG).start();
    let script = mesh.user.write("echo.py", ECHO);
    let server = mesh.run(
        &["--service", "echo", "--port", "9000:tcp"],
        &["python3", &script.display().to_string()],
    );
    mesh.wait_for_instances("echo", 1);
    let script = mesh.user.write("talker.py", TALKER);
    let talk = |account: &str| {
        mesh.run(
            &["--service", account, "--service-account", account],
            &["python3", &script.display().to_string()],
        )
    };
    let (good, bad) = (talk("good"), talk("bad"));
    good.wait_for_output("echo 3");
    bad.wait_for_output("echo 3");
    mesh.write(
        "policy.yaml",
        &policy(
            "no-bad",
            "action: DENY\n  rules:\n  - from: [{source: {principals: [\"*/sa/bad\"]}}]",
        ),
    );
    bad.wait_for_output("ended");
    let said = good.output().lines().count();
    eventually("the other goes on", || match good.output() {
        output if output.contains("ended") => panic!("{output}"),
        output if output.lines().count() > said + 20 => Ok(()),
        output => Err(output),
    });
    let log = server.wait_for_output("\"denied by ns[default]-policy[no-bad]-rule[0] AuthorizationPolicy");
    let line = log.lines().find(|line| line.contains("\"denied by")).unwrap();
    assert!(line.contains("\"- - -\" 0 LR"), "{line}");
}
