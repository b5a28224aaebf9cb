//! `istio.alpn`: which names ALPN offers to the upstream, by the version of HTTP that is spoken to it. By them the
//! listener at the other end knows what is in a connection of the mesh before it has read any of it.

use std::rc::Rc;
use std::sync::Arc;

use leno_proto::google::protobuf::Any;
use prost::Message;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::cluster::UpstreamProtocol;
use crate::decide::notes::{APPLICATION_PROTOCOLS, Object, Shared, Shown};
use crate::message::{RequestHead, Version};

pub(super) const KIND: Kind = Kind {
    messages: &["istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"],
    parse,
};

/// Istio's message.
#[derive(Clone, PartialEq, Message)]
struct Config {
    #[prost(message, repeated, tag = "1")]
    alpn_override: Vec<Override>,
}

#[derive(Clone, PartialEq, Message)]
struct Override {
    /// 0: HTTP/1.0, 1: HTTP/1.1, 2: HTTP/2.
    #[prost(int32, tag = "1")]
    upstream_protocol: i32,
    #[prost(string, repeated, tag = "2")]
    alpn_override: Vec<String>,
}

/// The names with commas between them; empty: those of the cluster's own context.
#[derive(Debug, Default)]
struct Names {
    http10: String,
    http11: String,
    http2: String,
}

#[derive(Debug)]
struct Factory(Arc<Names>);

#[derive(Debug)]
struct Filter(Arc<Names>);

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let decoded = Config::decode(any.value.as_slice());
    let Config { alpn_override } = decoded.map_err(|error| at.reject(error.to_string()))?;
    let mut names = Names::default();
    at.each("alpn_override", &alpn_override, |at, one| {
        let Override {
            upstream_protocol,
            alpn_override,
        } = one;
        let of = match upstream_protocol {
            0 => &mut names.http10,
            1 => &mut names.http11,
            2 => &mut names.http2,
            other => {
                return Err(at
                    .field("upstream_protocol")
                    .reject(format!("unknown value {other}")));
            }
        };
        at.each("alpn_override", alpn_override, |at, name| match name.len() {
            1..=255 if !name.contains(',') => Ok(()),
            _ => Err(at.reject("1 to 255 bytes without a comma")),
        })?;
        *of = alpn_override.join(",");
        Ok(())
    })?;
    Ok(Box::new(Factory(Arc::new(names))))
}

impl FilterFactory for Factory {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Filter(Arc::clone(&self.0))))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let Some(cluster) = cx.upstream.filter(|cluster| !cluster.keeps_alpn) else {
            return Step::Continue;
        };
        let version = match cluster.protocol {
            UpstreamProtocol::Http1 => Version::Http11,
            UpstreamProtocol::Http2 | UpstreamProtocol::Auto => Version::Http2,
            UpstreamProtocol::Downstream => head.version,
        };
        let names = match version {
            Version::Http10 => &self.0.http10,
            Version::Http11 => &self.0.http11,
            Version::Http2 => &self.0.http2,
        };
        if !names.is_empty() {
            cx.notes.set_state(
                &Rc::from(APPLICATION_PROTOCOLS),
                Object {
                    value: names.clone(),
                    read_only: false,
                    hashable: false,
                    shown: Shown::Nowhere,
                    shared: Shared::No,
                },
            );
        }
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}
