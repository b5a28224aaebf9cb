//! Answers: what they depend on, and how they are shared.

use std::sync::Arc;

use leno_model::delta::Key;
use leno_translate::{Cache, ResourceType, answer, names};

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
fn endpoints_depend_on_their_service_only() {
    let mesh = Mesh::bookinfo();
    let answer = mesh.ask(&sidecar("ratings-v1"), ResourceType::Endpoints, REVIEWS);
    let of = |key: fn(leno_model::Host) -> Key| key(host("reviews"));
    assert_eq!(
        answer.deps,
        [of(Key::Service), of(Key::Endpoints), of(Key::Policy), sidecars()].into()
    );
}

#[test]
fn an_on_demand_listener_does_not_depend_on_other_services() {
    let mesh = Mesh::bookinfo();
    let answer = mesh.ask(&sidecar("ratings-v1"), ResourceType::Listener, "240.240.0.7_9080");
    let expected = [Key::Mesh, Key::Service(host("reviews")), sidecars()];
    assert_eq!(answer.deps, expected.into());
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
