//! What a connection speaks, from its first bytes: TLS (with server name and ALPN), HTTP/1, HTTP/2, or neither.
//!
//! A client that says nothing may be waiting for the server to speak first (MySQL, SMTP, FTP). No timer can tell that
//! from a slow client, so the upstream decides: after a short silence the connection that plain TCP would get is made,
//! and whoever speaks first says what it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use leno_engine::compile::listener::{ListenerFilters, TransportProtocol};
use leno_telemetry::record::Fingerprints;
use leno_tls::Peek;
use tokio::io::AsyncReadExt;

use crate::codec::HTTP2_PREFACE;
use crate::stream::Stream;

/// How long a client may be silent before the upstream is connected on suspicion: clients that speak first do so in
/// one round trip, and a connection made in vain costs more than this.
pub(crate) const SILENCE: Duration = Duration::from_millis(10);
/// How long a client may take to say what it speaks, where the listener sets no time: it holds a descriptor, and a
/// client that says nothing costs whoever sends it nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// A request line longer than this is not waited for (Envoy's inspector stops at 8 KiB as well).
const MAX_REQUEST_LINE: usize = 8 * 1024;

/// Which inspections a listener wants of a connection to this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) tls: bool,
    pub(crate) http: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) transport: TransportProtocol,
    pub(crate) sni: Option<String>,
    /// ALPN names, or what HTTP was seen (`http/1.0`, `http/1.1`, `h2c`).
    pub(crate) protocols: Vec<Vec<u8>>,
    pub(crate) fingerprints: Option<Arc<Fingerprints>>,
}

// === impl Wanted ===

impl Wanted {
    pub(crate) fn of(filters: &ListenerFilters, port: u16) -> Self {
        Self {
            tls: filters.looks_for_tls(port),
            http: filters.looks_for_http(port),
        }
    }

    pub(crate) fn any(self) -> bool {
        self.tls || self.http
    }

    /// None: more bytes are needed.
    pub(crate) fn inspect(self, prefix: &[u8]) -> Option<Found> {
        if self.tls {
            match leno_tls::peek(prefix) {
                Peek::NeedMore => return None,
                Peek::Tls { sni, alpn } => {
                    return Some(Found {
                        transport: TransportProtocol::Tls,
                        sni,
                        protocols: alpn,
                        fingerprints: None,
                    });
                }
                Peek::NotTls => {}
            }
        }
        let protocols = match self.http {
            true => http(prefix)?.map(<[u8]>::to_vec).into_iter().collect(),
            false => Vec::new(),
        };
        Some(Found {
            protocols,
            ..Found::raw()
        })
    }
}

// === impl Found ===

impl Found {
    /// Nothing is known of it.
    pub(crate) fn raw() -> Self {
        Self {
            transport: TransportProtocol::RawBuffer,
            sni: None,
            protocols: Vec::new(),
            fingerprints: None,
        }
    }
}

/// What of a client's hello is to be made into fingerprints.
pub(crate) fn fingerprints(filters: &ListenerFilters, prefix: &[u8]) -> Option<Arc<Fingerprints>> {
    let (ja3, ja4) = leno_tls::fingerprints(prefix, filters.ja3, filters.ja4);
    Some(Arc::new(Fingerprints { ja3, ja4 }))
}

/// How long to wait for a client that must speak first, or has begun to. Zero, Istio's "for ever", is meant for
/// clients that wait for their server, whom no timer ends here.
pub(crate) fn patience(filters: &ListenerFilters) -> Duration {
    match filters.timeout.is_zero() {
        true => PATIENCE,
        false => filters.timeout,
    }
}

/// Reads what is there. 0: the client has ended its side.
pub(crate) async fn read_more(stream: &mut Stream, prefix: &mut BytesMut) -> io::Result<usize> {
    prefix.reserve(4096);
    stream.read_buf(prefix).await
}

/// Whether a plaintext client begins with HTTP/2. None: more bytes are needed.
pub(crate) fn is_http2(prefix: &[u8]) -> Option<bool> {
    let seen = prefix.len().min(HTTP2_PREFACE.len());
    match prefix.get(..seen) == HTTP2_PREFACE.get(..seen) {
        true if seen == HTTP2_PREFACE.len() => Some(true),
        true => None,
        false => Some(false),
    }
}

/// The HTTP version in the first line. None: more bytes are needed; `Some(None)`: not HTTP.
fn http(prefix: &[u8]) -> Option<Option<&'static [u8]>> {
    if is_http2(prefix)? {
        return Some(Some(b"h2c"));
    }
    let line = prefix.split(|b| *b == b'\n').next().unwrap_or_default();
    let complete = line.len() < prefix.len();
    let mut words = line.split(|b| *b == b' ');
    let method = words.next().unwrap_or_default();
    let is_token = method
        .iter()
        .all(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_'));
    if !is_token || method.len() > 24 || line.len() > MAX_REQUEST_LINE || line.contains(&0) {
        return Some(None);
    }
    if !complete {
        return None;
    }
    let version = words.nth(1).unwrap_or_default();
    Some(match version.trim_ascii_end() {
        b"HTTP/1.1" => Some(b"http/1.1"),
        b"HTTP/1.0" => Some(b"http/1.0"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use leno_engine::compile::listener::{PortRange, Ports};

    use super::*;

    const BOTH: Wanted = Wanted {
        tls: true,
        http: true,
    };

    fn protocols(prefix: &[u8]) -> Option<Vec<Vec<u8>>> {
        BOTH.inspect(prefix).map(|found| found.protocols)
    }

    #[test]
    fn http_is_known_by_its_first_line() {
        assert_eq!(protocols(b"GET / HTTP/1.1\r\n"), Some(vec![b"http/1.1".to_vec()]));
        assert_eq!(protocols(b"GET / HTTP/1.0\r\n"), Some(vec![b"http/1.0".to_vec()]));
        assert_eq!(protocols(HTTP2_PREFACE), Some(vec![b"h2c".to_vec()]));
    }

    #[test]
    fn an_unfinished_first_line_waits() {
        for part in [&b"GE"[..], b"GET /a", b"GET / HTTP/1.1\r", b"PRI * HT"] {
            assert_eq!(protocols(part), None, "{part:?}");
        }
    }

    #[test]
    fn other_protocols_are_known_at_once() {
        // Redis in both its forms, a TLS record that is no handshake, MySQL's login packet.
        for other in [
            &b"*1\r\n$4\r\nPING\r\n"[..],
            b"PING\r\n",
            b"\x17\x03\x03\x00\x01",
            b"\x20\x00\x00\x01\x85",
        ] {
            assert_eq!(protocols(other), Some(vec![]), "{other:?}");
        }
    }

    #[test]
    fn no_listener_waits_for_ever() {
        let waits = |timeout| {
            patience(&ListenerFilters {
                timeout,
                ..ListenerFilters::default()
            })
        };
        assert_eq!(waits(Duration::ZERO), PATIENCE);
        assert_eq!(waits(Duration::from_secs(15)), Duration::from_secs(15));
    }

    #[test]
    fn inspectors_can_be_off_for_ports() {
        let filters = ListenerFilters {
            tls_inspector: true,
            http_inspector: true,
            http_inspector_off: Ports::Range(PortRange {
                start: 3306,
                end: 3307,
            }),
            ..ListenerFilters::default()
        };
        assert_eq!(
            Wanted::of(&filters, 3306),
            Wanted {
                tls: true,
                http: false
            }
        );
        assert_eq!(Wanted::of(&filters, 3307), BOTH);
    }
}
