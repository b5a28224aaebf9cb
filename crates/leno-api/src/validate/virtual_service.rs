//! VirtualService.

mod cors;
mod delegation;
mod streams;

use std::collections::BTreeMap;

use super::resilience::{fault, percentage, retries};
use super::{Check, names};
use crate::base64;
use crate::codes::Code;
use crate::kinds::virtual_service::{
    Destination, DirectResponse, HeaderOperations, Headers, HttpMatch, HttpRule, Redirect, Rewrite,
    StringMatch, VirtualServiceSpec,
};

/// Istio's bound: a proxy keeps each of them in memory.
const MAX_BODY_BYTES: usize = 1 << 20;

pub(super) fn check(check: &mut Check<'_>, spec: &VirtualServiceSpec) {
    delegation::check(check, spec);
    for (i, host) in spec.hosts.iter().enumerate() {
        check.host_or_wildcard(format!("spec.hosts[{i}]"), host);
    }
    let hosts = spec.hosts.iter().enumerate();
    check.distinct(
        "host",
        hosts.map(|(i, host)| (format!("spec.hosts[{i}]"), host.as_str())),
    );
    check.export_to("spec.exportTo", &spec.export_to, false);
    gateways(check, "spec.gateways", &spec.gateways);
    if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
        check.error(
            Code::Empty,
            "spec",
            "a VirtualService without routes",
            "add http, tls or tcp routes",
        );
    }
    for (i, rule) in spec.http.iter().enumerate() {
        http_rule(check, &format!("spec.http[{i}]"), rule, &spec.gateways);
        let matches_all = rule.matches.is_empty();
        if matches_all && i + 1 < spec.http.len() {
            let message = format!("the rules after http[{i}] are never reached: it matches every request");
            check.warning(
                Code::NoEffect,
                format!("spec.http[{}]", i + 1),
                message,
                "put it last",
            );
        }
    }
    let named = spec.http.iter().enumerate();
    let named = named.filter_map(|(i, r)| Some((format!("spec.http[{i}].name"), r.name.as_deref()?)));
    check.distinct("route name", named);
    for (i, rule) in spec.tcp.iter().enumerate() {
        streams::tcp_rule(check, &format!("spec.tcp[{i}]"), rule);
    }
    for (i, rule) in spec.tls.iter().enumerate() {
        streams::tls_rule(check, &format!("spec.tls[{i}]"), rule, &spec.hosts);
    }
}

/// `mesh`, a Gateway's name, or `namespace/name`.
fn gateways(check: &mut Check<'_>, path: &str, gateways: &[String]) {
    for (i, gateway) in gateways.iter().enumerate() {
        let (namespace, name) = gateway.split_once('/').unwrap_or((".", gateway));
        if (namespace != "." && !names::is_label(namespace)) || !names::is_subdomain(name) {
            check.error(
                Code::BadName,
                format!("{path}[{i}]"),
                format!("{gateway:?} is no Gateway's name"),
                "write NAME, NAMESPACE/NAME or mesh",
            );
        }
    }
}

fn http_rule(check: &mut Check<'_>, at: &str, rule: &HttpRule, of_all: &[String]) {
    let actions = [
        ("route", !rule.route.is_empty()),
        ("redirect", rule.redirect.is_some()),
        ("directResponse", rule.direct_response.is_some()),
        ("delegate", rule.delegate.is_some()),
    ];
    check.one_of(at, &actions);
    for (i, matching) in rule.matches.iter().enumerate() {
        let gateways = match matching.gateways.is_empty() {
            true => of_all,
            false => &matching.gateways,
        };
        let at_gateway = gateways.iter().any(|gateway| gateway != "mesh");
        http_match(check, &format!("{at}.match[{i}]"), matching, at_gateway);
    }
    for (i, route) in rule.route.iter().enumerate() {
        let at = format!("{at}.route[{i}]");
        destination(check, &format!("{at}.destination"), &route.destination);
        headers(check, &format!("{at}.headers"), route.headers.as_ref());
    }
    weights(
        check,
        &format!("{at}.route"),
        rule.route.iter().map(|route| route.weight),
    );
    redirect(check, &format!("{at}.redirect"), rule);
    rewrite(check, &format!("{at}.rewrite"), rule.rewrite.as_ref());
    if let Some(response) = &rule.direct_response {
        direct_response(check, &format!("{at}.directResponse"), response);
    }
    if let Some(policy) = &rule.cors_policy {
        cors::check(check, &format!("{at}.corsPolicy"), policy);
    }
    // In Istio a timeout of 0s turns the timeout off.
    if rule.timeout.is_some_and(|timeout| !timeout.0.is_zero()) {
        check.positive(format!("{at}.timeout"), rule.timeout);
    }
    retries(check, &format!("{at}.retries"), rule.retries.as_ref());
    fault(check, &format!("{at}.fault"), rule.fault.as_ref());
    mirrors(check, at, rule);
    headers(check, &format!("{at}.headers"), rule.headers.as_ref());
    one_authority(check, at, rule);
}

/// The host that the destination sees is said in one place.
fn one_authority(check: &mut Check<'_>, at: &str, rule: &HttpRule) {
    let rewritten = rule.rewrite.iter().filter(|rewrite| rewrite.authority.is_some());
    let set = rule.headers.iter().flat_map(|headers| headers.request.set.keys());
    let set = set.filter(|name| is_authority(name));
    if rewritten.count() + set.count() > 1 {
        let message = "the authority is rewritten twice";
        let hint = "keep either rewrite.authority or the header host";
        check.error(
            Code::BadCombination,
            format!("{at}.headers.request.set"),
            message,
            hint,
        );
    }
}

/// In Istio setting `host` or `:authority` of a request rewrites the authority.
fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

fn direct_response(check: &mut Check<'_>, at: &str, response: &DirectResponse) {
    check.range(format!("{at}.status"), response.status, 200..=599);
    let Some(body) = &response.body else { return };
    let at = format!("{at}.body");
    check.one_of(
        &at,
        &[("string", body.string.is_some()), ("bytes", body.bytes.is_some())],
    );
    let length = match (&body.string, &body.bytes) {
        (Some(text), _) => text.len(),
        (None, Some(bytes)) => match base64::decode(bytes) {
            Some(bytes) => bytes.len(),
            None => {
                let hint = "as base64 -w0 FILE writes it; or write it under string as it is";
                check.error(Code::WrongValue, format!("{at}.bytes"), "not base64", hint);
                return;
            }
        },
        (None, None) => 0,
    };
    if length > MAX_BODY_BYTES {
        let message = format!("a body of {length} bytes; the most are {MAX_BODY_BYTES}");
        check.error(Code::TooLarge, at, message, "let a server send it");
    }
}

fn mirrors(check: &mut Check<'_>, at: &str, rule: &HttpRule) {
    if rule.mirror.is_some() && !rule.mirrors.is_empty() {
        check.error(
            Code::BadCombination,
            format!("{at}.mirrors"),
            "mirror and mirrors are given together",
            "keep one",
        );
    }
    if let Some(mirror) = &rule.mirror {
        destination(check, &format!("{at}.mirror"), mirror);
    }
    percentage(
        check,
        &format!("{at}.mirrorPercentage"),
        rule.mirror_percentage,
        None,
    );
    percentage(check, &format!("{at}.mirrorPercent"), None, rule.mirror_percent);
    for (i, mirror) in rule.mirrors.iter().enumerate() {
        destination(
            check,
            &format!("{at}.mirrors[{i}].destination"),
            &mirror.destination,
        );
        percentage(
            check,
            &format!("{at}.mirrors[{i}].percentage"),
            mirror.percentage,
            None,
        );
    }
}

fn http_match(check: &mut Check<'_>, at: &str, matching: &HttpMatch, at_gateway: bool) {
    let strings = [
        ("uri", &matching.uri),
        ("scheme", &matching.scheme),
        ("method", &matching.method),
        ("authority", &matching.authority),
    ];
    for (field, value) in strings {
        if let Some(value) = value {
            string_match(check, &format!("{at}.{field}"), value, false);
        }
    }
    let maps = [
        ("headers", &matching.headers),
        ("withoutHeaders", &matching.without_headers),
    ];
    for (field, map) in maps {
        for (name, value) in map {
            let path = format!("{at}.{field}");
            match claim_of(name) {
                None => header_key(check, &path, name),
                Some(Err(why)) => check.error(Code::BadHeader, &path, why, CLAIMS),
                Some(Ok(_)) if !at_gateway => {
                    let message =
                        format!("{name} is only known at a gateway, which verifies tokens before it routes");
                    let hint = "name the rule's Gateway under gateways";
                    check.error(Code::BadCombination, &path, message, hint);
                }
                Some(Ok(_)) => {}
            }
            string_match(check, &format!("{path}.{name}"), value, true);
        }
    }
    for (name, value) in &matching.query_params {
        string_match(check, &format!("{at}.queryParams.{name}"), value, true);
    }
    if let Some(port) = matching.port {
        check.port(format!("{at}.port"), port);
    }
    source_namespace(check, at, matching.source_namespace.as_deref());
    gateways(check, &format!("{at}.gateways"), &matching.gateways);
    if matching.ignore_uri_case && matching.uri.as_ref().is_some_and(|uri| uri.regex.is_some()) {
        let message = "ignoreUriCase does not hold for a regular expression";
        check.warning(
            Code::NoEffect,
            format!("{at}.ignoreUriCase"),
            message,
            "begin the expression with (?i)",
        );
    }
}

fn source_namespace(check: &mut Check<'_>, at: &str, namespace: Option<&str>) {
    if let Some(namespace) = namespace.filter(|namespace| !names::is_label(namespace)) {
        let message = format!("{namespace:?} is no namespace");
        check.error(Code::BadName, format!("{at}.sourceNamespace"), message, "");
    }
}

fn string_match(check: &mut Check<'_>, at: &str, matching: &StringMatch, presence: bool) {
    let fields = [
        ("exact", matching.exact.is_some()),
        ("prefix", matching.prefix.is_some()),
        ("regex", matching.regex.is_some()),
    ];
    if !presence || fields.iter().any(|(_, set)| *set) {
        check.one_of(at, &fields);
    }
    if let Some(pattern) = &matching.regex {
        check.regex(format!("{at}.regex"), pattern);
    }
    if matching.prefix.as_deref() == Some("") || matching.regex.as_deref() == Some("") {
        check.error(
            Code::Empty,
            at,
            "an empty prefix or expression",
            "leave the match out to match everything",
        );
    }
}

fn destination(check: &mut Check<'_>, at: &str, destination: &Destination) {
    check.host(format!("{at}.host"), &destination.host);
    if let Some(port) = destination.port {
        check.port(format!("{at}.port.number"), port.number);
    }
    if destination.subset.as_deref() == Some("") {
        check.error(
            Code::Empty,
            format!("{at}.subset"),
            "an empty subset",
            "leave it out",
        );
    }
}

fn weights(check: &mut Check<'_>, at: &str, weights: impl Iterator<Item = i64>) {
    let weights: Vec<i64> = weights.collect();
    for (i, weight) in weights.iter().enumerate() {
        check.range(format!("{at}[{i}].weight"), *weight, 0..=i64::from(i32::MAX));
    }
    let total = weights
        .iter()
        .fold(0i64, |sum, weight| sum.saturating_add(*weight));
    if weights.len() > 1 && total == 0 {
        check.error(
            Code::BadWeights,
            at,
            "all weights are zero",
            "give at least one a weight",
        );
    }
    if total > i64::from(u32::MAX) {
        check.error(
            Code::BadWeights,
            at,
            format!("the weights add up to {total}"),
            "use smaller ones",
        );
    }
}

fn redirect(check: &mut Check<'_>, at: &str, rule: &HttpRule) {
    let Some(Redirect {
        port,
        derive_port,
        redirect_code,
        scheme,
        ..
    }) = &rule.redirect
    else {
        return;
    };
    if let Some(port) = port {
        check.port(format!("{at}.port"), *port);
        if derive_port.is_some() {
            check.error(
                Code::BadCombination,
                at,
                "port and derivePort are given together",
                "keep one",
            );
        }
    }
    if let Some(code) = redirect_code
        && ![301, 302, 303, 307, 308].contains(code)
    {
        let message = format!("{code} is not a redirection");
        check.error(
            Code::OutOfRange,
            format!("{at}.redirectCode"),
            message,
            "use 301, 302, 303, 307 or 308",
        );
    }
    if let Some(scheme) = scheme
        && !["http", "https"].contains(&scheme.as_str())
    {
        check.error(
            Code::WrongValue,
            format!("{at}.scheme"),
            format!("scheme {scheme:?}"),
            "use http or https",
        );
    }
    let others = [
        rule.fault.is_some(),
        rule.rewrite.is_some(),
        rule.mirror.is_some(),
        rule.retries.is_some(),
    ];
    if others.contains(&true) {
        let message = "fault, rewrite, mirror and retries cannot go with a redirect";
        check.error(Code::BadCombination, at, message, "remove them");
    }
}

fn rewrite(check: &mut Check<'_>, at: &str, rewrite: Option<&Rewrite>) {
    let Some(rewrite) = rewrite else { return };
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        check.regex(format!("{at}.uriRegexRewrite.match"), &regex.pattern);
        if rewrite.uri.is_some() {
            check.error(
                Code::BadCombination,
                at,
                "uri and uriRegexRewrite are given together",
                "keep one",
            );
        }
    }
    if rewrite.uri.is_none() && rewrite.authority.is_none() && rewrite.uri_regex_rewrite.is_none() {
        check.error(
            Code::Empty,
            at,
            "a rewrite that rewrites nothing",
            "give uri, authority or uriRegexRewrite",
        );
    }
}

fn headers(check: &mut Check<'_>, at: &str, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    operations(check, &format!("{at}.request"), &headers.request, true);
    operations(check, &format!("{at}.response"), &headers.response, false);
}

fn operations(check: &mut Check<'_>, at: &str, operations: &HeaderOperations, request: bool) {
    let maps: [(&str, &BTreeMap<String, String>); 2] = [("set", &operations.set), ("add", &operations.add)];
    for (field, map) in maps {
        for (name, value) in map {
            let authority = request && is_authority(name);
            if authority && field == "add" {
                check.error(
                    Code::BadHeader,
                    format!("{at}.add"),
                    format!("{name} can be set, not added"),
                    "use set",
                );
            } else if !authority {
                header_key(check, &format!("{at}.{field}"), name);
            }
            check.header_value(format!("{at}.{field}.{name}"), value);
        }
    }
    for (i, name) in operations.remove.iter().enumerate() {
        header_key(check, &format!("{at}.remove[{i}]"), name);
    }
}

fn header_key(check: &mut Check<'_>, at: &str, name: &str) {
    if name.starts_with(':') {
        let hint = "match and rewrite with uri, method, scheme and authority";
        check.error(Code::BadHeader, at, format!("{name} is a pseudo-header"), hint);
    } else {
        check.header_name(at, name);
    }
}

/// Where a route asks for a claim of the request's token: in the place of a header, as Istio has it.
const CLAIM: &str = "@request.auth.claims";
const CLAIMS: &str =
    "write @request.auth.claims.NAME, or @request.auth.claims[A][B] for a claim within another";

/// None: it is a header's name. Else the path to the claim, or what is wrong with it.
pub fn claim_of(name: &str) -> Option<Result<Vec<String>, String>> {
    name.starts_with('@').then(|| {
        let is_ours = |prefix: &str| prefix.eq_ignore_ascii_case(CLAIM);
        let bad = || format!("{name} is neither a header nor a claim");
        let (prefix, rest) = name.split_at_checked(CLAIM.len()).ok_or_else(bad)?;
        let dotted = rest.strip_prefix('.');
        let inner = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let path: Vec<String> = match (dotted, inner) {
            (Some(dotted), _) => dotted.split('.').map(str::to_owned).collect(),
            (_, Some(inner)) => inner.split("][").map(str::to_owned).collect(),
            (None, None) => return Err(bad()),
        };
        match is_ours(prefix) && path.iter().all(|name| !name.is_empty()) {
            true => Ok(path),
            false => Err(bad()),
        }
    })
}
