//! Istio's metadata exchange over HTTP headers: each side tells who it is, so that both sides' records carry both
//! workloads' names.
//!
//! `x-envoy-peer-metadata` is base64 of a protobuf Struct with Istio's node metadata, `x-envoy-peer-metadata-id` the
//! node id. They travel between proxies only: what is read is taken out before the application sees it, and it is
//! believed, and answered, only where the other side has proved an identity of the mesh.

use std::collections::HashMap;

use bytes::Bytes;
use leno_proto::google::protobuf::value::Kind as ValueKind;
use leno_proto::google::protobuf::{Any, Struct, Value};
use prost::Message;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, LocalMetadata, PeerMetadata, Step};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::message::{Headers, Names, RequestHead, ResponseHead, base64};

pub const METADATA: &str = "x-envoy-peer-metadata";
pub const METADATA_ID: &str = "x-envoy-peer-metadata-id";
const HEADERS: Names<2> = Names::new([METADATA, METADATA_ID]);

/// Longer ones are not decoded: no honest peer sends them.
const LONGEST: usize = 16 * 1024;
/// Bytes of one name; they become labels of metrics, each value of which is kept.
const LONGEST_NAME: usize = 256;

pub(super) const KIND: Kind = Kind {
    messages: &["io.istio.http.peer_metadata.Config"],
    parse,
};

/// Istio's message. Methods that are not here (`baggage`, `workload_discovery`, `upstream_filter_state`) are unknown
/// fields: without a method that is here nothing is done.
#[derive(Clone, PartialEq, Message)]
struct Config {
    #[prost(message, repeated, tag = "1")]
    downstream_discovery: Vec<Discovery>,
    #[prost(message, repeated, tag = "2")]
    upstream_discovery: Vec<Discovery>,
    #[prost(message, repeated, tag = "3")]
    downstream_propagation: Vec<Propagation>,
    #[prost(message, repeated, tag = "4")]
    upstream_propagation: Vec<Propagation>,
    #[prost(bool, tag = "5")]
    shared_with_upstream: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Discovery {
    #[prost(message, optional, tag = "3")]
    istio_headers: Option<IstioHeaders>,
}

#[derive(Clone, PartialEq, Message)]
struct Propagation {
    #[prost(message, optional, tag = "1")]
    istio_headers: Option<IstioHeaders>,
}

#[derive(Clone, PartialEq, Message)]
struct IstioHeaders {
    #[prost(bool, tag = "1")]
    skip_external_clusters: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Exchange {
    read_request: bool,
    read_response: bool,
    tell_downstream: bool,
    tell_upstream: bool,
    skip_external: bool,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let decoded = Config::decode(any.value.as_slice());
    let Config {
        downstream_discovery,
        upstream_discovery,
        downstream_propagation,
        upstream_propagation,
        shared_with_upstream,
    } = &decoded.map_err(|error| at.reject(error.to_string()))?;
    no_effect!(at, "tunnels do not carry it"; shared_with_upstream);
    let reads = |methods: &[Discovery]| methods.iter().any(|method| method.istio_headers.is_some());
    let tells = |methods: &[Propagation]| methods.iter().any(|method| method.istio_headers.is_some());
    let mut upstream = upstream_propagation
        .iter()
        .filter_map(|method| method.istio_headers.as_ref());
    Ok(Box::new(Exchange {
        read_request: reads(downstream_discovery),
        read_response: reads(upstream_discovery),
        tell_downstream: tells(downstream_propagation),
        tell_upstream: tells(upstream_propagation),
        skip_external: upstream.any(|headers| headers.skip_external_clusters),
    }))
}

impl FilterFactory for Exchange {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(OneExchange {
            config: *self,
            asked: Asked::default(),
        }))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// What the request brought: only that is answered, so that strangers are told nothing.
#[derive(Debug, Default)]
struct Asked {
    id: bool,
    metadata: bool,
}

#[derive(Debug)]
struct OneExchange {
    config: Exchange,
    asked: Asked,
}

impl HttpFilter for OneExchange {
    fn sees_bodies(&self) -> bool {
        false
    }

    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        if self.config.read_request {
            let proved = cx.connection.peer_principal.is_some();
            self.asked = take(&mut head.headers, cx, proved);
        }
        if self.config.tell_upstream
            && !(self.config.skip_external && (cx.external || is_external(cx.cluster)))
        {
            let everything = Asked {
                id: true,
                metadata: true,
            };
            tell(&mut head.headers, cx.local, &everything);
        }
        Step::Continue
    }

    fn on_response_headers(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead, _end: bool) -> Step {
        if self.config.read_response {
            take(&mut head.headers, cx, cx.upstream_principal.is_some());
        }
        if self.config.tell_downstream {
            tell(&mut head.headers, cx.local, &self.asked);
        }
        Step::Continue
    }
}

/// Clusters whose name says that nobody of the mesh is behind.
fn is_external(cluster: Option<&str>) -> bool {
    matches!(
        cluster,
        None | Some("PassthroughCluster" | "BlackHoleCluster" | "InboundPassthroughCluster")
    )
}

/// Takes the headers out. `proved`: they come from somebody of the mesh.
fn take(headers: &mut Headers, cx: &mut Context<'_>, proved: bool) -> Asked {
    let told = headers.get(METADATA);
    let asked = Asked {
        id: headers.contains(METADATA_ID),
        metadata: told.is_some(),
    };
    let peer = told
        .filter(|_| proved)
        .and_then(|told| cx.peers.get(told, decode));
    if peer.is_some() {
        *cx.peer = peer;
    }
    headers.remove_all(&HEADERS);
    if proved { asked } else { Asked::default() }
}

fn tell(headers: &mut Headers, local: &LocalMetadata, asked: &Asked) {
    if asked.id && !local.id.is_empty() {
        headers.set(METADATA_ID, &local.id);
    }
    if asked.metadata && !local.encoded.is_empty() {
        headers.set(METADATA, &local.encoded);
    }
}

/// A header's value; None if it is none.
pub fn decode(value: &[u8]) -> Option<PeerMetadata> {
    if value.len() > LONGEST {
        return None;
    }
    let node = Struct::decode(base64::decode(value)?.as_slice()).ok()?;
    let labels = match node.fields.get("LABELS").and_then(|labels| labels.kind.as_ref()) {
        Some(ValueKind::StructValue(labels)) => labels.clone(),
        _ => Struct::default(),
    };
    let label = |names: &[&str]| {
        names
            .iter()
            .map(|name| text(&labels, name))
            .find(|t| !t.is_empty())
    };
    let workload = text(&node, "WORKLOAD_NAME");
    Some(PeerMetadata {
        namespace: text(&node, "NAMESPACE"),
        cluster: text(&node, "CLUSTER_ID"),
        app: label(&["app", "app.kubernetes.io/name"]).unwrap_or_default(),
        version: label(&["version", "app.kubernetes.io/version"]).unwrap_or_default(),
        // Istio's canonical service: its label, else the app, else the workload.
        canonical_service: label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
            .unwrap_or_else(|| workload.clone()),
        canonical_revision: label(&[
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ])
        .unwrap_or_else(|| "latest".to_owned()),
        workload,
    })
}

/// The header's value that tells of this workload.
pub fn encode(of: &PeerMetadata) -> Bytes {
    let string = |text: &str| Value {
        kind: Some(ValueKind::StringValue(text.to_owned())),
    };
    let fields = |pairs: &[(&str, &str)]| -> HashMap<String, Value> {
        let said = pairs.iter().filter(|(_, text)| !text.is_empty());
        said.map(|(name, text)| ((*name).to_owned(), string(text)))
            .collect()
    };
    let labels = Struct {
        fields: fields(&[
            ("app", &of.app),
            ("version", &of.version),
            ("service.istio.io/canonical-name", &of.canonical_service),
            ("service.istio.io/canonical-revision", &of.canonical_revision),
        ]),
    };
    let mut node = Struct {
        fields: fields(&[
            ("WORKLOAD_NAME", &of.workload),
            ("NAMESPACE", &of.namespace),
            ("CLUSTER_ID", &of.cluster),
        ]),
    };
    let labels = Value {
        kind: Some(ValueKind::StructValue(labels)),
    };
    node.fields.insert("LABELS".to_owned(), labels);
    base64::encode(&node.encode_to_vec()).into()
}

fn text(of: &Struct, field: &str) -> String {
    match of.fields.get(field).and_then(|value| value.kind.as_ref()) {
        Some(ValueKind::StringValue(text)) => shortened(text).to_owned(),
        _ => String::new(),
    }
}

fn shortened(name: &str) -> &str {
    let end = (0..=LONGEST_NAME).rev().find(|at| name.is_char_boundary(*at));
    match name.len() > LONGEST_NAME {
        true => end.and_then(|end| name.get(..end)).unwrap_or_default(),
        false => name,
    }
}
