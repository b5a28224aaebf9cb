//! What a connection manager does to heads at the edge, as Envoy's does (its documentation: "HTTP header
//! manipulation"): what a client may not say, who it is, which request this is.

use std::net::IpAddr;

use leno_engine::compile::http::{HttpConnectionManager, ServerHeader};
use leno_engine::decide::normalise::Normalised;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};

use crate::client_cert;
use crate::connection::Connection;
use crate::random::Random;

/// Between two leno proxies that speak HTTP/2 to each other: the version that the client, or the application, spoke.
/// Believed only of a peer that has proved a mesh identity.
pub(crate) const ORIGINAL_VERSION: &str = "x-leno-orig-proto";

const XFF: &str = "x-forwarded-for";
const XFP: &str = "x-forwarded-proto";
const REQUEST_ID: &str = "x-request-id";

/// Said by the proxy that decides it, which none here does (Envoy: without `internal_address_config`).
const IS_INTERNAL: &str = "x-envoy-internal";

/// Headers by which only a proxy speaks to a proxy; from outside of the mesh they mean nothing.
const INTERNAL: [&str; 5] = [
    "x-envoy-external-address",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-ip-tags",
    "x-envoy-original-path",
];

/// Prepares a request for routing. The result: the version that the pair's other proxy restored, if there is one, and
/// what its path has come to.
pub(crate) fn prepare(
    head: &mut RequestHead,
    connection: &Connection,
    manager: &HttpConnectionManager,
    random: &Random,
) -> (Option<Version>, Normalised) {
    let restored = head
        .headers
        .remove(ORIGINAL_VERSION)
        .filter(|_| connection.is_mesh_peer());
    let restored = restored.and_then(|value| parse_version(&value));
    if let Some(version) = restored {
        head.version = version;
    }
    head.headers.remove(IS_INTERNAL);
    if manager.use_remote_address {
        head.headers.remove_all(&INTERNAL);
        append_forwarded_for(head, connection);
        head.headers
            .set(XFP, if connection.facts.tls { "https" } else { "http" });
    } else if !head.headers.contains(XFP) {
        head.headers
            .set(XFP, if connection.facts.tls { "https" } else { "http" });
    }
    client_cert::forward(&mut head.headers, &manager.client_cert, connection);
    request_id(&mut head.headers, manager, random);
    let normalised = manager.normalise(head);
    if let Some(via) = &manager.via {
        head.headers.append("via", via);
    }
    (restored, normalised)
}

/// Finishes a response for the client.
pub(crate) fn finish(head: &mut ResponseHead, manager: &HttpConnectionManager, restored: Option<Version>) {
    match &manager.server_header {
        ServerHeader::Overwrite(name) => head.headers.set("server", name),
        ServerHeader::AppendIfAbsent(name) if !head.headers.contains("server") => {
            head.headers.append("server", name);
        }
        ServerHeader::AppendIfAbsent(_) | ServerHeader::PassThrough => {}
    }
    if let Some(via) = &manager.via {
        head.headers.append("via", via);
    }
    head.headers.remove(ORIGINAL_VERSION);
    if restored.is_some() {
        head.headers.append(ORIGINAL_VERSION, head.version.as_str());
    }
}

pub(crate) fn parse_version(value: &[u8]) -> Option<Version> {
    match value {
        b"HTTP/1.0" => Some(Version::Http10),
        b"HTTP/1.1" => Some(Version::Http11),
        b"HTTP/2" => Some(Version::Http2),
        _ => None,
    }
}

/// The client as the proxies before this one tell it, as far as they are trusted (Envoy: "x-forwarded-for"). Each
/// appends whom it got the request from, so trust is counted from the right; the connection's other end is the last
/// of them, and is in the list only if this proxy does not append it itself. None: the connection's other end.
pub(crate) fn client(head: &RequestHead, manager: &HttpConnectionManager) -> Option<IpAddr> {
    let back = match manager.use_remote_address {
        true => manager.xff_trusted_hops.checked_sub(1)?,
        false => manager.xff_trusted_hops,
    };
    let told = || {
        let values = head.headers.get_all(XFF);
        values.flat_map(|v| v.split(|b| *b == b','))
    };
    let address = told().nth(told().count().checked_sub(back + 1)?)?;
    std::str::from_utf8(address.trim_ascii()).ok()?.parse().ok()
}

fn append_forwarded_for(head: &mut RequestHead, connection: &Connection) {
    let address = connection.record.remote.ip().to_string();
    let mut value: Vec<&[u8]> = head.headers.get_all(XFF).collect();
    value.push(address.as_bytes());
    let value = value.join(&b","[..]);
    head.headers.set(XFF, value);
}

fn request_id(headers: &mut Headers, manager: &HttpConnectionManager, random: &Random) {
    // Envoy: a request at the edge gets a fresh id unless the client's is to be kept.
    if manager.use_remote_address && !manager.preserve_request_id {
        headers.remove(REQUEST_ID);
    }
    if manager.generate_request_id && !headers.contains(REQUEST_ID) {
        headers.append(REQUEST_ID, random.uuid());
    }
}
