//! Mirrors: who gets a copy of requests.

use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::header::{self, Mutation};
use crate::compile::pb::route as pb;
use crate::runtime::{Setting, Share};

#[derive(Clone, Debug, PartialEq)]
pub struct MirrorPolicy {
    pub cluster: MirrorCluster,
    pub share: Setting<Share>,
    /// `-shadow` is appended to the host.
    pub shadow: bool,
    /// In place of the request's host, and of `-shadow`.
    pub host: Option<String>,
    /// Edits of what is sent.
    pub edits: Vec<Mutation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorCluster {
    One(String),
    /// The value of this header; nothing is mirrored without it.
    Header(String),
}

impl MirrorPolicy {
    /// Everything, to this cluster.
    pub fn to(cluster: impl Into<String>) -> Self {
        Self {
            cluster: MirrorCluster::One(cluster.into()),
            share: Share::ALL.into(),
            shadow: true,
            host: None,
            edits: Vec::new(),
        }
    }
}

pub(crate) fn mirror(
    at: &At<'_>,
    message: &pb::route_action::RequestMirrorPolicy,
) -> Result<MirrorPolicy, Rejection> {
    let pb::route_action::RequestMirrorPolicy {
        cluster,
        cluster_header,
        runtime_fraction,
        trace_sampled,
        disable_shadow_host_suffix_append,
        request_headers_mutations,
        host_rewrite_literal,
    } = message;
    no_effect!(at, "a mirrored request has no span of its own: it carries the sampling of its parent"; trace_sampled);
    Ok(MirrorPolicy {
        cluster: match (cluster.as_str(), cluster_header.as_str()) {
            ("", "") => return Err(at.field("cluster").reject("required")),
            ("", header) => MirrorCluster::Header(header.to_ascii_lowercase()),
            (cluster, "") => MirrorCluster::One(cluster.to_owned()),
            _ => {
                return Err(at
                    .field("cluster_header")
                    .reject("cluster and cluster_header exclude each other"));
            }
        },
        edits: at.each(
            "request_headers_mutations",
            request_headers_mutations,
            header::mutation,
        )?,
        shadow: !disable_shadow_host_suffix_append,
        host: Some(host_rewrite_literal.clone()).filter(|host| !host.is_empty()),
        share: match runtime_fraction {
            None => Share::ALL.into(),
            Some(fraction) => at.field("runtime_fraction").runtime_fraction(fraction)?,
        },
    })
}
