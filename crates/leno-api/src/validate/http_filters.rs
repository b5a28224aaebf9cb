//! HTTPRoute filters, and references to other objects.

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::http_route::{
    Filter, FilterType, HeaderModifier, PathModifier, PathModifierType, Redirect,
};

pub(super) fn filters(check: &mut Check<'_>, at: &str, filters: &[Filter]) {
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

pub(super) fn name_of(kind: FilterType) -> &'static str {
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

pub(super) fn object_ref(
    check: &mut Check<'_>,
    at: &str,
    group: Option<&str>,
    kind: Option<&str>,
    port: Option<i64>,
) {
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
