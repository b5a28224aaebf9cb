//! `VirtualCluster`: as what the requests of a virtual host are counted besides their cluster.

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::matcher::{self, HeaderMatcher};
use crate::compile::pb::route as pb;
use crate::message::RequestHead;

/// The first that takes a request counts it, and what none takes is counted by `other`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VirtualClusters {
    named: Vec<VirtualCluster>,
    /// `HOST.vcluster.other`
    other: String,
}

#[derive(Clone, Debug, PartialEq)]
struct VirtualCluster {
    name: String,
    /// `HOST.vcluster.NAME`
    stat_name: String,
    headers: Vec<HeaderMatcher>,
}

// === impl VirtualClusters ===

impl VirtualClusters {
    /// The name that its statistics have, and its own; that of those that none takes is never told. None: there are
    /// no virtual clusters.
    pub fn of(&self, head: &RequestHead) -> Option<(&str, Option<&str>)> {
        if self.named.is_empty() {
            return None;
        }
        let takes = |one: &&VirtualCluster| one.headers.iter().all(|header| header.matches_request(head));
        Some(match self.named.iter().find(takes) {
            Some(one) => (&one.stat_name, Some(&one.name)),
            None => (&self.other, None),
        })
    }

    /// Of all that requests may be counted by.
    pub fn stat_names(&self) -> impl Iterator<Item = &str> {
        let other = (!self.named.is_empty()).then_some(self.other.as_str());
        self.named.iter().map(|one| one.stat_name.as_str()).chain(other)
    }
}

pub(super) fn virtual_clusters(
    at: &At<'_>,
    host: &str,
    messages: &[pb::VirtualCluster],
) -> Result<VirtualClusters, Rejection> {
    Ok(VirtualClusters {
        named: at.each("virtual_clusters", messages, |at, message| {
            let pb::VirtualCluster { headers, name } = message;
            at.not_empty("name", name)?;
            Ok(VirtualCluster {
                name: name.clone(),
                stat_name: format!("{host}.vcluster.{name}"),
                headers: at.each("headers", headers, matcher::header)?,
            })
        })?,
        other: format!("{host}.vcluster.other"),
    })
}
