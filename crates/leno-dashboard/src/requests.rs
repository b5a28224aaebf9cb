//! A workload's latest requests, each as a row of its page.

use leno_proto::control::{Edge, Peer, TapRecord};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Tells it from every other on the page.
    pub key: String,
    /// Its beginning, in milliseconds since 1970.
    pub time: u64,
    /// `in` or `out`.
    pub direction: &'static str,
    pub method: String,
    /// Without its query, which is nobody's to read but the two parties'.
    pub path: String,
    /// Who called, or who was called.
    pub peer: String,
    /// As an HTTP status, with Envoy's response flags if there are any: `200`, `503 UF`.
    pub status: String,
    pub failed: bool,
    /// Milliseconds.
    pub latency: f64,
}

// === impl Request ===

impl Request {
    pub fn new(record: &TapRecord) -> Self {
        let edge = record.edge.clone().unwrap_or_default();
        let inbound = edge.reporter == "destination";
        let path = record.path.split(['?', '#']).next().unwrap_or_default();
        Self {
            key: format!("{}-{}", record.start_us, record.request_id),
            time: record.start_us / 1000,
            direction: if inbound { "in" } else { "out" },
            method: record.method.clone(),
            path: path.to_owned(),
            peer: peer(&edge, inbound),
            status: status(&edge),
            failed: edge.code == 0 || edge.code >= 500,
            latency: record.duration_us as f64 / 1000.0,
        }
    }
}

fn peer(edge: &Edge, inbound: bool) -> String {
    let of = |peer: &Option<Peer>| peer.as_ref().map(|p| p.workload.clone()).unwrap_or_default();
    let other = if inbound {
        of(&edge.source)
    } else {
        of(&edge.destination)
    };
    match other.as_str() {
        "" | "unknown" if inbound => "unknown".to_owned(),
        "" | "unknown" => edge.destination_service.clone(),
        _ => other,
    }
}

fn status(edge: &Edge) -> String {
    let code = match edge.code {
        0 => "none".to_owned(),
        code => code.to_string(),
    };
    match edge.flags.as_str() {
        "" => code,
        flags => format!("{code} {flags}"),
    }
}
