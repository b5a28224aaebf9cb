//! Who talks to whom: the label sets summed over what the answers were.

use std::collections::HashMap;

use leno_proto::control::{Edge, Peer};

use super::Metrics;
use super::identity::{OwnedIdentity, Party, Protocol, Reporter};
use super::series::Sums;

impl Metrics {
    /// The edges that this proxy has seen, counted since its start; latencies by [`super::LATENCY_BOUNDS_US`].
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges: HashMap<OwnedIdentity, Edge> = HashMap::new();
        for (identity, sums) in self.sums() {
            let failed = identity.is_failure();
            let key = OwnedIdentity {
                code: 0,
                flags: Default::default(),
                grpc_status: None,
                ..identity
            };
            if !edges.contains_key(&key) {
                let edge = self.edge(&key);
                edges.insert(key.clone(), edge);
            }
            if let Some(edge) = edges.get_mut(&key) {
                add(edge, key.protocol, failed, &sums);
            }
        }
        let mut edges: Vec<Edge> = edges.into_values().collect();
        edges.sort_by(|a, b| order(a).cmp(&order(b)));
        edges
    }

    fn edge(&self, identity: &OwnedIdentity) -> Edge {
        let local = &self.local;
        let here = Peer {
            app: either(&local.canonical_service, &local.app),
            version: either(&local.canonical_revision, &local.version),
            namespace: local.namespace.clone(),
            workload: local.workload.clone(),
            principal: identity.local_principal.clone(),
        };
        let there = peer(&identity.peer, &identity.peer_principal);
        let (reporter, source, destination) = match identity.reporter {
            Reporter::Source => ("source", here, there),
            Reporter::Destination => ("destination", there, here),
        };
        let protocol = match identity.protocol {
            Protocol::Http => "http",
            Protocol::Grpc => "grpc",
            Protocol::Tcp => "tcp",
        };
        Edge {
            source: Some(source),
            destination: Some(destination),
            destination_service: either(&identity.service, &identity.service_name),
            reporter: reporter.to_owned(),
            protocol: protocol.to_owned(),
            mtls: identity.is_mutual_tls(),
            ..Edge::default()
        }
    }
}

fn add(edge: &mut Edge, protocol: Protocol, failed: bool, sums: &Sums) {
    let ended = match protocol {
        Protocol::Tcp => {
            edge.requests += sums.opened;
            edge.bytes_sent += sums.sent;
            edge.bytes_received += sums.received;
            sums.closed
        }
        Protocol::Http | Protocol::Grpc => {
            edge.requests += sums.latency.count();
            edge.bytes_sent += sums.response_bytes.sum;
            edge.bytes_received += sums.request_bytes.sum;
            edge.latency_sum_us += sums.latency.sum;
            edge.latency.resize(sums.latency.buckets.len(), 0);
            for (total, bucket) in edge.latency.iter_mut().zip(&sums.latency.buckets) {
                *total += bucket;
            }
            sums.latency.count()
        }
    };
    if failed {
        edge.failures += ended;
    }
}

fn peer(party: &Party<String>, principal: &str) -> Peer {
    Peer {
        app: either(&party.canonical_service, &party.app),
        version: either(&party.canonical_revision, &party.version),
        namespace: party.namespace.clone(),
        workload: party.workload.clone(),
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

/// The same order at every report, so that a reader sees lines stand still.
fn order(edge: &Edge) -> (&str, &str, &str, &str, bool) {
    (
        edge.source.as_ref().map_or("", |peer| peer.workload.as_str()),
        edge.destination
            .as_ref()
            .map_or("", |peer| peer.workload.as_str()),
        &edge.destination_service,
        &edge.protocol,
        edge.mtls,
    )
}
