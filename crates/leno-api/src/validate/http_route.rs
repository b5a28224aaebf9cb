//! HTTPRoute: the CRD's validations, and what leno serves of it.

use std::time::Duration;

use super::http_filters::{filters, name_of, object_ref};
use super::{Check, names};
use crate::codes::Code;
use crate::kinds::http_route::{
    BackendRef, FilterType, HttpRouteSpec, Match, ParentRef, PathMatchType, PathModifier, PathModifierType,
    Retry, Rule, Timeouts, ValueMatch, ValueMatchType,
};

pub(super) fn check(check: &mut Check<'_>, spec: &HttpRouteSpec) {
    for (i, parent) in spec.parent_refs.iter().enumerate() {
        parent_ref(check, &format!("spec.parentRefs[{i}]"), parent);
    }
    if spec.parent_refs.is_empty() {
        let hint = "name the Gateway, or the Service whose callers it is for: parentRefs: [{group: \"\", kind: Service, name: …}]";
        check.warning(
            Code::NoEffect,
            "spec",
            "a route without parentRefs attaches to nothing",
            hint,
        );
    }
    for (i, hostname) in spec.hostnames.iter().enumerate() {
        let at = format!("spec.hostnames[{i}]");
        let name = hostname.strip_prefix("*.").unwrap_or(hostname);
        if !names::is_subdomain(name) {
            check.error(
                Code::BadHost,
                at,
                format!("{hostname:?} is not a DNS name in lower case"),
                "",
            );
        }
    }
    for (i, rule) in spec.rules.iter().enumerate() {
        self::rule(check, &format!("spec.rules[{i}]"), rule);
    }
    let named = spec.rules.iter().enumerate();
    let named = named.filter_map(|(i, r)| Some((format!("spec.rules[{i}].name"), r.name.as_deref()?)));
    check.distinct("rule name", named);
}

fn parent_ref(check: &mut Check<'_>, at: &str, parent: &ParentRef) {
    let group = parent.group.as_deref().unwrap_or("gateway.networking.k8s.io");
    match (group, parent.kind.as_deref().unwrap_or("Gateway")) {
        ("" | "core", "Service") | ("gateway.networking.k8s.io", "Gateway") => {}
        (_, kind) => {
            let message = format!("the parent {kind} {} is not served by leno yet", parent.name);
            check.warning(
                Code::NotServed,
                at,
                message,
                "attach the route to a Gateway, or to a Service (group: \"\", kind: Service)",
            );
        }
    }
    if let Some(port) = parent.port {
        check.port(format!("{at}.port"), port);
    }
}

fn rule(check: &mut Check<'_>, at: &str, rule: &Rule) {
    if rule.matches.len() > 64 {
        check.error(
            Code::OutOfRange,
            format!("{at}.matches"),
            "more than 64 matches",
            "split the rule",
        );
    }
    for (i, matching) in rule.matches.iter().enumerate() {
        self::matching(check, &format!("{at}.matches[{i}]"), matching);
    }
    filters(check, &format!("{at}.filters"), &rule.filters);
    let redirects = rule
        .filters
        .iter()
        .any(|filter| filter.kind == FilterType::RequestRedirect);
    if redirects && !rule.backend_refs.is_empty() {
        let message = "RequestRedirect and backendRefs cannot go together";
        check.error(Code::BadCombination, at, message, "remove the backendRefs");
    }
    prefix_replacement(check, at, rule);
    for (i, backend) in rule.backend_refs.iter().enumerate() {
        backend_ref(check, &format!("{at}.backendRefs[{i}]"), backend);
    }
    if let Some(timeouts) = &rule.timeouts {
        self::timeouts(check, &format!("{at}.timeouts"), timeouts);
    }
    if let Some(retry) = &rule.retry {
        self::retry(check, &format!("{at}.retry"), retry);
    }
}

/// The CRD's rule: a prefix can only be replaced where exactly one prefix is matched.
fn prefix_replacement(check: &mut Check<'_>, at: &str, rule: &Rule) {
    let replaces =
        |path: Option<&PathModifier>| path.is_some_and(|p| p.kind == PathModifierType::ReplacePrefixMatch);
    let any = rule
        .filters
        .iter()
        .chain(rule.backend_refs.iter().flat_map(|backend| &backend.filters))
        .any(|filter| {
            replaces(filter.request_redirect.as_ref().and_then(|r| r.path.as_ref()))
                || replaces(filter.url_rewrite.as_ref().and_then(|r| r.path.as_ref()))
        });
    let prefix = |m: &Match| {
        m.path
            .as_ref()
            .is_none_or(|path| path.kind == PathMatchType::PathPrefix)
    };
    let single = match rule.matches.as_slice() {
        [] => true,
        [one] => prefix(one),
        _ => false,
    };
    if any && !single {
        let message = "replacePrefixMatch needs exactly one match, and that with a PathPrefix";
        check.error(
            Code::BadCombination,
            format!("{at}.filters"),
            message,
            "split the rule",
        );
    }
}

fn matching(check: &mut Check<'_>, at: &str, matching: &Match) {
    if let Some(path) = &matching.path {
        let value = path.value.as_deref().unwrap_or("/");
        let at = format!("{at}.path.value");
        match path.kind {
            PathMatchType::RegularExpression => check.regex(at, value),
            PathMatchType::Exact | PathMatchType::PathPrefix => plain_path(check, &at, value),
        }
    }
    values(check, &format!("{at}.headers"), &matching.headers, true);
    values(check, &format!("{at}.queryParams"), &matching.query_params, false);
}

fn plain_path(check: &mut Check<'_>, at: &str, path: &str) {
    let characters = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b);
    let reason = if !path.starts_with('/') {
        Some("it does not begin with a slash")
    } else if path.contains("//") {
        Some("it has an empty segment")
    } else if path.split('/').any(|segment| segment == "." || segment == "..") {
        Some("it has a dot segment")
    } else if path.to_ascii_lowercase().contains("%2f") {
        Some("it has an encoded slash")
    } else if !path.bytes().all(characters) || path.len() > 1024 {
        Some("it has characters that a path has not")
    } else {
        None
    };
    if let Some(reason) = reason {
        check.error(
            Code::BadPath,
            at,
            format!("the path {path:?} is refused: {reason}"),
            "",
        );
    }
}

fn values(check: &mut Check<'_>, at: &str, values: &[ValueMatch], header: bool) {
    for (i, value) in values.iter().enumerate() {
        let at = format!("{at}[{i}]");
        check.header_name(format!("{at}.name"), &value.name);
        if value.value.is_empty() {
            check.error(
                Code::Empty,
                format!("{at}.value"),
                "an empty value matches nothing",
                "give a value",
            );
        } else if value.kind == ValueMatchType::RegularExpression {
            check.regex(format!("{at}.value"), &value.value);
        }
    }
    let names: Vec<String> = values
        .iter()
        .map(|v| {
            if header {
                v.name.to_ascii_lowercase()
            } else {
                v.name.clone()
            }
        })
        .collect();
    let named = names
        .iter()
        .enumerate()
        .map(|(i, name)| (format!("{at}[{i}].name"), name.as_str()));
    check.distinct(if header { "header" } else { "query parameter" }, named);
}

fn backend_ref(check: &mut Check<'_>, at: &str, backend: &BackendRef) {
    object_ref(
        check,
        at,
        backend.group.as_deref(),
        backend.kind.as_deref(),
        backend.port,
    );
    if let Some(weight) = backend.weight {
        check.range(format!("{at}.weight"), weight, 0..=1_000_000);
    }
    filters(check, &format!("{at}.filters"), &backend.filters);
    for (i, filter) in backend.filters.iter().enumerate() {
        if !matches!(
            filter.kind,
            FilterType::RequestHeaderModifier | FilterType::ResponseHeaderModifier
        ) {
            let what = format!("the filter {} of a single backend", name_of(filter.kind));
            check.not_served(format!("{at}.filters[{i}]"), what);
        }
    }
}

fn timeouts(check: &mut Check<'_>, at: &str, timeouts: &Timeouts) {
    // GEP-1742: zero turns the timeout off.
    let set = |span: Option<crate::quantity::Span>| span.map(|span| span.0).filter(|span| !span.is_zero());
    if let (Some(request), Some(backend)) = (set(timeouts.request), set(timeouts.backend_request))
        && backend > request
    {
        let message = "backendRequest is longer than request";
        check.error(
            Code::BadDuration,
            format!("{at}.backendRequest"),
            message,
            "make it shorter",
        );
    }
    for (field, span) in [
        ("request", timeouts.request),
        ("backendRequest", timeouts.backend_request),
    ] {
        if set(span).is_some_and(|span| span < Duration::from_millis(1)) {
            check.error(
                Code::BadDuration,
                format!("{at}.{field}"),
                "less than a millisecond",
                "use 1ms or more",
            );
        }
    }
}

fn retry(check: &mut Check<'_>, at: &str, retry: &Retry) {
    for (i, code) in retry.codes.iter().enumerate() {
        check.range(format!("{at}.codes[{i}]"), *code, 400..=599);
    }
    if let Some(attempts) = retry.attempts {
        check.range(format!("{at}.attempts"), attempts, 0..=1000);
    }
    check.positive(format!("{at}.backoff"), retry.backoff);
}
