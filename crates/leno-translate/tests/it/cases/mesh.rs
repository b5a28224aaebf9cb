//! A mesh from a case's files, through the model as the control plane builds it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use leno_model::{Change, Protocol, Snapshot, VipTable, Workload, WorkloadId, WorkloadPort, World};
use leno_testkit::case::{Case, GatewayProxy, Registration};
use leno_translate::{Cache, GatewayPorts, Proxy, ProxyKind, ResourceType, answer};
use prost::Message;

pub(super) struct Mesh {
    snapshot: Arc<Snapshot>,
    gateways: Vec<GatewayProxy>,
}

impl Mesh {
    /// Err: what is wrong with the objects.
    pub(super) fn new(case: &Case) -> Result<Self, String> {
        let read = leno_api::read("input.yaml", case.input.as_bytes());
        let errors: Vec<_> = read.diagnostics.iter().filter(|d| d.is_error()).collect();
        if !errors.is_empty() {
            return Err(format!("{errors:#?}"));
        }
        let file = Change::File {
            file: "input.yaml".into(),
            objects: read.objects,
        };
        let registered = (1..)
            .zip(case.workloads.iter().cloned())
            .map(|(last, workload)| Change::Workload(register(workload, last)));
        let mut world = World::new(VipTable::default());
        let changes: Vec<Change> = std::iter::once(file).chain(registered).collect();
        let outcome = world.apply(changes, Duration::from_secs(1_000_000));
        Ok(Self {
            snapshot: outcome.snapshot,
            gateways: case.gateways.clone(),
        })
    }

    /// leno's proxy beside a workload of the case, or at the mesh's edge.
    pub(super) fn proxy(&self, name: &str) -> Proxy {
        if let Some(gateway) = self.gateways.iter().find(|gateway| gateway.name == name) {
            return Proxy {
                id: format!(
                    "router~127.0.0.1~{name}.{0}~{0}.svc.cluster.local",
                    gateway.namespace
                ),
                namespace: gateway.namespace.clone(),
                labels: gateway.labels.clone(),
                service_account: "default".into(),
                workload: None,
                on_demand: true,
                metadata: Default::default(),
                audited: false,
                kind: ProxyKind::Gateway(GatewayPorts {
                    proven: true,
                    ..GatewayPorts::default()
                }),
            };
        }
        let found = self
            .snapshot
            .workloads
            .values()
            .find(|workload| workload.name == name);
        let workload = found.unwrap_or_else(|| panic!("calls.yaml names no workload {name}"));
        Proxy {
            id: format!(
                "sidecar~127.0.0.1~{}~{}.svc.cluster.local",
                workload.id, workload.namespace
            ),
            namespace: workload.namespace.clone(),
            labels: workload.labels.clone(),
            service_account: workload.service_account.clone(),
            workload: Some(workload.id.clone()),
            on_demand: true,
            metadata: Default::default(),
            audited: false,
            kind: ProxyKind::Sidecar,
        }
    }

    pub(super) fn get<M: Message + Default>(
        &self,
        proxy: &Proxy,
        kind: ResourceType,
        name: &str,
    ) -> Option<M> {
        let answer = answer(&mut Cache::default(), &self.snapshot, proxy, kind, name);
        Some(M::decode(answer.resource?.body.clone()).unwrap())
    }
}

/// At 127.0.1.`last`, in the order of the file.
fn register(said: Registration, last: u8) -> Workload {
    Workload {
        id: WorkloadId(format!("{}.{}", said.name, said.namespace).into()),
        service: said.labels.get("app").cloned(),
        name: said.name,
        namespace: said.namespace,
        service_account: "default".into(),
        labels: said.labels,
        addresses: vec![IpAddr::from([127, 0, 1, last])],
        ports: said
            .ports
            .iter()
            .map(|port| WorkloadPort {
                port: *port,
                name: String::new(),
                protocol: Protocol::Detect,
            })
            .collect(),
        healthy: true,
        mesh_tls: true,
        http2_upgrade: true,
        locality: String::new(),
        weight: 1,
    }
}
