//! Operators that there are of either side, by the names that they share.

use crate::compile::access_log::operator::{End, Hash, Operator, SanKind, Side, TlsFact, Way, Wire};

/// What one side's stream came to on the wire.
pub(super) fn wire(name: &str) -> Option<Operator> {
    let (side, name) = match name.strip_prefix("DOWNSTREAM_") {
        Some(name) => (Side::Downstream, name),
        None => (Side::Upstream, name.strip_prefix("UPSTREAM_")?),
    };
    let (which, way) = match name.strip_suffix("_SENT") {
        Some(which) => (which, Way::Sent),
        None => (name.strip_suffix("_RECEIVED")?, Way::Received),
    };
    let which = match which {
        "WIRE_BYTES" => Wire::All,
        "HEADER_BYTES" => Wire::Heads,
        "DECOMPRESSED_HEADER_BYTES" => Wire::PlainHeads,
        _ => return None,
    };
    Some(Operator::WireBytes(side, way, which))
}

/// What is known of one side's TLS.
pub(super) fn tls(name: &str) -> Option<Operator> {
    let (side, name) = match name.strip_prefix("DOWNSTREAM_") {
        Some(name) => (Side::Downstream, name),
        None => (Side::Upstream, name.strip_prefix("UPSTREAM_")?),
    };
    let fact = match name {
        "TLS_VERSION" => TlsFact::Version,
        "TLS_CIPHER" => TlsFact::Cipher,
        "TLS_GROUP" => TlsFact::Group,
        "TLS_SESSION_ID" => TlsFact::SessionId,
        "PEER_SUBJECT" => TlsFact::Subject(End::Peer),
        "PEER_ISSUER" => TlsFact::Issuer,
        "PEER_CERT" => TlsFact::Certificate,
        "PEER_URI_SAN" => TlsFact::Sans(End::Peer, SanKind::Uri),
        "PEER_DNS_SAN" => TlsFact::Sans(End::Peer, SanKind::Dns),
        "PEER_IP_SAN" => TlsFact::Sans(End::Peer, SanKind::Ip),
        "LOCAL_URI_SAN" => TlsFact::Sans(End::Local, SanKind::Uri),
        "LOCAL_DNS_SAN" => TlsFact::Sans(End::Local, SanKind::Dns),
        "LOCAL_IP_SAN" => TlsFact::Sans(End::Local, SanKind::Ip),
        _ if side == Side::Upstream => return None,
        "LOCAL_SUBJECT" => TlsFact::Subject(End::Local),
        "PEER_EMAIL_SAN" => TlsFact::Sans(End::Peer, SanKind::Email),
        "PEER_OTHERNAME_SAN" => TlsFact::Sans(End::Peer, SanKind::Other),
        "LOCAL_EMAIL_SAN" => TlsFact::Sans(End::Local, SanKind::Email),
        "LOCAL_OTHERNAME_SAN" => TlsFact::Sans(End::Local, SanKind::Other),
        "PEER_FINGERPRINT_256" => fingerprint(Hash::Sha256, false),
        "PEER_FINGERPRINT_1" => fingerprint(Hash::Sha1, false),
        "PEER_CHAIN_FINGERPRINTS_256" => fingerprint(Hash::Sha256, true),
        "PEER_CHAIN_FINGERPRINTS_1" => fingerprint(Hash::Sha1, true),
        "PEER_SERIAL" => TlsFact::Serial { chain: false },
        "PEER_CHAIN_SERIALS" => TlsFact::Serial { chain: true },
        _ => return None,
    };
    Some(Operator::Tls(side, fact))
}

fn fingerprint(hash: Hash, chain: bool) -> TlsFact {
    TlsFact::Fingerprint { hash, chain }
}
