//! Services, endpoints, addresses.

use leno_api::Code;
use leno_model::service::TargetPort;
use leno_model::{Change, Protocol, VipTable, WorkloadPort, World};

use crate::{Mesh, NOON, codes, host, service, workload};

#[test]
fn a_service_selects_workloads_of_its_namespace_by_labels() {
    let (mut mesh, _) = Mesh::of(&service("reviews"));
    mesh.register(workload("a", "reviews", "v1"));
    mesh.register(workload("b", "ratings", "v1"));
    let mut foreign = workload("c", "reviews", "v1");
    foreign.namespace = "other".into();
    mesh.register(foreign);
    let snapshot = mesh.snapshot();
    let names: Vec<&str> = snapshot
        .endpoints(&host("reviews"))
        .iter()
        .map(|w| w.name.as_str())
        .collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn a_service_that_nobody_declared_is_declared_by_its_workloads() {
    let mut mesh = Mesh::new();
    let mut first = workload("web-1", "web", "v1");
    first.ports = vec![WorkloadPort {
        port: 8080,
        name: String::new(),
        protocol: Protocol::Http,
    }];
    mesh.register(first);
    let snapshot = mesh.snapshot();
    let web = snapshot.service(&host("web")).unwrap();
    assert!(web.undeclared);
    assert_eq!(web.selector.get("app").map(String::as_str), Some("web"));
    assert_eq!((web.ports[0].port, web.ports[0].protocol), (8080, Protocol::Http));
    assert_eq!(web.ports[0].target, TargetPort::Number(8080));
    assert_eq!(snapshot.endpoints(&host("web")).len(), 1);

    mesh.leave("web-1.default");
    assert!(mesh.snapshot().service(&host("web")).is_none());
    assert!(mesh.snapshot().endpoints.is_empty());
}

#[test]
fn an_object_replaces_the_service_that_workloads_declared_and_keeps_its_address() {
    let mut mesh = Mesh::new();
    mesh.register(workload("reviews-1", "reviews", "v1"));
    let before = mesh.snapshot().service(&host("reviews")).unwrap().vips.clone();
    mesh.file("a.yaml", &service("reviews"));
    let snapshot = mesh.snapshot();
    let reviews = snapshot.service(&host("reviews")).unwrap();
    assert!(!reviews.undeclared);
    assert_eq!(reviews.vips, before);
    assert_eq!(before.len(), 2);
    assert_eq!(snapshot.by_vip(before[0]).unwrap().host, host("reviews"));
}

#[test]
fn addresses_survive_a_new_life_of_the_control_plane() {
    let (mesh, outcome) = Mesh::of(&(service("a") + &service("b")));
    assert!(outcome.vips_changed);
    let saved = serde_json::to_string(mesh.0.vips()).unwrap();
    let table: VipTable = serde_json::from_str(&saved).unwrap();
    let mut again = World::new(table);
    let parsed = leno_api::read("b.yaml", service("b").as_bytes());
    let outcome = again.apply(
        [Change::File {
            file: "b.yaml".into(),
            objects: parsed.objects,
        }],
        NOON,
    );
    let vips = |snapshot: &leno_model::Snapshot| snapshot.service(&host("b")).unwrap().vips.clone();
    assert_eq!(vips(&outcome.snapshot), vips(&mesh.snapshot()));
}

#[test]
fn a_workload_that_its_service_does_not_select_is_reported_until_it_is() {
    let (mut mesh, _) = Mesh::of(&service("reviews"));
    let mut lost = workload("a", "reviews", "v1");
    lost.labels.insert("app".into(), "review".into());
    let outcome = mesh.register(lost);
    assert_eq!(codes(&outcome), [Code::NotSelected]);
    let outcome = mesh.register(workload("a", "reviews", "v1"));
    assert_eq!(codes(&outcome), []);
    assert_eq!(mesh.snapshot().endpoints(&host("reviews")).len(), 1);
}

#[test]
fn the_same_object_in_two_files_holds_once() {
    let (mut mesh, _) = Mesh::of(&service("reviews"));
    let outcome = mesh.file("z.yaml", &service("reviews").replace("9080", "9090"));
    assert_eq!(codes(&outcome), [Code::DuplicateObject]);
    assert_eq!(outcome.diagnostics[0].place.file.as_ref(), "z.yaml");
    assert_eq!(
        mesh.snapshot().service(&host("reviews")).unwrap().ports[0].port,
        9080
    );
}
