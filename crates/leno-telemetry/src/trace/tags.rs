//! The tags of a request's span and of its tries', by Envoy's names.

use std::net::SocketAddr;

use leno_engine::compile::access_log::{CustomTag, FormatValues};
use leno_engine::decide::rbac::told;
use leno_engine::decide::route::is_grpc;
use leno_engine::flags::Flags;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_proto::envoy::config::core::v3::Node;

use super::otlp::is_server_error;
use super::{Outcome, Tags};
use crate::access_log::RequestValues;
use crate::record::RequestRecord;

/// What is known of a try.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// None: no request was sent.
    pub version: Option<Version>,
    pub address: Option<SocketAddr>,
    pub cluster: Option<(&'a str, &'a str)>,
    pub response: Option<&'a ResponseHead>,
    pub trailers: Option<&'a Headers>,
    pub flags: Flags,
    /// How many came before it.
    pub retry: u32,
    /// Nobody wanted its answer, or not all of it.
    pub canceled: bool,
    /// Why it ended without one.
    pub reason: Option<&'a str>,
}

/// `custom`: those of the configuration, each name once.
pub fn of_request<'c>(
    record: &RequestRecord<'_>,
    custom: impl Iterator<Item = &'c CustomTag>,
    node: &Node,
    max_path: usize,
) -> Tags {
    let mut tags = Tags::default();
    let request = record.request;
    let header = |name| request.headers.get(name).map(lossy);
    tags.set("node_id", &node.id);
    tags.set(
        "zone",
        node.locality.as_ref().map_or("", |locality| &locality.zone),
    );
    if let Some(id) = header("x-request-id") {
        tags.set("guid:x-request-id", id);
    }
    tags.set("http.url", url(request, max_path));
    tags.set("http.method", lossy(&request.method));
    let or_dash = |name| header(name).unwrap_or_else(|| "-".to_owned());
    tags.set(
        "downstream_cluster",
        or_dash("x-envoy-downstream-service-cluster"),
    );
    tags.set("user_agent", or_dash("user-agent"));
    tags.set("http.protocol", request.version.as_str());
    tags.set("peer.address", record.downstream.direct_remote.ip().to_string());
    if let Some(id) = header("x-client-trace-id") {
        tags.set("guid:x-client-trace-id", id);
    }
    if is_grpc(request) {
        tags.set("grpc.path", lossy(&request.path));
        tags.set("grpc.authority", lossy(&request.authority));
        for (tag, name) in [
            ("grpc.content_type", "content-type"),
            ("grpc.timeout", "grpc-timeout"),
        ] {
            if let Some(value) = header(name) {
                tags.set(tag, value);
            }
        }
    }
    tags.set("request_size", record.bytes_received.to_string());
    tags.set("response_size", record.bytes_sent.to_string());
    let cluster = record.upstream.map(|upstream| (upstream.name, upstream.cluster));
    common(&mut tags, cluster, record.response, record.trailers, record.flags);
    if let Some(denied) = told(record.notes) {
        tags.set("leno.denied", denied);
    }
    add(&mut tags, record, custom);
    tags
}

/// `record`: of its request, for tags of the configuration.
pub fn of_try<'c>(
    tried: &Tried<'_>,
    record: &RequestRecord<'_>,
    custom: impl Iterator<Item = &'c CustomTag>,
) -> Tags {
    let mut tags = Tags::default();
    if tried.retry > 0 {
        tags.set("retry.count", tried.retry.to_string());
    }
    tags.set("http.protocol", tried.version.map_or("-", Version::as_str));
    if let Some(address) = tried.address {
        tags.set("upstream_address", address.to_string());
        tags.set("peer.address", address.to_string());
    }
    common(
        &mut tags,
        tried.cluster,
        tried.response,
        tried.trailers,
        tried.flags,
    );
    if tried.canceled {
        tags.set("canceled", "true");
    }
    if let Some(reason) = tried.reason {
        tags.set("error", "true");
        tags.set("error.reason", reason);
    }
    add(&mut tags, record, custom);
    tags
}

fn common(
    tags: &mut Tags,
    cluster: Option<(&str, &str)>,
    response: Option<&ResponseHead>,
    trailers: Option<&Headers>,
    flags: Flags,
) {
    tags.set("component", "proxy");
    if let Some((name, shown)) = cluster {
        tags.set("upstream_cluster", name);
        tags.set("upstream_cluster.name", shown);
    }
    let status = response.map_or(0, |head| head.status);
    tags.set("http.status_code", status.to_string());
    tags.set("response_flags", flags.to_string());
    if status == 0 || status >= 500 {
        tags.set("error", "true");
    }
    let mut grpc = None;
    let heads = response.map(|head| &head.headers);
    for headers in heads.into_iter().chain(trailers) {
        let Some(said) = headers.get("grpc-status") else {
            continue;
        };
        tags.set("grpc.status_code", lossy(said));
        if let Some(message) = headers.get("grpc-message") {
            tags.set("grpc.message", lossy(message));
        }
        grpc = std::str::from_utf8(said).ok().and_then(|said| said.parse().ok());
        if grpc.is_some_and(is_server_error) {
            tags.set("error", "true");
        }
    }
    tags.outcome = Outcome { status, grpc };
}

fn add<'c>(tags: &mut Tags, record: &RequestRecord<'_>, custom: impl Iterator<Item = &'c CustomTag>) {
    let heads = record.heads();
    let values = RequestValues::new(record);
    for tag in custom {
        let mut value = Vec::new();
        if tag.write(heads, &values as &dyn FormatValues, &mut value) {
            tags.set(&tag.name, lossy(&value));
        }
    }
}

/// As the client asked for it, before any rewrite.
fn url(request: &RequestHead, max_path: usize) -> String {
    let path = request
        .headers
        .get("x-envoy-original-path")
        .unwrap_or(&request.path);
    let path = path.get(..max_path).unwrap_or(path);
    let scheme = request.headers.get("x-forwarded-proto").map(lossy);
    format!(
        "{}://{}{}",
        scheme.unwrap_or_default(),
        lossy(&request.authority),
        lossy(path)
    )
}

fn lossy(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}
