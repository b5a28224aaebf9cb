//! ServiceEntry: the CRD's validations, and what leno serves of it.

use std::net::IpAddr;

use super::workload_entry::{self, is_unix};
use super::{Check, names};
use crate::codes::Code;
use crate::kinds::service_entry::{EntryEndpoint, EntryPort, Resolution, ServiceEntrySpec};

pub(super) fn check(check: &mut Check<'_>, spec: &ServiceEntrySpec) {
    hosts(check, spec);
    check.export_to("spec.exportTo", &spec.export_to, true);
    addresses(check, spec);
    for (i, port) in spec.ports.iter().enumerate() {
        self::port(check, &format!("spec.ports[{i}]"), port);
    }
    let named = spec.ports.iter().enumerate();
    check.distinct(
        "port name",
        named.map(|(i, port)| (format!("spec.ports[{i}].name"), port.name.as_str())),
    );
    let numbers: Vec<String> = spec.ports.iter().map(|port| port.number.to_string()).collect();
    let numbers = numbers.iter().enumerate();
    check.distinct(
        "port",
        numbers.map(|(i, number)| (format!("spec.ports[{i}].number"), number.as_str())),
    );
    resolution(check, spec);
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        self::endpoint(check, &format!("spec.endpoints[{i}]"), endpoint, spec);
    }
}

fn hosts(check: &mut Check<'_>, spec: &ServiceEntrySpec) {
    if spec.hosts.is_empty() {
        check.error(
            Code::Empty,
            "spec.hosts",
            "a ServiceEntry needs a host",
            "add spec.hosts",
        );
    }
    for (i, host) in spec.hosts.iter().enumerate() {
        let at = format!("spec.hosts[{i}]");
        if host == "*" {
            let hint = "name the hosts, or their suffix: *.example.com";
            check.error(Code::BadHost, at, "every host is no host", hint);
            continue;
        }
        let suffix = host
            .strip_prefix('*')
            .map(|suffix| suffix.trim_start_matches('.'));
        check.host(&at, suffix.unwrap_or(host));
        if suffix.is_some() && spec.resolution != Resolution::None {
            let message = format!("{host} is no single name that could be resolved");
            check.error(Code::BadCombination, at, message, "use resolution: NONE");
        }
    }
    let hosts = spec.hosts.iter().enumerate();
    check.distinct(
        "host",
        hosts.map(|(i, host)| (format!("spec.hosts[{i}]"), host.as_str())),
    );
}

fn addresses(check: &mut Check<'_>, spec: &ServiceEntrySpec) {
    for (i, address) in spec.addresses.iter().enumerate() {
        let at = format!("spec.addresses[{i}]");
        let (ip, length) = match address.split_once('/') {
            Some((ip, length)) => (ip, Some(length)),
            None => (address.as_str(), None),
        };
        let most = ip.parse().map(|ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 });
        let fits = |most: u8| length.is_none_or(|length| length.parse::<u8>().is_ok_and(|l| l <= most));
        if !most.is_ok_and(fits) {
            let message = format!("{address:?} is neither an IP address nor a CIDR block");
            check.error(Code::WrongValue, at, message, "such as 192.0.2.7 or 192.0.2.0/24");
        } else if length.is_some() && !matches!(spec.resolution, Resolution::None | Resolution::Static) {
            let message = "a CIDR block goes with resolution NONE or STATIC only";
            check.error(Code::BadCombination, at, message, "give single addresses");
        }
    }
}

fn port(check: &mut Check<'_>, at: &str, port: &EntryPort) {
    check.port(format!("{at}.number"), port.number);
    if let Some(target) = port.target_port {
        check.port(format!("{at}.targetPort"), target);
    }
    if !names::is_port_name(&port.name) {
        let message = format!("{:?} is no name for a port", port.name);
        let hint = "use lower-case letters, digits and dashes";
        check.error(Code::BadName, format!("{at}.name"), message, hint);
    }
}

fn resolution(check: &mut Check<'_>, spec: &ServiceEntrySpec) {
    if let Some(selector) = &spec.workload_selector {
        if !spec.endpoints.is_empty() {
            let message = "workloadSelector and endpoints are given together";
            check.error(Code::BadCombination, "spec", message, "keep one");
        }
        for (name, value) in &selector.labels {
            if name.is_empty() || value.contains('*') {
                let at = format!("spec.workloadSelector.labels.{name}");
                check.error(
                    Code::WrongValue,
                    at,
                    "a label is selected by its value, not by *",
                    "",
                );
            }
        }
    }
    match (spec.resolution, spec.endpoints.len()) {
        (Resolution::None, 1..) => {
            let message = "with resolution NONE the caller knows the address; endpoints are not used";
            let hint = "use resolution: STATIC, or DNS";
            check.error(Code::BadCombination, "spec.endpoints", message, hint);
        }
        (Resolution::Static, 0) if spec.workload_selector.is_none() => {
            let hint = "add spec.endpoints or spec.workloadSelector";
            check.error(Code::Empty, "spec", "resolution STATIC without endpoints", hint);
        }
        (Resolution::DnsRoundRobin, 2..) => {
            let message = "DNS_ROUND_ROBIN has at most one endpoint";
            check.error(
                Code::BadCombination,
                "spec.endpoints",
                message,
                "use resolution: DNS",
            );
        }
        (Resolution::DynamicDns, _) => check.not_served("spec.resolution", "resolution DYNAMIC_DNS"),
        _ => {}
    }
}

fn endpoint(check: &mut Check<'_>, at: &str, endpoint: &EntryEndpoint, spec: &ServiceEntrySpec) {
    workload_entry::endpoint(check, at, endpoint);
    let address = endpoint.address.as_deref().unwrap_or_default();
    let name = !is_unix(address) && address.parse::<IpAddr>().is_err() && !address.is_empty();
    if name && spec.resolution == Resolution::Static {
        let message = format!("{address:?} is not an IP address");
        let at = format!("{at}.address");
        check.error(Code::WrongValue, at, message, "use resolution: DNS for names");
    }
    if is_unix(address) && matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin) {
        let message = "a Unix socket is no name that could be resolved";
        let at = format!("{at}.address");
        check.error(Code::BadCombination, at, message, "use resolution: STATIC");
    }
    for name in endpoint.ports.keys() {
        let at = format!("{at}.ports.{name}");
        if !spec.ports.iter().any(|port| port.name == *name) {
            let message = format!("the entry has no port named {name}");
            check.error(Code::PortNotFound, at, message, "name one of spec.ports");
        }
    }
}
