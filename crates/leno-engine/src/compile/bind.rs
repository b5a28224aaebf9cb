//! `BindConfig`: what connections to upstreams come from, and how the kernel treats their sockets.

use std::net::SocketAddr;

use super::at::{At, refuse};
use super::pb::core as pb;
use super::socket::{self, SocketOption, What};
use super::{Rejection, address};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    pub sources: Vec<Source>,
    pub options: Vec<SocketOption>,
}

/// What connections of its family come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub address: SocketAddr,
    /// In place of those for all.
    pub options: Option<Vec<SocketOption>>,
}

pub(crate) fn bind(at: &At<'_>, message: &pb::BindConfig) -> Result<Bind, Rejection> {
    let pb::BindConfig {
        source_address,
        freebind,
        socket_options,
        extra_source_addresses,
        additional_source_addresses,
        local_address_selector,
        validate_network_namespaces,
    } = message;
    refuse!(at; local_address_selector, validate_network_namespaces);
    let mut options = socket::options(at, "socket_options", socket_options)?;
    if freebind.is_some_and(|freebind| freebind.value) {
        options.push(SocketOption::of(What::Freebind(true)));
    }
    let plain = |address| Source {
        address,
        options: None,
    };
    let mut sources = Vec::new();
    if let Some(address) = source_address {
        sources.push(plain(address::socket(&at.field("source_address"), address)?));
    }
    if sources.is_empty() && !(extra_source_addresses.is_empty() && additional_source_addresses.is_empty()) {
        let reason = "required where there are more";
        return Err(at.field("source_address").reject(reason));
    }
    if !extra_source_addresses.is_empty() && !additional_source_addresses.is_empty() {
        let reason = "not with extra_source_addresses, as in Envoy";
        return Err(at.field("additional_source_addresses").reject(reason));
    }
    sources.extend(at.each("extra_source_addresses", extra_source_addresses, extra)?);
    let more = at.each(
        "additional_source_addresses",
        additional_source_addresses,
        address::socket,
    )?;
    sources.extend(more.into_iter().map(plain));
    Ok(Bind { sources, options })
}

fn extra(at: &At<'_>, message: &pb::ExtraSourceAddress) -> Result<Source, Rejection> {
    let pb::ExtraSourceAddress {
        address: more,
        socket_options,
    } = message;
    Ok(Source {
        address: address::socket(&at.field("address"), at.required("address", more)?)?,
        options: match socket_options {
            None => None,
            Some(pb::SocketOptionsOverride { socket_options }) => Some(socket::options(
                &at.field("socket_options"),
                "socket_options",
                socket_options,
            )?),
        },
    })
}
