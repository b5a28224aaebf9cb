//! HTTPRoute attached to a Service (GAMMA).
//!
//! All routes of a service are one ordered list, whatever objects they come from (Gateway API, "HTTPRouteRule
//! precedence"): exact path, longer path, a method, more headers, more query parameters, then the name. Therefore
//! rules are split into their matches, sorted, and joined again into runs of one object.
//!
//! A route in another namespace than its service is a consumer's: it holds for callers in the route's namespace, and
//! there in place of the producer's (as in Istio: what no rule of theirs matches is not found).

mod attach;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::kinds::http_route::{
    self as api, BackendRef, Filter, HttpRouteSpec, Match, Method, ParentRef, PathMatchType, PathModifier,
    PathModifierType, Rule, ValueMatch, ValueMatchType,
};
use leno_api::{Code, Object, Severity, Spec};

use super::gateway::Gateways;
use super::{
    Context, DEFAULT_RETRY_ON, Routes, count, default_retries, number, of_kind, origin, per_million, port,
};
use crate::name::{Host, Origin};
use crate::route::{
    HeaderEdits, HeaderMatch, HttpAction, HttpMatch, HttpRoute, HttpRule, Mirror, PathMatch, PathRewrite,
    RedirectPort, Retries, Rewrite, StringMatch, WeightedBackend,
};
use crate::visibility::{Exported, Scoped};

use attach::Attached;
pub(super) use attach::is_gateway;

/// One match with what follows from it, on its way to its place in the order.
struct Ranked {
    rank: Rank,
    origin: Origin,
    ports: Vec<u16>,
    rule: HttpRule,
}

/// Smaller goes first.
type Rank = (
    bool,
    Reverse<u8>,
    Reverse<usize>,
    bool,
    Reverse<usize>,
    Reverse<usize>,
    usize,
);

pub(crate) fn add_routes(
    context: &mut Context<'_>,
    objects: &[&Arc<Object>],
    routes: &mut Routes,
    gateways: &mut Gateways<'_>,
) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::HttpRoute(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut by_host: BTreeMap<Host, Vec<Ranked>> = BTreeMap::new();
    let mut at_gateways: BTreeMap<Attached, Vec<Ranked>> = BTreeMap::new();
    let mut order = 0;
    for (object, spec) in specs {
        let parents = parents(context, object, spec);
        let attached = attach::attached(context, object, spec, gateways);
        if parents.is_empty() && attached.is_empty() {
            continue;
        }
        if !spec.hostnames.is_empty() && attached.is_empty() {
            let message = "hostnames say nothing for a Service as parent";
            let hint = "it is called by its own names";
            context.report(
                object,
                (Code::NoEffect, Severity::Warning),
                "spec.hostnames",
                message,
                hint,
            );
        }
        let default = [Rule::default()];
        let rules = if spec.rules.is_empty() {
            &default[..]
        } else {
            &spec.rules
        };
        for (i, rule) in rules.iter().enumerate() {
            let compiled = compile_rule(context, object, i, rule);
            for matching in matches(rule) {
                order += 1;
                for (host, parent_port) in &parents {
                    let home = context
                        .services
                        .get(host)
                        .is_some_and(|service| service.namespace == *object.key.namespace);
                    let ranked = rank(object, &compiled, &matching, home, *parent_port, order);
                    by_host.entry(host.clone()).or_default().push(ranked);
                }
                for place in &attached {
                    let ranked = rank(object, &compiled, &matching, true, None, order);
                    at_gateways.entry(place.clone()).or_default().push(ranked);
                }
            }
        }
    }
    for (place, mut ranked) in at_gateways {
        ranked.sort_by_key(|ranked| ranked.rank);
        attach::put(gateways, place, runs(&[], ranked));
    }
    for (host, mut ranked) in by_host {
        end_consumers(&mut ranked);
        ranked.sort_by_key(|ranked| ranked.rank);
        let runs = runs(std::slice::from_ref(&host), ranked);
        routes.http.insert(host, Scoped::everywhere(runs));
    }
}

/// The services that a route attaches to, each with the port if it names one.
fn parents(context: &mut Context<'_>, object: &Object, spec: &HttpRouteSpec) -> Vec<(Host, Option<u16>)> {
    let mut parents = Vec::new();
    for (i, parent) in spec
        .parent_refs
        .iter()
        .enumerate()
        .filter(|(_, parent)| is_service(parent))
    {
        let path = format!("spec.parentRefs[{i}]");
        let namespace = parent.namespace.as_deref().unwrap_or(&object.key.namespace);
        let host = Host::in_cluster(&parent.name, namespace);
        let parent_port = parent.port.and_then(port);
        let Some(service) = context.services.get(&host) else {
            let message = format!("the parent {host} is not in the mesh; the route waits for it");
            let hint = context.nearest_host(&host);
            context.report(
                object,
                (Code::ParentNotFound, Severity::Warning),
                &path,
                message,
                hint,
            );
            continue;
        };
        if let Some(number) =
            parent_port.filter(|number| !service.ports.iter().any(|port| port.port == *number))
        {
            let message = format!("the parent {host} has no port {number}");
            context.report(
                object,
                (Code::PortNotFound, Severity::Error),
                &path,
                message,
                "name one that it has",
            );
            continue;
        }
        if !parents.contains(&(host.clone(), parent_port)) {
            parents.push((host, parent_port));
        }
    }
    parents
}

fn is_service(parent: &ParentRef) -> bool {
    parent.kind.as_deref() == Some("Service") && matches!(parent.group.as_deref(), Some("" | "core"))
}

/// `home`: not a consumer's.
fn rank(
    object: &Object,
    rule: &HttpRule,
    matching: &HttpMatch,
    home: bool,
    parent_port: Option<u16>,
    order: usize,
) -> Ranked {
    let (kind, length) = match &matching.path {
        Some(PathMatch::Exact(path)) => (3, path.len()),
        Some(PathMatch::ElementPrefix(path) | PathMatch::Prefix(path)) => {
            (2, path.trim_end_matches('/').len())
        }
        Some(PathMatch::Regex(pattern)) => (1, pattern.len()),
        None => (0, 0),
    };
    let mut rule = rule.clone();
    let mut matching = matching.clone();
    if !home {
        matching.source_namespace = Some(object.key.namespace.to_string());
    }
    let rank = (
        home,
        Reverse(kind),
        Reverse(length),
        matching.method.is_none(),
        Reverse(matching.headers.len()),
        Reverse(matching.query.len()),
        order,
    );
    rule.matches = vec![matching];
    Ranked {
        rank,
        origin: origin(object),
        ports: parent_port.into_iter().collect(),
        rule,
    }
}

/// After the rules of a consumer's namespace nothing else holds for its callers.
fn end_consumers(ranked: &mut Vec<Ranked>) {
    let mut ends: BTreeMap<(String, Vec<u16>), Ranked> = BTreeMap::new();
    for last in ranked.iter() {
        let Some(namespace) = last
            .rule
            .matches
            .iter()
            .find_map(|matching| matching.source_namespace.clone())
        else {
            continue;
        };
        let matching = HttpMatch {
            source_namespace: Some(namespace.clone()),
            ..HttpMatch::default()
        };
        let rule = HttpRule {
            name: None,
            number: last.rule.number,
            place: last.rule.place.clone(),
            matches: vec![matching],
            action: HttpAction::Respond {
                status: 404,
                body: None,
            },
            timeout: None,
            retries: None,
            fault: None,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            rewrite: None,
            mirror: Vec::new(),
            cors: None,
        };
        let rank = (
            false,
            Reverse(0),
            Reverse(0),
            true,
            Reverse(0),
            Reverse(0),
            usize::MAX,
        );
        let end = Ranked {
            rank,
            origin: last.origin.clone(),
            ports: last.ports.clone(),
            rule,
        };
        ends.insert((namespace, last.ports.clone()), end);
    }
    ranked.extend(ends.into_values());
}

/// Joins neighbours of one object into one route.
fn runs(hosts: &[Host], ranked: Vec<Ranked>) -> Vec<Arc<HttpRoute>> {
    let mut routes: Vec<HttpRoute> = Vec::new();
    for Ranked {
        origin, ports, rule, ..
    } in ranked
    {
        match routes.last_mut() {
            Some(last) if last.origin == origin && last.ports == ports => last.rules.push(rule),
            _ => routes.push(HttpRoute {
                origin,
                exported: Exported::Everywhere,
                hosts: hosts.to_vec(),
                ports,
                rules: vec![rule],
            }),
        }
    }
    routes.into_iter().map(Arc::new).collect()
}

fn matches(rule: &Rule) -> Vec<HttpMatch> {
    if rule.matches.is_empty() {
        return vec![http_match(&Match::default())];
    }
    rule.matches.iter().map(http_match).collect()
}

fn http_match(spec: &Match) -> HttpMatch {
    let path = spec.path.clone().unwrap_or_default();
    let value = path.value.unwrap_or_else(|| "/".into());
    HttpMatch {
        path: Some(match path.kind {
            PathMatchType::Exact => PathMatch::Exact(value),
            PathMatchType::PathPrefix => PathMatch::ElementPrefix(value),
            PathMatchType::RegularExpression => PathMatch::Regex(value),
        }),
        method: spec
            .method
            .map(|method| StringMatch::Exact(method_name(method).into())),
        headers: spec
            .headers
            .iter()
            .map(|header| {
                (
                    header.name.to_ascii_lowercase(),
                    HeaderMatch::Value(value_match(header)),
                )
            })
            .collect(),
        query: spec
            .query_params
            .iter()
            .map(|query| (query.name.clone(), value_match(query)))
            .collect(),
        ..HttpMatch::default()
    }
}

fn value_match(spec: &ValueMatch) -> StringMatch {
    match spec.kind {
        ValueMatchType::Exact => StringMatch::Exact(spec.value.clone()),
        ValueMatchType::RegularExpression => StringMatch::Regex(spec.value.clone()),
    }
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
    }
}

/// A rule without its matches.
fn compile_rule(context: &mut Context<'_>, object: &Object, i: usize, spec: &Rule) -> HttpRule {
    let at = format!("spec.rules[{i}]");
    let timeouts = spec.timeouts.unwrap_or_default();
    let mut rule = HttpRule {
        name: spec.name.clone(),
        number: number(i),
        place: object.place_of(&at).to_string(),
        matches: Vec::new(),
        action: HttpAction::Forward(Vec::new()),
        timeout: timeouts
            .request
            .map(|span| span.0)
            .filter(|timeout| !timeout.is_zero()),
        retries: retries(spec),
        fault: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        rewrite: None,
        mirror: Vec::new(),
        cors: None,
    };
    let backends: Vec<WeightedBackend> = spec
        .backend_refs
        .iter()
        .enumerate()
        .map(|(b, backend)| backend_ref(context, object, &format!("{at}.backendRefs[{b}]"), backend))
        .collect();
    // The Gateway API answers 500 where a rule has no backend that could be chosen.
    rule.action = match backends.iter().any(|backend| backend.weight > 0) {
        true => HttpAction::Forward(backends),
        false => HttpAction::Respond {
            status: 500,
            body: None,
        },
    };
    for (f, filter) in spec.filters.iter().enumerate() {
        apply_filter(context, object, &format!("{at}.filters[{f}]"), filter, &mut rule);
    }
    rule
}

fn apply_filter(context: &mut Context<'_>, object: &Object, at: &str, filter: &Filter, rule: &mut HttpRule) {
    if let Some(modifier) = &filter.request_header_modifier {
        rule.request_headers = edits(modifier);
    }
    if let Some(modifier) = &filter.response_header_modifier {
        rule.response_headers = edits(modifier);
    }
    if let Some(redirect) = &filter.request_redirect {
        rule.action = HttpAction::Redirect {
            scheme: redirect.scheme.clone(),
            authority: redirect.hostname.clone(),
            port: redirect.port.and_then(port).map(RedirectPort::Number),
            path: redirect.path.as_ref().and_then(path_rewrite),
            code: redirect.status_code.and_then(port).unwrap_or(302),
        };
    }
    if let Some(rewrite) = &filter.url_rewrite {
        let path = rewrite.path.as_ref().and_then(path_rewrite);
        rule.rewrite = Some(Rewrite {
            authority: rewrite.hostname.clone(),
            path,
        });
    }
    if let Some(mirror) = &filter.request_mirror {
        let share = match (mirror.percent, mirror.fraction) {
            (Some(percent), _) => per_million(percent as f64),
            (None, Some(fraction)) => per_million(
                fraction.numerator as f64 * 100.0 / fraction.denominator.unwrap_or(100).max(1) as f64,
            ),
            (None, None) => per_million(100.0),
        };
        let path = format!("{at}.requestMirror.backendRef");
        let backend = resolve_backend(context, object, &path, &mirror.backend_ref);
        if share > 0 && !backend.invalid {
            rule.mirror.push(Mirror { backend, share });
        }
    }
}

fn edits(modifier: &api::HeaderModifier) -> HeaderEdits {
    let pairs = |headers: &[api::Header]| {
        headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), header.value.clone()))
            .collect()
    };
    HeaderEdits {
        set: pairs(&modifier.set),
        add: pairs(&modifier.add),
        remove: modifier
            .remove
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
    }
}

fn path_rewrite(path: &PathModifier) -> Option<PathRewrite> {
    match path.kind {
        PathModifierType::ReplaceFullPath => path.replace_full_path.clone().map(PathRewrite::Full),
        PathModifierType::ReplacePrefixMatch => path.replace_prefix_match.clone().map(PathRewrite::Prefix),
    }
}

fn backend_ref(context: &mut Context<'_>, object: &Object, path: &str, spec: &BackendRef) -> WeightedBackend {
    let reference = api::ObjectRef {
        group: spec.group.clone(),
        kind: spec.kind.clone(),
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        port: spec.port,
    };
    let mut backend = resolve_backend(context, object, path, &reference);
    backend.weight = count(spec.weight.unwrap_or(1));
    for filter in &spec.filters {
        if let Some(modifier) = &filter.request_header_modifier {
            backend.request_headers = edits(modifier);
        }
        if let Some(modifier) = &filter.response_header_modifier {
            backend.response_headers = edits(modifier);
        }
    }
    backend
}

pub(super) fn resolve_backend(
    context: &mut Context<'_>,
    object: &Object,
    path: &str,
    spec: &api::ObjectRef,
) -> WeightedBackend {
    let namespace = spec.namespace.as_deref().unwrap_or(&object.key.namespace);
    let mut backend = WeightedBackend {
        host: Host::in_cluster(&spec.name, namespace),
        subset: None,
        port: spec.port.and_then(port),
        weight: 1,
        invalid: false,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
    };
    let is_service = matches!(spec.group.as_deref(), None | Some("" | "core"))
        && matches!(spec.kind.as_deref(), None | Some("Service"));
    if !is_service {
        // Reported by validation; the Gateway API wants its share to be answered with 500.
        backend.invalid = true;
    } else if namespace != &*object.key.namespace
        && !context.grants.allows(
            (
                "gateway.networking.k8s.io",
                object.key.kind.as_str(),
                &object.key.namespace,
            ),
            ("", "Service", namespace, &spec.name),
        )
    {
        backend.invalid = true;
        let message = format!(
            "{} is in another namespace and no ReferenceGrant allows it",
            backend.host
        );
        let hint = "add a ReferenceGrant to that namespace, or use a backend in the same namespace";
        context.report(
            object,
            (Code::NoReferenceGrant, Severity::Error),
            path,
            message,
            hint,
        );
    } else {
        context.check_backend(object, path, &mut backend);
    }
    backend
}

/// `retry` and `timeouts.backendRequest`; nothing said: the mesh's default.
fn retries(spec: &Rule) -> Option<Retries> {
    let per_try = spec
        .timeouts
        .and_then(|timeouts| timeouts.backend_request)
        .map(|span| span.0);
    let per_try_timeout = per_try.filter(|timeout| !timeout.is_zero());
    let Some(retry) = &spec.retry else {
        return Some(Retries {
            per_try_timeout,
            ..default_retries()
        });
    };
    if retry.attempts == Some(0) {
        return Some(Retries {
            attempts: 0,
            per_try_timeout,
            ..default_retries()
        });
    }
    let codes = retry.codes.iter().map(i64::to_string);
    let on: Vec<String> = std::iter::once(DEFAULT_RETRY_ON.to_owned())
        .chain(codes)
        .collect();
    Some(Retries {
        attempts: retry.attempts.map_or(default_retries().attempts, count),
        per_try_timeout,
        on: on.join(","),
        backoff: retry.backoff.map(|span| span.0),
        ..default_retries()
    })
}
