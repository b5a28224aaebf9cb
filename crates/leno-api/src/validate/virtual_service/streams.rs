//! Rules for connections: TCP, and TLS by the name in the client's hello.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{destination, gateways, source_namespace, weights};
use crate::codes::Code;
use crate::kinds::virtual_service::{TcpDestination, TcpRule, TlsRule};
use crate::validate::Check;

pub(super) fn tcp_rule(check: &mut Check<'_>, at: &str, rule: &TcpRule) {
    for (i, matching) in rule.matches.iter().enumerate() {
        let at = format!("{at}.match[{i}]");
        if let Some(port) = matching.port {
            check.port(format!("{at}.port"), port);
        }
        subnets(check, &at, &matching.destination_subnets);
        source_namespace(check, &at, matching.source_namespace.as_deref());
        gateways(check, &format!("{at}.gateways"), &matching.gateways);
    }
    route(check, at, &rule.route, "a TCP rule without route");
}

/// `hosts`: the VirtualService's.
pub(super) fn tls_rule(check: &mut Check<'_>, at: &str, rule: &TlsRule, hosts: &[String]) {
    if rule.matches.is_empty() {
        let hint = "add match: [{sniHosts: […]}]";
        check.error(Code::Empty, at, "a TLS rule without match", hint);
    }
    for (i, matching) in rule.matches.iter().enumerate() {
        let at = format!("{at}.match[{i}]");
        names(check, &format!("{at}.sniHosts"), &matching.sni_hosts, hosts);
        if let Some(port) = matching.port {
            check.port(format!("{at}.port"), port);
        }
        subnets(check, &at, &matching.destination_subnets);
        source_namespace(check, &at, matching.source_namespace.as_deref());
        gateways(check, &format!("{at}.gateways"), &matching.gateways);
    }
    route(check, at, &rule.route, "a TLS rule without route");
}

fn names(check: &mut Check<'_>, at: &str, names: &[String], hosts: &[String]) {
    if names.is_empty() {
        check.error(Code::Empty, at, "a TLS match without names", "add sniHosts");
    }
    for (i, name) in names.iter().enumerate() {
        check.host_or_wildcard(format!("{at}[{i}]"), name);
        // A short name is a service's, of which the client's hello says the full one.
        let covered = hosts.iter().any(|host| !host.contains('.') || covers(host, name));
        if !covered && !hosts.is_empty() {
            let message = format!("{name} is under none of the VirtualService's hosts");
            check.error(
                Code::BadCombination,
                format!("{at}[{i}]"),
                message,
                "add it to spec.hosts",
            );
        }
    }
}

fn covers(host: &str, name: &str) -> bool {
    let (host, name) = (host.to_ascii_lowercase(), name.to_ascii_lowercase());
    match host.strip_prefix('*') {
        None => host == name,
        Some(suffix) => name.strip_prefix('*').unwrap_or(&name).ends_with(suffix),
    }
}

fn subnets(check: &mut Check<'_>, at: &str, subnets: &[String]) {
    for (i, subnet) in subnets.iter().enumerate() {
        if subnet.parse::<IpNet>().is_err() && subnet.parse::<IpAddr>().is_err() {
            let message = format!("{subnet:?} is neither an IP address nor a CIDR block");
            let path = format!("{at}.destinationSubnets[{i}]");
            check.error(Code::BadAddress, path, message, "such as 10.1.0.0/16");
        }
    }
}

fn route(check: &mut Check<'_>, at: &str, route: &[TcpDestination], nothing: &str) {
    if route.is_empty() {
        check.error(Code::Empty, at, nothing, "add route");
    }
    for (i, to) in route.iter().enumerate() {
        destination(check, &format!("{at}.route[{i}].destination"), &to.destination);
    }
    let shares = route.iter().map(|to| to.weight);
    weights(check, &format!("{at}.route"), shares);
}
