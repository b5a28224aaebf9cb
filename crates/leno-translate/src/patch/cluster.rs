//! Clusters.

use leno_model::envoy_filter::{ApplyTo, EnvoyChange, Lists, Operation};
use prost::Message;

use super::{Patches, apply, merge};
use crate::pb::cluster::Cluster;
use crate::pb::core::TransportSocket;

/// `transport_socket` of a cluster.
const TRANSPORT_SOCKET: u32 = 24;

pub(super) fn patch(cluster: &mut Cluster, patches: &Patches) {
    for patch in patches.of(ApplyTo::Cluster) {
        let lists = match patch.operation {
            Operation::Merge => Lists::Append,
            Operation::MergeAndReplaceList => Lists::Replace,
            _ => continue,
        };
        let socket = patch
            .change
            .as_ref()
            .and_then(|change| change.part(TRANSPORT_SOCKET));
        match (socket, &patch.change) {
            // A cluster may have one or the other, so the socket of that name is changed where it stands.
            (Some(socket), Some(change)) if !cluster.transport_socket_matches.is_empty() => {
                merge_matched(cluster, &socket, lists);
                apply(cluster, &change.without(TRANSPORT_SOCKET), lists);
            }
            _ => merge(cluster, patch),
        }
    }
}

fn merge_matched(cluster: &mut Cluster, change: &EnvoyChange, lists: Lists) {
    let Ok(said) = TransportSocket::decode(change.message().as_slice()) else {
        return;
    };
    let sockets = cluster.transport_socket_matches.iter_mut();
    let mut sockets = sockets.filter_map(|matched| matched.transport_socket.as_mut());
    if let Some(socket) = sockets.find(|socket| socket.name == said.name) {
        apply(socket, change, lists);
    }
}
