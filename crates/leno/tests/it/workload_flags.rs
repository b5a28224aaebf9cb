//! What `leno run`'s flags say of a workload is what the mesh knows of it.

use leno_testkit::{Mesh, Process, eventually};
use serde_json::Value;

use crate::client::{curl, serve};
use crate::support::{SERVER, mesh, stdout};

/// `leno run ARGS -- python3 server.py ANSWER 9080`
#[track_caller]
fn server(mesh: &Mesh, args: &[&str], answer: &str) -> Process {
    let script = mesh.user.write("server.py", SERVER).display().to_string();
    mesh.run(args, &["python3", &script, answer, "9080"])
}

#[track_caller]
fn proxy_of(mesh: &Mesh, service: &str) -> Option<Value> {
    let status = mesh.status();
    let proxies = status["proxies"].as_array().cloned().unwrap_or_default();
    proxies.into_iter().find(|p| p["service"] == service)
}

#[test]
fn a_label_is_what_a_subset_selects_by() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: canary, labels: {track: canary}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: canary}}]
";
    let mesh = mesh().file("rules.yaml", rules).start();
    let labelled = |track: &str| {
        let args = ["--service", "reviews", "--version", "v1", "--port", "9080"];
        let label = format!("track={track}");
        server(&mesh, &[&args[..], &["--label", &label]].concat(), track)
    };
    let _workloads = [labelled("stable"), labelled("canary")];
    mesh.wait_for_instances("reviews", 2);
    let urls = ["http://reviews:9080/[1-20]"];
    assert_eq!(curl(&mesh, &urls), "canary\n".repeat(20));
}

#[test]
fn a_workload_is_healthy_once_all_its_ports_listen_and_each_answers() {
    let two_ports = r#"
import http.server, os, threading, time
def serve(port):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"%d\n" % port)
        def log_message(self, *a): pass
    threading.Thread(target=http.server.ThreadingHTTPServer(("", port), Handler).serve_forever).start()
serve(8080); print("first", flush=True)
while not os.path.exists("second"): time.sleep(0.02)
serve(8081)
"#;
    let mesh = mesh().start();
    let args = ["--service", "web", "--port", "8080:http", "--port", "8081:http"];
    let workload = serve(&mesh, &args, "two.py", two_ports);
    workload.wait_for_output("first");
    eventually("the workload is known", || {
        proxy_of(&mesh, "web").ok_or("not yet")
    });
    assert_eq!(proxy_of(&mesh, "web").unwrap()["healthy"], false);
    mesh.user.write("second", "");
    mesh.wait_for_instances("web", 1);
    let both = ["http://web:8080/", "http://web:8081/"];
    assert_eq!(curl(&mesh, &both), "8080\n8081\n");
}

#[test]
fn an_advertised_address_is_where_others_reach_the_workload() {
    // One of its own for each run of the tests: its ports are fixed.
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.9.{high}.{}", low.max(1));
    let mesh = mesh().start();
    let args = ["--service", "reviews", "--port", "9080", "--advertise", &address];
    let _workload = server(&mesh, &args, "here");
    mesh.wait_for_instances("reviews", 1);
    assert_eq!(proxy_of(&mesh, "reviews").unwrap()["address"], address);
    let client = mesh.run(
        &["--service", "client"],
        &[
            "sh",
            "-c",
            "curl -sS --max-time 20 http://reviews:9080/ && sleep 600",
        ],
    );
    client.wait_for_output("here");
    let endpoints = mesh.leno(&["config", "endpoints", "client", "-o", "json"]);
    assert!(stdout(&endpoints).contains(&address), "{endpoints:?}");
}

#[test]
fn names_reach_across_namespaces_and_the_identity_is_the_service_accounts() {
    let mesh = mesh().start();
    let args = [
        "--service",
        "stock",
        "--namespace",
        "other",
        "--service-account",
        "keeper",
        "--port",
        "9080:http",
    ];
    let _workload = server(&mesh, &args, "other");
    mesh.wait_for_instances("stock", 1);
    for name in ["stock.other", "stock.other.svc.cluster.local"] {
        let headers = curl(&mesh, &[&format!("http://{name}:9080/headers")]);
        assert!(
            headers.contains("By=spiffe://cluster.local/ns/other/sa/keeper"),
            "{headers}"
        );
    }
    // The short name is that of the caller's own namespace.
    let call = ["curl", "-sS", "--max-time", "20", "http://stock:9080/"];
    let from_default = mesh.client(&call);
    assert!(!from_default.status.success(), "{from_default:?}");
    let mut command = mesh.command(&["run", "--service", "client", "--namespace", "other", "--"]);
    assert_eq!(stdout(&command.args(call).output().unwrap()), "other\n");
}
