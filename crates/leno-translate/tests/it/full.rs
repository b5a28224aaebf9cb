//! A mesh that uses all that translation knows.

use std::sync::Arc;
use std::time::Duration;

use leno_model::policy::LoadBalancer;
use leno_model::route::{
    AbortStatus, Cors, Fault, HeaderMatch, Mirror, PathMatch, PathRewrite, RedirectPort, Retries, Rewrite,
    StreamMatch,
};
use leno_model::visibility::{Exported, Scoped};
use leno_model::{
    Authorization, Backing, Change, HttpAction, HttpMatch, HttpRule, MeshConfig, MtlsMode, OutlierDetection,
    Protocol, Service, StringMatch, TcpRoute, TlsMode, TrafficPolicy, World,
};

use crate::mesh::{Mesh, backend, forward, host, origin, rule, service};

/// Bookinfo with policies and routes of every kind, each workload under this mTLS mode.
pub(crate) fn everything(mode: MtlsMode) -> Mesh {
    let mut mesh = Mesh::bookinfo();
    mesh.0.mesh = Arc::new(MeshConfig {
        access_log_file: Some("/dev/stdout".into()),
        access_log_json: mode == MtlsMode::Strict,
        ..MeshConfig::default()
    });
    for workload in ["reviews-v1", "ratings-v1", "db-v1"] {
        mesh.mtls(workload, mode);
    }
    let policy = TrafficPolicy {
        balancer: Some(LoadBalancer::HashCookie {
            name: "user".into(),
            path: None,
            ttl: Duration::from_secs(1),
            attributes: vec![("SameSite".into(), "Lax".into())],
        }),
        outlier: Some(OutlierDetection {
            consecutive_5xx: Some(5),
            consecutive_gateway_errors: Some(0),
            max_ejection_percent: Some(50),
            min_health_percent: Some(10),
            ..OutlierDetection::default()
        }),
        ..TrafficPolicy::default()
    };
    mesh.policy("reviews", policy, &["v1", "v2"]);
    let simple = TrafficPolicy {
        tls: Some(TlsMode::Originate(Box::default())),
        ..TrafficPolicy::default()
    };
    mesh.policy("db", simple, &[]);
    mesh.route("reviews", "HTTPRoute", rules());
    streams(&mut mesh);
    mesh.0.authorization = authorization();
    mesh
}

/// One policy of each action, with every condition that needs no token.
fn authorization() -> Arc<Authorization> {
    const RULE: &str = "
  - from:
    - source: {principals: [\"*\", \"a*\", \"*b\", a/ns/b/sa/c], notPrincipals: [d], namespaces: [a, \"b*\"], notNamespaces: [\"*\"]}
    - source: {serviceAccounts: [a, b/c], notServiceAccounts: [d.e], trustDomains: [a, \"b*\"], notTrustDomains: [c]}
    - source: {ipBlocks: [1.2.3.4, 10.0.0.0/8], notIpBlocks: [\"::1\"], remoteIpBlocks: [1.2.3.4], notRemoteIpBlocks: [fd00::/8]}
    to:
    - operation: {hosts: [\"*\", a.b, \"*.c\"], notHosts: [d], methods: [GET, \"P*\"], notMethods: [PUT], ports: [\"80\"], notPorts: [\"81\"]}
    - operation: {paths: [/a, /b*, \"*/c\", \"*\", \"/{*}/d/{**}\"], notPaths: [/e]}
    when:
    - {key: \"request.headers[x-a]\", values: [b, \"*\"], notValues: [c]}
    - {key: connection.sni, values: [\"a.*\"]}
    - {key: destination.ip, notValues: [10.0.0.0/8]}
";
    let mut text = String::new();
    for action in ["ALLOW", "DENY", "AUDIT"] {
        let name = action.to_lowercase();
        for (name, dry_run) in [(name.clone(), "false"), (format!("{name}-dry"), "true")] {
            text += &format!(
                "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, annotations: {{istio.io/dry-run: \"{dry_run}\"}}}}\nspec:\n  action: {action}\n  rules:{RULE}---\n"
            );
        }
    }
    text += "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: nothing}\nspec: {}\n---\n";
    text += "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: asked}\nspec: {action: CUSTOM, provider: {name: a}, rules: [{}]}\n";
    let parsed = leno_api::read("policies.yaml", text.as_bytes());
    assert!(parsed.rejected.is_empty(), "{:?}", parsed.diagnostics);
    let mut world = World::default();
    let file = Change::File {
        file: "policies.yaml".into(),
        objects: parsed.objects,
    };
    world.apply([file], Duration::from_secs(1));
    Arc::clone(&world.snapshot().authorization)
}

/// Connections of services at any address by name, by subnet and by both, on a port that HTTP uses as well.
fn streams(mesh: &mut Mesh) {
    let anywhere = |name: &str, last: u8, protocol: Protocol| Service {
        vips: Vec::new(),
        backing: Backing::Caller,
        ..service(name, last, &[(9080, protocol)])
    };
    mesh.add(anywhere("wiki", 21, Protocol::Tls));
    mesh.add(anywhere("other-wiki", 22, Protocol::Tls));
    mesh.add(anywhere("bytes", 23, Protocol::Tcp));
    let to = |names: &[&str], subnets: &[&str]| StreamMatch {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
        ..StreamMatch::default()
    };
    let route = |tls: bool, matches: Vec<StreamMatch>, to: &str| {
        Arc::new(TcpRoute {
            origin: origin("VirtualService", "wiki"),
            exported: Exported::Everywhere,
            hosts: vec![host("wiki")],
            tls,
            matches,
            backends: vec![backend(to, None, 1)],
        })
    };
    // The same names and subnets more than once, as users do.
    let near = ["10.0.0.0/8", "192.0.2.0/24"];
    let tls = vec![
        route(true, vec![to(&["a.example", "b.example"], &near)], "wiki"),
        route(
            true,
            vec![to(&["a.example"], &near[..1]), to(&["a.example"], &[])],
            "other-wiki",
        ),
        route(
            true,
            vec![to(&["*"], &["fd00::/8"]), to(&["*.example"], &[])],
            "wiki",
        ),
    ];
    let bytes = vec![
        route(false, vec![to(&[], &near)], "bytes"),
        route(false, vec![to(&[], &near[1..])], "db"),
    ];
    mesh.0
        .tcp_routes
        .insert(host("wiki"), Scoped::everywhere(tls.clone()));
    mesh.0
        .tcp_routes
        .insert(host("other-wiki"), Scoped::everywhere(tls));
    mesh.0.tcp_routes.insert(host("bytes"), Scoped::everywhere(bytes));
}

fn rules() -> Vec<HttpRule> {
    let at = |path: PathMatch| HttpMatch {
        path: Some(path),
        ..HttpMatch::default()
    };
    let split = || {
        forward(vec![
            backend("reviews", Some("v1"), 90),
            backend("reviews", Some("v2"), 10),
        ])
    };
    let mut busy = rule(vec![at(PathMatch::ElementPrefix("/foo".into()))], split());
    busy.fault = Some(Fault {
        delay: Some((500_000, Duration::from_millis(10))),
        abort: Some((1, AbortStatus::Grpc(14))),
    });
    busy.retries = Some(Retries {
        attempts: 3,
        per_try_timeout: None,
        on: "5xx,409".into(),
        backoff: Some(Duration::from_millis(10)),
        other_localities: true,
        same_endpoint: true,
    });
    busy.cors = Some(Cors {
        origins: vec![
            StringMatch::Exact("https://a.example".into()),
            StringMatch::Regex(".*".into()),
        ],
        methods: vec!["GET".into()],
        headers: vec!["x-a".into()],
        exposed: vec!["x-b".into()],
        max_age: Some(Duration::from_secs(60)),
        credentials: Some(true),
        forward_unmatched: false,
    });
    busy.rewrite = Some(Rewrite {
        authority: Some("other".into()),
        path: Some(PathRewrite::Prefix("/".into())),
    });
    let mut picky = at(PathMatch::Regex("/a.*".into()));
    picky.stat_prefix = Some("picky".into());
    picky.headers = vec![
        ("x".into(), HeaderMatch::Absent),
        ("y".into(), HeaderMatch::Not(StringMatch::Prefix("z".into()))),
    ];
    picky.query = vec![("q".into(), StringMatch::Exact("1".into()))];
    let redirect = HttpAction::Redirect {
        scheme: Some("https".into()),
        authority: None,
        port: Some(RedirectPort::Number(8443)),
        path: Some(PathRewrite::Full("/new".into())),
        code: 308,
    };
    let mut full = rule(vec![], split());
    full.rewrite = Some(Rewrite {
        authority: None,
        path: Some(PathRewrite::Full("/all".into())),
    });
    full.mirror = vec![Mirror {
        backend: backend("ratings", None, 1),
        share: 10_000,
    }];
    vec![busy, rule(vec![picky], redirect), full]
}
