//! The world from outside: YAML and registrations in, snapshots, deltas and diagnostics out.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod analyze;
mod authentication;
mod authorization;
mod deltas;
mod dialects;
mod policies;
mod services;
mod tcp_routes;
mod visibility;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use leno_api::{Code, read};
use leno_model::delta::Key;
use leno_model::{
    Change, Host, HttpAction, HttpRule, Outcome, Protocol, Snapshot, VipTable, Workload, WorkloadId,
    WorkloadPort, World,
};

pub(crate) const NOON: Duration = Duration::from_secs(1_000_000);

pub(crate) struct Mesh(World);

impl Mesh {
    pub(crate) fn new() -> Self {
        Self(World::new(VipTable::default()))
    }

    /// A mesh with one file.
    pub(crate) fn of(text: &str) -> (Self, Outcome) {
        let mut mesh = Self::new();
        let outcome = mesh.file("mesh.d.yaml", text);
        (mesh, outcome)
    }

    pub(crate) fn file(&mut self, name: &str, text: &str) -> Outcome {
        let parsed = read(name, text.as_bytes());
        let errors: Vec<String> = parsed
            .diagnostics
            .iter()
            .filter(|d| d.is_error())
            .map(ToString::to_string)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        self.0.apply(
            [Change::File {
                file: name.into(),
                objects: parsed.objects,
            }],
            NOON,
        )
    }

    pub(crate) fn register(&mut self, workload: Workload) -> Outcome {
        self.0.apply([Change::Workload(workload)], NOON)
    }

    pub(crate) fn leave(&mut self, id: &str) -> Outcome {
        self.0.apply([Change::WorkloadGone(WorkloadId(id.into()))], NOON)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot().clone()
    }
}

/// `reviews-v1-a` of service reviews, version v1, in default.
pub(crate) fn workload(name: &str, service: &str, version: &str) -> Workload {
    Workload {
        id: WorkloadId(format!("{name}.default").into()),
        name: name.into(),
        namespace: "default".into(),
        service_account: "default".into(),
        labels: [
            ("app".to_owned(), service.to_owned()),
            ("version".to_owned(), version.to_owned()),
        ]
        .into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))],
        ports: vec![WorkloadPort {
            port: 9080,
            name: String::new(),
            protocol: Protocol::Detect,
        }],
        service: Some(service.into()),
        healthy: true,
        mesh_tls: true,
        http2_upgrade: true,
        locality: String::new(),
        weight: 1,
    }
}

pub(crate) fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, ports: [{{port: 9080, name: http}}]}}\n---\n"
    )
}

pub(crate) fn istio(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
    )
}

pub(crate) fn http_route(name: &str, parent: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec: {{parentRefs: [{{group: \"\", kind: Service, name: {parent}}}], rules: {rules}}}\n---\n"
    )
}

pub(crate) fn host(name: &str) -> Host {
    Host::in_cluster(name, "default")
}

pub(crate) fn codes(outcome: &Outcome) -> Vec<Code> {
    outcome.diagnostics.iter().map(|d| d.code).collect()
}

pub(crate) fn keys(outcome: &Outcome) -> Vec<Key> {
    outcome.delta.changed.iter().cloned().collect()
}

/// All rules of a host, in the order in which they are tried in its namespace.
pub(crate) fn rules(snapshot: &Snapshot, name: &str) -> Vec<HttpRule> {
    rules_in(snapshot, name, "default")
}

/// Those that a namespace finds.
pub(crate) fn rules_in(snapshot: &Snapshot, name: &str, namespace: &str) -> Vec<HttpRule> {
    let routes = snapshot.http_routes.get(&host(name)).cloned().unwrap_or_default();
    let routes = routes.of(namespace).iter();
    routes.flat_map(|route| route.rules.clone()).collect()
}

/// `host/subset weight`, marked with `!` where it does not resolve.
pub(crate) fn backends(rule: &HttpRule) -> Vec<String> {
    let HttpAction::Forward(backends) = &rule.action else {
        return vec![format!("{:?}", rule.action)];
    };
    let short = |host: &Host| host.as_str().replace(".default.svc.cluster.local", "");
    backends
        .iter()
        .map(|b| {
            let subset = b
                .subset
                .as_ref()
                .map(|subset| format!("/{subset}"))
                .unwrap_or_default();
            format!(
                "{}{}{subset} {}",
                if b.invalid { "!" } else { "" },
                short(&b.host),
                b.weight
            )
        })
        .collect()
}
