//! From the user's text to all resources that one proxy can ask for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use leno_model::{Change, Protocol, Snapshot, VipTable, Workload, WorkloadId, WorkloadPort, World};
use leno_translate::{Cache, Proxy, ProxyKind, Resource, ResourceType, answer, names};

/// A moment: the model wants one for the table of addresses.
const NOON: Duration = Duration::from_secs(1_000_000);

/// Reads the text, and applies what is good of it beside two registered workloads.
pub fn snapshot(text: &[u8]) -> Arc<Snapshot> {
    let parsed = leno_api::read("mesh.yaml", text);
    for diagnostic in &parsed.diagnostics {
        let _ = diagnostic.to_string();
    }
    let mut world = World::new(VipTable::default());
    let file = Change::File {
        file: "mesh.yaml".into(),
        objects: parsed.objects.clone(),
    };
    let members = ["v1", "v2"].map(|version| Change::Workload(workload(version)));
    let outcome = world.apply(members.into_iter().chain([file]), NOON);
    for diagnostic in &outcome.diagnostics {
        let _ = diagnostic.to_string();
    }
    // The same again is no change; a file that goes leaves no trace.
    let again = Change::File {
        file: "mesh.yaml".into(),
        objects: parsed.objects,
    };
    assert!(world.apply([again], NOON).delta.is_empty());
    outcome.snapshot
}

/// `reviews-v1` in default, on a detected port.
fn workload(version: &str) -> Workload {
    let name = format!("reviews-{version}");
    Workload {
        id: WorkloadId(format!("{name}.default").into()),
        name,
        namespace: "default".into(),
        service_account: "reviews".into(),
        labels: [("app", "reviews"), ("version", version)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(127, 64, 0, 2))],
        ports: vec![WorkloadPort {
            port: 9080,
            name: String::new(),
            protocol: Protocol::Detect,
        }],
        service: Some("reviews".into()),
        healthy: true,
        mesh_tls: true,
        http2_upgrade: true,
        locality: String::new(),
        weight: 1,
    }
}

/// The sidecar beside `reviews-v1`.
pub fn proxy(on_demand: bool) -> Proxy {
    let workload = workload("v1");
    Proxy {
        id: format!("sidecar~127.64.0.2~{}~default.svc.cluster.local", workload.id),
        namespace: workload.namespace,
        labels: workload.labels,
        service_account: workload.service_account,
        workload: Some(workload.id),
        on_demand,
        audited: false,
        metadata: Default::default(),
        kind: ProxyKind::Sidecar,
    }
}

/// Every resource that there is for a proxy, by every name that it could learn.
pub fn resources(snapshot: &Snapshot, proxy: &Proxy) -> Vec<Arc<Resource>> {
    let mut cache = Cache::default();
    let mut found = Vec::new();
    for (kind, name) in questions(snapshot, proxy) {
        found.extend(answer(&mut cache, snapshot, proxy, kind, &name).resource);
    }
    found
}

fn questions(snapshot: &Snapshot, proxy: &Proxy) -> BTreeSet<(ResourceType, String)> {
    let mut questions = BTreeSet::new();
    let all = [
        ResourceType::Listener,
        ResourceType::Cluster,
        ResourceType::NameTable,
    ];
    for kind in all {
        // What full-state clients see by wildcard, others learn from routes.
        for asks in [
            proxy.clone(),
            Proxy {
                on_demand: false,
                ..proxy.clone()
            },
        ] {
            for name in names(snapshot, &asks, kind).0 {
                if kind == ResourceType::Cluster {
                    questions.insert((ResourceType::Endpoints, name.clone()));
                    let bytes = name.replacen("outbound|", "outbound-tcp|", 1);
                    questions.insert((ResourceType::Cluster, bytes));
                }
                questions.insert((kind, name));
            }
        }
    }
    for service in snapshot.services.values() {
        for port in &service.ports {
            questions.insert((ResourceType::Route, port.port.to_string()));
            questions.insert((ResourceType::Route, format!("{}:{}", service.host, port.port)));
            for vip in service.vips.iter() {
                let name = match vip {
                    IpAddr::V4(vip) => format!("{vip}_{}", port.port),
                    IpAddr::V6(vip) => format!("[{vip}]_{}", port.port),
                };
                questions.insert((ResourceType::Listener, name));
            }
        }
    }
    questions
}
