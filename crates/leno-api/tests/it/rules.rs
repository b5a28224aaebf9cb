//! The rules of single objects: each rule refuses what it is for, at the line where it is.

use leno_api::Code;

use crate::errors;

fn virtual_service(rule: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  hosts: [a]\n  http:\n  - {rule}\n"
    )
}

fn destination_rule(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\nspec:\n  {spec}\n"
    )
}

fn http_route(rule: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: a}}\nspec:\n  parentRefs: [{{group: \"\", kind: Service, name: a}}]\n  rules:\n  - {rule}\n"
    )
}

const ROUTE: &str = "route: [{destination: {host: a}}]";

#[test]
fn virtual_service_rules() {
    let cases = [
        (format!("{{{ROUTE}, redirect: {{uri: /}}}}"), Code::OneOf),
        (
            "{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}".into(),
            Code::BadWeights,
        ),
        (
            "{route: [{destination: {host: a}, weight: -1}]}".into(),
            Code::OutOfRange,
        ),
        (
            "{route: [{destination: {host: \"http://a\"}}]}".into(),
            Code::BadHost,
        ),
        (
            "{route: [{destination: {host: a, port: {number: 70000}}}]}".into(),
            Code::OutOfRange,
        ),
        (
            format!("{{match: [{{uri: {{regex: \"(\"}}}}], {ROUTE}}}"),
            Code::BadRegex,
        ),
        (
            format!("{{match: [{{uri: {{regex: \"(?=a)\"}}}}], {ROUTE}}}"),
            Code::BadRegex,
        ),
        (
            format!("{{match: [{{uri: {{regex: \"((a{{100}}){{100}}){{100}}\"}}}}], {ROUTE}}}"),
            Code::BadRegex,
        ),
        (
            format!("{{match: [{{uri: {{exact: a, prefix: b}}}}], {ROUTE}}}"),
            Code::OneOf,
        ),
        (
            format!("{{match: [{{headers: {{\":path\": {{exact: a}}}}}}], {ROUTE}}}"),
            Code::BadHeader,
        ),
        (format!("{{timeout: 1us, {ROUTE}}}"), Code::BadDuration),
        (format!("{{timeout: 5, {ROUTE}}}"), Code::WrongValue),
        (format!("{{timeout: five, {ROUTE}}}"), Code::WrongValue),
        (
            format!("{{fault: {{abort: {{httpStatus: 500, percentage: {{value: 101}}}}}}, {ROUTE}}}"),
            Code::OutOfRange,
        ),
        (
            format!("{{fault: {{delay: {{percent: 10}}}}, {ROUTE}}}"),
            Code::MissingField,
        ),
        (
            format!("{{retries: {{attempts: 2, retryOn: 5xxx}}, {ROUTE}}}"),
            Code::WrongValue,
        ),
        (
            format!("{{headers: {{request: {{set: {{\"a b\": c}}}}}}, {ROUTE}}}"),
            Code::BadHeader,
        ),
        (
            format!("{{headers: {{request: {{set: {{a: \"b\\nc\"}}}}}}, {ROUTE}}}"),
            Code::BadHeader,
        ),
    ];
    for (rule, code) in cases {
        assert_eq!(errors(&virtual_service(&rule)), [(code, 7)], "{rule}");
    }
    assert_eq!(errors(&virtual_service(&format!("{{timeout: 0s, {ROUTE}}}"))), []);
}

#[test]
fn a_virtual_service_names_gateways_by_namespace_and_name() {
    for good in ["bookinfo-gateway", "mesh, shop/bookinfo-gateway"] {
        let text = virtual_service(&format!("{{{ROUTE}}}")) + &format!("  gateways: [{good}]\n");
        assert_eq!(errors(&text), [], "{good}");
    }
    for bad in ["Shop/gateway", "a/b/c", "\"\""] {
        let text = virtual_service(&format!("{{{ROUTE}}}")) + &format!("  gateways: [{bad}]\n");
        assert_eq!(errors(&text), [(Code::BadName, 8)], "{bad}");
    }
}

fn gateway(server: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec:\n  servers:\n  - {server}\n"
    )
}

#[test]
fn gateway_rules() {
    let port = "port: {number: 443, name: a, protocol: HTTPS}, hosts: [\"*\"]";
    let cases = [
        (format!("{{{port}}}"), Code::MissingField),
        (format!("{{{port}, tls: {{mode: SIMPLE}}}}"), Code::OneOf),
        (
            format!("{{{port}, tls: {{credentialName: c}}}}"),
            Code::BadCombination,
        ),
        (
            format!("{{{port}, tls: {{mode: SIMPLE, serverCertificate: /a}}}}"),
            Code::MissingField,
        ),
        (
            format!("{{{port}, tls: {{mode: MUTUAL, serverCertificate: /a, privateKey: /b}}}}"),
            Code::MissingField,
        ),
        (
            format!("{{{port}, tls: {{mode: SIMPLE, serverCertificate: a, privateKey: /b}}}}"),
            Code::BadPath,
        ),
        (
            format!("{{{port}, tls: {{mode: AUTO_PASSTHROUGH}}}}"),
            Code::NotServed,
        ),
        (
            "{port: {number: 80, name: a, protocol: HTTPX}, hosts: [\"*\"]}".into(),
            Code::WrongValue,
        ),
        (
            "{port: {number: 0, name: a, protocol: HTTP}, hosts: [\"*\"]}".into(),
            Code::OutOfRange,
        ),
        (
            "{port: {number: 80, name: a, protocol: HTTP}, hosts: []}".into(),
            Code::Empty,
        ),
        (
            "{port: {number: 80, name: a, protocol: HTTP}, hosts: [a b]}".into(),
            Code::BadHost,
        ),
        (
            "{port: {number: 80, name: a, protocol: TCP}, hosts: [\"*\"], tls: {httpsRedirect: true}}".into(),
            Code::BadCombination,
        ),
    ];
    for (server, code) in cases {
        assert_eq!(errors(&gateway(&server)), [(code, 6)], "{server}");
    }
    let good = format!("{{{port}, tls: {{mode: SIMPLE, credentialName: c}}}}");
    assert_eq!(errors(&gateway(&good)), []);
}

#[test]
fn listeners_of_the_gateway_api_are_held_to_its_rules() {
    let text = |listeners: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec:\n  \
             gatewayClassName: istio\n  listeners:\n{listeners}"
        )
    };
    let cases = [
        ("  - {name: a, port: 443, protocol: HTTPS}\n", Code::MissingField),
        (
            "  - {name: a, port: 443, protocol: HTTPS, tls: {}}\n",
            Code::Empty,
        ),
        (
            "  - {name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}\n",
            Code::BadCombination,
        ),
        (
            "  - {name: a, port: 80, protocol: HTTP, tls: {mode: Passthrough}}\n",
            Code::BadCombination,
        ),
        (
            "  - {name: a, port: 80, protocol: HTTP, hostname: 10.0.0.1}\n",
            Code::BadHost,
        ),
        (
            "  - {name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}}\n",
            Code::MissingField,
        ),
    ];
    for (listeners, code) in cases {
        assert_eq!(errors(&text(listeners)), [(code, 7)], "{listeners}");
    }
    let twice = "  - {name: a, port: 80, protocol: HTTP}\n  - {name: a, port: 81, protocol: HTTP}\n";
    assert_eq!(errors(&text(twice)), [(Code::DuplicateName, 8)]);
    // Another protocol takes nothing from the listeners beside it.
    assert_eq!(errors(&text("  - {name: a, port: 80, protocol: UDP}\n")), []);
}

#[test]
fn no_message_shows_what_is_secret() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\nstringData:\n  \
                tls.crt: hush-hush\n  tls.key: hush-hush\nextra: hush-hush\n";
    let parsed = leno_api::read("s.yaml", text.as_bytes());
    assert!(!parsed.diagnostics.is_empty());
    assert!(
        !format!("{:?}", parsed.diagnostics).contains("hush"),
        "{:?}",
        parsed.diagnostics
    );
    let broken = "kind: Secret\napiVersion: v1\ndata: {tls.key: hush-hush\n";
    let parsed = leno_api::read("s.yaml", broken.as_bytes());
    assert!(parsed.broken && !format!("{:?}", parsed.diagnostics).contains("hush"));
}

#[test]
fn destination_rule_rules() {
    let cases = [
        (
            "{host: a, subsets: [{name: v1}, {name: v1}]}",
            Code::DuplicateName,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {}}}}",
            Code::OneOf,
        ),
        (
            "{host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}",
            Code::OutOfRange,
        ),
        (
            "{host: a, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 0s}}}}",
            Code::BadDuration,
        ),
        (
            "{host: a, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c}}}",
            Code::MissingField,
        ),
        (
            "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: a, caCertificates: /c}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, credentialName: a}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [b]}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {warmup: {duration: 1s, aggression: 0.5}}}}",
            Code::OutOfRange,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 1s}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 8}}}}}",
            Code::WrongValue,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}, ringHash: {}}}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 99}}]}}}}",
            Code::BadWeights,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a/*, to: {'*': 100}}, {from: a/b, to: {'*': 100}}]}}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b/c}]}}}}",
            Code::WrongValue,
        ),
        (
            "{host: a, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 3}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {connectionPool: {http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}}}}",
            Code::BadCombination,
        ),
        (
            "{host: a, trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: 5ms}}}}}",
            Code::BadDuration,
        ),
        (
            "{host: a, trafficPolicy: {tunnel: {protocol: PUT, targetHost: a, targetPort: 1}}}",
            Code::WrongValue,
        ),
        (
            "{host: a, trafficPolicy: {tunnel: {targetHost: a}}}",
            Code::MissingField,
        ),
        (
            "{host: a, trafficPolicy: {proxyProtocol: {version: V3}}}",
            Code::WrongValue,
        ),
        (
            "{host: a, trafficPolicy: {retryBudget: {percent: 101}}}",
            Code::OutOfRange,
        ),
        (
            "{host: a, workloadSelector: {matchLabels: {app: 'a*'}}}",
            Code::WrongValue,
        ),
        (
            "{host: a, trafficPolicy: {portLevelSettings: [{tls: {mode: DISABLE}}]}}",
            Code::MissingField,
        ),
        ("{subsets: []}", Code::MissingField),
    ];
    for (spec, code) in cases {
        assert_eq!(errors(&destination_rule(spec)), [(code, 5)], "{spec}");
    }
}

#[test]
fn workload_entry_rules() {
    let entry = |spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata:\n  name: a\nspec: {spec}\n"
        )
    };
    for good in [
        "{address: 192.0.2.1, ports: {http: 80}}",
        "{address: 'unix://@a'}",
        "{address: vm.example}",
    ] {
        assert_eq!(errors(&entry(good)), [], "{good}");
    }
    let cases = [
        ("{}", Code::MissingField),
        ("{address: 'unix://a'}", Code::WrongValue),
        ("{address: 'unix:///a/'}", Code::WrongValue),
        ("{address: 'unix:///a', ports: {http: 80}}", Code::BadCombination),
        ("{address: 192.0.2.1, ports: {http: 0}}", Code::OutOfRange),
        ("{address: 192.0.2.1, ports: {'@': 1}}", Code::BadName),
        ("{address: 192.0.2.1, weight: -1}", Code::OutOfRange),
        ("{address: 192.0.2.1, labels: {app: '*'}}", Code::WrongValue),
        ("{address: 'a b'}", Code::BadHost),
    ];
    for (spec, code) in cases {
        assert_eq!(errors(&entry(spec)), [(code, 5)], "{spec}");
    }
}

#[test]
fn http_route_rules() {
    let cases = [
        ("{matches: [{path: {value: a}}]}", Code::BadPath),
        ("{matches: [{path: {value: /a//b}}]}", Code::BadPath),
        ("{matches: [{path: {value: /a/../b}}]}", Code::BadPath),
        (
            "{matches: [{headers: [{name: A, value: b}, {name: a, value: b}]}]}",
            Code::DuplicateName,
        ),
        (
            "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], matches: [{path: {type: Exact, value: /a}}]}",
            Code::BadCombination,
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 200}}]}",
            Code::OutOfRange,
        ),
        ("{backendRefs: [{name: a}]}", Code::MissingField),
        ("{timeouts: {request: 1s, backendRequest: 2s}}", Code::BadDuration),
        ("{retry: {codes: [200]}}", Code::OutOfRange),
    ];
    for (rule, code) in cases {
        assert_eq!(errors(&http_route(rule)), [(code, 7)], "{rule}");
    }
}

#[test]
fn service_rules() {
    let service =
        |spec: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}\n");
    let cases = [
        (
            "{ports: [{port: 80}, {port: 81}]}",
            vec![Code::MissingField, Code::MissingField],
        ),
        (
            "{ports: [{port: 80, name: a}, {port: 80, name: b}]}",
            vec![Code::DuplicateName],
        ),
        (
            "{ports: [{port: 80, name: a}, {port: 81, name: a}]}",
            vec![Code::DuplicateName],
        ),
        ("{ports: [{port: 65536}]}", vec![Code::OutOfRange]),
        ("{ports: []}", vec![Code::Empty]),
    ];
    for (spec, codes) in cases {
        let found: Vec<Code> = errors(&service(spec)).into_iter().map(|(code, _)| code).collect();
        assert_eq!(found, codes, "{spec}");
    }
}

fn authorization(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: a}}\nspec: {spec}\n"
    )
}

#[test]
fn authorization_policy_rules() {
    let from = |source: &str| format!("{{rules: [{{from: [{{source: {source}}}]}}]}}");
    let to = |operation: &str| format!("{{rules: [{{to: [{{operation: {operation}}}]}}]}}");
    let when = |condition: &str| format!("{{rules: [{{when: [{condition}]}}]}}");
    let cases = [
        ("{action: DENY}".to_owned(), Code::Empty),
        ("{action: DENY, rules: []}".to_owned(), Code::Empty),
        ("{action: CUSTOM, provider: {name: a}}".to_owned(), Code::Empty),
        ("{action: CUSTOM, rules: [{}]}".to_owned(), Code::MissingField),
        ("{provider: {name: a}, rules: [{}]}".to_owned(), Code::BadCombination),
        ("{action: PERMIT}".to_owned(), Code::WrongValue),
        ("{rules: [~]}".to_owned(), Code::Empty),
        ("{rules: [{from: []}]}".to_owned(), Code::Empty),
        ("{rules: [{to: []}]}".to_owned(), Code::Empty),
        ("{rules: [{from: [{}]}]}".to_owned(), Code::Empty),
        (from("{}"), Code::Empty),
        (to("{}"), Code::Empty),
        (from("{principals: [\"\"]}"), Code::Empty),
        (from("{ipBlocks: [1.2.3]}"), Code::BadAddress),
        (from("{notRemoteIpBlocks: [1.2.3.4/33]}"), Code::BadAddress),
        (from("{serviceAccounts: [a/b/c]}"), Code::WrongValue),
        (from("{serviceAccounts: [\"a*\"]}"), Code::WrongValue),
        (from("{serviceAccounts: [a], namespaces: [b]}"), Code::BadCombination),
        (to("{ports: [\"65536\"]}"), Code::OutOfRange),
        (to("{notPorts: [http]}"), Code::OutOfRange),
        (to("{paths: [\"/{*}/{a}\"]}"), Code::BadTemplate),
        (to("{paths: [\"/{**}/{*}\"]}"), Code::BadTemplate),
        (to("{notPaths: [\"/{*}/*\"]}"), Code::BadTemplate),
        (when("{values: [a]}"), Code::MissingField),
        (when("{key: source.ip}"), Code::Empty),
        (when("{key: source.ip, values: [a]}"), Code::BadAddress),
        (when("{key: destination.port, notValues: [a]}"), Code::OutOfRange),
        (when("{key: source.name, values: [a]}"), Code::BadConditionKey),
        (when("{key: \"request.headers[]\", values: [a]}"), Code::BadConditionKey),
        (when("{key: request.headers, values: [a]}"), Code::BadConditionKey),
        (when("{key: \"destination.labels[a]\", values: [a]}"), Code::BadConditionKey),
        (
            "{action: CUSTOM, provider: {name: a}, rules: [{from: [{source: {principals: [a]}}]}]}".to_owned(),
            Code::BadCombination,
        ),
        (
            "{selector: {matchLabels: {a: b}}, targetRef: {group: networking.istio.io, kind: Gateway, name: a}}"
                .to_owned(),
            Code::BadCombination,
        ),
        ("{selector: {matchLabels: {a: \"*\"}}}".to_owned(), Code::WrongValue),
        ("{targetRefs: [{kind: Service, name: a}]}".to_owned(), Code::NotServed),
        (
            "{targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]}".to_owned(),
            Code::NotServed,
        ),
        ("{targetRefs: [{group: apps, kind: Deployment, name: a}]}".to_owned(), Code::WrongValue),
        (
            "{targetRefs: [{group: networking.istio.io, kind: Gateway, name: a, namespace: b}]}".to_owned(),
            Code::BadCombination,
        ),
    ];
    for (spec, code) in cases {
        assert_eq!(errors(&authorization(&spec)), [(code, 4)], "{spec}");
    }
    for spec in [
        "{}",
        "{rules: [{}]}",
        "{action: DENY, rules: [{}]}",
        "{action: AUDIT}",
    ] {
        assert_eq!(errors(&authorization(spec)), [], "{spec}");
    }
}

#[test]
fn what_denies_more_than_it_says_is_warned_of() {
    let warnings = |spec: &str| -> Vec<Code> {
        let parsed = leno_api::read("a.yaml", authorization(spec).as_bytes());
        assert!(parsed.diagnostics.iter().all(|found| !found.is_error()), "{spec}");
        parsed.diagnostics.iter().map(|found| found.code).collect()
    };
    let denies = |rule: &str| format!("{{action: DENY, rules: [{rule}]}}");
    let paths = "{to: [{operation: {paths: [/admin]}}]}";
    assert_eq!(warnings(&denies(paths)), [Code::DeniesAllTcp]);
    assert_eq!(
        warnings(&denies("{to: [{operation: {paths: [/admin], ports: [\"80\"]}}]}")),
        []
    );
    let token = "{from: [{source: {requestPrincipals: [a/b], ipBlocks: [1.2.3.4]}}]}";
    assert_eq!(warnings(&denies(token)), []);
}

#[test]
fn a_rule_for_tokens_names_its_issuer_keys_and_places() {
    let tokens = |spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: a}}\nspec: {spec}\n"
        )
    };
    let rule = |rule: &str| {
        tokens(&format!(
            "{{jwtRules: [{{issuer: a, jwksUri: \"http://a/\", {rule}}}]}}"
        ))
    };
    let keys = |keys: &str| tokens(&format!("{{jwtRules: [{{issuer: a, {keys}}}]}}"));
    let cases = [
        (rule("audiences: [\"\"]"), Code::Empty),
        (rule("fromHeaders: [{prefix: a}]"), Code::MissingField),
        (rule("fromHeaders: [{name: \"a b\"}]"), Code::BadHeader),
        (rule("outputPayloadToHeader: \":path\""), Code::BadHeader),
        (
            rule("outputClaimToHeaders: [{claim: a, header: \"a.b\"}]"),
            Code::BadHeader,
        ),
        (rule("outputClaimToHeaders: [{header: a}]"), Code::MissingField),
        (rule("timeout: 0s"), Code::BadDuration),
        (rule("presence: MANDATORY"), Code::WrongValue),
        (rule("jwks: \"{}\""), Code::BadCombination),
        (keys("jwksUri: \"ftp://a/\""), Code::WrongValue),
        (keys("jwks: \"{\\\"keys\\\": []}\""), Code::WrongValue),
        (keys("audiences: [a]"), Code::MissingField),
        (
            tokens("{jwtRules: [{jwksUri: \"http://a/\"}]}"),
            Code::MissingField,
        ),
        (tokens("{jwtRules: [null]}"), Code::Empty),
        (
            tokens(
                "{selector: {matchLabels: {a: b}}, targetRefs: [{group: networking.istio.io, kind: Gateway, name: a}]}",
            ),
            Code::BadCombination,
        ),
    ];
    for (text, code) in cases {
        let found = errors(&text);
        assert_eq!(
            found.first().map(|(found, _)| *found),
            Some(code),
            "{text} {found:?}"
        );
    }
    for good in [
        tokens("{}"),
        tokens("{jwtRules: [{issuer: \"https://a\"}]}"),
        rule("presence: OPTIONAL"),
        keys("jwks_uri: \"http://a/\""),
    ] {
        assert_eq!(errors(&good), [], "{good}");
    }
}
