//! What a connection manager does to heads at the edge, as Envoy's does (its documentation: "HTTP header
//! manipulation"): what a client may not say, who it is, which request this is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use leno_engine::compile::http::{HttpConnectionManager, Scheme, ServerHeader, Underscores};
use leno_engine::decide::headers::mutation::mutate_request;
use leno_engine::decide::normalise::Normalised;
use leno_engine::decide::original_ip::Detected;
use leno_engine::decide::timeout::Heard;
use leno_engine::message::{Decimal, Headers, Names, RequestHead, ResponseHead, Version};

use leno_proto::envoy::config::core::v3::Node;

use crate::client_cert;
use crate::connection::Connection;
use crate::random::Random;
use crate::worker::Worker;

/// Between two leno proxies that speak HTTP/2 to each other: the version that the client, or the application, spoke.
/// Believed only of a peer that has proved a mesh identity.
pub(crate) const ORIGINAL_VERSION: &str = "x-leno-orig-proto";

const XFF: &str = "x-forwarded-for";
const XFP: &str = "x-forwarded-proto";
const XFPORT: &str = "x-forwarded-port";
const REQUEST_ID: &str = "x-request-id";

/// Said by the proxy that decides it, which none here does (Envoy: without `internal_address_config`).
const IS_INTERNAL: &str = "x-envoy-internal";

/// Where the client is, as the proxy at the edge saw it.
const EXTERNAL_ADDRESS: &str = "x-envoy-external-address";

/// Headers by which only a proxy speaks to a proxy; at the edge they mean nothing.
const OF_PROXIES: Names<6> = Names::new([
    EXTERNAL_ADDRESS,
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-ip-tags",
    "x-envoy-original-path",
    "x-envoy-decorator-operation",
]);

/// How long the caller of this proxy waits, as this proxy was told or tells.
pub(crate) const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";

/// Headers by which a caller controls the router.
pub(crate) const CONTROLS: Names<12> = Names::new([
    EXPECTED,
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-force-trace",
]);

/// Those of [`CONTROLS`] that the next proxy need not know where it is told how long this one waits.
pub(crate) const CONTROLS_OF_THIS_ONE: Names<10> = Names::new([
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-force-trace",
]);

/// What a request looks like before anything is believed or added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    restored: Option<Version>,
    normalised: Normalised,
    underscored: bool,
}

/// What a request has turned out to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    /// The version that the pair's other proxy restored, if there is one.
    pub(crate) restored: Option<Version>,
    /// What its path has come to.
    pub(crate) normalised: Normalised,
    /// Whether its sender may say what only a proxy may say.
    pub(crate) heard: Heard,
    /// It has header names that are refused.
    pub(crate) underscored: bool,
    /// The status of one that does not say who it is from.
    pub(crate) unknown: Option<u16>,
}

/// Makes of a request what its sender meant, with the edits that come before all others.
pub(crate) fn begin(
    head: &mut RequestHead,
    connection: &Connection,
    manager: &HttpConnectionManager,
) -> Begun {
    let restored = head
        .headers
        .remove(ORIGINAL_VERSION)
        .filter(|_| connection.is_mesh_peer());
    let restored = restored.and_then(|value| parse_version(&value));
    if let Some(version) = restored {
        head.version = version;
    }
    if let Some(upgrade) = &head.upgrade
        && manager.ignored_upgrades.iter().any(|one| one.matches(upgrade))
    {
        head.upgrade = None;
    }
    let underscored = underscores(&mut head.headers, manager);
    let normalised = manager.normalise(head, connection.destination.port());
    if !manager.early.is_empty() {
        mutate_request(&manager.early, head, &*connection.record);
    }
    Begun {
        restored,
        normalised,
        underscored,
    }
}

/// Prepares a request for routing.
pub(crate) fn prepare(
    begun: Begun,
    head: &mut RequestHead,
    connection: &Connection,
    manager: &HttpConnectionManager,
    worker: &Worker,
    detected: &Detected,
) -> Prepared {
    let Begun {
        restored,
        normalised,
        underscored,
    } = begun;
    let heard = heard(detected, connection, manager);
    head.headers.remove(IS_INTERNAL);
    if heard == Heard::No {
        head.headers.remove_all(&CONTROLS);
    } else {
        head.headers.append(IS_INTERNAL, "true");
    }
    if manager.use_remote_address {
        if heard == Heard::No {
            head.headers.remove_all(&OF_PROXIES);
        }
        // Over a pipe nobody has an address.
        if heard == Heard::No && connection.record.has_remote() {
            let client = detected.client.unwrap_or(connection.record.remote.ip());
            head.headers.append(EXTERNAL_ADDRESS, client.to_string());
        }
    }
    if connection.record.has_remote() {
        for _ in 0..detected.appended {
            append_forwarded_for(head, connection, worker.shared.own_address);
        }
    }
    if manager.introduces_itself {
        introduce(&mut head.headers, &worker.shared.node);
    }
    scheme(head, connection, manager);
    client_cert::forward(head, manager, connection);
    request_id(&mut head.headers, manager, &worker.random);
    if let Some(via) = &manager.via {
        head.headers.append("via", via);
    }
    Prepared {
        restored,
        normalised,
        heard,
        underscored,
        unknown: detected.refusal,
    }
}

/// Whether one is refused; those that are to be dropped are dropped.
fn underscores(headers: &mut Headers, manager: &HttpConnectionManager) -> bool {
    if manager.underscores == Underscores::Allowed {
        return false;
    }
    let is_one = |name: &[u8]| name.contains(&b'_');
    if !headers.iter().any(|(name, _)| is_one(name)) {
        return false;
    }
    if manager.underscores == Underscores::Dropped {
        headers.remove_matching(is_one);
        return false;
    }
    true
}

/// Envoy's internal requests: from an internal address, and not on behalf of somebody else.
fn heard(detected: &Detected, connection: &Connection, manager: &HttpConnectionManager) -> Heard {
    if manager.internal.ranges.is_empty() || !detected.may_be_internal {
        return Heard::No;
    }
    let client = match manager.use_remote_address {
        true => Some(detected.client.unwrap_or(connection.record.remote.ip())),
        false => detected.client,
    };
    match client {
        Some(client) if manager.internal.contains(client) => match manager.router.respect_expected_timeout {
            true => Heard::WithExpected,
            false => Heard::Yes,
        },
        _ => Heard::No,
    }
}

fn scheme(head: &mut RequestHead, connection: &Connection, manager: &HttpConnectionManager) {
    let headers = &mut head.headers;
    let own = match told_scheme(connection, manager) {
        Some(told) => told,
        None if connection.facts.tls => "https",
        None => "http",
    };
    // What a proxy says that is trusted stays.
    let at_the_edge = manager.use_remote_address && manager.xff_trusted_hops == 0;
    match manager.scheme {
        Some(Scheme::Http) => headers.set(XFP, "http"),
        Some(Scheme::Https) => headers.set(XFP, "https"),
        None if !headers.contains(XFP) || at_the_edge => {
            headers.set(XFP, own);
        }
        None => {}
    }
    // HTTP/2 clients say it themselves.
    if head.version != Version::Http2 || manager.scheme.is_some() {
        match headers.get(XFP) {
            Some(b"http") => head.scheme = Bytes::from_static(b"http"),
            Some(b"https") => head.scheme = Bytes::from_static(b"https"),
            _ => {}
        }
    }
    if manager.forwarded_port && (at_the_edge || !headers.contains(XFPORT)) {
        headers.set(XFPORT, Decimal::from(u64::from(connection.destination.port())));
    }
}

/// By the port that the PROXY protocol has told, where that is to count.
fn told_scheme(connection: &Connection, manager: &HttpConnectionManager) -> Option<&'static str> {
    let ports = manager.told_ports.as_deref()?;
    let record = &connection.record;
    if record.direct_remote == record.remote {
        return None;
    }
    let port = connection.destination.port();
    if ports.https.contains(&port) {
        return Some("https");
    }
    ports.http.contains(&port).then_some("http")
}

/// The cluster and node that the proxy is (`add_user_agent`).
fn introduce(headers: &mut Headers, node: &Node) {
    headers.set("x-envoy-downstream-service-cluster", &node.cluster);
    if headers.get("user-agent").is_none_or(<[u8]>::is_empty) {
        headers.set("user-agent", &node.cluster);
    }
    if !node.id.is_empty() {
        headers.set("x-envoy-downstream-service-node", &node.id);
    }
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

/// As Envoy: a client on the machine itself is told by the machine's own address.
fn append_forwarded_for(head: &mut RequestHead, connection: &Connection, own: Ipv4Addr) {
    let address = match connection.record.remote.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => IpAddr::V4(own),
        address => address,
    };
    let address = address.to_string();
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
