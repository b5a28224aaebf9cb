//! Decisions of policies in the audit log: of leno's own proxies, and of an Envoy under leno's control plane.

use leno_testkit::{Mesh, OrdinaryUser, eventually};
use serde_json::Value;

use crate::authorization::ECHO;
use crate::authorizers::HTTP;
use crate::pod::Pod;
use crate::support::{SERVER, SERVICE, mesh, stdout};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: authz-http}
spec: {selector: {app: authz-http}, ports: [{name: http, port: 9001}]}
";

const PROVIDER: &str = "
extensionProviders:
- name: web
  envoyExtAuthzHttp:
    service: authz-http.default.svc.cluster.local
    port: 9001
    timeout: 5s
    includeRequestHeadersInCheck: [x-user]
";

/// One port is of HTTP, the other of bytes.
const POLICIES: &str = r#"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin}
spec:
  action: DENY
  rules:
  - to: [{operation: {ports: ["9080"], paths: ["/admin*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: watch}
spec:
  action: AUDIT
  rules:
  - to: [{operation: {ports: ["9080"], paths: ["/watched*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: tried, annotations: {istio.io/dry-run: "true"}}
spec:
  action: DENY
  rules:
  - to: [{operation: {ports: ["9080"], paths: ["/tried*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-stranger}
spec:
  action: DENY
  rules:
  - from: [{source: {principals: ["*/sa/stranger"]}}]
    to: [{operation: {ports: ["9000"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: watch-bytes}
spec:
  action: AUDIT
  rules:
  - to: [{operation: {ports: ["9000"]}}]
"#;

const ALLOWED: &str = r#"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-web}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/web]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask}
spec:
  selector: {matchLabels: {app: reviews}}
  action: CUSTOM
  provider: {name: web}
  rules:
  - to: [{operation: {paths: ["/private*"]}}]
"#;

/// Says a line to a server, and what came back.
const TALK: &str = r#"
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], 9000), timeout=20)
    s.sendall(b"hello\n")
    print(s.makefile("rb").readline().decode().strip() or "ended", flush=True)
except OSError:
    print("ended", flush=True)
"#;

fn lines(user: &OrdinaryUser) -> Vec<Value> {
    let text = std::fs::read_to_string(user.home().join("audit.jsonl")).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The line of this event in which a field says this.
#[track_caller]
fn line(user: &OrdinaryUser, event: &str, field: &str, value: &str) -> Value {
    eventually(&format!("{event} with {field} {value}"), || {
        let all = lines(user);
        let found = all
            .iter()
            .find(|line| line["event"] == event && line[field] == value);
        found.cloned().ok_or(all)
    })
}

#[track_caller]
fn has(line: &Value, fields: &[(&str, &str)]) {
    for (name, part) in fields {
        let text = line[name].as_str().unwrap_or_default();
        assert!(!text.is_empty() && text.contains(part), "{name} {part}: {line}");
    }
}

/// The statuses that a workload with this account gets for these paths.
#[track_caller]
fn get(mesh: &Mesh, account: &str, paths: &[&str]) -> Vec<String> {
    let mut run = mesh.command(&["run", "--service", "client", "--service-account", account, "--"]);
    run.args(["curl", "-sS", "--max-time", "20", "-w", "%{http_code}\n"]);
    for path in paths {
        run.args(["-o", "/dev/null"])
            .arg(format!("http://reviews:9080{path}"));
    }
    let output = run.output().unwrap();
    stdout(&output).lines().map(str::to_owned).collect()
}

#[test]
fn what_sidecars_deny_and_watch_is_in_the_audit_log_and_nothing_else() {
    let mesh = mesh()
        .control_arg("--audit-log=audit.jsonl")
        .file("mesh.yaml", &format!("kind: MeshConfig{PROVIDER}"))
        .file("authz.yaml", SERVICES)
        .file("policies.yaml", POLICIES)
        .file("allowed.yaml", ALLOWED)
        .start();
    let script = mesh.user.write("server.py", SERVER).display().to_string();
    let _server = mesh.run(
        &["--service", "reviews", "--version", "v1", "--port", "9080:http"],
        &["python3", &script, "v1", "9080"],
    );
    let script = mesh.user.write("authz.py", HTTP).display().to_string();
    let _authorizer = mesh.run(
        &["--service", "authz-http", "--port", "9001:http"],
        &["python3", &script],
    );
    let script = mesh.user.write("echo.py", ECHO).display().to_string();
    let _echo = mesh.run(
        &[
            "--service",
            "echo",
            "--service-account",
            "echo",
            "--port",
            "9000:tcp",
        ],
        &["python3", &script],
    );
    for service in ["reviews", "authz-http", "echo"] {
        mesh.wait_for_instances(service, 1);
    }
    eventually("the caller that is allowed gets an answer", || {
        match get(&mesh, "web", &["/"]).as_slice() {
            [one] if one == "200" => Ok(()),
            other => Err(other.to_vec()),
        }
    });
    let paths = ["/admin/users", "/watched", "/tried", "/private", "/fine"];
    assert_eq!(get(&mesh, "web", &paths), ["403", "200", "200", "403", "200"]);
    assert_eq!(get(&mesh, "stranger", &["/nothing"]), ["403"]);
    let talk = |account: &str| {
        let script = mesh.user.write("talk.py", TALK).display().to_string();
        let run = ["run", "--service", "client", "--service-account", account, "--"];
        let mut run = mesh.command(&run);
        stdout(&run.args(["python3", &script, "echo"]).output().unwrap())
    };
    assert_eq!(talk("web").trim(), "hello");
    assert_eq!(talk("stranger").trim(), "ended");

    of_requests(&mesh.user);
    let bytes = line(&mesh.user, "access.denied", "protocol", "TCP");
    has(
        &bytes,
        &[
            ("actor", "sa/stranger"),
            ("object", "echo"),
            ("reporter", "sa/echo"),
            ("destination", ":9000"),
            ("policy", "ns[default]-policy[no-stranger]-rule[0]"),
        ],
    );
    let watched = line(&mesh.user, "access.audited", "protocol", "TCP");
    has(
        &watched,
        &[
            ("actor", "sa/"),
            ("policy", "ns[default]-policy[watch-bytes]-rule[0]"),
        ],
    );
    let all = lines(&mesh.user);
    for path in ["/", "/fine"] {
        assert!(!all.iter().any(|line| line["path"] == path), "{path}: {all:?}");
    }
}

#[track_caller]
fn of_requests(user: &OrdinaryUser) {
    let same = [
        ("actor", "spiffe://cluster.local/ns/default/sa/web"),
        ("object", "reviews-v1"),
        ("reporter", "spiffe://cluster.local/ns/default/sa/default"),
        ("destination", ":9080"),
        ("method", "GET"),
        ("requestId", "-"),
        ("at", "Z"),
    ];
    let denied = line(user, "access.denied", "path", "/admin/users");
    has(&denied, &same);
    has(
        &denied,
        &[
            ("policy", "ns[default]-policy[no-admin]-rule[0]"),
            ("place", "policies.yaml:"),
        ],
    );
    assert_eq!(denied["status"], 403);
    let watched = line(user, "access.audited", "path", "/watched");
    has(&watched, &same);
    has(&watched, &[("policy", "ns[default]-policy[watch]-rule[0]")]);
    let tried = line(user, "access.dry-run", "path", "/tried");
    has(&tried, &same);
    has(&tried, &[("policy", "ns[default]-policy[tried]-rule[0]")]);
    assert_eq!(tried["dryRun"], true);
    let asked = line(user, "access.denied", "path", "/private");
    has(&asked, &same);
    has(
        &asked,
        &[
            ("authorizer", "web"),
            ("policy", "ns[default]-policy[ask]-rule[0]"),
        ],
    );
    let by_default = line(user, "access.denied", "path", "/nothing");
    has(
        &by_default,
        &[
            ("actor", "sa/stranger"),
            ("nearest", "ns[default]-policy[allow-web]-rule[0]"),
            ("nearestPlace", "allowed.yaml:"),
            ("missed", "sa/stranger"),
        ],
    );
    assert!(by_default["policy"].is_null(), "{by_default}");
}

/// Asks again and again, and says what it was told.
const ASKING: &str = r#"
import time, urllib.request, urllib.error
while True:
    try: print(urllib.request.urlopen("http://reviews:9080/admin", timeout=20).status, flush=True)
    except urllib.error.HTTPError as e: print(e.code, flush=True)
    time.sleep(0.1)
"#;

#[test]
fn requests_are_decided_without_the_control_plane_and_told_again_when_it_is_back() {
    let mut mesh = mesh()
        .control_arg("--audit-log=audit.jsonl")
        .file("policies.yaml", POLICIES)
        .start();
    let script = mesh.user.write("server.py", SERVER).display().to_string();
    let _server = mesh.run(
        &["--service", "reviews", "--version", "v1", "--port", "9080:http"],
        &["python3", &script, "v1", "9080"],
    );
    mesh.wait_for_instances("reviews", 1);
    let script = mesh.user.write("asking.py", ASKING).display().to_string();
    let client = mesh.run(&["--service", "client"], &["python3", &script]);
    let told = |user: &OrdinaryUser| {
        let all = lines(user);
        all.iter().filter(|line| line["event"] == "access.denied").count()
    };
    eventually("denials are told", || match told(&mesh.user) {
        0..3 => Err(client.output()),
        some => Ok(some),
    });
    mesh.kill_control();
    let asked = || client.output().lines().filter(|line| *line == "403").count();
    let before = asked();
    eventually("the policy holds without", || match asked() {
        some if some > before + 10 => Ok(()),
        some => Err(some),
    });
    let before = told(&mesh.user);
    mesh.start_control();
    eventually("denials are told again", || match told(&mesh.user) {
        some if some > before + 3 => Ok(()),
        some => Err(some),
    });
}

const BYTES: &str = "
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: reviews}
  ports: [{name: tcp, port: 9000}]
";

#[test]
fn what_an_envoy_denies_and_watches_is_in_the_audit_log_too() {
    let test = "what_an_envoy_denies_and_watches_is_in_the_audit_log_too";
    let files = [
        ("reviews.yaml", SERVICE),
        ("echo.yaml", BYTES),
        ("policies.yaml", POLICIES),
    ];
    let Some(pod) = Pod::start(test, &files) else {
        return;
    };
    let _application = pod.application("v1");
    let script = pod.user.write("echo.py", ECHO).display().to_string();
    let _echo = pod.application_of("python3", &[&script]);
    let identity = ["--service", "reviews", "--service-account", "bee"];
    let ports = ["--port", "9080:http", "--port", "9000:tcp"];
    let _envoy = pod.agent(&[identity, ports].concat());
    pod.wait_for(&["reviews"]);
    let get = |path: &str| {
        let url = format!("http://reviews:9080{path}");
        let command = ["curl", "-sS", "-m", "20", "-o", "/dev/null", "-w"];
        stdout(&pod.client(&[&command[..], &["%{http_code}", &url]].concat()))
    };
    eventually("Envoy serves", || match get("/").as_str() {
        "200" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(get("/admin/users"), "403");
    assert_eq!(get("/watched"), "200");
    assert_eq!(get("/tried"), "200");
    let same = [
        ("actor", "spiffe://cluster.local/ns/default/sa/cee"),
        ("reporter", "spiffe://cluster.local/ns/default/sa/bee"),
        ("object", "reviews"),
        ("method", "GET"),
        ("destination", ":9080"),
        ("requestId", "-"),
    ];
    for (event, path, policy) in [
        ("access.denied", "/admin/users", "no-admin"),
        ("access.audited", "/watched", "watch"),
        ("access.dry-run", "/tried", "tried"),
    ] {
        let told = line(&pod.user, event, "path", path);
        has(&told, &same);
        has(
            &told,
            &[("policy", &format!("ns[default]-policy[{policy}]-rule[0]"))],
        );
    }
    assert!(!lines(&pod.user).iter().any(|line| line["path"] == "/"));

    // Bytes: of somebody who may, and of somebody who may not.
    let talk = pod.user.write("talk.py", TALK).display().to_string();
    assert_eq!(stdout(&pod.client(&["python3", &talk, "echo"])).trim(), "hello");
    let stranger = ["--service", "stranger", "--service-account", "stranger"];
    let refused = pod.run(&stranger, &["python3", &talk, "echo"]);
    refused.wait_for_output("ended");
    let bytes = line(&pod.user, "access.denied", "protocol", "TCP");
    has(
        &bytes,
        &[
            ("actor", "sa/stranger"),
            ("policy", "ns[default]-policy[no-stranger]-rule[0]"),
            ("destination", ":9000"),
        ],
    );
    let watched = line(&pod.user, "access.audited", "protocol", "TCP");
    has(&watched, &[("policy", "ns[default]-policy[watch-bytes]-rule[0]")]);
    let rejected = pod.stats("update_rejected");
    assert_eq!(rejected.iter().map(|(_, n)| n).sum::<u64>(), 0, "{rejected:?}");
}

#[test]
fn without_the_plaintext_port_nothing_listens_there_and_the_mesh_works() {
    let connects = |mesh: &Mesh| {
        let script = "import socket; socket.create_connection((\"127.0.0.1\", 15010), timeout=20)";
        let mut connect = mesh.program("python3");
        connect.args(["-c", script]).output().unwrap().status.success()
    };
    let with = mesh()
        .on_a_machine("")
        .control_arg("--plaintext-port=15010")
        .start();
    assert!(connects(&with));
    drop(with);
    let without = mesh().on_a_machine("").control_arg("--no-plaintext").start();
    assert!(!connects(&without));
    let answer = without.client(&["echo", "a workload of the mesh"]);
    assert_eq!(stdout(&answer).trim(), "a workload of the mesh");
}
