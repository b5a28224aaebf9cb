//! What listener filters have found, in the statistics: by Envoy's names, which no listener has for itself.

use leno_engine::compile::listener::{ListenerFilters, TransportProtocol};
use leno_engine::decide::proxy_protocol::{Header, Malformed};
use leno_engine::decide::tally::Tally;

use crate::inspect::{Found, Wanted};
use crate::introduction::IntroductionError;

/// Names of the filters that a listener has.
pub(crate) fn names(filters: &ListenerFilters) -> impl Iterator<Item = &'static str> {
    let of = |has: bool, names: &'static [&'static str]| names.iter().filter(move |_| has);
    of(filters.tls_inspector, &TLS)
        .chain(of(filters.http_inspector, &HTTP))
        .chain(of(filters.proxy_protocol.is_some(), &PROXY))
        .copied()
}

const TLS: [&str; 6] = [
    "tls_inspector.tls_found",
    "tls_inspector.tls_not_found",
    "tls_inspector.sni_found",
    "tls_inspector.sni_not_found",
    "tls_inspector.alpn_found",
    "tls_inspector.alpn_not_found",
];

const HTTP: [&str; 4] = [
    "http_inspector.http10_found",
    "http_inspector.http11_found",
    "http_inspector.http2_found",
    "http_inspector.http_not_found",
];

const PROXY: [&str; 8] = [
    "proxy_proto.not_found_allowed",
    "proxy_proto.not_found_disallowed",
    "proxy_proto.versions.v1.found",
    "proxy_proto.versions.v2.found",
    "proxy_proto.versions.v1.disallowed",
    "proxy_proto.versions.v2.disallowed",
    "proxy_proto.versions.v1.error",
    "proxy_proto.versions.v2.error",
];

pub(super) fn inspected(wanted: Wanted, found: &Found, tally: &dyn Tally) {
    let is_tls = found.transport == TransportProtocol::Tls;
    if wanted.tls {
        let [tls, no_tls, sni, no_sni, alpn, no_alpn] = TLS;
        tally.alone(if is_tls { tls } else { no_tls });
        if is_tls {
            tally.alone(if found.sni.is_some() { sni } else { no_sni });
            tally.alone(if found.protocols.is_empty() { no_alpn } else { alpn });
        }
    }
    if wanted.http && !is_tls {
        let [http10, http11, http2, none] = HTTP;
        tally.alone(match found.protocols.first().map(Vec::as_slice) {
            Some(b"http/1.0") => http10,
            Some(b"http/1.1") => http11,
            Some(b"h2c") => http2,
            _ => none,
        });
    }
}

/// What has come before the first byte.
pub(super) fn introduced(read: &Result<Option<Header>, IntroductionError>, tally: &dyn Tally) {
    let [
        none,
        nothing,
        found1,
        found2,
        disallowed1,
        disallowed2,
        error1,
        error2,
    ] = PROXY;
    tally.alone(match read {
        Ok(None) => none,
        Ok(Some(header)) if header.version == 1 => found1,
        Ok(Some(_)) => found2,
        Err(IntroductionError::Malformed(why)) => match why {
            Malformed::Absent => nothing,
            Malformed::Disallowed(1) => disallowed1,
            Malformed::Disallowed(_) => disallowed2,
            Malformed::Line => error1,
            _ => error2,
        },
        Err(_) => return,
    });
}
