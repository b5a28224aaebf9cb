//! TCPRoutes at Gateways.

use leno_api::Code;

use crate::Mesh;

const GATEWAY: &str = "
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{port: 3306, name: mysql}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: istio
  listeners:
  - {name: tcp, port: 31400, protocol: TCP}
  - {name: http, port: 80, protocol: HTTP}
---
";

fn route(namespace: &str, parent: &str, backend: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {{name: db, namespace: {namespace}}}
spec:
  parentRefs: [{{{parent}}}]
  rules: [{{backendRefs: [{{{backend}}}]}}]
"
    )
}

/// What is said of a route, and to how many listeners it is attached.
fn told(route: &str) -> (Vec<(Code, String)>, u32) {
    let (_, outcome) = Mesh::of(&(GATEWAY.to_owned() + route));
    let told = outcome.diagnostics.iter();
    let told = told.map(|d| (d.code, d.message.clone())).collect();
    let servers = outcome
        .snapshot
        .gateways
        .iter()
        .flat_map(|gateway| &gateway.servers);
    (told, servers.map(|server| server.attached_routes).sum())
}

#[test]
fn a_tcp_route_attaches_to_listeners_that_carry_bytes() {
    assert_eq!(
        told(&route("default", "name: edge", "name: db, port: 3306")),
        (vec![], 1)
    );
}

#[test]
fn where_a_tcp_route_cannot_attach_it_says_why() {
    let cases = [
        (
            route("default", "name: other", "name: db, port: 3306"),
            Code::GatewayNotFound,
            "does not exist",
        ),
        (
            route("default", "name: edge, sectionName: http", "name: db, port: 3306"),
            Code::GatewayNotFound,
            "has no TCP listener http",
        ),
        (
            route("shop", "name: edge, namespace: default", "name: db, port: 3306"),
            Code::RouteNotAllowed,
            "does not allow TCPRoutes of the namespace shop",
        ),
    ];
    for (route, code, message) in cases {
        let (told, attached) = told(&route);
        assert!(
            told.iter().any(|(c, m)| *c == code && m.contains(message)),
            "{route}: {told:?}"
        );
        assert_eq!(attached, 0, "{route}");
    }
}

#[test]
fn a_backend_of_a_tcp_route_in_another_namespace_needs_a_grant_for_tcp_routes() {
    let service = "---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec: {selector: {app: db}, ports: [{port: 3306, name: mysql}]}
---
";
    let grant = |kind: &str| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {{name: db, namespace: data}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: default}}]
  to: [{{group: '', kind: Service}}]
"
        )
    };
    let route = route("default", "name: edge", "name: db, namespace: data, port: 3306");
    let (refused, _) = told(&(route.clone() + service + &grant("HTTPRoute")));
    assert!(
        refused.iter().any(|(code, _)| *code == Code::NoReferenceGrant),
        "{refused:?}"
    );
    let (granted, attached) = told(&(route + service + &grant("TCPRoute")));
    assert_eq!((granted, attached), (vec![], 1));
}
