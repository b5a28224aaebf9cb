//! Istio's exchange of peer metadata by headers: the HTTP filter `istio.metadata_exchange`.
//!
//! Each side tells who it is in `x-envoy-peer-metadata`, so that both sides' metrics carry both workloads' labels.
//! Only Istio's build of Envoy has the filter, so only leno's own proxy is asked for it. The messages are Istio's
//! `io.istio.http.peer_metadata.Config`, as much of them as is used.

use leno_proto::google::protobuf::Any;
use prost::Message;

use crate::pb::hcm;

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
    /// Strangers outside the mesh are told nothing.
    #[prost(bool, tag = "1")]
    skip_external_clusters: bool,
}

/// `inbound`: the peer is the client; else it is the server.
pub(crate) fn filter(inbound: bool) -> hcm::HttpFilter {
    let headers = IstioHeaders {
        skip_external_clusters: !inbound,
    };
    let discovery = vec![Discovery {
        istio_headers: Some(IstioHeaders::default()),
    }];
    let propagation = vec![Propagation {
        istio_headers: Some(headers),
    }];
    let config = if inbound {
        Config {
            downstream_discovery: discovery,
            downstream_propagation: propagation,
            ..Default::default()
        }
    } else {
        Config {
            upstream_discovery: discovery,
            upstream_propagation: propagation,
            ..Default::default()
        }
    };
    hcm::HttpFilter {
        name: "istio.metadata_exchange".into(),
        is_optional: true,
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(Any {
            type_url: "type.googleapis.com/io.istio.http.peer_metadata.Config".into(),
            value: config.encode_to_vec(),
        })),
        ..Default::default()
    }
}
