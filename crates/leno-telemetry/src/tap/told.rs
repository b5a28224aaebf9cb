//! A request as whoever watches is told of it.

use std::time::{Duration, UNIX_EPOCH};

use leno_engine::compile::listener::Direction;
use leno_proto::control::{Edge, TapRecord};

use crate::metrics::Identity;
use crate::record::{LocalWorkload, RequestRecord};

/// Bytes of one text that somebody outside chose; what is longer ends with an ellipsis.
const LONGEST: usize = 1024;

pub(super) fn tell(record: &RequestRecord<'_>, local: &LocalWorkload) -> TapRecord {
    let identity = Identity::of_request(record);
    let edge = Edge {
        requests: 1,
        failures: identity.is_failure().into(),
        ..identity.edge(local)
    };
    let upstream = record.upstream;
    let inbound = record.downstream.direction == Direction::Inbound;
    let headers = &record.request.headers;
    TapRecord {
        start_us: micros(record.start.duration_since(UNIX_EPOCH).unwrap_or_default()),
        duration_us: micros(record.duration),
        method: text(&record.request.method),
        path: text(&record.request.path),
        authority: text(&record.request.authority),
        bytes_received: record.bytes_received,
        bytes_sent: record.bytes_sent,
        details: record.details.to_owned(),
        place: record.route.place.to_owned(),
        attempts: record.attempts,
        client_address: record.downstream.remote.to_string(),
        server_address: upstream
            .and_then(|upstream| upstream.remote)
            .map(|address| address.to_string())
            .unwrap_or_default(),
        request_id: headers.get("x-request-id").map(text).unwrap_or_default(),
        tls_version: match inbound {
            true => record.downstream.tls_version.unwrap_or_default().to_owned(),
            false => String::new(),
        },
        edge: Some(edge),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What is no UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    match bytes.get(..LONGEST) {
        Some(beginning) if bytes.len() > LONGEST => format!("{}…", String::from_utf8_lossy(beginning)),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}
