//! Who talks to whom, for the control plane: all workers' counters by label set, and of these what has changed.

use std::collections::HashMap;
use std::sync::Arc;

use leno_proto::control::{Edge, Peer};

use super::identity::{Labels, OwnedIdentity, Party, Protocol, Reporter};
use super::series::{Series, Sums};
use super::{Metrics, lock};
use crate::record::LocalWorkload;

/// Label sets that are told apart; those of later ones are added up under `overflow`.
const MAX_EDGES: usize = 4096;

/// One reader of the counters, which is told of each only when it has changed.
#[derive(Debug)]
pub struct Changes {
    metrics: Arc<Metrics>,
    /// By their number, less one.
    edges: Vec<Known>,
    index: HashMap<OwnedIdentity, usize>,
    /// By worker and series: which of `edges` it is added to.
    of_series: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Known {
    identity: OwnedIdentity,
    sums: Sums,
    /// As the reader knows them; None: nothing yet.
    told: Option<Sums>,
}

// === impl Changes ===

impl Changes {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            edges: Vec::new(),
            index: HashMap::new(),
            of_series: Vec::new(),
        }
    }

    /// The reader is a new one, who knows nothing.
    pub fn forget(&mut self) {
        self.edges.iter_mut().for_each(|edge| edge.told = None);
    }

    /// What has changed since the last call, counted since the proxy's start: labels and number the first time,
    /// later the number alone. Latencies are by [`super::LATENCY_BOUNDS_US`].
    pub fn read(&mut self) -> Vec<Edge> {
        self.sum_up();
        let local = &self.metrics.local;
        let mut changed = Vec::new();
        for (at, known) in self.edges.iter_mut().enumerate() {
            if known.told.as_ref() == Some(&known.sums) {
                continue;
            }
            let labels = match known.told {
                Some(_) => Edge::default(),
                None => known.identity.edge(local),
            };
            changed.push(Edge {
                id: u32::try_from(at + 1).unwrap_or(u32::MAX),
                ..counted(&known.identity, &known.sums, labels)
            });
            known.told = Some(known.sums.clone());
        }
        changed
    }

    fn sum_up(&mut self) {
        self.edges.iter_mut().for_each(|edge| edge.sums = Sums::default());
        let metrics = Arc::clone(&self.metrics);
        for (worker, register) in lock(&metrics.shards).iter().enumerate() {
            for (at, series) in lock(&register.0).iter().enumerate() {
                let edge = self.edge_of(worker, at, series);
                if let Some(known) = self.edges.get_mut(edge) {
                    series.add_to(&mut known.sums);
                }
            }
        }
    }

    fn edge_of(&mut self, worker: usize, at: usize, series: &Series) -> usize {
        if self.of_series.len() <= worker {
            self.of_series.resize_with(worker + 1, Vec::new);
        }
        let known = self.of_series.get(worker).and_then(|of| of.get(at));
        if let Some(edge) = known {
            return *edge;
        }
        let identity = &series.identity;
        let edge = match self.index.get(identity) {
            Some(edge) => *edge,
            None if self.edges.len() < MAX_EDGES => self.add(identity.clone()),
            None => {
                let overflow = OwnedIdentity::overflow(identity.protocol);
                let known = self.index.get(&overflow).copied();
                known.unwrap_or_else(|| self.add(overflow))
            }
        };
        if let Some(of) = self.of_series.get_mut(worker) {
            of.push(edge);
        }
        edge
    }

    fn add(&mut self, identity: OwnedIdentity) -> usize {
        let edge = self.edges.len();
        self.index.insert(identity.clone(), edge);
        self.edges.push(Known {
            identity,
            sums: Sums::default(),
            told: None,
        });
        edge
    }
}

impl<S: AsRef<str>> Labels<S> {
    /// Its labels, with nothing counted yet.
    pub(crate) fn edge(&self, local: &LocalWorkload) -> Edge {
        let here = Peer {
            app: either(&local.canonical_service, &local.app),
            version: either(&local.canonical_revision, &local.version),
            namespace: local.namespace.clone(),
            workload: local.workload.clone(),
            principal: self.local_principal.as_ref().to_owned(),
        };
        let there = peer(&self.peer, self.peer_principal.as_ref());
        let (reporter, source, destination) = match self.reporter {
            Reporter::Source => ("source", here, there),
            Reporter::Destination => ("destination", there, here),
        };
        let flags = match self.flags.is_empty() {
            true => String::new(),
            false => self.flags.to_string(),
        };
        Edge {
            source: Some(source),
            destination: Some(destination),
            destination_service: either(self.service.as_ref(), self.service_name.as_ref()),
            reporter: reporter.to_owned(),
            protocol: self.protocol.name().to_owned(),
            mtls: self.is_mutual_tls(),
            route: self.route.as_ref().to_owned(),
            rule: self.rule,
            made_by: self.made_by.as_ref().to_owned(),
            code: self.code.into(),
            grpc_status: self.grpc_status,
            flags,
            ..Edge::default()
        }
    }
}

fn counted(identity: &OwnedIdentity, sums: &Sums, labels: Edge) -> Edge {
    let (requests, ended) = match identity.protocol {
        Protocol::Tcp => (sums.opened, sums.closed),
        Protocol::Http | Protocol::Grpc => (sums.latency.count(), sums.latency.count()),
    };
    let failures = if identity.is_failure() { ended } else { 0 };
    match identity.protocol {
        Protocol::Tcp => Edge {
            requests,
            failures,
            closed: ended,
            bytes_sent: sums.sent,
            bytes_received: sums.received,
            ..labels
        },
        Protocol::Http | Protocol::Grpc => Edge {
            requests,
            failures,
            bytes_sent: sums.response_bytes.sum,
            bytes_received: sums.request_bytes.sum,
            latency_sum_us: sums.latency.sum,
            latency: sums.latency.buckets.to_vec(),
            ..labels
        },
    }
}

fn peer<S: AsRef<str>>(party: &Party<S>, principal: &str) -> Peer {
    Peer {
        app: either(party.canonical_service.as_ref(), party.app.as_ref()),
        version: either(party.canonical_revision.as_ref(), party.version.as_ref()),
        namespace: party.namespace.as_ref().to_owned(),
        workload: party.workload.as_ref().to_owned(),
        principal: principal.to_owned(),
    }
}

fn either(first: &str, second: &str) -> String {
    if first.is_empty() {
        second.to_owned()
    } else {
        first.to_owned()
    }
}
