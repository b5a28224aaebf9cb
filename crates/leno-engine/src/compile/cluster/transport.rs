//! How connections to a cluster's endpoints are made.

use std::sync::Arc;

use leno_proto::FromAny;

use super::http::UpstreamHttp;
use super::transport_matcher::{self, SocketTree};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::endpoint::ORIGINAL_DST;
use crate::compile::metadata::{self, Fields};
use crate::compile::pb::{
    cluster as pb, core, internal_upstream, metadata_kind, upstream_proxy_protocol as pp, xds_matcher,
};
use crate::compile::proxy_protocol::{self, Introduction};
use crate::compile::tls::{self, UpstreamTls};

/// `transport_socket_matches` in order, then `transport_socket`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransportSockets {
    pub matches: Vec<(Fields, Transport)>,
    /// Chooses among `matches` by their places, whatever they match.
    pub matcher: Option<Box<SocketTree>>,
    pub default: Transport,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Transport {
    #[default]
    Raw,
    Tls(Arc<UpstreamTls>),
    /// The PROXY protocol before the first byte of another.
    Introduced(Arc<Introduced>),
    /// Another, to a listener of the proxy's own, which is told of the filter state what is shared.
    Passing(Arc<Passing>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Introduced {
    pub introduction: Introduction,
    /// [`Transport::Raw`] or [`Transport::Tls`].
    pub behind: Transport,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Passing {
    pub behind: Transport,
    /// And the addresses that the endpoint says.
    pub addresses: bool,
}

// === impl Transport ===

impl Transport {
    pub fn tls(&self) -> Option<&Arc<UpstreamTls>> {
        match self {
            Self::Raw => None,
            Self::Tls(tls) => Some(tls),
            Self::Introduced(introduced) => introduced.behind.tls(),
            Self::Passing(passing) => passing.behind.tls(),
        }
    }

    /// What is said before the first byte.
    pub fn introduction(&self) -> Option<&Introduction> {
        match self {
            Self::Raw | Self::Tls(_) => None,
            Self::Introduced(introduced) => Some(&introduced.introduction),
            Self::Passing(passing) => passing.behind.introduction(),
        }
    }

    /// Whether a listener of the proxy's own is told of the filter state.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Passing(_))
    }

    /// Whether it is told what the endpoint says that its connections are to be taken for.
    pub fn passes_addresses(&self) -> bool {
        matches!(self, Self::Passing(passing) if passing.addresses)
    }
}

// === impl TransportSockets ===

impl TransportSockets {
    /// All that endpoints may need.
    pub fn all(&self) -> impl Iterator<Item = &Transport> {
        let matches = self.matches.iter().map(|(_, transport)| transport);
        matches.chain([&self.default])
    }
}

pub(super) fn sockets(
    at: &At<'_>,
    matches: &[pb::cluster::TransportSocketMatch],
    matcher: Option<&xds_matcher::Matcher>,
    socket: Option<&core::TransportSocket>,
    http: &UpstreamHttp,
) -> Result<TransportSockets, Rejection> {
    Ok(TransportSockets {
        matcher: match matcher {
            None => None,
            Some(message) => Some(Box::new(transport_matcher::matcher(at, message, matches)?)),
        },
        matches: at.each("transport_socket_matches", matches, |at, one| {
            socket_match(at, one, http)
        })?,
        default: match socket {
            None => Transport::Raw,
            Some(socket) => transport(&at.field("transport_socket"), socket, http)?,
        },
    })
}

fn socket_match(
    at: &At<'_>,
    message: &pb::cluster::TransportSocketMatch,
    http: &UpstreamHttp,
) -> Result<(Fields, Transport), Rejection> {
    let pb::cluster::TransportSocketMatch {
        name,
        r#match,
        transport_socket,
    } = message;
    silent!("only a matcher reads it"; name);
    let wanted = r#match.as_ref().map(metadata::fields).unwrap_or_default();
    let socket = at.required("transport_socket", transport_socket)?;
    Ok((wanted, transport(&at.field("transport_socket"), socket, http)?))
}

fn transport(
    at: &At<'_>,
    socket: &core::TransportSocket,
    http: &UpstreamHttp,
) -> Result<Transport, Rejection> {
    if let Some(internal) = internal(at, socket, http)? {
        return Ok(internal);
    }
    if let Some(introduced) = introduced(at, socket, http)? {
        return Ok(Transport::Introduced(Arc::new(introduced)));
    }
    Ok(match tls::upstream(at, socket)? {
        None => Transport::Raw,
        Some(mut tls) => {
            tls.auto_host_sni |= http.auto_sni;
            tls.auto_san_validation |= http.auto_san_validation;
            Transport::Tls(Arc::new(tls))
        }
    })
}

/// None: it is no socket to listeners of the proxy's own.
fn internal(
    at: &At<'_>,
    socket: &core::TransportSocket,
    http: &UpstreamHttp,
) -> Result<Option<Transport>, Rejection> {
    use core::transport_socket::ConfigType;
    use internal_upstream::internal_upstream_transport::MetadataValueSource;
    use metadata_kind::metadata_kind::Kind;
    let core::TransportSocket { name, config_type } = socket;
    silent!("names are for people"; name);
    let ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    if !any.is::<internal_upstream::InternalUpstreamTransport>() {
        return Ok(None);
    }
    let at = at.field("typed_config");
    let internal_upstream::InternalUpstreamTransport {
        passthrough_metadata,
        transport_socket,
    } = &at.unpack::<internal_upstream::InternalUpstreamTransport>(any)?;
    let passed = at.each("passthrough_metadata", passthrough_metadata, |at, source| {
        let MetadataValueSource { kind, name } = source;
        at.not_empty("name", name)?;
        let kind = at.required("kind", kind)?.kind.as_ref();
        let of_host = matches!(at.required("kind", &kind)?, Kind::Host(_));
        let passes = of_host && name == ORIGINAL_DST;
        if !passes {
            at.warn("only the original destination of an endpoint is passed on");
        }
        Ok(passes)
    })?;
    let behind = at.required("transport_socket", transport_socket)?;
    let behind = transport(&at.field("transport_socket"), behind, http)?;
    let addresses = passed.contains(&true);
    Ok(Some(match behind {
        Transport::Passing(passing) => Transport::Passing(Arc::new(Passing {
            behind: passing.behind.clone(),
            addresses: addresses || passing.addresses,
        })),
        behind => Transport::Passing(Arc::new(Passing { behind, addresses })),
    }))
}

/// None: it is no socket with the PROXY protocol.
fn introduced(
    at: &At<'_>,
    socket: &core::TransportSocket,
    http: &UpstreamHttp,
) -> Result<Option<Introduced>, Rejection> {
    use core::transport_socket::ConfigType;
    let core::TransportSocket { name, config_type } = socket;
    silent!("names are for people"; name);
    let ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    if !any.is::<pp::ProxyProtocolUpstreamTransport>() {
        return Ok(None);
    }
    let at = at.field("typed_config");
    let pp::ProxyProtocolUpstreamTransport {
        config,
        transport_socket,
        allow_unspecified_address,
        tlv_as_pool_key,
    } = &at.unpack::<pp::ProxyProtocolUpstreamTransport>(any)?;
    refuse!(at; allow_unspecified_address);
    no_effect!(at, "always"; tlv_as_pool_key);
    let behind = at.required("transport_socket", transport_socket)?;
    let behind = match transport(&at.field("transport_socket"), behind, http)? {
        Transport::Introduced(_) | Transport::Passing(_) => {
            return Err(at
                .field("transport_socket")
                .reject("the PROXY protocol comes once, inside of internal_upstream"));
        }
        behind => behind,
    };
    let config = config.clone().unwrap_or_default();
    Ok(Some(Introduced {
        introduction: proxy_protocol::introduction(&at.field("config"), &config)?,
        behind,
    }))
}
