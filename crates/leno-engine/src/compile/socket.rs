//! `SocketOption` and `TcpKeepalive`: how the kernel treats a socket.
//!
//! Options are numbers of the kernel's, which may be anything: those that are known here are taken, others refused.

use super::Rejection;
use super::at::{At, silent};
use super::pb::core as pb;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOption {
    pub what: What,
    pub when: When,
    /// None: of both.
    pub family: Option<IpVersion>,
}

/// When an option is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Created,
    Bound,
    Listening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    V4,
    V6,
}

/// By Linux's names (socket(7), tcp(7), ip(7), ipv6(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    ReuseAddress(bool),
    ReusePort(bool),
    SendBuffer(u32),
    ReceiveBuffer(u32),
    Keepalive(bool),
    Priority(u32),
    Mark(u32),
    /// An interface's name.
    Device(Vec<u8>),
    NoDelay(bool),
    MaxSegment(u32),
    Cork(bool),
    /// Seconds.
    KeepaliveTime(u32),
    /// Seconds.
    KeepaliveInterval(u32),
    KeepaliveProbes(u32),
    QuickAck(bool),
    Congestion(Vec<u8>),
    /// Milliseconds.
    UserTimeout(u32),
    NotSentLowat(u32),
    Tos(u32),
    Ttl(u32),
    Freebind(bool),
    Transparent(bool),
    OnlyV6(bool),
    HopLimit(u32),
    TrafficClass(u32),
}

const SOL_SOCKET: i64 = 1;
const IPPROTO_IP: i64 = 0;
const IPPROTO_TCP: i64 = 6;
const IPPROTO_IPV6: i64 = 41;

// === impl SocketOption ===

impl SocketOption {
    pub(crate) fn of(what: What) -> Self {
        Self {
            what,
            when: When::Created,
            family: None,
        }
    }
}

pub(crate) fn options(
    at: &At<'_>,
    field: &'static str,
    messages: &[pb::SocketOption],
) -> Result<Vec<SocketOption>, Rejection> {
    let all = at.each(field, messages, option)?;
    Ok(all.into_iter().flatten().collect())
}

/// None: it is for other sockets.
fn option(at: &At<'_>, message: &pb::SocketOption) -> Result<Option<SocketOption>, Rejection> {
    use pb::socket_option::{SocketIpVersion, SocketState, SocketType, Value};
    let pb::SocketOption {
        description,
        level,
        name,
        state,
        r#type: kind,
        ip_version,
        value,
    } = message;
    silent!("it describes"; description);
    let (number, bytes) = match at.required("value", value)? {
        Value::IntValue(number) => (Some(*number), &[][..]),
        Value::BufValue(bytes) => (None, bytes.as_slice()),
    };
    let known = known(*level, *name, number, bytes);
    let what = known.ok_or_else(|| {
        let reason = format!("option {name} of level {level} is not known with such a value");
        at.field("name").reject(reason)
    })?;
    let option = SocketOption {
        what,
        when: match at.choice("state", *state)? {
            SocketState::StatePrebind => When::Created,
            SocketState::StateBound => When::Bound,
            SocketState::StateListening => When::Listening,
        },
        family: match at.choice("ip_version", *ip_version)? {
            SocketIpVersion::Unspecified => None,
            SocketIpVersion::Ipv4 => Some(IpVersion::V4),
            SocketIpVersion::Ipv6 => Some(IpVersion::V6),
        },
    };
    let is_ours = match kind {
        None => true,
        Some(SocketType { stream, datagram }) => stream.is_some() || datagram.is_none(),
    };
    Ok(is_ours.then_some(option))
}

fn known(level: i64, name: i64, number: Option<i64>, bytes: &[u8]) -> Option<What> {
    let text = || {
        let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        (!text.is_empty()).then(|| text.to_vec())
    };
    let Some(number) = number else {
        return match (level, name) {
            (SOL_SOCKET, 25) => text().map(What::Device),
            (IPPROTO_TCP, 13) => text().map(What::Congestion),
            _ => None,
        };
    };
    let number = u32::try_from(number).ok()?;
    let on = number != 0;
    Some(match (level, name) {
        (SOL_SOCKET, 2) => What::ReuseAddress(on),
        (SOL_SOCKET, 7) => What::SendBuffer(number),
        (SOL_SOCKET, 8) => What::ReceiveBuffer(number),
        (SOL_SOCKET, 9) => What::Keepalive(on),
        (SOL_SOCKET, 12) => What::Priority(number),
        (SOL_SOCKET, 15) => What::ReusePort(on),
        (SOL_SOCKET, 36) => What::Mark(number),
        (IPPROTO_TCP, 1) => What::NoDelay(on),
        (IPPROTO_TCP, 2) => What::MaxSegment(number),
        (IPPROTO_TCP, 3) => What::Cork(on),
        (IPPROTO_TCP, 4) => What::KeepaliveTime(number),
        (IPPROTO_TCP, 5) => What::KeepaliveInterval(number),
        (IPPROTO_TCP, 6) => What::KeepaliveProbes(number),
        (IPPROTO_TCP, 12) => What::QuickAck(on),
        (IPPROTO_TCP, 18) => What::UserTimeout(number),
        (IPPROTO_TCP, 25) => What::NotSentLowat(number),
        (IPPROTO_IP, 1) => What::Tos(number),
        (IPPROTO_IP, 2) => What::Ttl(number),
        (IPPROTO_IP, 15) | (IPPROTO_IPV6, 78) => What::Freebind(on),
        (IPPROTO_IP, 19) | (IPPROTO_IPV6, 75) => What::Transparent(on),
        (IPPROTO_IPV6, 16) => What::HopLimit(number),
        (IPPROTO_IPV6, 26) => What::OnlyV6(on),
        (IPPROTO_IPV6, 67) => What::TrafficClass(number),
        _ => return None,
    })
}

/// What is said is set; a zero says that there are to be no probes.
pub(crate) fn keepalive(message: Option<&pb::TcpKeepalive>) -> Vec<SocketOption> {
    let Some(pb::TcpKeepalive {
        keepalive_probes,
        keepalive_time,
        keepalive_interval,
    }) = message
    else {
        return Vec::new();
    };
    let said = [
        (keepalive_probes, What::KeepaliveProbes as fn(u32) -> What),
        (keepalive_time, What::KeepaliveTime),
        (keepalive_interval, What::KeepaliveInterval),
    ];
    let said = said
        .into_iter()
        .filter_map(|(value, what)| value.as_ref().map(|value| (value.value, what)));
    if said.clone().any(|(value, _)| value == 0) {
        return Vec::new();
    }
    let said = said.map(|(value, what)| what(value));
    [What::Keepalive(true)]
        .into_iter()
        .chain(said)
        .map(SocketOption::of)
        .collect()
}
