//! `upstream_bind_config`: what connections come from.

use std::net::SocketAddr;

use crate::compile::at::{At, no_effect, refuse};
use crate::compile::pb::core;
use crate::compile::{Rejection, address};

pub(super) fn sources(at: &At<'_>, message: &core::BindConfig) -> Result<Vec<SocketAddr>, Rejection> {
    let core::BindConfig {
        source_address,
        freebind,
        socket_options,
        extra_source_addresses,
        additional_source_addresses,
        local_address_selector,
        validate_network_namespaces,
    } = message;
    refuse!(at; freebind, local_address_selector, validate_network_namespaces);
    no_effect!(at, "not used"; socket_options);
    let mut sources = Vec::new();
    if let Some(address) = source_address {
        sources.push(address::socket(&at.field("source_address"), address)?);
    }
    sources.extend(
        at.each("extra_source_addresses", extra_source_addresses, |at, extra| {
            let core::ExtraSourceAddress {
                address: more,
                socket_options,
            } = extra;
            no_effect!(at, "not used"; socket_options);
            address::socket(&at.field("address"), at.required("address", more)?)
        })?,
    );
    sources.extend(at.each(
        "additional_source_addresses",
        additional_source_addresses,
        address::socket,
    )?);
    Ok(sources)
}
