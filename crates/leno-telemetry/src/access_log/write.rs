//! Values as text, appended; false: there is none, and nothing was written.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use leno_engine::compile::access_log::{AddressForm, GrpcForm, Unit, Whose};
use leno_engine::compile::listener::Address;
use leno_engine::decide::grpc::from_http;
use leno_engine::flags::{Flag, Flags};
use leno_engine::message::{Decimal, ResponseHead};

use super::ipv4::v4;
use crate::record::Named;

pub(super) fn of_address(out: &mut Vec<u8>, address: &Address, form: AddressForm) -> bool {
    match (address, form) {
        (Address::Socket(socket), form) => of_socket(out, *socket, form),
        (Address::Internal(internal), AddressForm::EndpointId) => text(out, Some(&internal.id)),
        (address, AddressForm::Whole | AddressForm::WithoutPort { .. }) => write!(out, "{address}").is_ok(),
        (_, AddressForm::Port | AddressForm::EndpointId) => false,
    }
}

pub(super) fn of_socket(out: &mut Vec<u8>, socket: SocketAddr, form: AddressForm) -> bool {
    match form {
        AddressForm::Whole => address(out, Some(socket)),
        AddressForm::WithoutPort { bits: None } => without_port(out, socket),
        AddressForm::WithoutPort { bits: Some(bits) } => network(out, socket.ip(), bits),
        AddressForm::Port => number(out, socket.port().into()),
        // It is there and empty, as in Envoy.
        AddressForm::EndpointId => true,
    }
}

/// So many leading bits, `10.1.0.0/16`; nothing where an address has not as many.
fn network(out: &mut Vec<u8>, ip: IpAddr, bits: u8) -> bool {
    let masked: IpAddr = match ip {
        IpAddr::V4(ip) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
        _ => return false,
    };
    write!(out, "{masked}/{bits}").is_ok()
}

/// The endpoint's DNS name, else its address.
pub(super) fn named(out: &mut Vec<u8>, hostname: &str, remote: Option<&Address>, port: bool) -> bool {
    if hostname.is_empty() {
        return host(out, remote, port);
    }
    let (name, _) = hostname
        .rsplit_once(':')
        .filter(|_| !port)
        .unwrap_or((hostname, ""));
    text(out, Some(name))
}

pub(super) fn host(out: &mut Vec<u8>, remote: Option<&Address>, port: bool) -> bool {
    match remote {
        Some(Address::Socket(remote)) if port => address(out, Some(*remote)),
        Some(Address::Socket(remote)) => without_port(out, *remote),
        Some(remote) => write!(out, "{remote}").is_ok(),
        None => false,
    }
}

pub(super) fn nanoseconds(since: Duration) -> i128 {
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

pub(super) fn span(out: &mut Vec<u8>, from: Option<i128>, to: Option<i128>, unit: Unit) -> bool {
    let (Some(from), Some(to)) = (from, to) else {
        return false;
    };
    let in_unit = match unit {
        Unit::Milliseconds => 1_000_000,
        Unit::Microseconds => 1_000,
        Unit::Nanoseconds => 1,
    };
    write!(out, "{}", (to - from) / in_unit).is_ok()
}

pub(super) fn text(out: &mut Vec<u8>, value: Option<&str>) -> bool {
    match value {
        Some(value) if !value.is_empty() => {
            out.extend_from_slice(value.as_bytes());
            true
        }
        _ => false,
    }
}

pub(super) fn underscored(out: &mut [u8], start: usize) {
    let spaces = out.iter_mut().skip(start).filter(|byte| **byte == b' ');
    spaces.for_each(|space| *space = b'_');
}

pub(super) fn flags(out: &mut Vec<u8>, flags: Flags) -> bool {
    if flags.is_empty() {
        out.push(b'-');
        return true;
    }
    // Writing to memory does not fail.
    write!(out, "{flags}").is_ok()
}

pub(super) fn listed(out: &mut Vec<u8>, names: impl Iterator<Item = &'static str>) -> bool {
    let start = out.len();
    for name in names {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.len() > start
}

/// As they come to a connection: that there is no further attempt is known after the last has failed.
pub(super) fn in_turn(flags: Flags) -> impl Iterator<Item = Flag> {
    let last = Flag::UpstreamRetryLimitExceeded;
    let others = flags.iter().filter(move |flag| *flag != last);
    others.chain(flags.contains(last).then_some(last))
}

/// What the answer says, else what HTTP's status means to gRPC, where 200 without a word is unknown.
pub(super) fn grpc(
    out: &mut Vec<u8>,
    form: GrpcForm,
    said: Option<u32>,
    response: Option<&ResponseHead>,
) -> bool {
    let by_http = |response: &ResponseHead| match response.status {
        200 => 2,
        status => from_http(status),
    };
    let Some(code) = said.or_else(|| response.map(by_http)) else {
        return false;
    };
    match form.name(code) {
        Some(name) => text(out, Some(name)),
        None => number(out, code.into()),
    }
}

pub(super) fn number(out: &mut Vec<u8>, value: u64) -> bool {
    out.extend_from_slice(Decimal::from(value).as_ref());
    true
}

pub(super) fn millis(out: &mut Vec<u8>, duration: Option<Duration>) -> bool {
    duration.is_some_and(|duration| {
        number(
            out,
            duration.as_secs().saturating_mul(1000) + u64::from(duration.subsec_millis()),
        )
    })
}

pub(super) fn address(out: &mut Vec<u8>, address: Option<SocketAddr>) -> bool {
    match address {
        Some(SocketAddr::V4(address)) => {
            v4(out, *address.ip());
            out.push(b':');
            number(out, address.port().into())
        }
        Some(SocketAddr::V6(address)) => write!(out, "{address}").is_ok(),
        None => false,
    }
}

/// A port is there and empty, as in Envoy.
pub(super) fn named_address(out: &mut Vec<u8>, whose: Whose, form: AddressForm, named: &Named) -> bool {
    let name = match whose {
        Whose::DownstreamLocal | Whose::DownstreamDirectLocal => &named.local,
        Whose::DownstreamDirectRemote => &named.direct,
        _ => &named.remote,
    };
    // Of a listener of the proxy's own that was told one.
    if let Ok(address) = name.parse() {
        return of_socket(out, address, form);
    }
    match form {
        AddressForm::Port => return true,
        AddressForm::EndpointId => return false,
        _ => {}
    }
    out.extend_from_slice(name.as_bytes());
    true
}

pub(super) fn without_port(out: &mut Vec<u8>, address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => {
            v4(out, ip);
            true
        }
        IpAddr::V6(ip) => write!(out, "{ip}").is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_they_display_themselves() {
        for text in [
            "127.0.0.1:80",
            "240.240.0.7:65535",
            "10.100.99.255:0",
            "[::1]:9080",
            "[fe80::1%3]:1",
        ] {
            let parsed: SocketAddr = text.parse().unwrap();
            let (mut whole, mut ip) = (Vec::new(), Vec::new());
            assert!(address(&mut whole, Some(parsed)) && without_port(&mut ip, parsed));
            assert_eq!(String::from_utf8(whole).unwrap(), parsed.to_string());
            assert_eq!(String::from_utf8(ip).unwrap(), parsed.ip().to_string());
        }
    }
}
