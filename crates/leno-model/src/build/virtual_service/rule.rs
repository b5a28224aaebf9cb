//! One HTTP rule in the model's form.

use std::collections::BTreeMap;

use leno_api::Object;
use leno_api::kinds::virtual_service::{
    self as api, Body, CorsPolicy, DerivePort, Destination, HeaderOperations, Headers, HttpDestination,
    HttpRule as ApiRule, UnmatchedPreflights,
};
use leno_api::validate::virtual_service::claim_of;

use super::Written;
use crate::build::{Context, DEFAULT_RETRY_ON, count, default_retries, number, per_million, port};
use crate::route::{
    AbortStatus, Cors, Fault, HeaderEdits, HeaderMatch, HttpAction, HttpMatch, HttpRule, Mirror, PathMatch,
    PathRewrite, RedirectPort, Retries, Rewrite, StringMatch, WeightedBackend,
};

const MILLION: u32 = 1_000_000;

/// `applies`: whether a match with these `gateways` holds where the rule is for. None: none of its matches does.
pub(in crate::build) fn http_rule(
    context: &mut Context<'_>,
    written: &Written<'_>,
    applies: &dyn Fn(&[String]) -> bool,
) -> Option<HttpRule> {
    let Written { object, index, rule } = written;
    let matches: Vec<HttpMatch> = rule
        .matches
        .iter()
        .filter(|m| applies(&m.gateways))
        .map(http_match)
        .collect();
    if matches.is_empty() && !rule.matches.is_empty() {
        return None;
    }
    let at = format!("spec.http[{index}]");
    let headers = rule.headers.clone().unwrap_or_default();
    let mut rewrite = rule.rewrite.as_ref().map(rewrite);
    if let Some(authority) = authority(&headers.request) {
        rewrite
            .get_or_insert(Rewrite {
                authority: None,
                path: None,
            })
            .authority = Some(authority);
    }
    Some(HttpRule {
        name: rule.name.clone(),
        number: number(*index),
        place: object.place_of(&at).to_string(),
        matches,
        action: action(context, object, &at, rule),
        timeout: rule
            .timeout
            .map(|span| span.0)
            .filter(|timeout| !timeout.is_zero()),
        retries: retries(rule.retries.as_ref()),
        fault: rule.fault.as_ref().map(fault),
        request_headers: edits(&headers.request),
        response_headers: edits(&headers.response),
        rewrite,
        mirror: mirrors(context, object, &at, rule),
        cors: rule.cors_policy.as_ref().map(cors),
    })
}

fn action(context: &mut Context<'_>, object: &Object, at: &str, rule: &ApiRule) -> HttpAction {
    if let Some(redirect) = &rule.redirect {
        return HttpAction::Redirect {
            scheme: redirect.scheme.clone(),
            authority: redirect.authority.clone(),
            port: match (redirect.port.and_then(port), redirect.derive_port) {
                (Some(number), _) => Some(RedirectPort::Number(number)),
                (None, Some(DerivePort::FromRequestPort)) => Some(RedirectPort::Called),
                (None, Some(DerivePort::FromProtocolDefault) | None) => None,
            },
            path: redirect
                .uri
                .as_ref()
                .map(|uri| match uri.strip_prefix("%PREFIX()%") {
                    Some(rest) => PathRewrite::Prefix(rest.to_owned()),
                    None => PathRewrite::Full(uri.clone()),
                }),
            code: redirect.redirect_code.and_then(port).unwrap_or(301),
        };
    }
    if let Some(response) = &rule.direct_response {
        return HttpAction::Respond {
            status: port(response.status).unwrap_or(500),
            body: response.body.as_ref().and_then(Body::content),
        };
    }
    let single = rule.route.len() == 1;
    let backends = rule.route.iter().enumerate().map(|(i, route)| {
        let path = format!("{at}.route[{i}].destination");
        let mut backend = backend(context, object, &path, &route.destination);
        // A single destination takes everything, whatever its weight.
        backend.weight = if single && route.weight == 0 {
            100
        } else {
            count(route.weight)
        };
        with_headers(backend, route)
    });
    HttpAction::Forward(backends.collect())
}

fn with_headers(mut backend: WeightedBackend, route: &HttpDestination) -> WeightedBackend {
    if let Some(Headers { request, response }) = &route.headers {
        backend.request_headers = edits(request);
        backend.response_headers = edits(response);
    }
    backend
}

pub(super) fn backend(
    context: &mut Context<'_>,
    object: &Object,
    path: &str,
    destination: &Destination,
) -> WeightedBackend {
    let mut backend = WeightedBackend {
        host: context.resolve(&destination.host, &object.key.namespace),
        subset: destination.subset.clone(),
        port: destination.port.and_then(|selector| port(selector.number)),
        weight: 100,
        invalid: false,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
    };
    context.check_backend(object, path, &mut backend);
    backend
}

fn mirrors(context: &mut Context<'_>, object: &Object, at: &str, rule: &ApiRule) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    if let Some(destination) = &rule.mirror {
        let share = match (rule.mirror_percentage, rule.mirror_percent) {
            (Some(percent), _) => per_million(percent.value),
            (None, Some(percent)) => per_million(percent as f64),
            (None, None) => MILLION,
        };
        let backend = backend(context, object, &format!("{at}.mirror"), destination);
        mirrors.push(Mirror { backend, share });
    }
    for (i, mirror) in rule.mirrors.iter().enumerate() {
        let share = mirror
            .percentage
            .map_or(MILLION, |percent| per_million(percent.value));
        let path = format!("{at}.mirrors[{i}].destination");
        let backend = backend(context, object, &path, &mirror.destination);
        mirrors.push(Mirror { backend, share });
    }
    // A mirror is a copy beside the answer: one that cannot be sent is left out, and reported.
    mirrors.retain(|mirror| mirror.share > 0 && !mirror.backend.invalid);
    mirrors
}

fn http_match(spec: &api::HttpMatch) -> HttpMatch {
    let (mut headers, mut claims) = (Vec::new(), Vec::new());
    let mut add = |name: &str, matching| match claim_of(name) {
        None => headers.push((name.to_ascii_lowercase(), matching)),
        // Validation has refused what is no path.
        Some(path) => claims.extend(path.ok().map(|path| (path, matching))),
    };
    for (name, value) in &spec.headers {
        add(
            name,
            string_match(value).map_or(HeaderMatch::Present, HeaderMatch::Value),
        );
    }
    for (name, value) in &spec.without_headers {
        add(
            name,
            string_match(value).map_or(HeaderMatch::Absent, HeaderMatch::Not),
        );
    }
    // Istio: a query parameter without a value must be there, with any value.
    let any = || StringMatch::Regex(".*".into());
    HttpMatch {
        name: spec.name.clone(),
        path: spec
            .uri
            .as_ref()
            .and_then(string_match)
            .map(|matching| match matching {
                StringMatch::Exact(path) => PathMatch::Exact(path),
                StringMatch::Prefix(path) => PathMatch::Prefix(path),
                StringMatch::Regex(pattern) => PathMatch::Regex(pattern),
            }),
        method: spec.method.as_ref().and_then(string_match),
        scheme: spec.scheme.as_ref().and_then(string_match),
        authority: spec.authority.as_ref().and_then(string_match),
        headers,
        claims,
        query: spec
            .query_params
            .iter()
            .map(|(name, value)| (name.clone(), string_match(value).unwrap_or_else(any)))
            .collect(),
        port: spec.port.and_then(port),
        source_labels: spec.source_labels.clone(),
        source_namespace: spec.source_namespace.clone(),
        ignore_uri_case: spec.ignore_uri_case,
        stat_prefix: spec.stat_prefix.clone().filter(|prefix| !prefix.is_empty()),
    }
}

fn string_match(spec: &api::StringMatch) -> Option<StringMatch> {
    match (&spec.exact, &spec.prefix, &spec.regex) {
        (Some(exact), ..) => Some(StringMatch::Exact(exact.clone())),
        (_, Some(prefix), _) => Some(StringMatch::Prefix(prefix.clone())),
        (_, _, Some(regex)) => Some(StringMatch::Regex(regex.clone())),
        (None, None, None) => None,
    }
}

/// Nothing said: Istio's default. No attempts: no retries.
fn retries(spec: Option<&api::Retries>) -> Option<Retries> {
    let Some(spec) = spec else {
        return Some(default_retries());
    };
    Some(Retries {
        attempts: count(spec.attempts),
        per_try_timeout: spec.per_try_timeout.map(|span| span.0),
        on: spec
            .retry_on
            .clone()
            .filter(|on| !on.is_empty())
            .unwrap_or_else(|| DEFAULT_RETRY_ON.into()),
        backoff: spec.backoff.map(|span| span.0),
        other_localities: spec.retry_remote_localities == Some(true),
        same_endpoint: spec.retry_ignore_previous_hosts == Some(false),
    })
}

fn fault(spec: &api::Fault) -> Fault {
    let share = |percentage: Option<api::Percent>, percent: Option<i64>| match (percentage, percent) {
        (Some(percentage), _) => per_million(percentage.value),
        (None, Some(percent)) => per_million(percent as f64),
        (None, None) => 0,
    };
    let delay = spec
        .delay
        .as_ref()
        .and_then(|delay| Some((share(delay.percentage, delay.percent), delay.fixed_delay?.0)));
    let abort = spec.abort.as_ref().and_then(|abort| {
        let status = match (abort.http_status, &abort.grpc_status) {
            (Some(status), _) => AbortStatus::Http(port(status)?),
            (None, Some(status)) => AbortStatus::Grpc(leno_api::validate::grpc_code(status)?),
            (None, None) => return None,
        };
        Some((share(abort.percentage, abort.percent), status))
    });
    Fault { delay, abort }
}

/// As Istio makes Envoy's policy of it.
fn cors(spec: &CorsPolicy) -> Cors {
    let old = spec.allow_origin.iter().map(|origin| match origin.as_str() {
        "*" => StringMatch::Regex(".*".into()),
        exact => StringMatch::Exact(exact.to_owned()),
    });
    let origins = spec.allow_origins.iter().filter_map(string_match);
    // An exact star is everybody to a proxy, as it is to a browser.
    Cors {
        origins: match spec.allow_origins.is_empty() {
            true => old.collect(),
            false => origins.collect(),
        },
        methods: spec.allow_methods.clone(),
        headers: spec.allow_headers.clone(),
        exposed: spec.expose_headers.clone(),
        max_age: spec.max_age.map(|age| age.0),
        credentials: spec.allow_credentials,
        forward_unmatched: spec.unmatched_preflights != UnmatchedPreflights::Ignore,
    }
}

fn rewrite(spec: &api::Rewrite) -> Rewrite {
    let regex = spec.uri_regex_rewrite.as_ref().map(|regex| PathRewrite::Regex {
        pattern: regex.pattern.clone(),
        substitution: regex.rewrite.clone(),
    });
    Rewrite {
        authority: spec.authority.clone(),
        path: regex.or_else(|| spec.uri.clone().map(PathRewrite::Prefix)),
    }
}

/// In Istio setting `host` or `:authority` rewrites the authority.
fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

fn authority(operations: &HeaderOperations) -> Option<String> {
    operations
        .set
        .iter()
        .find(|(name, _)| is_authority(name))
        .map(|(_, value)| value.clone())
}

fn edits(operations: &HeaderOperations) -> HeaderEdits {
    let pairs = |map: &BTreeMap<String, String>| {
        map.iter()
            .filter(|(name, _)| !is_authority(name))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect()
    };
    HeaderEdits {
        set: pairs(&operations.set),
        add: pairs(&operations.add),
        remove: operations
            .remove
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
    }
}
