//! `upstream_connection_options` and `preconnect_policy`: how connections to endpoints are made, and when.

use super::happy_eyeballs::{self, AddressOrder};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::pb::cluster as pb;
use crate::compile::socket::{self, SocketOption};

/// Options of sockets, and which of several addresses are tried first.
pub(super) fn options(
    at: &At<'_>,
    message: &pb::UpstreamConnectionOptions,
) -> Result<(Vec<SocketOption>, AddressOrder), Rejection> {
    let pb::UpstreamConnectionOptions {
        tcp_keepalive,
        set_local_interface_name_on_upstream_connections,
        happy_eyeballs_config,
    } = message;
    no_effect!(at, "nothing here reads it"; set_local_interface_name_on_upstream_connections);
    let order = match happy_eyeballs_config {
        None => AddressOrder::default(),
        Some(config) => happy_eyeballs::order(&at.field("happy_eyeballs_config"), config)?,
    };
    Ok((socket::keepalive(tcp_keepalive.as_ref()), order))
}

/// Connections for each request, where that is more than one.
pub(super) fn ahead(at: &At<'_>, message: &pb::cluster::PreconnectPolicy) -> Result<Option<f64>, Rejection> {
    let pb::cluster::PreconnectPolicy {
        per_upstream_preconnect_ratio,
        predictive_preconnect_ratio,
        preconnect_enabled_metadata,
    } = message;
    refuse!(at; preconnect_enabled_metadata);
    no_effect!(at, "endpoints are not chosen for requests that have not come"; predictive_preconnect_ratio);
    let ratio = per_upstream_preconnect_ratio
        .as_ref()
        .map_or(1.0, |ratio| ratio.value);
    if !(1.0..=3.0).contains(&ratio) {
        return Err(at.field("per_upstream_preconnect_ratio").reject("1 to 3"));
    }
    Ok(Some(ratio).filter(|ratio| *ratio > 1.0))
}
