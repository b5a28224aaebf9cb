//! Answers: what they depend on, and how they are shared.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use leno_model::delta::Key;
use leno_model::{Change, Snapshot, VipTable, World};
use leno_translate::{Cache, Proxy, ResourceType, answer, names};

use crate::mesh::{Mesh, backend, depends_on, envoy, forward, host, rule, sidecar, workload};

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

/// Whether there is a Sidecar for the proxy.
fn sidecars() -> Key {
    Key::Sidecar("default".into())
}

#[test]
fn what_is_missing_is_waited_for() {
    let mesh = Mesh::bookinfo();
    let proxy = sidecar("ratings-v1");
    let cluster = mesh.ask(
        &proxy,
        ResourceType::Cluster,
        "outbound|80||gone.default.svc.cluster.local",
    );
    assert!(cluster.resource.is_none());
    assert!(depends_on(&cluster, &Key::Service(host("gone"))));
    let listener = mesh.ask(&proxy, ResourceType::Listener, "240.240.0.99_80");
    assert!(listener.resource.is_none());
    assert!(depends_on(&listener, &Key::ServiceList));
}

#[test]
fn endpoints_depend_on_their_service_and_on_what_the_mesh_says_of_localities() {
    let mesh = Mesh::bookinfo();
    let answer = mesh.ask(&sidecar("ratings-v1"), ResourceType::Endpoints, REVIEWS);
    let of = |key: fn(leno_model::Host) -> Key| key(host("reviews"));
    assert_eq!(
        answer.deps,
        [
            of(Key::Service),
            of(Key::Endpoints),
            of(Key::Policy),
            Key::PolicyOf(host("reviews"), "default".into()),
            Key::Mesh,
            sidecars()
        ]
        .into()
    );
}

#[test]
fn an_on_demand_listener_does_not_depend_on_other_services() {
    let mesh = Mesh::bookinfo();
    let answer = mesh.ask(&sidecar("ratings-v1"), ResourceType::Listener, "240.240.0.7_9080");
    let mut deps: BTreeSet<Key> = [Key::Mesh, Key::Service(host("reviews")), sidecars()].into();
    // Of its namespace, and of the root namespace, which this mesh has no name for.
    for namespace in ["", "default"] {
        deps.insert(Key::EnvoyFilters(namespace.into()));
        deps.insert(Key::Telemetry(namespace.into()));
    }
    assert_eq!(answer.deps, deps);
}

#[test]
fn proxies_that_need_the_same_share_it() {
    let mesh = Mesh::bookinfo();
    let mut cache = Cache::default();
    let mut get = |name: &str| {
        let answer = answer(
            &mut cache,
            &mesh.0,
            &sidecar(name),
            ResourceType::Cluster,
            REVIEWS,
        );
        answer.resource.unwrap()
    };
    assert!(Arc::ptr_eq(&get("ratings-v1"), &get("db-v1")));
}

#[test]
fn leno_and_envoy_get_their_own() {
    let mesh = Mesh::bookinfo();
    let mut cache = Cache::default();
    let mut get = |proxy| {
        let answer = answer(&mut cache, &mesh.0, &proxy, ResourceType::Cluster, REVIEWS);
        answer.resource.unwrap().version.clone()
    };
    assert_ne!(get(sidecar("ratings-v1")), get(envoy("ratings-v1")));
}

#[test]
fn versions_are_equal_after_a_restart_and_differ_with_the_content() {
    let version = |mesh: &Mesh| {
        let answer = mesh.ask(&sidecar("ratings-v1"), ResourceType::Endpoints, REVIEWS);
        answer.resource.unwrap().version.clone()
    };
    let mut mesh = Mesh::bookinfo();
    let before = version(&mesh);
    assert_eq!(before, version(&Mesh::bookinfo()));
    mesh.join("reviews", workload("reviews", "v3", 30, &[]));
    assert_ne!(before, version(&mesh));
}

#[test]
fn a_route_of_one_service_leaves_the_others_as_they_are() {
    let mut mesh = Mesh::bookinfo();
    let proxy = sidecar("db-v1");
    let name = "ratings.default.svc.cluster.local:9080";
    let version = |mesh: &Mesh| {
        let answer = mesh.ask(&proxy, ResourceType::Route, name);
        assert!(!depends_on(&answer, &Key::Routes(host("reviews"))));
        answer.resource.unwrap().version.clone()
    };
    let before = version(&mesh);
    mesh.route(
        "reviews",
        "HTTPRoute",
        vec![rule(vec![], forward(vec![backend("ratings", None, 1)]))],
    );
    assert_eq!(before, version(&mesh));
}

#[test]
fn the_cache_is_bounded() {
    let mesh = Mesh::bookinfo();
    let mut cache = Cache::new(4);
    let proxy = envoy("reviews-v1");
    for _ in 0..3 {
        for name in names(&mesh.0, &proxy, ResourceType::Cluster).0 {
            let answer = answer(&mut cache, &mesh.0, &proxy, ResourceType::Cluster, &name);
            assert!(answer.resource.is_some());
            assert!(cache.len() <= 4);
        }
    }
}

/// What of a change concerns a proxy of this namespace, asked for all that it is given.
fn concerned(before: &Snapshot, changed: &BTreeSet<Key>, namespace: &str) -> BTreeSet<Key> {
    let mut deps = BTreeSet::new();
    for on_demand in [true, false] {
        let proxy = Proxy {
            namespace: namespace.into(),
            workload: None,
            on_demand,
            ..sidecar("client")
        };
        let asked = [
            (ResourceType::Listener, "240.240.0.1_9080"),
            (ResourceType::Listener, "0.0.0.0_9080"),
            (ResourceType::Route, "reviews.default.svc.cluster.local:9080"),
            (ResourceType::Route, "9080"),
            (
                ResourceType::Cluster,
                "outbound|9080||reviews.default.svc.cluster.local",
            ),
            (ResourceType::NameTable, "name-table"),
        ];
        for (kind, name) in asked {
            deps.extend(answer(&mut Cache::default(), before, &proxy, kind, name).deps);
        }
        for kind in [ResourceType::Listener, ResourceType::Cluster] {
            deps.extend(names(before, &proxy, kind).1);
        }
    }
    deps.intersection(changed).cloned().collect()
}

#[test]
fn a_change_of_what_a_namespace_does_not_see_is_in_no_answer_there() {
    const REVIEWS: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {ports: [{port: 9080, name: http}]}\n";
    let route = |namespace: &str, status: u16| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a, namespace: {namespace}}}\nspec:\n  exportTo: [.]\n  hosts: [reviews.default.svc.cluster.local]\n  http: [{{directResponse: {{status: {status}}}}}]\n"
        )
    };
    let service = |namespace: &str, port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: quiet, namespace: {namespace}, annotations: {{networking.istio.io/exportTo: .}}}}\nspec: {{ports: [{{port: {port}, name: http}}]}}\n"
        )
    };
    let rule = |namespace: &str, balancer: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a, namespace: {namespace}}}\nspec:\n  host: reviews.default.svc.cluster.local\n  trafficPolicy: {{loadBalancer: {{simple: {balancer}}}}}\n"
        )
    };
    let egress = |namespace: &str, host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: a, namespace: {namespace}}}\nspec: {{egress: [{{hosts: [{host}]}}]}}\n"
        )
    };
    let changes = [
        [String::new(), route("shop", 201)],
        [route("shop", 201), route("shop", 202)],
        [route("shop", 202), String::new()],
        [String::new(), service("shop", 9080)],
        [service("shop", 9080), service("shop", 9081)],
        [service("shop", 9081), String::new()],
        [String::new(), egress("shop", "./*")],
        [egress("shop", "./*"), egress("shop", "default/*")],
        [egress("shop", "default/*"), String::new()],
        [String::new(), rule("shop", "RANDOM")],
        [rule("shop", "RANDOM"), rule("shop", "ROUND_ROBIN")],
        [rule("shop", "ROUND_ROBIN"), String::new()],
    ];
    for [from, to] in &changes {
        let mut world = World::new(VipTable::default());
        let file = |name: &str, text: &str| Change::File {
            file: name.into(),
            objects: leno_api::read(name, text.as_bytes()).objects,
        };
        let now = Duration::from_secs(1);
        // The first address is the service's that everybody sees, whatever comes after it.
        world.apply([file("reviews.yaml", REVIEWS)], now);
        let before = world.apply([file("it.yaml", from)], now).snapshot;
        let changed = world.apply([file("it.yaml", to)], now).delta.changed;
        assert!(!changed.is_empty(), "{from} -> {to}");
        assert_ne!(
            concerned(&before, &changed, "shop"),
            BTreeSet::new(),
            "{from} -> {to}"
        );
        assert_eq!(
            concerned(&before, &changed, "default"),
            BTreeSet::new(),
            "{from} -> {to}"
        );
    }
}
