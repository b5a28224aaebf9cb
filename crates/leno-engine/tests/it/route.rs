//! Hosts, routes, rewrites, redirects, header edits, hashes.

use std::sync::Arc;

use leno_engine::compile::access_log::{FormatValues, NoValues, Operator};
use leno_engine::compile::route::{Route, RouteTable, VirtualHost};
use leno_engine::decide::route::{Decision, Forwarding, Miss, Observer, RouteContext};
use leno_engine::message::RequestHead;
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::config::route::v3 as pb;
use leno_proto::envoy::config::route::v3::route_match::PathSpecifier;
use leno_proto::envoy::r#type::matcher::v3 as matcher;

use crate::made::{
    bool_value, compile_table, forward, host, one_route, prefix, request, response, seconds, table,
    to_cluster, u32_value,
};

const CONTEXT: RouteContext = RouteContext::new(0, false);

fn everything(cluster: &str) -> Vec<pb::Route> {
    vec![forward(prefix("/"), to_cluster(cluster))]
}

fn cluster_of(table: &RouteTable, head: &RequestHead) -> String {
    match table.route(head, &CONTEXT) {
        Decision::Forward(forwarding) => forwarding.cluster.into_owned(),
        Decision::NoRoute { .. } => "no route".into(),
        Decision::NoHost => "no host".into(),
        other => format!("{other:?}"),
    }
}

fn forwarding<'t>(table: &'t RouteTable, head: &RequestHead) -> Forwarding<'t> {
    match table.route(head, &CONTEXT) {
        Decision::Forward(forwarding) => forwarding,
        other => panic!("{other:?}"),
    }
}

#[test]
fn domains_go_from_exact_over_suffix_and_prefix_to_any() {
    let hosts = [
        ("any", "*"),
        ("prefix", "www.*"),
        ("longer prefix", "www.example.*"),
        ("suffix", "*.com"),
        ("longer suffix", "*.example.com"),
        ("hyphen", "*-bar.example.com"),
        ("exact", "www.example.com"),
    ];
    let hosts = hosts.map(|(name, domain)| host(name, &[domain], everything(name)));
    let table = compile_table(&table(hosts.to_vec())).expect("compiles");
    for (authority, wanted) in [
        ("www.example.com", "exact"),
        ("WWW.Example.COM", "exact"),
        ("foo-bar.example.com", "hyphen"),
        ("api.example.com", "longer suffix"),
        ("api.other.com", "suffix"),
        ("www.other.com", "suffix"),
        ("www.example.org", "longer prefix"),
        ("www.other.org", "prefix"),
        ("example.org", "any"),
        // A wildcard stands for at least one character.
        (".example.com", "suffix"),
        ("www.example.com:8080", "longer prefix"),
    ] {
        assert_eq!(
            cluster_of(&table, &request(authority, "/")),
            wanted,
            "{authority}"
        );
    }
}

#[test]
fn a_port_in_the_authority_counts_unless_it_is_ignored() {
    let mut message = table(vec![host("h", &["h.example", "[::1]"], everything("c"))]);
    let with_port = compile_table(&message).expect("compiles");
    assert_eq!(cluster_of(&with_port, &request("h.example:80", "/")), "no host");
    message.ignore_port_in_host_matching = true;
    let without = compile_table(&message).expect("compiles");
    for authority in ["h.example:80", "h.example", "[::1]:80", "[::1]"] {
        assert_eq!(cluster_of(&without, &request(authority, "/")), "c", "{authority}");
    }
}

#[test]
fn a_domain_in_two_hosts_is_refused() {
    let message = table(vec![
        host("a", &["x.example"], everything("a")),
        host("b", &["y.example", "X.example"], everything("b")),
    ]);
    assert_eq!(
        compile_table(&message).unwrap_err().to_string(),
        "virtual_hosts[1].domains[1]: \"x.example\" stands already in virtual_hosts[0]"
    );
}

fn by_path(specifier: PathSpecifier) -> pb::RouteMatch {
    pb::RouteMatch {
        path_specifier: Some(specifier),
        ..Default::default()
    }
}

fn regex(regex: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: regex.into(),
        ..Default::default()
    }
}

#[test]
fn paths_match_by_their_kind_without_the_query() {
    for (specifier, takes, leaves) in [
        (
            PathSpecifier::Prefix("/a".into()),
            vec!["/a", "/ab", "/a/b?c"],
            vec!["/b", "/A"],
        ),
        (
            PathSpecifier::Path("/a".into()),
            vec!["/a", "/a?x=1"],
            vec!["/a/", "/ab"],
        ),
        (
            PathSpecifier::PathSeparatedPrefix("/a".into()),
            vec!["/a", "/a/b", "/a?x"],
            vec!["/ab"],
        ),
        (
            PathSpecifier::SafeRegex(regex("/v[12]")),
            vec!["/v1", "/v2?x=/v3"],
            vec!["/v1/x", "/x/v1", "/v3"],
        ),
    ] {
        let table = one_route(forward(by_path(specifier.clone()), to_cluster("c")));
        for path in takes {
            assert_eq!(
                cluster_of(&table, &request("a", path)),
                "c",
                "{specifier:?} {path}"
            );
        }
        for path in leaves {
            assert_eq!(
                cluster_of(&table, &request("a", path)),
                "no route",
                "{specifier:?} {path}"
            );
        }
    }
}

#[test]
fn case_is_ignored_when_asked() {
    let insensitive = pb::RouteMatch {
        case_sensitive: bool_value(false),
        ..prefix("/Api")
    };
    let table = one_route(forward(insensitive, to_cluster("c")));
    assert_eq!(cluster_of(&table, &request("a", "/aPI/x")), "c");
}

fn header(name: &str, specifier: pb::header_matcher::HeaderMatchSpecifier, invert: bool) -> pb::RouteMatch {
    pb::RouteMatch {
        headers: vec![pb::HeaderMatcher {
            name: name.into(),
            invert_match: invert,
            header_match_specifier: Some(specifier),
            ..Default::default()
        }],
        ..prefix("/")
    }
}

#[test]
fn headers_match_by_value_range_and_presence() {
    use leno_proto::envoy::r#type::v3::Int64Range;
    use pb::header_matcher::HeaderMatchSpecifier as M;
    let exact = || M::ExactMatch("1".into());
    for (specifier, invert, value, taken) in [
        (exact(), false, Some("1"), true),
        (exact(), false, Some("2"), false),
        (exact(), true, Some("2"), true),
        // A missing header matches no value, inverted or not.
        (exact(), true, None, false),
        (M::PresentMatch(true), false, Some("x"), true),
        (M::PresentMatch(true), true, None, true),
        (M::PresentMatch(false), false, None, true),
        (
            M::RangeMatch(Int64Range { start: 1, end: 5 }),
            false,
            Some("4"),
            true,
        ),
        (
            M::RangeMatch(Int64Range { start: 1, end: 5 }),
            false,
            Some("5"),
            false,
        ),
        (
            M::RangeMatch(Int64Range { start: 1, end: 5 }),
            false,
            Some("x"),
            false,
        ),
        // Each of repeated headers by itself (Envoy since 1.39).
        (M::ExactMatch("a,b".into()), false, Some("a|b"), false),
        (M::ExactMatch("b".into()), false, Some("a|b"), true),
        (M::ExactMatch("b".into()), true, Some("a|b"), false),
        (M::ExactMatch("c".into()), true, Some("a|b"), true),
    ] {
        let table = one_route(forward(
            header("X-Test", specifier.clone(), invert),
            to_cluster("c"),
        ));
        let mut head = request("a", "/");
        for value in value.into_iter().flat_map(|value| value.split('|')) {
            head.headers.append("x-test", value);
        }
        let found = cluster_of(&table, &head) == "c";
        assert_eq!(found, taken, "{specifier:?} inverted {invert}: {value:?}");
    }
}

#[test]
fn the_first_route_that_matches_is_taken() {
    let routes = vec![
        forward(prefix("/a"), to_cluster("first")),
        forward(prefix("/"), to_cluster("second")),
        forward(prefix("/a/b"), to_cluster("never")),
    ];
    let table = compile_table(&table(vec![host("h", &["*"], routes)])).expect("compiles");
    assert_eq!(cluster_of(&table, &request("x", "/a/b")), "first");
    assert_eq!(cluster_of(&table, &request("x", "/b")), "second");
}

#[test]
fn an_explanation_says_what_nearly_matched() {
    #[derive(Default)]
    struct Seen(Vec<String>);
    impl Observer for Seen {
        fn host(&mut self, host: &VirtualHost) {
            self.0.push(format!("host {}", host.name));
        }
        fn missed(&mut self, _host: &VirtualHost, _route: &Arc<Route>, why: Miss<'_>) {
            let why = match why {
                Miss::Header(header) => format!("not header {}", header.name),
                Miss::Path(_) => "not path".to_owned(),
                other => format!("{other:?}"),
            };
            self.0.push(why);
        }
        fn taken(&mut self, _host: &VirtualHost, route: &Arc<Route>) {
            self.0.push(format!("taken {}", route.name));
        }
    }
    let wants_header = header(
        "x",
        pb::header_matcher::HeaderMatchSpecifier::PresentMatch(true),
        false,
    );
    let last = pb::Route {
        name: "last".into(),
        ..forward(prefix("/"), to_cluster("c"))
    };
    let routes = vec![
        forward(prefix("/a"), to_cluster("a")),
        forward(wants_header, to_cluster("b")),
        last,
    ];
    let table = compile_table(&table(vec![host("h", &["*"], routes)])).expect("compiles");
    let mut seen = Seen::default();
    table.explain(&request("a", "/"), &CONTEXT, &mut seen);
    assert_eq!(seen.0, ["host h", "not path", "not header x", "taken last"]);
}

#[test]
fn weights_are_kept_over_random_numbers() {
    let weighted = |name: &str, weight| pb::weighted_cluster::ClusterWeight {
        name: name.into(),
        weight: u32_value(weight),
        ..Default::default()
    };
    let action = pb::RouteAction {
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::WeightedClusters(
            pb::WeightedCluster {
                clusters: vec![weighted("never", 0), weighted("a", 90), weighted("b", 10)],
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let table = one_route(forward(prefix("/"), action));
    let mut b = 0;
    for i in 0..100_u64 {
        let cx = RouteContext::new(i << 20, false);
        match table.route(&request("a", "/"), &cx) {
            Decision::Forward(forwarding) => b += usize::from(forwarding.cluster == "b"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(b, 10);
}

fn rewritten(action: pb::RouteAction, matches: pb::RouteMatch, path: &str) -> (String, String) {
    let table = one_route(forward(matches, action));
    let mut head = request("a.example", path);
    forwarding(&table, &head).edit_request(&mut head, &NoValues, true);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&head.authority), text(&head.path))
}

#[test]
fn prefixes_and_expressions_rewrite_the_path_and_keep_the_query() {
    let with_prefix = pb::RouteAction {
        prefix_rewrite: "/new".into(),
        ..to_cluster("c")
    };
    let (_, path) = rewritten(with_prefix, prefix("/old"), "/old/x?q=/old");
    assert_eq!(path, "/new/x?q=/old");
    let with_regex = pb::RouteAction {
        regex_rewrite: Some(matcher::RegexMatchAndSubstitute {
            pattern: Some(regex("^/service/([^/]+)(/.*)$")),
            substitution: r"\2/instance/\1".into(),
        }),
        ..to_cluster("c")
    };
    let (_, path) = rewritten(with_regex, prefix("/"), "/service/foo/v1/api?x=1");
    assert_eq!(path, "/v1/api/instance/foo?x=1");
}

#[test]
fn the_host_is_rewritten_and_the_original_path_is_told() {
    let action = pb::RouteAction {
        prefix_rewrite: "/".into(),
        host_rewrite_specifier: Some(pb::route_action::HostRewriteSpecifier::HostRewriteLiteral(
            "b".into(),
        )),
        ..to_cluster("c")
    };
    let table = one_route(forward(prefix("/x/"), action));
    let mut head = request("a", "/x/y");
    forwarding(&table, &head).edit_request(&mut head, &NoValues, true);
    assert_eq!(head.authority, "b");
    assert_eq!(head.headers.get_str("x-envoy-original-path"), Some("/x/y"));
}

fn redirect(action: pb::RedirectAction, matches: pb::RouteMatch, authority: &str, path: &str) -> String {
    let table = one_route(pb::Route {
        r#match: Some(matches),
        action: Some(pb::route::Action::Redirect(action)),
        ..Default::default()
    });
    match table.route(&request(authority, path), &CONTEXT) {
        Decision::Redirect { location, .. } => String::from_utf8_lossy(&location).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_redirect_keeps_what_it_does_not_say() {
    use pb::redirect_action::{PathRewriteSpecifier as P, SchemeRewriteSpecifier as S};
    let https = || pb::RedirectAction {
        scheme_rewrite_specifier: Some(S::HttpsRedirect(true)),
        ..Default::default()
    };
    assert_eq!(
        redirect(https(), prefix("/"), "a:8080", "/x?y"),
        "https://a:8080/x?y"
    );
    // The default port of the old scheme means nothing in the new one.
    assert_eq!(redirect(https(), prefix("/"), "a:80", "/x"), "https://a/x");
    let other = pb::RedirectAction {
        host_redirect: "b".into(),
        port_redirect: 8443,
        path_rewrite_specifier: Some(P::PrefixRewrite("/new".into())),
        ..Default::default()
    };
    assert_eq!(
        redirect(other, prefix("/old"), "a", "/old/1?q"),
        "http://b:8443/new/1?q"
    );
    let path = pb::RedirectAction {
        path_rewrite_specifier: Some(P::PathRedirect("/p?own".into())),
        ..Default::default()
    };
    assert_eq!(redirect(path, prefix("/"), "a", "/x?q"), "http://a/p?own");
    let stripped = pb::RedirectAction {
        strip_query: true,
        ..Default::default()
    };
    assert_eq!(redirect(stripped, prefix("/"), "a", "/x?q"), "http://a/x");
}

fn option(name: &str, value: &str, action: i32) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.into(),
            value: value.into(),
            ..Default::default()
        }),
        append_action: action,
        ..Default::default()
    }
}

#[test]
fn header_edits_go_from_route_to_table_and_see_the_request() {
    use core::header_value_option::HeaderAppendAction as A;
    struct Values;
    impl FormatValues for Values {
        fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
            out.extend_from_slice(b"R");
            *operator == Operator::RouteName
        }
    }
    let mut route = forward(prefix("/"), to_cluster("c"));
    route.request_headers_to_add = vec![
        option(
            "x-from",
            "route %REQ(:PATH)% %ROUTE_NAME%",
            A::AppendIfExistsOrAdd.into(),
        ),
        option("x-absent", "new", A::AddIfAbsent.into()),
        option("x-missing", "%UPSTREAM_HOST%", A::AppendIfExistsOrAdd.into()),
    ];
    route.request_headers_to_remove = vec!["X-Secret".into()];
    let mut message = table(vec![host("h", &["*"], vec![route])]);
    message.request_headers_to_add = vec![option("x-level", "table", A::OverwriteIfExistsOrAdd.into())];
    message.response_headers_to_add = vec![option(
        "x-answer",
        "%RESPONSE_CODE%",
        A::AppendIfExistsOrAdd.into(),
    )];
    let table = compile_table(&message).expect("compiles");
    let mut head = request("a", "/p");
    for (name, value) in [("x-secret", "s"), ("x-absent", "old"), ("x-level", "client")] {
        head.headers.append(name, value);
    }
    let forwarding = forwarding(&table, &head);
    forwarding.edit_request(&mut head, &Values, true);
    assert_eq!(head.headers.get_str("x-from"), Some("route /p R"));
    assert_eq!(head.headers.get_str("x-absent"), Some("old"));
    assert_eq!(head.headers.get_str("x-level"), Some("table"));
    assert!(!head.headers.contains("x-secret"));
    assert!(!head.headers.contains("x-missing"), "an empty value is not added");
    let mut answer = response(204);
    forwarding.edit_response(&head, &mut answer, &NoValues);
    assert_eq!(answer.headers.get_str("x-answer"), Some("204"));
}

fn hash_policy(specifier: pb::route_action::hash_policy::PolicySpecifier) -> RouteTable {
    let action = pb::RouteAction {
        hash_policy: vec![pb::route_action::HashPolicy {
            terminal: false,
            policy_specifier: Some(specifier),
        }],
        ..to_cluster("c")
    };
    one_route(forward(prefix("/"), action))
}

#[test]
fn a_hash_is_of_the_header_and_absent_without_it() {
    use pb::route_action::hash_policy::{Header, PolicySpecifier};
    let table = hash_policy(PolicySpecifier::Header(Header {
        header_name: "x-user".into(),
        regex_rewrite: None,
    }));
    let mut head = request("a", "/");
    assert_eq!(forwarding(&table, &head).hash(&head, None, 1).hash, None);
    head.headers.append("x-user", "bar");
    // xxHash64("bar", 0), as in Envoy's own test.
    assert_eq!(
        forwarding(&table, &head).hash(&head, None, 1).hash,
        Some(5_234_164_152_756_840_025)
    );
}

#[test]
fn a_cookie_is_made_once_and_then_hashes_the_same() {
    use pb::route_action::hash_policy::{Cookie, PolicySpecifier};
    let table = hash_policy(PolicySpecifier::Cookie(Cookie {
        name: "session".into(),
        ttl: seconds(60),
        path: "/p".into(),
        attributes: [("SameSite", "Strict"), ("Secure", "")]
            .map(|(name, value)| pb::route_action::hash_policy::CookieAttribute {
                name: name.into(),
                value: value.into(),
            })
            .into(),
    }));
    let mut head = request("a", "/");
    let first = forwarding(&table, &head).hash(&head, None, 42);
    let cookie = first.set_cookie.expect("a new cookie");
    let cookie = String::from_utf8_lossy(&cookie).into_owned();
    assert_eq!(
        cookie,
        "session=\"000000000000002a\"; Max-Age=60; Path=/p; SameSite=Strict; Secure; HttpOnly"
    );
    let sent = cookie.split(';').next().expect("a pair").to_owned();
    head.headers.append("cookie", format!("other=1; {sent}"));
    let second = forwarding(&table, &head).hash(&head, None, 77);
    assert_eq!((second.hash, second.set_cookie), (first.hash, None));
}
