//! WorkloadEntry, which is an endpoint of a ServiceEntry as well.

use std::net::IpAddr;

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::service_entry::EntryEndpoint;

pub(super) fn check(check: &mut Check<'_>, spec: &EntryEndpoint) {
    endpoint(check, "spec", spec);
}

pub(super) fn is_unix(address: &str) -> bool {
    address.starts_with(UNIX)
}

const UNIX: &str = "unix://";

pub(super) fn endpoint(check: &mut Check<'_>, at: &str, endpoint: &EntryEndpoint) {
    match endpoint.address.as_deref() {
        // Of another network its gateway's address stands for it.
        None | Some("") if endpoint.network.is_some() => check.warning(
            Code::NoEffect,
            at,
            "without an address nobody can call it: leno knows no gateways of other networks",
            "add address",
        ),
        None | Some("") => check.error(
            Code::MissingField,
            at,
            "an endpoint without address",
            "add address",
        ),
        Some(address) => match address.strip_prefix(UNIX) {
            Some(path) => unix(check, at, path, endpoint),
            None if address.parse::<IpAddr>().is_err() => check.host(format!("{at}.address"), address),
            None => {}
        },
    }
    parts(check, at, endpoint);
}

/// All but the address.
pub(super) fn parts(check: &mut Check<'_>, at: &str, endpoint: &EntryEndpoint) {
    for (name, number) in &endpoint.ports {
        let at = format!("{at}.ports.{name}");
        if !names::is_port_name(name) {
            let message = format!("{name:?} is no name for a port");
            check.error(
                Code::BadName,
                &at,
                message,
                "use lower-case letters, digits and dashes",
            );
        }
        check.port(&at, *number);
    }
    for (name, value) in &endpoint.labels {
        if name.is_empty() || name.contains('*') || value.contains('*') {
            let at = format!("{at}.labels.{name}");
            check.error(Code::WrongValue, at, "a star is no part of a label", "");
        }
    }
    if let Some(weight) = endpoint.weight {
        check.range(format!("{at}.weight"), weight, 0..=i64::from(u32::MAX));
    }
}

fn unix(check: &mut Check<'_>, at: &str, path: &str, endpoint: &EntryEndpoint) {
    let abstract_socket = path.len() > 1 && path.starts_with('@');
    let in_files = path.starts_with('/') && !path.ends_with('/');
    if !abstract_socket && !in_files {
        let message = format!("{path:?} is no path of a socket");
        check.error(
            Code::WrongValue,
            format!("{at}.address"),
            message,
            "give an absolute path, as in unix:///run/app.sock, or an abstract one, as in unix://@app",
        );
    }
    if !endpoint.ports.is_empty() {
        check.error(
            Code::BadCombination,
            format!("{at}.ports"),
            "a Unix socket has no ports",
            "leave them out",
        );
    }
}
