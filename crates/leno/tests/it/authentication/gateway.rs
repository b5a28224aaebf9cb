//! At a gateway routes depend on claims.

use std::process::Command;

use leno_testkit::{Issuer, Process, eventually, free_port};
use serde_json::json;

use super::{ISSUER, claims, tokens};
use crate::support::{SUBSETS, mesh, reviews, stdout};

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [\"*\"]
  gateways: [shop]
  http:
  - match: [{headers: {\"@request.auth.claims.groups\": {exact: testers}}, withoutHeaders: {\"@request.auth.claims[Who][name]\": {exact: eve}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{headers: {\"@request.auth.claims.sub\": {}}}]
    route: [{destination: {host: reviews, subset: v1}}]
  - directResponse: {status: 403}
";

#[test]
fn a_gateway_routes_by_the_claims_of_a_token_that_it_has_verified() {
    let issuer = Issuer::new("one");
    let policy = tokens("tokens", ISSUER, ("jwks", &issuer.key_set()), "");
    let policy = policy.replace(
        "spec:\n",
        "spec:\n  targetRefs: [{group: networking.istio.io, kind: Gateway, name: shop}]\n",
    );
    let mesh = mesh()
        .file("rules.yaml", SUBSETS)
        .file("gateway.yaml", GATEWAY)
        .file("tokens.yaml", &policy)
        .start();
    let _workloads = [reviews(&mesh, "v1"), reviews(&mesh, "v2")];
    mesh.wait_for_instances("reviews", 2);
    let port = free_port();
    let mut command = mesh.command(&["proxy", "gateway", "--bind", "127.0.0.1", "--metrics-port", "0"]);
    command.arg("--map").arg(format!("80:{port}"));
    let _gateway = Process::spawn(command);
    let url = format!("http://127.0.0.1:{port}/");
    let get = |headers: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-s", "-m", "10", "-w", " %{http_code}"]);
        for header in headers {
            command.args(["-H", header]);
        }
        stdout(&command.arg(&url).output().unwrap()).replace('\n', "")
    };
    let bearer = |claims| format!("authorization: Bearer {}", issuer.token(&claims));
    let tester = bearer(claims(
        json!({"groups": ["a", "testers"], "Who": {"name": "alice"}}),
    ));
    eventually("a tester comes to v2", || match get(&[&tester]) {
        answer if answer == "v2 200" => Ok(()),
        other => Err(other),
    });
    let eve = bearer(claims(json!({"groups": ["testers"], "Who": {"name": "eve"}})));
    assert_eq!(get(&[&eve]), "v1 200");
    assert_eq!(get(&[&bearer(claims(json!({})))]), "v1 200");
    // A header is no claim, and a token that is not verified says nothing.
    assert_eq!(get(&["@request.auth.claims.groups: testers"]), " 403");
    let forged = issuer.none(&claims(json!({"groups": "testers"})));
    let forged = format!("authorization: Bearer {forged}");
    assert_eq!(get(&[&forged]), "Jwt header [alg] is not supported 401");
}
