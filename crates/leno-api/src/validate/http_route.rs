//! HTTPRoute: the CRD's validations, and what leno serves of it.

use std::time::Duration;

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::http_route::{
    BackendRef, Filter, FilterType, HeaderModifier, HttpRouteSpec, Match, ParentRef, PathMatchType,
    PathModifier, PathModifierType, Redirect, Retry, Rule, Timeouts, ValueMatch, ValueMatchType,
};

pub(super) fn check(check: &mut Check<'_>, spec: &HttpRouteSpec) {
    for (i, parent) in spec.parent_refs.iter().enumerate() {
        parent_ref(check, &format!("spec.parentRefs[{i}]"), parent);
    }
    if spec.parent_refs.is_empty() {
        let hint =
            "name the Service whose callers it is for: parentRefs: [{group: \"\", kind: Service, name: …}]";
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
        ("" | "core", "Service") => {}
        (_, kind) => {
            let message = format!("the parent {kind} {} is not served by leno yet", parent.name);
            check.warning(
                Code::NotServed,
                at,
                message,
                "attach the route to a Service (group: \"\", kind: Service)",
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

fn filters(check: &mut Check<'_>, at: &str, filters: &[Filter]) {
    for (i, filter) in filters.iter().enumerate() {
        self::filter(check, &format!("{at}[{i}]"), filter);
    }
    let single = filters
        .iter()
        .enumerate()
        .filter(|(_, filter)| filter.kind != FilterType::RequestMirror);
    check.distinct(
        "filter",
        single.map(|(i, filter)| (format!("{at}[{i}]"), name_of(filter.kind))),
    );
    let has = |kind| filters.iter().any(|filter| filter.kind == kind);
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        check.error(
            Code::BadCombination,
            at,
            "RequestRedirect and URLRewrite cannot go together",
            "keep one",
        );
    }
}

fn name_of(kind: FilterType) -> &'static str {
    match kind {
        FilterType::RequestHeaderModifier => "RequestHeaderModifier",
        FilterType::ResponseHeaderModifier => "ResponseHeaderModifier",
        FilterType::RequestRedirect => "RequestRedirect",
        FilterType::UrlRewrite => "URLRewrite",
        FilterType::RequestMirror => "RequestMirror",
        FilterType::Cors => "CORS",
        FilterType::ExternalAuth => "ExternalAuth",
        FilterType::ExtensionRef => "ExtensionRef",
    }
}

fn filter(check: &mut Check<'_>, at: &str, filter: &Filter) {
    let given = [
        (
            FilterType::RequestHeaderModifier,
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        (
            FilterType::ResponseHeaderModifier,
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        (
            FilterType::RequestRedirect,
            "requestRedirect",
            filter.request_redirect.is_some(),
        ),
        (FilterType::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (
            FilterType::RequestMirror,
            "requestMirror",
            filter.request_mirror.is_some(),
        ),
    ];
    if !given.iter().any(|(kind, ..)| *kind == filter.kind) {
        return check.not_served(
            format!("{at}.type"),
            format!("the filter {}", name_of(filter.kind)),
        );
    }
    for (kind, field, set) in given {
        if (kind == filter.kind) != set {
            let (code, message) = match set {
                true => (
                    Code::BadCombination,
                    format!("{field} in a filter of type {}", name_of(filter.kind)),
                ),
                false => (
                    Code::MissingField,
                    format!("a filter of type {} without {field}", name_of(kind)),
                ),
            };
            check.error(code, at, message, "type and field must say the same");
        }
    }
    for (field, modifier) in [
        ("requestHeaderModifier", &filter.request_header_modifier),
        ("responseHeaderModifier", &filter.response_header_modifier),
    ] {
        if let Some(modifier) = modifier {
            header_modifier(check, &format!("{at}.{field}"), modifier);
        }
    }
    if let Some(redirect) = &filter.request_redirect {
        self::redirect(check, &format!("{at}.requestRedirect"), redirect);
    }
    if let Some(rewrite) = &filter.url_rewrite {
        precise_host(
            check,
            &format!("{at}.urlRewrite.hostname"),
            rewrite.hostname.as_deref(),
        );
        path_modifier(check, &format!("{at}.urlRewrite.path"), rewrite.path.as_ref());
    }
    if let Some(mirror) = &filter.request_mirror {
        let at = format!("{at}.requestMirror");
        let target = &mirror.backend_ref;
        object_ref(
            check,
            &format!("{at}.backendRef"),
            target.group.as_deref(),
            target.kind.as_deref(),
            target.port,
        );
        if mirror.percent.is_some() && mirror.fraction.is_some() {
            check.error(
                Code::BadCombination,
                &at,
                "percent and fraction are given together",
                "keep one",
            );
        }
        if let Some(percent) = mirror.percent {
            check.range(format!("{at}.percent"), percent, 0..=100);
        }
        if let Some(fraction) = mirror.fraction {
            let denominator = fraction.denominator.unwrap_or(100);
            check.range(
                format!("{at}.fraction.denominator"),
                denominator,
                1..=i64::from(i32::MAX),
            );
            check.range(
                format!("{at}.fraction.numerator"),
                fraction.numerator,
                0..=denominator,
            );
        }
    }
}

fn header_modifier(check: &mut Check<'_>, at: &str, modifier: &HeaderModifier) {
    for (field, headers) in [("set", &modifier.set), ("add", &modifier.add)] {
        for (i, header) in headers.iter().enumerate() {
            check.header_name(format!("{at}.{field}[{i}].name"), &header.name);
            check.header_value(format!("{at}.{field}[{i}].value"), &header.value);
            if header.value.is_empty() {
                check.error(
                    Code::Empty,
                    format!("{at}.{field}[{i}].value"),
                    "an empty value",
                    "use remove",
                );
            }
        }
        let names: Vec<String> = headers
            .iter()
            .map(|header| header.name.to_ascii_lowercase())
            .collect();
        let named = names
            .iter()
            .enumerate()
            .map(|(i, name)| (format!("{at}.{field}[{i}]"), name.as_str()));
        check.distinct("header", named);
    }
    for (i, name) in modifier.remove.iter().enumerate() {
        check.header_name(format!("{at}.remove[{i}]"), name);
    }
    let removed = modifier.remove.iter().enumerate();
    check.distinct(
        "header",
        removed.map(|(i, name)| (format!("{at}.remove[{i}]"), name.as_str())),
    );
}

fn redirect(check: &mut Check<'_>, at: &str, redirect: &Redirect) {
    precise_host(check, &format!("{at}.hostname"), redirect.hostname.as_deref());
    path_modifier(check, &format!("{at}.path"), redirect.path.as_ref());
    if let Some(port) = redirect.port {
        check.port(format!("{at}.port"), port);
    }
    if let Some(scheme) = redirect
        .scheme
        .as_deref()
        .filter(|scheme| !["http", "https"].contains(scheme))
    {
        check.error(
            Code::WrongValue,
            format!("{at}.scheme"),
            format!("scheme {scheme:?}"),
            "use http or https",
        );
    }
    if let Some(code) = redirect
        .status_code
        .filter(|code| ![301, 302, 303, 307, 308].contains(code))
    {
        let message = format!("{code} is not a redirection");
        check.error(
            Code::OutOfRange,
            format!("{at}.statusCode"),
            message,
            "use 301, 302, 303, 307 or 308",
        );
    }
}

fn precise_host(check: &mut Check<'_>, at: &str, hostname: Option<&str>) {
    if let Some(name) = hostname.filter(|name| !names::is_subdomain(name)) {
        check.error(
            Code::BadHost,
            at,
            format!("{name:?} is not a precise DNS name"),
            "no wildcard, lower case",
        );
    }
}

fn path_modifier(check: &mut Check<'_>, at: &str, path: Option<&PathModifier>) {
    let Some(path) = path else { return };
    let fits = match path.kind {
        PathModifierType::ReplaceFullPath => {
            path.replace_full_path.is_some() && path.replace_prefix_match.is_none()
        }
        PathModifierType::ReplacePrefixMatch => {
            path.replace_prefix_match.is_some() && path.replace_full_path.is_none()
        }
    };
    if !fits {
        let hint = "give replaceFullPath or replacePrefixMatch, as type says";
        check.error(Code::OneOf, at, "type and field of the path differ", hint);
    }
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

fn object_ref(check: &mut Check<'_>, at: &str, group: Option<&str>, kind: Option<&str>, port: Option<i64>) {
    let (group, kind) = (group.unwrap_or(""), kind.unwrap_or("Service"));
    if !(group.is_empty() || names::is_subdomain(group)) || !kind.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return check.error(
            Code::WrongValue,
            at,
            format!("no kind is called {kind:?} of {group:?}"),
            "",
        );
    }
    match (group, kind, port) {
        ("", "Service", None) => check.error(Code::MissingField, at, "a Service needs a port", "add port"),
        ("", "Service", Some(port)) => check.port(format!("{at}.port"), port),
        // Gateway API: an unknown kind of backend is not an invalid object, its share answers 500.
        _ => check.warning(
            Code::NotServed,
            at,
            format!("a {kind} as backend is not served by leno yet"),
            "",
        ),
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
