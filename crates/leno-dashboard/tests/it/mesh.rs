//! A mesh of values: configuration as users write it, workloads, and what proxies report.

use std::collections::BTreeMap;
use std::time::Duration;

use leno_api::parse;
use leno_dashboard::{Facts, Graph, History, Pictures, View};
use leno_model::{Change, VipTable, Workload, WorkloadId, World};
use leno_proto::control::{Edge, Peer};

#[derive(Default)]
pub struct Mesh {
    pub facts: Facts,
    pub history: History,
    pub pictures: Pictures,
    edges: Vec<Edge>,
    now: Duration,
}

impl Mesh {
    /// `workloads`: name, version, namespace; an instance each, more with the same name.
    pub fn new(yaml: &str, workloads: &[(&str, &str, &str)]) -> Self {
        let mut world = World::new(VipTable::default());
        let parsed = parse("mesh.yaml", yaml.as_bytes());
        let mut changes = vec![Change::File {
            file: "mesh.yaml".into(),
            objects: parsed.objects.clone(),
        }];
        changes.extend(
            workloads
                .iter()
                .enumerate()
                .map(|(n, w)| Change::Workload(workload(n, w))),
        );
        let outcome = world.apply(changes, Duration::ZERO);
        let mut mesh = Self::default();
        mesh.facts.snapshot = outcome.snapshot;
        mesh.facts.objects = vec![parsed.objects.into()];
        mesh
    }

    /// So many requests in the second that now passes.
    pub fn pass(&mut self, calls: &[Edge]) {
        self.now += Duration::from_secs(1);
        self.history.add(self.now, &self.edges);
        for call in calls {
            let same = |e: &&mut Edge| {
                (&e.source, &e.destination, &e.destination_service, e.mtls)
                    == (
                        &call.source,
                        &call.destination,
                        &call.destination_service,
                        call.mtls,
                    )
            };
            match self.edges.iter_mut().find(same) {
                Some(edge) => {
                    edge.requests += call.requests;
                    edge.failures += call.failures;
                }
                None => self.edges.push(call.clone()),
            }
        }
        self.now += Duration::from_secs(1);
        self.history.add(self.now, &self.edges);
    }

    pub fn graph(&mut self, level: &str, focus: &str) -> Graph {
        let view = View {
            level: level.to_owned(),
            focus: focus.to_owned(),
            ..View::default()
        };
        Graph::new(&self.facts, &self.history, &view, &mut self.pictures)
    }
}

fn workload(number: usize, (app, version, namespace): &(&str, &str, &str)) -> Workload {
    let labels = [("app", *app), ("version", *version)];
    Workload {
        id: WorkloadId(format!("{app}-{version}-{number}.{namespace}").into()),
        name: format!("{app}-{version}"),
        namespace: (*namespace).to_owned(),
        service_account: (*app).to_owned(),
        labels: BTreeMap::from(labels.map(|(key, value)| (key.to_owned(), value.to_owned()))),
        addresses: vec!["127.64.0.1".parse().unwrap()],
        ports: Vec::new(),
        service: None,
        healthy: true,
        mesh_tls: true,
        http2_upgrade: true,
        locality: String::new(),
        weight: 1,
    }
}

/// `default/web/v1`; empty: nobody that is known.
pub fn peer(name: &str) -> Option<Peer> {
    let mut parts = name.split('/');
    let (namespace, app, version) = (
        parts.next()?,
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    Some(Peer {
        app: app.to_owned(),
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        workload: if app.is_empty() {
            String::new()
        } else {
            format!("{app}-{version}")
        },
        principal: String::new(),
    })
}

pub fn calls(from: &str, to: &str, host: &str, requests: u64, failures: u64) -> Edge {
    Edge {
        source: peer(from),
        destination: peer(to),
        destination_service: host.to_owned(),
        reporter: "source".to_owned(),
        protocol: "http".to_owned(),
        mtls: !to.is_empty(),
        requests,
        failures,
        ..Edge::default()
    }
}
