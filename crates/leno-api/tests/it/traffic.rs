//! The rules of VirtualServices that say where traffic goes, and of who sees what.

use leno_api::Code;

use crate::errors;

/// With these lines of the spec, the first of which is the file's fifth.
fn virtual_service(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a, namespace: own}}\nspec:\n  {spec}\n"
    )
}

const ROUTE: &str = "route: [{destination: {host: a}}]";

#[track_caller]
fn refused(spec: &str, code: Code) {
    let text = virtual_service(spec);
    let found = errors(&text);
    assert!(found.iter().any(|(found, _)| *found == code), "{spec}: {found:?}");
}

#[track_caller]
fn accepted(spec: &str) {
    assert_eq!(errors(&virtual_service(spec)), [], "{spec}");
}

#[test]
fn a_delegate_has_http_rules_only_and_does_not_delegate_further() {
    accepted(&format!("http: [{{{ROUTE}}}]"));
    accepted("{hosts: [a], http: [{match: [{uri: {prefix: /b}}], delegate: {name: b, namespace: other}}]}");
    refused(
        &format!("{{gateways: [g], http: [{{{ROUTE}}}]}}"),
        Code::BadCombination,
    );
    refused(
        &format!("{{tcp: [{{{ROUTE}}}], http: [{{{ROUTE}}}]}}"),
        Code::BadCombination,
    );
    refused(&format!("{{tcp: [{{{ROUTE}}}]}}"), Code::Empty);
    // So that there are no chains, and no cycles.
    refused("{http: [{delegate: {name: b}}]}", Code::BadCombination);
    refused("{http: [{delegate: {name: a}}]}", Code::BadCombination);
    refused(
        &format!("{{hosts: [a], http: [{{delegate: {{name: b}}, {ROUTE}}}]}}"),
        Code::OneOf,
    );
    refused("{hosts: [a], http: [{delegate: {name: B_}}]}", Code::BadName);
    refused(
        "{hosts: [a], http: [{delegate: {name: b, namespace: a.b}}]}",
        Code::BadName,
    );
    refused("{hosts: [a], http: [{delegate: {namespace: b}}]}", Code::BadName);
}

#[test]
fn a_policy_for_other_origins_says_what_browsers_understand() {
    let cors = |policy: &str| format!("{{hosts: [a], http: [{{corsPolicy: {{{policy}}}, {ROUTE}}}]}}");
    accepted(&cors(
        "allowOrigins: [{exact: a}, {regex: 'b.*'}], allowMethods: [GET, '*'], allowHeaders: [x-a, '*'], maxAge: 24h",
    ));
    for (policy, code) in [
        ("allowOrigins: [{}]", Code::OneOf),
        ("allowOrigins: [{exact: a, prefix: b}]", Code::OneOf),
        ("allowOrigins: [{regex: '('}]", Code::BadRegex),
        ("allowMethods: [get]", Code::WrongValue),
        ("allowMethods: [FETCH]", Code::WrongValue),
        ("allowHeaders: ['a b']", Code::BadHeader),
        ("exposeHeaders: ['']", Code::BadHeader),
        ("maxAge: 1500ms", Code::BadDuration),
        ("unmatchedPreflights: DROP", Code::WrongValue),
    ] {
        refused(&cors(policy), code);
    }
}

#[test]
fn an_answer_has_a_body_of_text_or_bytes() {
    let answer =
        |body: &str| format!("{{hosts: [a], http: [{{directResponse: {{status: 503, body: {{{body}}}}}}}]}}");
    accepted(&answer("bytes: aGVsbG8="));
    accepted(&answer("string: hello"));
    refused(&answer("bytes: hello!"), Code::WrongValue);
    refused(&answer("bytes: aGVsbG8=, string: hello"), Code::OneOf);
    refused(&answer(""), Code::OneOf);
    let long = format!("string: {}", "x".repeat((1 << 20) + 1));
    refused(&answer(&long), Code::TooLarge);
}

#[test]
fn rules_for_connections_say_names_ports_and_addresses_that_exist() {
    let tls =
        |matches: &str| format!("{{hosts: ['*.b.example', c], tls: [{{match: [{{{matches}}}], {ROUTE}}}]}}");
    let only =
        |matches: &str| format!("{{hosts: ['*.b.example'], tls: [{{match: [{{{matches}}}], {ROUTE}}}]}}");
    let tcp = |matches: &str| format!("{{hosts: [a], tcp: [{{match: [{{{matches}}}], {ROUTE}}}]}}");
    accepted(&only(
        "sniHosts: [a.b.example, '*.a.b.example', '*.b.example'], destinationSubnets: [10.0.0.0/8, '::1']",
    ));
    accepted(&tls(
        "sniHosts: [c.default.svc.cluster.local], sourceNamespace: x, sourceLabels: {a: b}",
    ));
    accepted(&tcp(
        "port: 1, destinationSubnets: [10.0.0.1], sourceNamespace: x, sourceLabels: {a: b}",
    ));
    refused(&only("sniHosts: []"), Code::Empty);
    refused(&only("port: 443"), Code::Empty);
    refused(&only("sniHosts: [b.example]"), Code::BadCombination);
    refused(&only("sniHosts: ['*.example']"), Code::BadCombination);
    refused(
        &only("sniHosts: [a.b.example], destinationSubnets: [10.0.0.0/33]"),
        Code::BadAddress,
    );
    refused(&tcp("destinationSubnets: [a]"), Code::BadAddress);
    refused(&tcp("sourceNamespace: a.b"), Code::BadName);
    refused(&tcp("sourceSubnet: 10.0.0.0/8"), Code::NotServed);
    refused(&format!("{{hosts: [a], tls: [{{{ROUTE}}}]}}"), Code::Empty);
    refused("{hosts: [a], tcp: [{}]}", Code::Empty);
}

#[test]
fn the_authority_is_rewritten_in_one_place() {
    let rule = |more: &str| format!("{{hosts: [a], http: [{{{more}, {ROUTE}}}]}}");
    accepted(&rule("rewrite: {authority: b}"));
    accepted(&rule("headers: {request: {set: {Host: b}}}"));
    refused(
        &rule("rewrite: {authority: b}, headers: {request: {set: {Host: b}}}"),
        Code::BadCombination,
    );
    refused(
        &rule("headers: {request: {set: {Host: b, ':authority': c}}}"),
        Code::BadCombination,
    );
}

#[test]
fn an_object_is_exported_to_namespaces_that_can_exist() {
    let export = |words: &str| format!("{{exportTo: {words}, hosts: [a], http: [{{{ROUTE}}}]}}");
    for good in ["[.]", "['*']", "[x, y]", "[., x]", "[]"] {
        accepted(&export(good));
    }
    for (words, code) in [
        ("[~]", Code::WrongValue),
        ("['~']", Code::BadName),
        ("[a.b]", Code::BadName),
        ("['']", Code::BadName),
        ("[x, x]", Code::DuplicateName),
        ("[., own]", Code::DuplicateName),
        ("['*', x]", Code::BadCombination),
    ] {
        refused(&export(words), code);
    }
    let service = |words: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a, annotations: {{networking.istio.io/exportTo: \"{words}\"}}}}\nspec: {{ports: [{{port: 1}}]}}\n"
        )
    };
    assert_eq!(errors(&service("., x")), []);
    assert_eq!(errors(&service("~")), []);
    assert_eq!(errors(&service("~,x")), [(Code::BadCombination, 3)]);
    assert_eq!(errors(&service("a.b")), [(Code::BadName, 3)]);
    let mesh = "apiVersion: v1\nkind: MeshConfig\nspec: {defaultVirtualServiceExportTo: [a.b]}\n";
    assert_eq!(errors(mesh), [(Code::BadName, 3)]);
}

#[test]
fn a_sidecar_names_hosts_by_namespace_and_one_listener_for_all_other_ports() {
    let sidecar = |spec: &str| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: a, namespace: own}}\nspec:\n  {spec}\n"
        );
        errors(&text)
            .into_iter()
            .map(|(code, _)| code)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        sidecar("egress: [{hosts: [./*, '*/*', ~/*, shop/a.shop.svc.cluster.local, '*/*.example']}]"),
        []
    );
    assert_eq!(sidecar("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), []);
    let port = "port: {number: 80, protocol: HTTP, name: http}";
    assert_eq!(
        sidecar(&format!("egress: [{{{port}, hosts: [./*]}}, {{hosts: [./*]}}]")),
        []
    );
    for (spec, code) in [
        ("{}".to_owned(), Code::Empty),
        ("egress: [{}]".to_owned(), Code::Empty),
        ("egress: [{hosts: [reviews]}]".to_owned(), Code::BadHost),
        ("egress: [{hosts: [a.b/*]}]".to_owned(), Code::BadName),
        ("egress: [{hosts: ['./a..b']}]".to_owned(), Code::BadHost),
        (
            format!("egress: [{{hosts: [./*]}}, {{{port}, hosts: [./*]}}]"),
            Code::BadCombination,
        ),
        (
            format!("egress: [{{{port}, hosts: [./*]}}, {{{port}, hosts: [./*]}}]"),
            Code::DuplicateName,
        ),
        (
            "egress: [{hosts: [./*], port: {number: 80}}]".to_owned(),
            Code::WrongValue,
        ),
        (
            "egress: [{hosts: [./*], captureMode: NONE}]".to_owned(),
            Code::NotServed,
        ),
        (
            "egress: [{hosts: [./*], bind: 127.0.0.1}]".to_owned(),
            Code::NotServed,
        ),
        (
            "ingress: [{port: {number: 80}}], egress: [{hosts: [./*]}]".replace("], egress", "]\n  egress"),
            Code::NotServed,
        ),
        (
            "workloadSelector: {labels: {app: '*'}}\n  egress: [{hosts: [./*]}]".to_owned(),
            Code::WrongValue,
        ),
    ] {
        assert_eq!(sidecar(&spec), [code], "{spec}");
    }
}
