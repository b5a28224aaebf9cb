//! Application protocols in TLS (ALPN, RFC 7301): what a connection offers, and what the negotiated name means.
//!
//! Inside the mesh the names are Istio's: they tell the receiving listener what is in the connection.

use leno_engine::compile::cluster::{Cluster, Transport, UpstreamProtocol};
use leno_engine::compile::tls::UpstreamTls;
use leno_engine::message::{RequestHead, Version};

/// Istio's metadata exchange over TCP. It is not offered and not accepted: who negotiates it must send and expect a
/// prologue, and peers that do not go on without.
pub(crate) const PEER_EXCHANGE: &str = "istio-peer-exchange";

/// What a connection is for: which application protocols (ALPN) it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offer {
    Tcp,
    Http1,
    Http2,
    /// HTTP/2, else HTTP/1.1.
    Http,
    /// HTTP/1.1 that is going to be something else, which HTTP/2 cannot carry.
    Upgrade,
    /// Names that filters have asked for: which of those that the worker knows.
    Named(u16),
}

/// What is spoken for a request where ALPN does not decide, true for HTTP/2, and what ALPN offers. Upgrades (websocket)
/// are HTTP/1.1's.
pub fn for_request(protocol: UpstreamProtocol, head: &RequestHead) -> (bool, Offer) {
    if head.upgrade.is_some() {
        return (false, Offer::Upgrade);
    }
    let exactly = |http2| (http2, if http2 { Offer::Http2 } else { Offer::Http1 });
    match protocol {
        UpstreamProtocol::Http1 => exactly(false),
        UpstreamProtocol::Http2 => exactly(true),
        UpstreamProtocol::Downstream => exactly(head.version == Version::Http2),
        UpstreamProtocol::Auto => (false, Offer::Http),
    }
}

/// The same of a cluster: one that speaks HTTP/2 carries upgrades as extended CONNECT (RFC 8441), but for those of a mesh
/// that are told by ALPN what else is in a connection.
pub(crate) fn for_cluster(cluster: &Cluster, head: &RequestHead) -> (bool, Offer) {
    let speaks_http2 = match cluster.protocol {
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::Downstream => head.version == Version::Http2,
        UpstreamProtocol::Http1 | UpstreamProtocol::Auto => false,
    };
    let is_of_mesh = |cluster: &Cluster| {
        let contexts = cluster.transport.all().filter_map(Transport::tls);
        contexts.into_iter().any(|tls| is_mesh(tls))
    };
    if head.upgrade.is_some() && speaks_http2 && !is_of_mesh(cluster) {
        return (true, Offer::Http2);
    }
    for_request(cluster.protocol, head)
}

/// Whether a negotiated protocol is HTTP/2; None: its name does not say.
pub(crate) fn is_http2(alpn: &[u8]) -> Option<bool> {
    match alpn {
        b"h2" | b"istio-h2" => Some(true),
        b"http/1.1" | b"http/1.0" | b"istio-http/1.1" | b"istio-http/1.0" => Some(false),
        _ => None,
    }
}

/// A mesh context: its ALPN names tell the receiving listener what is inside.
pub(crate) fn is_mesh(tls: &UpstreamTls) -> bool {
    tls.common.alpn.iter().any(|name| name == "istio")
}

/// A context's ALPN names, as they are for this use.
pub fn offered(tls: &UpstreamTls, offer: Offer) -> Vec<String> {
    if is_mesh(tls) && offer == Offer::Upgrade {
        // HTTP/1.1 for this connection, although the context may be for HTTP/2.
        return vec!["istio-http/1.1".to_owned(), "istio".to_owned()];
    }
    // Where ALPN is to decide, there is something to decide on.
    if offer == Offer::Http && tls.common.alpn.is_empty() {
        return vec!["h2".to_owned(), "http/1.1".to_owned()];
    }
    let fits = |name: &&String| match (is_http2(name.as_bytes()), offer) {
        _ if *name == PEER_EXCHANGE => false,
        (Some(http2), Offer::Http1 | Offer::Upgrade) => !http2,
        (Some(http2), Offer::Http2) => http2,
        (Some(_), Offer::Tcp | Offer::Http | Offer::Named(_)) | (None, _) => true,
    };
    tls.common.alpn.iter().filter(fits).cloned().collect()
}
