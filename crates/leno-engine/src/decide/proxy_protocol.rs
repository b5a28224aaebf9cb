//! The PROXY protocol, versions 1 and 2, as HAProxy's `proxy-protocol.txt` says it and as Envoy reads it: what stands
//! before a client's first byte and says whose connection it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::compile::metadata::{Fields, Value};
use crate::compile::proxy_protocol::{ProxyProtocol, Tlv, TlvTypes};
use crate::decide::notes::Notes;
use crate::message::base64;

mod write;

pub use write::{Client, TooLong};

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Up to the length, which covers all behind it.
const V2_HEADER: usize = 16;
/// Of a line with its end; the longest that the standard allows has 107.
const V1_MOST: usize = 108;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// More of them are needed.
    Unfinished,
    /// They are the client's own.
    Plain,
    Header(Header),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1 or 2.
    pub version: u8,
    /// Bytes of it: what is behind them is the client's.
    pub length: usize,
    /// None: the proxy speaks for itself (`LOCAL`, `UNKNOWN`).
    pub addresses: Option<Addresses>,
    /// Those that are passed on, or that rules name.
    pub tlvs: Vec<Tlv>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// Why a connection that begins so is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("there is no PROXY protocol header")]
    Absent,
    #[error("version {0} of the PROXY protocol is not allowed here")]
    Disallowed(u8),
    #[error("not a line of the PROXY protocol's version 1")]
    Line,
    #[error("an unknown version, command or address family")]
    Unknown,
    #[error("shorter than its addresses")]
    Short,
    #[error("an extension is longer than the header")]
    Extension,
    #[error("not the address of one host")]
    NotUnicast,
}

// === impl ProxyProtocol ===

impl ProxyProtocol {
    fn keeps(&self, kind: u8) -> bool {
        self.passed.has(kind) || self.rules.iter().any(|rule| rule.kind == kind)
    }

    /// What rules note of these extensions.
    pub fn note(&self, tlvs: &[Tlv], notes: &Notes) {
        for tlv in tlvs {
            for rule in self.rules.iter().filter(|rule| rule.kind == tlv.kind) {
                let value = match rule.base64 {
                    true => String::from_utf8_lossy(&base64::encode(&tlv.value)).into_owned(),
                    false => sanitized(&tlv.value),
                };
                let fields = Fields::from([(rule.key.clone(), Value::Text(value))]);
                notes.set_metadata(&rule.namespace, fields);
            }
        }
    }

    /// Reads the first bytes of a connection.
    pub fn read(&self, bytes: &[u8]) -> Result<Beginning, Malformed> {
        let may_be = |signature: &[u8]| {
            let seen = bytes.len().min(signature.len());
            bytes.get(..seen) == signature.get(..seen)
        };
        // Where clients may do without, versions that are not allowed are theirs to send.
        let is_looked_for = |allowed: bool| allowed || !self.optional;
        let first = is_looked_for(self.v1) && may_be(V1);
        let second = is_looked_for(self.v2) && may_be(V2);
        let header = match (first, second) {
            (false, false) if self.optional => return Ok(Beginning::Plain),
            (false, false) => return Err(Malformed::Absent),
            (_, true) if bytes.len() >= V2.len() => match self.v2 {
                true => binary(bytes, &|kind| self.keeps(kind))?,
                false => return Err(Malformed::Disallowed(2)),
            },
            (true, _) if bytes.len() >= V1.len() => match self.v1 {
                true => line(bytes)?,
                false => return Err(Malformed::Disallowed(1)),
            },
            _ => None,
        };
        let Some(header) = header else {
            return Ok(Beginning::Unfinished);
        };
        let unicast = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        };
        match header.addresses {
            Some(Addresses { source, destination })
                if !unicast(source.ip()) || !unicast(destination.ip()) =>
            {
                Err(Malformed::NotUnicast)
            }
            _ => Ok(Beginning::Header(header)),
        }
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 1234 80`
fn line(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let seen = bytes.get(..V1_MOST).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|two| two == b"\r\n") else {
        return match seen.len() < V1_MOST {
            true => Ok(None),
            false => Err(Malformed::Line),
        };
    };
    let text = seen.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let words: Vec<&str> = text.unwrap_or_default().trim_end().split(' ').collect();
    let addresses = match words.as_slice() {
        [_, "UNKNOWN", ..] => None,
        [_, "TCP4", source, destination, from, to] => Some(Addresses {
            source: address::<Ipv4Addr>(source, from)?,
            destination: address::<Ipv4Addr>(destination, to)?,
        }),
        [_, "TCP6", source, destination, from, to] => Some(Addresses {
            source: address::<Ipv6Addr>(source, from)?,
            destination: address::<Ipv6Addr>(destination, to)?,
        }),
        _ => return Err(Malformed::Line),
    };
    Ok(Some(Header {
        version: 1,
        length: end + 2,
        addresses,
        tlvs: Vec::new(),
    }))
}

fn address<Ip: std::str::FromStr + Into<IpAddr>>(ip: &str, port: &str) -> Result<SocketAddr, Malformed> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    match (ip.parse::<Ip>(), port.parse()) {
        (Ok(ip), Ok(port)) if digits => Ok(SocketAddr::new(ip.into(), port)),
        _ => Err(Malformed::Line),
    }
}

fn binary(bytes: &[u8], keeps: &dyn Fn(u8) -> bool) -> Result<Option<Header>, Malformed> {
    let Some((fixed, rest)) = bytes.split_at_checked(V2_HEADER) else {
        return Ok(None);
    };
    let [version_and_command, family, high, low] = *fixed.last_chunk().ok_or(Malformed::Unknown)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let width = match (version_and_command, family) {
        // Locally made: what is said of addresses is to be ignored.
        (0x20, _) => None,
        (0x21, 0x11 | 0x12) => Some(4),
        (0x21, 0x21 | 0x22) => Some(16),
        _ => return Err(Malformed::Unknown),
    };
    if width.is_some_and(|width| length < 2 * width + 4) {
        return Err(Malformed::Short);
    }
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let (addresses, tlvs) = match width {
        None => (None, Vec::new()),
        Some(4) => {
            let (addresses, extensions) = pair::<4>(body).ok_or(Malformed::Short)?;
            (Some(addresses), self::extensions(extensions, keeps)?)
        }
        Some(_) => {
            let (addresses, extensions) = pair::<16>(body).ok_or(Malformed::Short)?;
            (Some(addresses), self::extensions(extensions, keeps)?)
        }
    };
    Ok(Some(Header {
        version: 2,
        length: V2_HEADER + length,
        addresses,
        tlvs,
    }))
}

/// Source and destination, then their ports; and what is behind them.
fn pair<const WIDTH: usize>(bytes: &[u8]) -> Option<(Addresses, &[u8])>
where
    IpAddr: From<[u8; WIDTH]>,
{
    let (source, rest) = bytes.split_first_chunk::<WIDTH>()?;
    let (destination, rest) = rest.split_first_chunk::<WIDTH>()?;
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let (to, rest) = rest.split_first_chunk::<2>()?;
    let addresses = Addresses {
        source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes(*from)),
        destination: SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes(*to)),
    };
    Some((addresses, rest))
}

/// As Envoy: what is no UTF-8 is `!`.
fn sanitized(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

/// All are looked at, and those that are passed on kept.
fn extensions(mut bytes: &[u8], keeps: &dyn Fn(u8) -> bool) -> Result<Vec<Tlv>, Malformed> {
    let mut kept = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(Malformed::Extension)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (value, rest) = rest.split_at_checked(length).ok_or(Malformed::Extension)?;
        if keeps(*kind) {
            kept.push(Tlv {
                kind: *kind,
                value: value.to_vec(),
            });
        }
        bytes = rest;
    }
    Ok(kept)
}

// === impl TlvTypes ===

impl TlvTypes {
    pub fn has(&self, kind: u8) -> bool {
        match self {
            Self::All => true,
            Self::Some(kinds) => kinds.contains(&kind),
        }
    }
}

#[cfg(test)]
mod tests;
