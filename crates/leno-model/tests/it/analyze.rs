//! What is in force and perhaps not meant. Each finding once where it is, and not where it is not.

use std::sync::Arc;

use leno_api::read;
use leno_model::{Change, VipTable, Workload, World, analyze};

use crate::{NOON, http_route, istio, service, workload};

/// `LN0340 spec.http[1]`
fn findings(text: &str) -> Vec<String> {
    with(text, &[])
}

fn with(text: &str, workloads: &[Workload]) -> Vec<String> {
    let parsed = read("mesh.yaml", text.as_bytes());
    let errors: Vec<String> = parsed
        .diagnostics
        .iter()
        .filter(|d| d.is_error())
        .map(ToString::to_string)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let objects: Vec<_> = parsed.objects.iter().cloned().map(Arc::new).collect();
    let file = Change::File {
        file: "mesh.yaml".into(),
        objects: parsed.objects,
    };
    let registered = workloads.iter().cloned().map(Change::Workload);
    let outcome = World::new(VipTable::default()).apply(std::iter::once(file).chain(registered), NOON);
    let found = analyze(&objects, &outcome.snapshot);
    assert!(
        found
            .iter()
            .all(|d| d.place.line > 0 && !d.hint.is_empty() && d.object.is_some()),
        "{found:#?}"
    );
    found.iter().map(|d| format!("{} {}", d.code, d.path)).collect()
}

fn security(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

/// Rules of a VirtualService: each a match, and to the same destination.
fn rules(matches: &[&str]) -> String {
    let rules: Vec<String> = matches
        .iter()
        .map(|found| match *found {
            "" => "{route: [{destination: {host: a}}]}".to_owned(),
            found => format!("{{match: {found}, route: [{{destination: {{host: a}}}}]}}"),
        })
        .collect();
    service("a")
        + &istio(
            "VirtualService",
            "a",
            &format!("{{hosts: [a], http: [{}]}}", rules.join(", ")),
        )
}

#[test]
fn a_rule_behind_one_that_takes_everything_is_never_reached() {
    let found = findings(&rules(&["[{uri: {prefix: /}}]", "[{uri: {prefix: /a}}]", ""]));
    assert_eq!(found, ["LN0340 spec.http[1]", "LN0340 spec.http[2]"]);
}

#[test]
fn a_rule_behind_one_that_takes_more_is_never_reached() {
    for (earlier, later) in [
        ("[{uri: {prefix: /a}}]", "[{uri: {prefix: /a/b}}]"),
        ("[{uri: {prefix: /a}}]", "[{uri: {exact: /a/b}}]"),
        ("[{uri: {exact: /a}}]", "[{uri: {exact: /a}}]"),
        (
            "[{uri: {prefix: /A}, ignoreUriCase: true}]",
            "[{uri: {exact: /aB}}]",
        ),
        ("[{uri: {regex: /a.*}}]", "[{uri: {regex: /a.*}}]"),
        (
            "[{uri: {prefix: /a}}]",
            "[{uri: {prefix: /a}, method: {exact: GET}}]",
        ),
        (
            "[{headers: {X-User: {prefix: j}}}]",
            "[{headers: {x-user: {exact: jason}}}]",
        ),
        (
            "[{headers: {x-user: {}}}]",
            "[{headers: {x-user: {exact: jason}}}]",
        ),
        (
            "[{sourceLabels: {app: b}}]",
            "[{sourceLabels: {app: b, version: v1}}]",
        ),
        ("[{port: 80}]", "[{port: 80, uri: {prefix: /}}]"),
        (
            "[{uri: {prefix: /a}}, {uri: {prefix: /b}}]",
            "[{uri: {prefix: /b/1}}, {uri: {prefix: /a/1}}]",
        ),
        ("[{uri: {prefix: /}, gateways: [mesh]}]", "[{uri: {prefix: /a}}]"),
    ] {
        assert_eq!(
            findings(&rules(&[earlier, later])),
            ["LN0340 spec.http[1]"],
            "{earlier} {later}"
        );
    }
}

#[test]
fn a_rule_behind_one_that_takes_less_or_other_things_is_reached() {
    for (earlier, later) in [
        ("[{uri: {prefix: /a/b}}]", "[{uri: {prefix: /a}}]"),
        ("[{uri: {exact: /a}}]", "[{uri: {prefix: /a}}]"),
        ("[{uri: {prefix: /a}}]", "[{uri: {prefix: /A}}]"),
        (
            "[{uri: {prefix: /a}}]",
            "[{uri: {prefix: /a}, ignoreUriCase: true}]",
        ),
        ("[{uri: {regex: /a.*}}]", "[{uri: {exact: /ab}}]"),
        (
            "[{uri: {prefix: /a}, method: {exact: GET}}]",
            "[{uri: {prefix: /a}}]",
        ),
        (
            "[{headers: {x-user: {exact: jason}}}]",
            "[{headers: {x-user: {}}}]",
        ),
        ("[{withoutHeaders: {x-user: {}}}]", "[{uri: {prefix: /}}]"),
        ("[{sourceNamespace: other}]", "[{uri: {prefix: /}}]"),
        ("[{port: 80}]", "[{port: 81}]"),
        ("[{uri: {prefix: /a}}]", ""),
    ] {
        assert_eq!(findings(&rules(&[earlier, later])), [""; 0], "{earlier} {later}");
    }
}

#[test]
fn one_of_several_matches_that_is_taken_already_has_no_effect() {
    let found = findings(&rules(&[
        "[{uri: {prefix: /a}}]",
        "[{uri: {prefix: /b}}, {uri: {exact: /a}}]",
    ]));
    assert_eq!(found, ["LN0341 spec.http[1].match[1]"]);
}

#[test]
fn the_same_match_of_two_http_routes_or_rules_is_told_once() {
    let prefix = |path: &str| {
        format!("{{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: a, port: 9080}}]}}")
    };
    let one = service("a") + &http_route("one", "a", &format!("[{}, {}]", prefix("/a"), prefix("/a")));
    assert_eq!(findings(&one), ["LN0341 spec.rules[1].matches[0]"]);
    let two = service("a")
        + &http_route("one", "a", &format!("[{}]", prefix("/a")))
        + &http_route("two", "a", &format!("[{}]", prefix("/a")));
    assert_eq!(findings(&two), ["LN0341 spec.rules[0].matches[0]"]);
    let apart = service("a")
        + &service("b")
        + &http_route("one", "a", &format!("[{}]", prefix("/a")))
        + &http_route("two", "b", &format!("[{}]", prefix("/a")))
        + &http_route("three", "a", &format!("[{}]", prefix("/b")));
    assert_eq!(findings(&apart), [""; 0]);
}

fn ports(name: &str, selector: &str, ports: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {selector}, ports: {ports}}}\n---\n"
    )
}

#[test]
fn a_port_that_does_not_say_its_protocol_is_told() {
    let said = "[{port: 1, name: http}, {port: 2, name: tcp-x}, {port: 3, name: x, appProtocol: grpc}, {port: 4, name: dns, protocol: UDP}, {port: 3306, name: db}]";
    assert_eq!(findings(&ports("a", "{app: a}", said)), [""; 0]);
    let unsaid = "[{port: 1}]";
    assert_eq!(
        findings(&ports("a", "{app: a}", unsaid)),
        ["LN0342 spec.ports[0]"]
    );
    let otherwise = "[{port: 1, name: http}, {port: 2, name: web}]";
    assert_eq!(
        findings(&ports("a", "{app: a}", otherwise)),
        ["LN0342 spec.ports[1]"]
    );
}

#[test]
fn two_services_that_disagree_about_a_port_of_the_same_workloads_are_told() {
    let one = ports("a", "{app: a}", "[{port: 80, name: http, targetPort: 8080}]");
    let two = |selector: &str, port: &str| ports("b", selector, &format!("[{port}]"));
    let tcp = "{port: 81, name: tcp, targetPort: 8080}";
    assert_eq!(
        findings(&(one.clone() + &two("{app: a, version: v1}", tcp))),
        ["LN0345 spec.ports[0]"]
    );
    for (selector, port) in [
        ("{app: b}", tcp),
        ("{version: v1}", tcp),
        ("{app: a}", "{port: 81, name: tcp, targetPort: 8081}"),
        ("{app: a}", "{port: 81, name: http, targetPort: 8080}"),
    ] {
        assert_eq!(
            findings(&(one.clone() + &two(selector, port))),
            [""; 0],
            "{selector} {port}"
        );
    }
}

#[test]
fn a_destination_of_several_ports_must_say_which() {
    let a = ports(
        "a",
        "{app: a}",
        "[{port: 80, name: http}, {port: 81, name: http-x}]",
    );
    let route = |port: &str| {
        istio(
            "VirtualService",
            "a",
            &format!("{{hosts: [a], http: [{{route: [{{destination: {{host: a{port}}}}}]}}]}}"),
        )
    };
    assert_eq!(
        findings(&(a.clone() + &route(""))),
        ["LN0343 spec.http[0].route[0].destination"]
    );
    assert_eq!(findings(&(a + &route(", port: {number: 81}"))), [""; 0]);
    assert_eq!(findings(&(service("a") + &route(""))), [""; 0]);
}

#[test]
fn a_service_that_is_called_otherwise_than_it_accepts_is_an_error() {
    let rule = |tls: &str| {
        istio(
            "DestinationRule",
            "a",
            &format!("{{host: a, trafficPolicy: {tls}}}"),
        )
    };
    let peer = |mode: &str| {
        security(
            "PeerAuthentication",
            "a",
            &format!("{{selector: {{matchLabels: {{app: a}}}}, mtls: {{mode: {mode}}}}}"),
        )
    };
    let at = "spec.trafficPolicy.tls";
    for (tls, mode, path) in [
        ("{tls: {mode: DISABLE}}", "STRICT", at),
        ("{tls: {mode: SIMPLE}}", "STRICT", at),
        ("{tls: {mode: ISTIO_MUTUAL}}", "DISABLE", at),
        (
            "{portLevelSettings: [{port: {number: 9080}, tls: {mode: DISABLE}}]}",
            "STRICT",
            "spec.trafficPolicy.portLevelSettings[0].tls",
        ),
    ] {
        let text = service("a") + &rule(tls) + &peer(mode);
        assert_eq!(findings(&text), [format!("LN0344 {path}")], "{tls} {mode}");
    }
    for (tls, mode) in [
        ("{tls: {mode: DISABLE}}", "PERMISSIVE"),
        ("{tls: {mode: ISTIO_MUTUAL}}", "STRICT"),
        ("{connectionPool: {tcp: {maxConnections: 1}}}", "STRICT"),
    ] {
        assert_eq!(
            findings(&(service("a") + &rule(tls) + &peer(mode))),
            [""; 0],
            "{tls} {mode}"
        );
    }
    let other = security(
        "PeerAuthentication",
        "b",
        "{selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}}",
    );
    assert_eq!(
        findings(&(service("a") + &rule("{tls: {mode: DISABLE}}") + &other)),
        [""; 0]
    );
}

#[test]
fn a_subset_that_no_route_goes_to_is_told() {
    let subsets = istio(
        "DestinationRule",
        "a",
        "{host: a, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}",
    );
    let route = istio(
        "VirtualService",
        "a",
        "{hosts: [a], http: [{mirror: {host: a, subset: v2}, route: [{destination: {host: a}}]}]}",
    );
    assert_eq!(
        findings(&(service("a") + &subsets + &route)),
        ["LN0346 spec.subsets[0]"]
    );
}

fn gateway(name: &str, credential: &str) -> String {
    istio(
        "Gateway",
        name,
        &format!(
            "{{selector: {{app: gate}}, servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [{name}.example.com], tls: {{mode: SIMPLE, credentialName: {credential}}}}}]}}"
        ),
    )
}

#[test]
fn a_gateway_that_no_route_names_is_told() {
    let route = |gateways: &str| {
        istio(
            "VirtualService",
            "a",
            &format!(
                "{{hosts: [one.example.com], gateways: [{gateways}], http: [{{route: [{{destination: {{host: a}}}}]}}]}}"
            ),
        )
    };
    let text = |gateways: &str| service("a") + &gateway("one", "x") + &route(gateways);
    assert_eq!(findings(&text("one")), [""; 0]);
    assert_eq!(findings(&text("default/one")), [""; 0]);
    assert_eq!(findings(&text("other/one")), ["LN0347 metadata.name"]);
}

#[test]
fn one_certificate_in_two_gateways_is_told() {
    let found = |other: &str| {
        let text = gateway("one", "x") + &gateway("two", other);
        let found = findings(&text).into_iter();
        found.filter(|f| f.starts_with("LN0348")).collect::<Vec<_>>()
    };
    assert_eq!(found("x"), ["LN0348 spec.servers[0].tls.credentialName"]);
    assert_eq!(found("y"), [""; 0]);
}

#[test]
fn old_names_are_told_with_the_new_ones() {
    let text = service("a")
        + &istio(
            "VirtualService",
            "a",
            "{hosts: [a], http: [{mirror: {host: a}, mirrorPercent: 5, fault: {abort: {httpStatus: 500, percent: 5}}, route: [{destination: {host: a}}]}]}",
        )
        + &istio(
            "DestinationRule",
            "a",
            "{host: a, trafficPolicy: {loadBalancer: {simple: LEAST_CONN}, outlierDetection: {consecutiveErrors: 5}}}",
        );
    assert_eq!(
        findings(&text),
        [
            "LN0349 spec.http[0].mirrorPercent",
            "LN0349 spec.http[0].fault.abort.percent",
            "LN0349 spec.trafficPolicy.outlierDetection.consecutiveErrors",
            "LN0349 spec.trafficPolicy.loadBalancer.simple",
        ]
    );
}

#[test]
fn a_selector_that_nobody_has_is_told_once_workloads_are_known() {
    let text = service("a")
        + &security(
            "PeerAuthentication",
            "b",
            "{selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}}",
        );
    assert_eq!(findings(&text), [""; 0]);
    let a = workload("a-1", "a", "v1");
    assert_eq!(with(&text, std::slice::from_ref(&a)), ["LN0350 spec.selector"]);
    assert_eq!(with(&text, &[a, workload("b-1", "b", "v1")]), [""; 0]);
}

#[test]
fn bytes_to_any_address_are_told() {
    let entry = |resolution: &str, protocol: &str| {
        istio(
            "ServiceEntry",
            "x",
            &format!(
                "{{hosts: [x.example.com], ports: [{{number: 9000, name: p, protocol: {protocol}}}], resolution: {resolution}}}"
            ),
        )
    };
    assert_eq!(findings(&entry("NONE", "TCP")), ["LN0351 spec.ports"]);
    assert_eq!(findings(&entry("NONE", "HTTP")), [""; 0]);
    assert_eq!(findings(&entry("DNS", "TCP")), [""; 0]);
}

#[test]
fn claims_that_nobody_verifies_are_told() {
    let route = service("a")
        + &gateway("one", "x")
        + &istio(
            "VirtualService",
            "a",
            "{hosts: [one.example.com], gateways: [one], http: [{match: [{headers: {'@request.auth.claims.group': {exact: dev}}}], route: [{destination: {host: a}}]}]}",
        );
    assert_eq!(findings(&route), ["LN0352 spec.http[0].match[0].headers"]);
}

#[test]
fn every_code_of_istio_is_one_of_these_or_says_why_not() {
    let mut codes = leno_api::istio_codes::ALL.iter().map(|istio| istio.code);
    assert!(
        codes.clone().is_sorted()
            && codes.clone().collect::<std::collections::BTreeSet<_>>().len() == codes.len()
    );
    assert!(codes.all(|code| code.starts_with("IST") && code.len() == 7));
    assert!(
        leno_api::istio_codes::ALL
            .iter()
            .all(|istio| !istio.codes.is_empty() || !istio.why.is_empty())
    );
}
