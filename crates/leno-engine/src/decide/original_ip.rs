//! Who the client is (Envoy: "x-forwarded-for", "IP detection").
//!
//! Each proxy appends to `x-forwarded-for` whom it got the request from, so trust is counted from the right; the
//! connection's other end is the last of them, and is in the list only if this proxy does not append it itself.

use std::net::IpAddr;

use crate::compile::http::{HttpConnectionManager, IpDetection, TrustedProxies};
use crate::message::Headers;

const XFF: &str = "x-forwarded-for";

/// What was found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detected {
    /// None: the connection's other end.
    pub client: Option<IpAddr>,
    /// Nobody stands between the client and those whose word counts: it may be one of us.
    pub may_be_internal: bool,
    /// How often the connection's other end is appended to `x-forwarded-for`.
    pub appended: u32,
    /// The status of a request that does not say who it is from.
    pub refusal: Option<u16>,
}

impl HttpConnectionManager {
    /// `remote`: the connection's other end.
    pub fn detect(&self, headers: &Headers, remote: IpAddr) -> Detected {
        if self.use_remote_address {
            return Detected {
                client: match self.xff_trusted_hops.checked_sub(1) {
                    None => None,
                    Some(back) => from_the_right(headers, back).map(|(client, _)| client),
                },
                may_be_internal: !headers.contains(XFF),
                appended: u32::from(!self.keep_forwarded_for),
                refusal: None,
            };
        }
        if self.ip_detection.is_empty() {
            let found = from_the_right(headers, self.xff_trusted_hops);
            return Detected {
                client: found.map(|(client, _)| client),
                may_be_internal: found.is_some_and(|(_, only)| only),
                ..Detected::default()
            };
        }
        let mut detected = Detected::default();
        for one in &self.ip_detection {
            let (found, keep) = match one {
                IpDetection::ForwardedFor { trusted, keep } => {
                    by_forwarded_for(trusted, *keep, headers, remote)
                }
                IpDetection::Header {
                    name,
                    trusted,
                    refusal,
                } => {
                    let found = headers.get(name).and_then(parse).map(|client| (client, *trusted));
                    if found.is_none() && refusal.is_some() {
                        detected.refusal = *refusal;
                        return detected;
                    }
                    (found, true)
                }
            };
            detected.appended += u32::from(!keep);
            if let Some((client, may_be_internal)) = found {
                detected.client = Some(client);
                detected.may_be_internal = may_be_internal;
                break;
            }
        }
        detected
    }
}

/// The client, whether it stands there alone; and whether the list is left as it is.
fn by_forwarded_for(
    trusted: &TrustedProxies,
    keep: bool,
    headers: &Headers,
    remote: IpAddr,
) -> (Option<(IpAddr, bool)>, bool) {
    let ranges = match trusted {
        TrustedProxies::Hops(hops) => return (from_the_right(headers, *hops), keep),
        TrustedProxies::Ranges(ranges) => ranges,
    };
    let is_trusted = |address: IpAddr| {
        let address = address.to_canonical();
        ranges.iter().any(|range| range.contains(&address))
    };
    if !is_trusted(remote) {
        return (None, false);
    }
    let entries: Vec<&[u8]> = entries(headers).filter(|entry| !entry.is_empty()).collect();
    let mut last = None;
    for entry in entries.iter().rev() {
        let Some(address) = parse(entry) else {
            return (None, keep);
        };
        last = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    (last.map(|address| (address, entries.len() == 1)), keep)
}

/// The entry that is so far from the last, and whether it is the only one.
fn from_the_right(headers: &Headers, back: usize) -> Option<(IpAddr, bool)> {
    let count = entries(headers).count();
    let entry = entries(headers).nth(count.checked_sub(back + 1)?)?;
    Some((parse(entry)?, count == 1))
}

fn entries(headers: &Headers) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(XFF);
    values
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn parse(entry: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(entry).ok()?.parse().ok()
}
