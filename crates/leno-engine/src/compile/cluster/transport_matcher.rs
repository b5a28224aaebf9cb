//! `transport_socket_matcher`: the sockets of `transport_socket_matches` by their names, in a tree of what is said of an
//! endpoint.

use std::collections::HashMap;

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::endpoint::UNREAD;
use crate::compile::matcher::input::Input;
use crate::compile::matcher::tree::{self, Grammar, Tree};
use crate::compile::pb::cluster::cluster::TransportSocketMatch;
use crate::compile::pb::matching::transport_socket as pb;
use crate::compile::pb::{protobuf, xds_matcher};

/// Places in `transport_socket_matches`; None: there is no socket of that name, and the cluster's own is taken.
pub type SocketTree = Tree<Option<usize>>;

pub(super) fn matcher(
    at: &At<'_>,
    message: &xds_matcher::Matcher,
    sockets: &[TransportSocketMatch],
) -> Result<SocketTree, Rejection> {
    let mut names = HashMap::with_capacity(sockets.len());
    for (i, socket) in sockets.iter().enumerate() {
        let at = at.item("transport_socket_matches", i);
        at.not_empty("name", &socket.name)?;
        if names.insert(socket.name.as_str(), i).is_some() {
            let reason = format!("{:?} is there twice", socket.name);
            return Err(at.field("name").reject(reason));
        }
    }
    if sockets.is_empty() {
        let reason = "required with transport_socket_matcher";
        return Err(at.field("transport_socket_matches").reject(reason));
    }
    let name = |at: &At<'_>, any: &protobuf::Any| {
        let pb::TransportSocketNameAction { name } = &at.unpack(any)?;
        at.not_empty("name", name)?;
        Ok(names.get(name.as_str()).copied())
    };
    tree::tree(
        &at.field("transport_socket_matcher"),
        message,
        &Grammar {
            allows: is_of_an_endpoint,
            place: "a transport socket matcher",
            action: &name,
        },
    )
}

fn is_of_an_endpoint(input: &Input) -> bool {
    match input {
        Input::EndpointMetadata { namespace, .. } => !UNREAD.contains(&namespace.as_str()),
        Input::LocalityMetadata { .. } => true,
        _ => false,
    }
}
