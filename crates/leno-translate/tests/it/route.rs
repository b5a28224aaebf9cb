//! Routes: which rule a request falls under, and what becomes of it.

use std::time::Duration;

use leno_model::delta::Key;
use leno_model::policy::LoadBalancer;
use leno_model::route::{
    AbortStatus, Fault, HeaderEdits, HeaderMatch, Mirror, PathMatch, PathRewrite, Retries, Rewrite,
};
use leno_model::visibility::Scoped;
use leno_model::{HttpAction, HttpMatch, HttpRule, Protocol, StringMatch, TrafficPolicy};
use leno_proto::FromAny;
use leno_proto::envoy::config::route::v3::route::Action;
use leno_proto::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use leno_proto::envoy::config::route::v3::route_match::PathSpecifier;
use leno_proto::envoy::config::route::v3::{Route, RouteAction, RouteConfiguration, VirtualHost};
use leno_proto::envoy::extensions::filters::http::fault::v3::HttpFault;
use leno_translate::ResourceType;

use crate::mesh::{Mesh, backend, depends_on, envoy, forward, host, labels, rule, service, sidecar};

const REVIEWS: &str = "reviews.default.svc.cluster.local:9080";

fn virtual_host<'c>(configuration: &'c RouteConfiguration, authority: &str) -> &'c VirtualHost {
    let exact = configuration
        .virtual_hosts
        .iter()
        .find(|v| v.domains.iter().any(|d| d == authority));
    let any = || {
        let hosts = &configuration.virtual_hosts;
        hosts.iter().find(|v| v.domains.iter().any(|d| d == "*"))
    };
    exact.or_else(any).expect("a virtual host")
}

fn clusters(route: &Route) -> Vec<(String, u32)> {
    match action(route).cluster_specifier.as_ref().unwrap() {
        ClusterSpecifier::Cluster(one) => vec![(one.clone(), 1)],
        ClusterSpecifier::WeightedClusters(several) => {
            let several = several.clusters.iter();
            several
                .map(|c| (c.name.clone(), c.weight.as_ref().unwrap().value))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

fn action(route: &Route) -> &RouteAction {
    match route.action.as_ref().unwrap() {
        Action::Route(action) => action,
        other => panic!("not forwarded: {other:?}"),
    }
}

/// The only route of reviews, made of one rule.
fn only(rule: HttpRule) -> Route {
    let mut mesh = Mesh::bookinfo();
    mesh.policy("reviews", TrafficPolicy::default(), &["v1", "v2"]);
    mesh.route("reviews", "VirtualService", vec![rule]);
    let mut configuration = mesh.routes(&sidecar("ratings-v1"), REVIEWS).unwrap();
    assert_eq!(configuration.virtual_hosts[0].routes.len(), 1);
    configuration.virtual_hosts.remove(0).routes.remove(0)
}

fn to_reviews() -> HttpAction {
    forward(vec![backend("reviews", None, 1)])
}

#[test]
fn a_service_without_routes_forwards_to_itself_with_istios_retries_and_no_timeout() {
    let mesh = Mesh::bookinfo();
    let configuration = mesh.routes(&sidecar("ratings-v1"), REVIEWS).unwrap();
    let host = virtual_host(&configuration, "anything");
    assert_eq!(host.name, REVIEWS);
    let [route] = host.routes.as_slice() else { panic!() };
    assert_eq!(route.name, "default");
    assert_eq!(
        clusters(route)[0].0,
        "outbound|9080||reviews.default.svc.cluster.local"
    );
    let action = action(route);
    assert_eq!(action.timeout.as_ref().unwrap().seconds, 0);
    let retry = action.retry_policy.as_ref().unwrap();
    assert_eq!(retry.num_retries.as_ref().unwrap().value, 2);
    assert_eq!(retry.retriable_status_codes, [503]);
    assert_eq!(retry.host_selection_retry_max_attempts, 5);
}

#[test]
fn rules_become_routes_in_order_one_for_each_match() {
    let mut mesh = Mesh::bookinfo();
    let path = |path: &str| HttpMatch {
        path: Some(PathMatch::Exact(path.into())),
        ..HttpMatch::default()
    };
    mesh.route(
        "reviews",
        "VirtualService",
        vec![
            rule(
                vec![path("/a"), path("/b")],
                forward(vec![backend("reviews", Some("v1"), 1)]),
            ),
            rule(
                vec![],
                forward(vec![
                    backend("reviews", Some("v1"), 90),
                    backend("reviews", Some("v2"), 10),
                ]),
            ),
        ],
    );
    let configuration = mesh.routes(&sidecar("ratings-v1"), REVIEWS).unwrap();
    let paths: Vec<_> = configuration.virtual_hosts[0]
        .routes
        .iter()
        .map(|route| {
            (
                route.r#match.clone().unwrap().path_specifier.unwrap(),
                clusters(route),
            )
        })
        .collect();
    let cluster = |v: &str| format!("outbound|9080|{v}|reviews.default.svc.cluster.local");
    assert_eq!(
        paths,
        [
            (PathSpecifier::Path("/a".into()), vec![(cluster("v1"), 1)]),
            (PathSpecifier::Path("/b".into()), vec![(cluster("v1"), 1)]),
            (
                PathSpecifier::Prefix("/".into()),
                vec![(cluster("v1"), 90), (cluster("v2"), 10)]
            ),
        ]
    );
}

#[test]
fn each_route_names_the_object_and_line_it_came_from() {
    let route = only(rule(vec![], to_reviews()));
    let metadata = route.metadata.unwrap().filter_metadata;
    let text = format!("{metadata:?}");
    assert!(text.contains("/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"));
    assert!(text.contains("reviews.yaml:8:5"));
}

#[test]
fn a_service_whose_routes_hold_for_other_ports_only_keeps_its_default() {
    let mut mesh = Mesh::bookinfo();
    mesh.route(
        "reviews",
        "HTTPRoute",
        vec![rule(
            vec![],
            HttpAction::Respond {
                status: 418,
                body: None,
            },
        )],
    );
    let mut routes = mesh.0.http_routes[&host("reviews")].of("default").clone();
    std::sync::Arc::make_mut(&mut routes[0]).ports = vec![81];
    let routes = Scoped::everywhere(routes);
    mesh.0.http_routes.insert(host("reviews"), routes);
    let configuration = mesh.routes(&sidecar("ratings-v1"), REVIEWS).unwrap();
    assert_eq!(
        clusters(&configuration.virtual_hosts[0].routes[0])[0].0,
        "outbound|9080||reviews.default.svc.cluster.local"
    );
}

#[test]
fn conditions_on_the_caller_are_decided_here() {
    let mut mesh = Mesh::bookinfo();
    let from = |app: &str, namespace: Option<&str>| HttpMatch {
        source_labels: labels(&[("app", app)]),
        source_namespace: namespace.map(str::to_owned),
        ..HttpMatch::default()
    };
    let teapot = HttpAction::Respond {
        status: 418,
        body: None,
    };
    mesh.route(
        "reviews",
        "VirtualService",
        vec![rule(vec![from("ratings", None)], teapot.clone())],
    );
    mesh.route(
        "reviews",
        "VirtualService",
        vec![rule(vec![from("db", Some("other"))], teapot)],
    );
    let seen_by = |app: &str| {
        let mut configuration = mesh.routes(&sidecar(app), REVIEWS).unwrap();
        configuration.virtual_hosts.remove(0).routes
    };
    assert_eq!(seen_by("ratings").len(), 1);
    assert!(seen_by("ratings")[0].r#match.clone().unwrap().headers.is_empty());
    // Nothing holds for it, and a service with routes has no default: 404.
    assert!(seen_by("db").is_empty());
}

#[test]
fn element_prefixes_do_not_match_half_an_element() {
    let path = |prefix: &str| {
        let matches = HttpMatch {
            path: Some(PathMatch::ElementPrefix(prefix.into())),
            ..HttpMatch::default()
        };
        only(rule(vec![matches], to_reviews()))
            .r#match
            .unwrap()
            .path_specifier
            .unwrap()
    };
    assert_eq!(path("/foo/"), PathSpecifier::PathSeparatedPrefix("/foo".into()));
    assert_eq!(path("/"), PathSpecifier::Prefix("/".into()));
}

#[test]
fn header_conditions_keep_their_sense() {
    let matches = HttpMatch {
        headers: vec![
            ("a".into(), HeaderMatch::Value(StringMatch::Regex("x+".into()))),
            ("b".into(), HeaderMatch::Present),
            ("c".into(), HeaderMatch::Not(StringMatch::Exact("no".into()))),
            ("d".into(), HeaderMatch::Absent),
        ],
        method: Some(StringMatch::Exact("GET".into())),
        ..HttpMatch::default()
    };
    let headers = only(rule(vec![matches], to_reviews())).r#match.unwrap().headers;
    let facts: Vec<_> = headers
        .iter()
        .map(|h| (h.name.as_str(), h.invert_match, h.treat_missing_header_as_empty))
        .collect();
    assert_eq!(
        facts,
        [
            ("a", false, false),
            ("b", false, false),
            ("c", true, true),
            ("d", true, false),
            (":method", false, false)
        ]
    );
}

#[test]
fn a_rule_whose_backends_are_all_invalid_answers_the_dialects_error() {
    for (kind, status) in [("HTTPRoute", 500), ("VirtualService", 503)] {
        let mut mesh = Mesh::bookinfo();
        let mut gone = backend("gone", None, 1);
        gone.invalid = true;
        mesh.route(
            "reviews",
            kind,
            vec![rule(vec![], forward(vec![gone, backend("reviews", None, 0)]))],
        );
        let configuration = mesh.routes(&sidecar("ratings-v1"), REVIEWS).unwrap();
        match configuration.virtual_hosts[0].routes[0].action.as_ref().unwrap() {
            Action::DirectResponse(response) => assert_eq!(response.status, status),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_invalid_backends_share_reaches_no_cluster_even_if_the_service_exists() {
    let mut mesh = Mesh::bookinfo();
    let mut forbidden = backend("ratings", None, 1);
    forbidden.invalid = true;
    mesh.route(
        "reviews",
        "HTTPRoute",
        vec![rule(
            vec![],
            forward(vec![backend("reviews", None, 1), forbidden]),
        )],
    );
    let proxy = sidecar("db-v1");
    let configuration = mesh.routes(&proxy, REVIEWS).unwrap();
    let route = &configuration.virtual_hosts[0].routes[0];
    let shares = clusters(route);
    assert_eq!(shares.len(), 2);
    assert!(mesh.cluster(&proxy, &shares[0].0).is_some());
    assert!(mesh.cluster(&proxy, &shares[1].0).is_none());
    assert_eq!(
        action(route).cluster_not_found_response_code,
        2,
        "INTERNAL_SERVER_ERROR"
    );
}

#[test]
fn retries_take_status_codes_among_the_words() {
    let said = |attempts, on: &str| {
        let mut rule = rule(vec![], to_reviews());
        rule.retries = Some(Retries {
            attempts,
            per_try_timeout: Some(Duration::from_millis(1500)),
            on: on.into(),
            ..Retries::default()
        });
        action(&only(rule)).retry_policy.clone()
    };
    let policy = said(3, "5xx, 409").unwrap();
    assert_eq!(policy.retry_on, "5xx,retriable-status-codes");
    assert_eq!(policy.retriable_status_codes, [409]);
    assert_eq!(policy.num_retries.unwrap().value, 3);
    let per_try = policy.per_try_timeout.unwrap();
    assert_eq!((per_try.seconds, per_try.nanos), (1, 500_000_000));
    let none = said(0, "5xx").unwrap();
    assert_eq!(
        none.num_retries.unwrap().value,
        0,
        "attempts: 0 switches retries off"
    );
    assert_eq!(
        none.per_try_timeout.unwrap().seconds,
        1,
        "and the limit of a try stays"
    );
}

#[test]
fn faults_ride_on_the_route() {
    let mut rule = rule(vec![], to_reviews());
    rule.fault = Some(Fault {
        delay: Some((500_000, Duration::from_secs(7))),
        abort: Some((10_000, AbortStatus::Http(555))),
    });
    let route = only(rule);
    let fault = &route.typed_per_filter_config["envoy.filters.http.fault"];
    let fault = fault.unpack::<HttpFault>().unwrap();
    assert_eq!(fault.delay.unwrap().percentage.unwrap().numerator, 500_000);
    let abort = fault.abort.unwrap();
    let share = abort.percentage.unwrap();
    assert_eq!((share.numerator, share.denominator), (10_000, 2), "MILLION");
}

#[test]
fn a_prefix_replaced_by_the_root_leaves_no_double_slash() {
    let rewritten = |old: PathMatch, new: &str| {
        let matches = HttpMatch {
            path: Some(old),
            ..HttpMatch::default()
        };
        let mut rule = rule(vec![matches], to_reviews());
        rule.rewrite = Some(Rewrite {
            authority: None,
            path: Some(PathRewrite::Prefix(new.into())),
        });
        let route = only(rule);
        let action = action(&route).clone();
        let regex = action
            .regex_rewrite
            .map(|r| (r.pattern.unwrap().regex, r.substitution));
        (action.prefix_rewrite, regex)
    };
    let elements = |old: &str| PathMatch::ElementPrefix(old.into());
    let (prefix, regex) = rewritten(elements("/foo.d"), "/");
    assert_eq!(prefix, "");
    assert_eq!(regex.unwrap(), (r"^/foo\.d(/?)(.*)".into(), r"/\2".into()));
    assert_eq!(rewritten(elements("/foo"), "/bar/").0, "/bar");
    assert_eq!(rewritten(elements("/"), "/bar").0, "/bar/");
    assert_eq!(rewritten(PathMatch::Prefix("/foo/".into()), "/").0, "/");
}

#[test]
fn setting_the_host_header_rewrites_the_authority() {
    let mut rule = rule(vec![], to_reviews());
    rule.request_headers = HeaderEdits {
        set: vec![("Host".into(), "other".into()), ("x-a".into(), "1".into())],
        add: vec![],
        remove: vec!["x-b".into()],
    };
    let route = only(rule);
    assert_eq!(
        action(&route).host_rewrite_specifier,
        Some(HostRewriteSpecifier::HostRewriteLiteral("other".into()))
    );
    let added: Vec<_> = route
        .request_headers_to_add
        .iter()
        .map(|h| h.header.as_ref().unwrap().key.as_str())
        .collect();
    assert_eq!(added, ["x-a"]);
    assert_eq!(route.request_headers_to_remove, ["x-b"]);
}

#[test]
fn mirrors_get_their_share_and_invalid_ones_nothing() {
    let mut rule = rule(vec![], to_reviews());
    let mut gone = backend("gone", None, 1);
    gone.invalid = true;
    rule.mirror = vec![
        Mirror {
            backend: backend("ratings", None, 1),
            share: 250_000,
        },
        Mirror {
            backend: gone,
            share: 1_000_000,
        },
    ];
    let route = only(rule);
    let [mirror] = action(&route).request_mirror_policies.as_slice() else {
        panic!()
    };
    assert_eq!(mirror.cluster, "outbound|9080||ratings.default.svc.cluster.local");
    let share = mirror
        .runtime_fraction
        .as_ref()
        .unwrap()
        .default_value
        .as_ref()
        .unwrap();
    assert_eq!(share.numerator, 250_000);
}

#[test]
fn a_backend_balanced_by_hash_says_what_to_hash() {
    let mut mesh = Mesh::bookinfo();
    let policy = TrafficPolicy {
        balancer: Some(LoadBalancer::HashHeader("x-user".into())),
        ..TrafficPolicy::default()
    };
    mesh.policy("reviews", policy, &[]);
    let proxy = sidecar("ratings-v1");
    let configuration = mesh.routes(&proxy, REVIEWS).unwrap();
    let text = format!(
        "{:?}",
        action(&configuration.virtual_hosts[0].routes[0]).hash_policy
    );
    assert!(text.contains("x-user"), "{text}");
    let answer = mesh.ask(&proxy, ResourceType::Route, REVIEWS);
    assert!(depends_on(
        &answer,
        &Key::PolicyOf(host("reviews"), "default".into())
    ));
}

#[test]
fn envoys_port_configuration_knows_every_name_and_passes_strangers_on() {
    let mut mesh = Mesh::bookinfo();
    let mut elsewhere = service("reviews", 30, &[(9080, Protocol::Http)]);
    elsewhere.host = leno_model::Host::in_cluster("reviews", "prod");
    elsewhere.namespace = "prod".into();
    mesh.add(elsewhere);
    let configuration = mesh.routes(&envoy("ratings-v1"), "9080").unwrap();
    assert!(configuration.ignore_port_in_host_matching);
    let goes = |authority: &str| {
        clusters(&virtual_host(&configuration, authority).routes[0])[0]
            .0
            .clone()
    };
    for name in [
        "reviews",
        "reviews.default",
        "reviews.default.svc",
        "240.240.0.7",
        "[fd00:6c65:6e6f::7]",
    ] {
        assert_eq!(
            goes(name),
            "outbound|9080||reviews.default.svc.cluster.local",
            "{name}"
        );
    }
    for name in ["reviews.prod", "reviews.prod.svc.cluster.local", "240.240.0.30"] {
        assert_eq!(
            goes(name),
            "outbound|9080||reviews.prod.svc.cluster.local",
            "{name}"
        );
    }
    assert_eq!(goes("example.com"), "PassthroughCluster");
    let mut domains: Vec<_> = configuration
        .virtual_hosts
        .iter()
        .flat_map(|v| &v.domains)
        .collect();
    let all = domains.len();
    domains.sort();
    domains.dedup();
    assert_eq!(domains.len(), all, "Envoy rejects a domain that stands twice");
}
