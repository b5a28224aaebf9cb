//! `leno proxy gateway`: Gateways of both dialects on ports of the host, as clients outside of the mesh see them.

mod envoy;
mod input;
mod page;
mod tls;
mod upstream;

use std::process::{Command, Output};

use leno_testkit::{Mesh, MeshBuilder, Process, eventually, free_port};

use crate::support::{SUBSETS, mesh, reviews, stdout};

/// `leno proxy gateway` with these ports opened in place of the Gateways'.
#[track_caller]
fn gateway(mesh: &Mesh, maps: &[(u16, u16)], more: &[&str]) -> Process {
    let mut command = mesh.command(&["proxy", "gateway", "--bind", "127.0.0.1", "--metrics-port", "0"]);
    for (port, opened) in maps {
        command.arg("--map").arg(format!("{port}:{opened}"));
    }
    command.args(more);
    Process::spawn(command)
}

/// From outside of the mesh.
fn curl(args: &[&str]) -> Output {
    Command::new("curl")
        .args(["-s", "-S", "-m", "10"])
        .args(args)
        .output()
        .unwrap()
}

fn answer(port: u16, host: &str, path: &str) -> String {
    let header = format!("host: {host}");
    let url = format!("http://127.0.0.1:{port}{path}");
    let output = curl(&["-H", &header, "-w", "%{http_code}", &url]);
    stdout(&output).replace('\n', " ")
}

#[track_caller]
fn wait_for(port: u16, host: &str, path: &str, wanted: &str) {
    eventually(&format!("{host}{path} answers {wanted}"), || {
        let got = answer(port, host, path);
        if got == wanted { Ok(()) } else { Err(got) }
    });
}

const ISTIO: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [\"*\"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [shop]
  http:
  - match: [{uri: {prefix: /v1}}]
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /headers}}]
    route: [{destination: {host: reviews}}]
";

const GATEWAY_API: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 81, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec:
  parentRefs: [{name: front}]
  hostnames: [front.example.com]
  rules:
  - matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}]
  - backendRefs: [{name: reviews, port: 9080}]
";

/// Callers have to prove who they are.
const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
";

fn shop() -> MeshBuilder {
    mesh().file("rules.yaml", SUBSETS).file("strict.yaml", STRICT)
}

#[test]
fn gateways_of_both_dialects_serve_on_host_ports_and_reach_workloads_by_mtls() {
    let mesh = shop()
        .file("istio.yaml", ISTIO)
        .file("api.yaml", GATEWAY_API)
        .start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let (istio, api) = (free_port(), free_port());
    let mut gateway = gateway(&mesh, &[(80, istio), (81, api)], &[]);
    wait_for(istio, "shop.example.com", "/v1", "v1 200");
    wait_for(api, "front.example.com", "/", "v1 200");
    // Hosts and paths that nobody routes.
    assert_eq!(answer(istio, "shop.example.com", "/other"), "404");
    assert_eq!(answer(istio, "other.example.com", "/v1"), "404");
    assert_eq!(answer(api, "shop.example.com", "/"), "404");
    let location = curl(&[
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        "-H",
        "host: front.example.com",
        &format!("http://127.0.0.1:{api}/old"),
    ]);
    assert_eq!(stdout(&location), "302 http://front.example.com/new");
    // What a client says of itself is not believed, and the workload is told the truth. (To Envoy a client on the same
    // machine forwards for the machine's own address.)
    let headers = curl(&[
        "-H",
        "host: shop.example.com",
        "-H",
        "x-envoy-external-address: 9.9.9.9",
        "-H",
        "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/root",
        &format!("http://127.0.0.1:{istio}/headers"),
    ]);
    let headers = stdout(&headers).to_ascii_lowercase();
    assert!(
        headers.contains("\"x-envoy-external-address\": \"127.0.0.1\""),
        "{headers}"
    );
    assert!(
        !headers.contains("9.9.9.9") && !headers.contains("sa/root"),
        "{headers}"
    );
    assert!(
        headers.contains("uri=spiffe://cluster.local/ns/default/sa/istio-ingressgateway-service-account"),
        "{headers}"
    );
    let status = mesh.leno(&["status"]);
    assert!(
        stdout(&status).contains("istio-ingressgateway"),
        "{}",
        stdout(&status)
    );
    assert!(!stdout(&status).contains("REJECTED"), "{}", stdout(&status));
    assert!(gateway.stop().success());
}

/// `GET /` over one connection for as long as it lives; each answer on a line, the connection's end as well.
const KEEP_ALIVE: &str = r#"
import http.client, sys, time
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
c.connect()
first = c.sock
for _ in range(int(sys.argv[2])):
    c.request("GET", "/", headers={"host": "shop.example.com"}); r = c.getresponse(); body = r.read().decode().strip()
    print(r.status, body, "same" if c.sock is first else "another", flush=True)
    time.sleep(0.01)
"#;

fn shares(v1: u32, v2: u32) -> String {
    ISTIO.replace(
        "  - match: [{uri: {prefix: /v1}}]",
        &format!(
            "  - match: [{{uri: {{exact: /}}}}]
    route:
    - {{destination: {{host: reviews, subset: v1}}, weight: {v1}}}
    - {{destination: {{host: reviews, subset: v2}}, weight: {v2}}}
  - match: [{{uri: {{prefix: /v1}}}}]"
        ),
    )
}

#[test]
fn weights_change_without_a_failed_request_or_a_lost_connection() {
    let mesh = shop().file("istio.yaml", &shares(100, 0)).start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let port = free_port();
    let _gateway = gateway(&mesh, &[(80, port)], &[]);
    wait_for(port, "shop.example.com", "/", "v1 200");
    let script = mesh.user.write("keep_alive.py", KEEP_ALIVE);
    let mut command = Command::new("python3");
    command.arg(&script).args([&port.to_string(), "600"]);
    let mut client = Process::spawn(command);
    client.wait_for_output("200 v1 same");
    mesh.write("istio.yaml", &shares(0, 100));
    client.wait_for_output("200 v2 same");
    // A port that comes beside it is no reason either.
    mesh.write("api.yaml", GATEWAY_API);
    mesh.write("istio.yaml", &shares(50, 50));
    assert!(client.wait().success(), "{}", client.output());
    let lines = client.output();
    assert!(
        lines
            .lines()
            .all(|l| l.starts_with("200 v") && l.ends_with("same")),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), 600);
}
