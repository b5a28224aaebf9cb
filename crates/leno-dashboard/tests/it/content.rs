use leno_dashboard::objects::{Objects, Text};
use leno_dashboard::{Graph, Status, workload};
use leno_proto::control::{Diagnostic, Edge, Peer, ProxyStatus, TapRecord, TypeStatus};
use serde_json::json;

use crate::mesh::{Mesh, calls};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: maps}
spec: {hosts: [maps.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - match: [{uri: {prefix: /api}, headers: {end-user: {exact: jason}}}]
    fault: {delay: {percentage: {value: 50}, fixedDelay: 2s}}
    route: [{destination: {host: shop, subset: v2}}]
  - timeout: 3s
    route:
    - {destination: {host: shop, subset: v1}, weight: 75}
    - {destination: {host: shop, subset: v2}, weight: 25}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";
const HOST: &str = "shop.default.svc.cluster.local";

fn shop() -> Mesh {
    Mesh::new(
        SHOP,
        &[
            ("web", "v1", "default"),
            ("shop", "v1", "default"),
            ("shop", "v2", "default"),
            ("bank", "v1", "money"),
        ],
    )
}

/// `FROM > TO status`, in their order.
fn links(graph: &Graph) -> Vec<String> {
    let edges = graph.edges.iter();
    edges
        .map(|e| format!("{} > {} {:?}", e.from, e.to, e.status))
        .collect()
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|n| n.id.as_str()).collect()
}

#[test]
fn a_card_an_application_a_row_a_version_and_hosts_outside_beside_them() {
    let mut mesh = shop();
    mesh.pass(&[
        calls("default/web/v1", "default/shop/v1", HOST, 30, 0),
        calls("default/web/v1", "default/shop/v2", HOST, 10, 1),
        calls("default/shop/v2", "", "maps.example", 5, 0),
        calls("default/shop/v2", "", "8.8.8.8", 5, 5),
    ]);
    let graph = mesh.graph("versions", "");
    assert_eq!(
        names(&graph),
        [
            "/8.8.8.8",
            "/maps.example",
            "default/empty",
            "default/shop",
            "default/web",
            "money/bank"
        ]
    );
    assert_eq!(
        links(&graph),
        [
            "default/shop/v2 > /8.8.8.8/ Error",
            "default/shop/v2 > /maps.example/ Ok",
            "default/web/v1 > default/shop/v1 Ok",
            "default/web/v1 > default/shop/v2 Error",
        ]
    );
    let of = |id: &str| graph.nodes.iter().find(|n| n.id == id).unwrap();
    assert_eq!(
        (of("default/empty").status, of("money/bank").status),
        (Status::Warning, Status::Ok)
    );
    assert_eq!(of("default/shop").reasons, ["10 % of the requests fail"]);
    assert_eq!(
        graph
            .groups
            .iter()
            .map(|g| g.namespace.as_str())
            .collect::<Vec<_>>(),
        ["default", "money"]
    );

    let services = mesh.graph("services", "");
    assert_eq!(links(&services)[2], "default/web/ > default/shop/ Warning");
    let namespaces = mesh.graph("namespaces", "");
    assert_eq!(
        names(&namespaces),
        ["/8.8.8.8", "/default", "/maps.example", "/money"]
    );
    assert_eq!(
        links(&namespaces),
        ["/default/ > /8.8.8.8/ Error", "/default/ > /maps.example/ Ok"]
    );
    let around = mesh.graph("versions", "default/web");
    assert_eq!(names(&around), ["default/shop", "default/web"]);
}

#[test]
fn what_fails_for_want_of_a_workload_is_shown_at_the_one_that_is_gone() {
    let mut mesh = Mesh::new(SHOP, &[("web", "v1", "default")]);
    mesh.pass(&[calls("default/web/v1", "default/shop/v1", HOST, 30, 0)]);
    mesh.pass(&[calls("default/web/v1", "", HOST, 20, 20)]);
    let graph = mesh.graph("versions", "");
    assert_eq!(links(&graph), ["default/web/v1 > default/shop/v1 Error"]);
    let shop = graph.nodes.iter().find(|n| n.id == "default/shop").unwrap();
    assert_eq!(shop.status, Status::Error);
    assert_eq!(shop.reasons, ["40 % of the requests fail", "no instance is left"]);
}

#[test]
fn callers_that_nobody_knows_and_plaintext_are_seen() {
    let mut mesh = shop();
    let plain = Edge {
        mtls: false,
        reporter: "destination".to_owned(),
        source: Some(Peer::default()),
        ..calls("", "default/shop/v1", HOST, 8, 0)
    };
    let by_account = Edge {
        source: Some(Peer {
            principal: "spiffe://cluster.local/ns/money/sa/bank".to_owned(),
            ..Peer::default()
        }),
        mtls: true,
        ..plain.clone()
    };
    mesh.pass(&[plain, by_account]);
    let graph = mesh.graph("versions", "");
    assert_eq!(
        links(&graph),
        [
            "/callers outside/ > default/shop/v1 Warning",
            "money/bank/ > default/shop/v1 Ok"
        ]
    );
    assert!(graph.edges[0].reasons[0].starts_with("plaintext"));
}

#[test]
fn nothing_moves_while_only_rates_change_and_more_is_put_together_when_there_is_more() {
    let mut mesh = shop();
    mesh.pass(&[calls("default/web/v1", "default/shop/v1", HOST, 30, 0)]);
    let place = |graph: &Graph| graph.nodes.iter().map(|n| n.rect).collect::<Vec<_>>();
    let first = mesh.graph("", "");
    mesh.pass(&[calls("default/web/v1", "default/shop/v1", HOST, 300, 100)]);
    let second = mesh.graph("", "");
    assert_eq!(place(&first), place(&second));
    assert_ne!(first.edges[0].measures, second.edges[0].measures);

    let many: Vec<String> = (0..80).map(|n| format!("app{n:02}")).collect();
    let many: Vec<(&str, &str, &str)> = many
        .iter()
        .flat_map(|app| ["v1", "v2"].map(|version| (app.as_str(), version, "default")))
        .collect();
    let graph = Mesh::new("", &many).graph("", "");
    assert_eq!(
        (serde_json::to_value(graph.level).unwrap(), graph.nodes.len()),
        (json!("services"), 80)
    );
    assert!(
        graph
            .nodes
            .iter()
            .all(|n| n.compact && n.rows.len() == 1 && n.rows[0].instances == 2)
    );
}

#[test]
fn a_workload_has_its_routes_policies_and_proxies_in_words() {
    let mut mesh = shop();
    mesh.pass(&[calls("default/web/v1", "default/shop/v1", HOST, 30, 3)]);
    mesh.facts.proxies = vec![ProxyStatus {
        workload: "shop-v1-1.default".to_owned(),
        kind: "leno".to_owned(),
        types: vec![TypeStatus {
            r#type: "RDS".to_owned(),
            state: "REJECTED".to_owned(),
            error: "no such cluster".to_owned(),
            ..TypeStatus::default()
        }],
        ..ProxyStatus::default()
    }];
    let page = workload::page(&mesh.facts, &mesh.history, "default", "shop-v1").unwrap();
    assert_eq!(
        (page.summary.status, page.summary.sync.as_str()),
        (Status::Error, "REJECTED")
    );
    assert_eq!(page.instances_of[0].types[0].error, "no such cluster");
    assert_eq!(
        (page.callers[0].name.as_str(), page.callers[0].measures.success),
        ("web-v1", Some(0.9))
    );
    let rules = &page.leads_here[0].rules;
    assert_eq!(
        rules[0].matches,
        ["path starts with /api and header end-user is jason"]
    );
    assert_eq!(rules[0].actions[0], "delay 50% by 2s");
    assert_eq!(rules[1].actions[0], "time out after 3s");
    assert_eq!(
        rules[1].backends.iter().map(|b| b.share).collect::<Vec<_>>(),
        [0.75, 0.25]
    );
    assert_eq!(rules[1].object.as_ref().unwrap().kind, "VirtualService");
    let said: Vec<String> = page.leads_here[0]
        .policies
        .iter()
        .map(|p| format!("{}: {}", p.what, p.says))
        .collect();
    assert_eq!(
        said,
        [
            "load balancing: one after the other",
            "subset v1: version=v1",
            "subset v2: version=v2"
        ]
    );
    assert!(page.policies[0].says.starts_with("PERMISSIVE"));
    assert!(workload::page(&mesh.facts, &mesh.history, "default", "nobody").is_none());

    assert!(page.requests.is_empty());

    let caller = workload::page(&mesh.facts, &mesh.history, "default", "web-v1").unwrap();
    assert_eq!(caller.follows[0].host, HOST);
    let topology = mesh.graph("versions", "");
    let card = topology.nodes.iter().find(|n| n.id == "default/shop").unwrap();
    assert!(
        card.reasons
            .iter()
            .any(|reason| reason.ends_with("rejects RDS: no such cluster")),
        "{:?}",
        card.reasons
    );
}

#[test]
fn an_object_has_what_is_said_of_it_and_the_rest_is_not_lost() {
    let mut mesh = shop();
    let said = |object: &str, severity: &str| Diagnostic {
        code: "LN0001".to_owned(),
        severity: severity.to_owned(),
        object: object.to_owned(),
        ..Diagnostic::default()
    };
    mesh.facts.diagnostics = vec![said("VirtualService default/shop", "warning"), said("", "error")];
    let all = Objects::new(&mesh.facts);
    let with_remarks: Vec<(&str, Status)> = all
        .objects
        .iter()
        .filter(|o| !o.said.is_empty())
        .map(|o| (o.kind.as_str(), o.status))
        .collect();
    assert_eq!(with_remarks, [("VirtualService", Status::Warning)]);
    assert_eq!((all.objects.len(), all.others.len()), (5, 1));
    let text = Text::new(&mesh.facts, "DestinationRule", "default", "shop").unwrap();
    assert!(text.yaml.contains("simple: ROUND_ROBIN") && text.listed.place.starts_with("mesh.yaml:"));
}

#[test]
fn a_workloads_requests_are_shown_without_what_their_parameters_say() {
    let mut mesh = shop();
    let edge = |reporter: &str, code, flags: &str| {
        let mut edge = calls("default/web/v1", "default/shop/v1", HOST, 1, 0);
        (edge.reporter, edge.code, edge.flags) = (reporter.to_owned(), code, flags.to_owned());
        Some(edge)
    };
    let record = |edge, path: &str| TapRecord {
        edge,
        start_us: 1_500,
        duration_us: 2_500,
        method: "GET".to_owned(),
        path: path.to_owned(),
        ..TapRecord::default()
    };
    let seen = vec![
        record(edge("destination", 200, ""), "/api?token=secret"),
        record(edge("source", 0, "UF"), "/"),
    ];
    mesh.facts
        .requests
        .insert(("default".to_owned(), "shop-v1".to_owned()), seen);
    let page = workload::page(&mesh.facts, &mesh.history, "default", "shop-v1").unwrap();
    let shown = serde_json::to_string(&page.requests).unwrap();
    assert!(!shown.contains("secret"), "{shown}");
    let rows: Vec<_> = page
        .requests
        .iter()
        .map(|r| {
            (
                r.direction,
                r.path.as_str(),
                r.status.as_str(),
                r.failed,
                r.latency,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("in", "/api", "200", false, 2.5),
            ("out", "/", "none UF", true, 2.5)
        ]
    );
}
