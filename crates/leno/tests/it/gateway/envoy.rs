//! A stock Envoy as gateway beside leno's: both serve the same Gateways, and answer the same.

use leno_testkit::{Mesh, Process, eventually};

use super::tls::{https, secret};
use super::{GATEWAY_API, answer, free_port, gateway, shares, shop, wait_for};
use crate::pod::envoy;
use crate::support::{SERVICE, reviews, stdout};

const TLS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tls}
spec:
  hosts: [shop.example.com]
  gateways: [tls]
  http:
  - route: [{destination: {host: reviews, subset: v1}}]
";

struct Envoy {
    admin: u16,
    http: u16,
    api: u16,
    tls: u16,
    _agent: Process,
}

#[track_caller]
fn start(mesh: &Mesh, program: &std::path::Path) -> Envoy {
    let [admin, http, api, tls] = [(); 4].map(|()| free_port());
    let mut command = mesh.command(&[
        "agent",
        "envoy",
        "--role",
        "gateway",
        "--service",
        "envoy-gateway",
    ]);
    command.args([
        "--service-account",
        "edge",
        "--bind",
        "127.0.0.1",
        "--dir",
        "agent",
    ]);
    for (port, opened) in [(80, http), (81, api), (443, tls)] {
        command.arg("--map").arg(format!("{port}:{opened}"));
    }
    command
        .args(["--admin-port", &admin.to_string(), "--"])
        .arg(program);
    command.args([
        "-c",
        "{bootstrap}",
        "--disable-hot-restart",
        "--log-level",
        "warn",
    ]);
    Envoy {
        admin,
        http,
        api,
        tls,
        _agent: Process::spawn(command),
    }
}

impl Envoy {
    /// Counters and gauges whose name ends so.
    fn stats(&self, suffix: &str) -> Vec<(String, u64)> {
        let url = format!("http://127.0.0.1:{}/stats", self.admin);
        let text = stdout(&super::curl(&[&url]));
        let numbers = text.lines().filter_map(|line| line.rsplit_once(": "));
        numbers
            .filter(|(name, _)| name.ends_with(suffix))
            .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
            .collect()
    }

    #[track_caller]
    fn rejected_nothing(&self, mesh: &Mesh) {
        let rejected = self.stats("update_rejected");
        assert!(!rejected.is_empty());
        assert_eq!(rejected.iter().map(|(_, n)| n).sum::<u64>(), 0, "{rejected:?}");
        let status = stdout(&mesh.leno(&["status"]));
        assert!(!status.contains("REJECTED"), "{status}");
    }
}

#[test]
fn an_envoy_gateway_rejects_nothing_over_churn_and_answers_as_lenos() {
    let test = "an_envoy_gateway_rejects_nothing_over_churn_and_answers_as_lenos";
    let mesh = shop()
        .file("istio.yaml", &shares(100, 0))
        .file("api.yaml", GATEWAY_API)
        .start();
    let Some(program) = envoy(test, &mesh.user) else {
        return;
    };
    let first = reviews(&mesh, "v1");
    let second = reviews(&mesh, "v2");
    mesh.wait_for_instances("reviews", 2);
    let edge = start(&mesh, &program);
    let (http, api, tls) = (free_port(), free_port(), free_port());
    let _leno = gateway(&mesh, &[(80, http), (81, api), (443, tls)], &[]);
    wait_for(http, "shop.example.com", "/", "v1 200");
    wait_for(edge.http, "shop.example.com", "/", "v1 200");
    wait_for(edge.api, "front.example.com", "/old", "302");
    for (host, path) in [
        ("shop.example.com", "/v1"),
        ("shop.example.com", "/none"),
        ("nobody", "/"),
    ] {
        assert_eq!(
            answer(edge.http, host, path),
            answer(http, host, path),
            "{host}{path}"
        );
    }
    for path in ["/old", "/old/x"] {
        assert_eq!(
            answer(edge.api, "front.example.com", path),
            answer(api, "front.example.com", path)
        );
    }
    edge.rejected_nothing(&mesh);

    // Traffic shifts the same.
    mesh.write("istio.yaml", &shares(0, 100));
    for port in [http, edge.http] {
        wait_for(port, "shop.example.com", "/", "v2 200");
    }
    // A certificate that is not there yet holds nothing else up, and is taken when it comes.
    mesh.write("tls.yaml", TLS);
    mesh.write("istio.yaml", &shares(100, 0));
    for port in [http, edge.http] {
        wait_for(port, "shop.example.com", "/", "v1 200");
    }
    mesh.write("secret.yaml", &secret(&mesh, "shop", "first", 10));
    for port in [tls, edge.tls] {
        eventually("TLS", || match https(&mesh, port, "first", &[]) {
            answer if answer == "v1 200 2" => Ok(()),
            other => Err(other),
        });
    }
    mesh.write("secret.yaml", &secret(&mesh, "shop", "next", 10));
    for port in [tls, edge.tls] {
        eventually("the next certificate", || match https(&mesh, port, "next", &[]) {
            answer if answer == "v1 200 2" => Ok(()),
            other => Err(other),
        });
    }
    edge.rejected_nothing(&mesh);

    // Configuration and endpoints come and go.
    for round in 0..5 {
        mesh.write("istio.yaml", &shares(round, 10));
        mesh.write("more.yaml", &SERVICE.replace("reviews", &format!("more-{round}")));
    }
    mesh.write("istio.yaml", &shares(50, 50));
    drop(first);
    drop(second);
    mesh.wait_for_instances("reviews", 0);
    for port in [http, edge.http] {
        wait_for(port, "shop.example.com", "/v1", &answer_without(port));
    }
    let _again = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    for port in [http, edge.http] {
        wait_for(port, "shop.example.com", "/v1", "v1 200");
    }
    mesh.write("api.yaml", "# gone\nkind: MeshConfig\n");
    eventually("its port is closed", || {
        match answer(edge.api, "front.example.com", "/").as_str() {
            "000" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    edge.rejected_nothing(&mesh);
}

/// Without a workload both say so in their own words.
fn answer_without(port: u16) -> String {
    eventually("503", || {
        let got = answer(port, "shop.example.com", "/v1");
        if got.ends_with("503") { Ok(got) } else { Err(got) }
    })
}
