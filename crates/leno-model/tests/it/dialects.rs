//! VirtualService and HTTPRoute: order, conflicts, what does not resolve.

use std::time::Duration;

use leno_api::Code;
use leno_model::HttpAction;
use leno_model::route::{AbortStatus, HeaderMatch, PathMatch, PathRewrite, StringMatch};

use crate::{Mesh, backends, codes, host, http_route, istio, rules, service, workload};

const SUBSETS: &str =
    "{host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}";

pub(crate) fn bookinfo() -> String {
    service("reviews") + &service("ratings") + &istio("DestinationRule", "reviews", SUBSETS)
}

#[test]
fn a_virtual_service_keeps_its_order_and_resolves_short_names() {
    let text = bookinfo()
        + &istio(
            "VirtualService",
            "reviews",
            "{hosts: [reviews], http: [{match: [{headers: {End-User: {exact: jason}}}], route: [{destination: {host: reviews, subset: v2}}]}, {route: [{destination: {host: reviews.default, subset: v1}, weight: 90}, {destination: {host: reviews.default.svc.cluster.local, subset: v2}, weight: 10}]}]}",
        );
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), []);
    let rules = rules(&mesh.snapshot(), "reviews");
    assert_eq!(backends(&rules[0]), ["reviews/v2 100"]);
    assert_eq!(backends(&rules[1]), ["reviews/v1 90", "reviews/v2 10"]);
    let exact = HeaderMatch::Value(StringMatch::Exact("jason".into()));
    assert_eq!(rules[0].matches[0].headers, [("end-user".to_owned(), exact)]);
    assert!(rules[0].place.starts_with("mesh.d.yaml:"));
}

#[test]
fn everything_of_a_rule_arrives() {
    let text = bookinfo()
        + &istio(
            "VirtualService",
            "reviews",
            "{hosts: [reviews], http: [{match: [{uri: {prefix: /v1}}], timeout: 1.5s, fault: {delay: {percentage: {value: 0.1}, fixedDelay: 2s}, abort: {percent: 50, grpcStatus: UNAVAILABLE}}, retries: {attempts: 3, perTryTimeout: 250ms, retryOn: 5xx}, rewrite: {uri: /}, headers: {request: {set: {X-A: b, Host: other}}}, mirror: {host: ratings}, mirrorPercentage: {value: 25}, route: [{destination: {host: reviews, port: {number: 9080}}}]}]}",
        );
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), []);
    let rule = rules(&mesh.snapshot(), "reviews").remove(0);
    assert_eq!(rule.timeout, Some(Duration::from_millis(1500)));
    let fault = rule.fault.unwrap();
    assert_eq!(fault.delay, Some((1000, Duration::from_secs(2))));
    assert_eq!(fault.abort, Some((500_000, AbortStatus::Grpc(14))));
    let retries = rule.retries.unwrap();
    assert_eq!((retries.attempts, retries.on.as_str()), (3, "5xx"));
    assert_eq!(rule.request_headers.set, [("x-a".to_owned(), "b".to_owned())]);
    let rewrite = rule.rewrite.unwrap();
    assert_eq!(
        (rewrite.authority.as_deref(), rewrite.path),
        (Some("other"), Some(PathRewrite::Prefix("/".into())))
    );
    assert_eq!(
        (rule.mirror[0].backend.host.clone(), rule.mirror[0].share),
        (host("ratings"), 250_000)
    );
}

#[test]
fn retries_are_istios_default_unless_said_otherwise() {
    let route = "route: [{destination: {host: reviews}}]";
    let spec = format!(
        "{{hosts: [reviews], http: [{{match: [{{port: 1}}], {route}}}, {{retries: {{attempts: 0}}, {route}}}]}}"
    );
    let (mesh, _) = Mesh::of(&(bookinfo() + &istio("VirtualService", "a", &spec)));
    let rules = rules(&mesh.snapshot(), "reviews");
    let default = rules[0].retries.clone().unwrap();
    assert_eq!(default.attempts, 2);
    assert_eq!(
        default.on,
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    );
    assert_eq!(rules[1].retries.as_ref().map(|r| r.attempts), Some(0));
}

#[test]
fn a_route_to_a_host_that_is_not_there_fails_visibly_and_says_so() {
    let spec = "{hosts: [reviews], http: [{route: [{destination: {host: reveiws}, weight: 1}, {destination: {host: reviews, subset: v9}, weight: 1}, {destination: {host: reviews, port: {number: 81}}, weight: 1}]}]}";
    let (mut mesh, outcome) = Mesh::of(&(bookinfo() + &istio("VirtualService", "a", spec)));
    assert_eq!(
        codes(&outcome),
        [Code::HostNotFound, Code::SubsetNotFound, Code::PortNotFound]
    );
    assert_eq!(
        outcome.diagnostics[0].hint,
        "did you mean reviews.default.svc.cluster.local?"
    );
    assert_eq!(outcome.diagnostics[1].hint, "its DestinationRule has v1, v2");
    let all = backends(&rules(&mesh.snapshot(), "reviews")[0]);
    assert_eq!(all, ["!reveiws 1", "!reviews/v9 1", "!reviews 1"]);

    // The host appears by registration: the route holds without another word.
    mesh.register(workload("r", "reveiws", "v1"));
    assert_eq!(backends(&rules(&mesh.snapshot(), "reviews")[0])[0], "reveiws 1");
}

#[test]
fn of_two_virtual_services_for_a_host_the_first_by_name_holds() {
    let rule =
        |host: &str| format!("{{hosts: [reviews], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}");
    let text = bookinfo()
        + &istio("VirtualService", "b", &rule("ratings"))
        + &istio("VirtualService", "a", &rule("reviews"));
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), [Code::RouteConflict]);
    assert_eq!(outcome.diagnostics[0].object.as_ref().unwrap().name.as_ref(), "b");
    assert_eq!(backends(&rules(&mesh.snapshot(), "reviews")[0]), ["reviews 100"]);
}

#[test]
fn an_exact_host_goes_before_a_wildcard() {
    let rule = |host: &str, to: &str| {
        format!("{{hosts: [\"{host}\"], http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}")
    };
    let text = bookinfo()
        + &istio(
            "VirtualService",
            "a",
            &rule("*.default.svc.cluster.local", "ratings"),
        )
        + &istio("VirtualService", "b", &rule("reviews", "reviews"));
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), []);
    assert_eq!(backends(&rules(&mesh.snapshot(), "reviews")[0]), ["reviews 100"]);
    assert_eq!(backends(&rules(&mesh.snapshot(), "ratings")[0]), ["ratings 100"]);
}

#[test]
fn http_routes_of_a_service_are_one_list_ordered_by_how_much_they_say() {
    let to = |name: &str| format!("backendRefs: [{{name: {name}, port: 9080}}]");
    let ratings = to("ratings");
    let first = http_route(
        "a",
        "reviews",
        &format!(
            "[{{name: rest, {ratings}}}, {{name: long, matches: [{{path: {{value: /api/v1}}}}], {ratings}}}]"
        ),
    );
    let second = http_route(
        "b",
        "reviews",
        &format!(
            "[{{name: header, matches: [{{path: {{value: /api}}, headers: [{{name: X, value: y}}]}}], {ratings}}}, {{name: method, matches: [{{path: {{value: /api}}, method: GET}}], {ratings}}}, {{name: exact, matches: [{{path: {{type: Exact, value: /a}}}}], {ratings}}}, {{name: query, matches: [{{queryParams: [{{name: q, value: v}}]}}], {ratings}}}]"
        ),
    );
    let (mesh, outcome) = Mesh::of(&(bookinfo() + &first + &second));
    assert_eq!(codes(&outcome), []);
    let rules = rules(&mesh.snapshot(), "reviews");
    let names: Vec<&str> = rules.iter().filter_map(|rule| rule.name.as_deref()).collect();
    assert_eq!(names, ["exact", "long", "method", "header", "query", "rest"]);
    assert_eq!(
        rules[1].matches[0].path,
        Some(PathMatch::ElementPrefix("/api/v1".into()))
    );
    let snapshot = mesh.snapshot();
    let origins: Vec<&str> = snapshot.http_routes[&host("reviews")]
        .of("default")
        .iter()
        .map(|r| r.origin.name.as_ref())
        .collect();
    assert_eq!(origins, ["b", "a", "b", "a"]);
}

#[test]
fn an_http_route_holds_over_a_virtual_service() {
    let text = bookinfo()
        + &http_route("r", "reviews", "[{backendRefs: [{name: ratings, port: 9080}]}]")
        + &istio(
            "VirtualService",
            "a",
            "{hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}",
        );
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), [Code::DialectConflict]);
    assert_eq!(backends(&rules(&mesh.snapshot(), "reviews")[0]), ["ratings 1"]);
}

#[test]
fn a_rule_without_backends_answers_500() {
    let text = bookinfo()
        + &http_route(
            "r",
            "reviews",
            "[{matches: [{path: {value: /x}}]}, {backendRefs: [{name: ratings, port: 9080, weight: 0}]}]",
        );
    let (mesh, _) = Mesh::of(&text);
    for rule in rules(&mesh.snapshot(), "reviews") {
        assert_eq!(
            rule.action,
            HttpAction::Respond {
                status: 500,
                body: None
            }
        );
    }
}

#[test]
fn a_consumers_route_holds_for_callers_of_its_namespace_in_place_of_the_producers() {
    let consumer = http_route(
        "c",
        "reviews, namespace: default",
        "[{timeouts: {request: 1s}, filters: [{type: RequestRedirect, requestRedirect: {port: 1}}]}]",
    )
    .replace("metadata: {name: c}", "metadata: {name: c, namespace: other}");
    let producer = http_route("a", "reviews", "[{backendRefs: [{name: ratings, port: 9080}]}]");
    let (mesh, outcome) = Mesh::of(&(bookinfo() + &producer + &consumer));
    assert_eq!(codes(&outcome), []);
    let rules = rules(&mesh.snapshot(), "reviews");
    let namespaces: Vec<Option<&str>> = rules
        .iter()
        .map(|r| r.matches[0].source_namespace.as_deref())
        .collect();
    assert_eq!(namespaces, [Some("other"), Some("other"), None]);
    assert_eq!(
        rules[1].action,
        HttpAction::Respond {
            status: 404,
            body: None
        }
    );
}

#[test]
fn a_backend_in_another_namespace_is_not_granted() {
    let text = bookinfo()
        + &http_route(
            "r",
            "reviews",
            "[{backendRefs: [{name: ratings, namespace: other, port: 9080}]}]",
        );
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), [Code::NoReferenceGrant]);
    assert_eq!(
        backends(&rules(&mesh.snapshot(), "reviews")[0]),
        ["!ratings.other.svc.cluster.local 1"]
    );
}

#[test]
fn a_grant_that_is_taken_back_holds_no_more() {
    let route = http_route(
        "r",
        "reviews",
        "[{backendRefs: [{name: ratings, namespace: other, port: 9080}]}]",
    );
    let theirs = "
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: other}
spec: {selector: {app: ratings}, ports: [{port: 9080, name: http}]}
";
    let grant = "
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: ratings, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: '', kind: Service}]
";
    let mut mesh = Mesh::new();
    let refused = |mesh: &Mesh| backends(&rules(&mesh.snapshot(), "reviews")[0])[0].starts_with('!');
    mesh.file("routes.yaml", &(bookinfo() + &route + theirs));
    assert!(refused(&mesh));
    mesh.file("grant.yaml", grant);
    assert!(!refused(&mesh));
    mesh.file("grant.yaml", "# taken back\n");
    assert!(refused(&mesh));
}

#[test]
fn a_mirror_in_another_namespace_wants_a_grant_too() {
    let text = bookinfo()
        + &http_route(
            "r",
            "reviews",
            "[{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: ratings, namespace: other, port: 9080}}}], backendRefs: [{name: reviews, port: 9080}]}]",
        );
    let (mesh, outcome) = Mesh::of(&text);
    assert_eq!(codes(&outcome), [Code::NoReferenceGrant]);
    assert_eq!(rules(&mesh.snapshot(), "reviews")[0].mirror, []);
}

#[test]
fn tcp_routes_arrive_with_their_ports() {
    let spec = "{hosts: [reviews], tcp: [{match: [{port: 9080}], route: [{destination: {host: reviews, subset: v1}, weight: 80}, {destination: {host: reviews, subset: v2}, weight: 20}]}]}";
    let (mesh, outcome) = Mesh::of(&(bookinfo() + &istio("VirtualService", "a", spec)));
    assert_eq!(codes(&outcome), []);
    let snapshot = mesh.snapshot();
    let routes = snapshot.tcp_routes[&host("reviews")].of("default");
    assert_eq!(routes[0].matches[0].port, Some(9080));
    assert_eq!(
        routes[0].backends.iter().map(|b| b.weight).collect::<Vec<_>>(),
        [80, 20]
    );
}

#[test]
fn public_samples_of_bookinfo_build_without_complaint() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases");
    let root = std::env::var_os("LENO_CASES")
        .map_or(root, std::path::PathBuf::from)
        .join("istio-samples/bookinfo");
    if !root.is_dir() {
        return leno_testkit::skip(
            "public_samples_of_bookinfo_build_without_complaint",
            "LENO_CASES not found",
        );
    }
    let mut mesh = Mesh::new();
    for file in [
        "platform/kube/bookinfo.yaml",
        "networking/destination-rule-all.yaml",
    ] {
        mesh.file(file, &std::fs::read_to_string(root.join(file)).unwrap());
    }
    let routes = std::fs::read_to_string(root.join("networking/virtual-service-reviews-90-10.yaml")).unwrap();
    let outcome = mesh.file("networking/routes.yaml", &routes);
    assert_eq!(codes(&outcome), []);
    assert_eq!(
        backends(&rules(&mesh.snapshot(), "reviews")[0]),
        ["reviews/v1 90", "reviews/v2 10"]
    );
}
