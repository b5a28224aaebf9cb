//! VirtualService: rules in the order in which they are written.
//!
//! In the mesh Istio does not merge: of several VirtualServices for one host one holds (here the first by name),
//! an exact host before a wildcard, a longer wildcard before a shorter one.

use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::kinds::virtual_service::{
    self as api, Destination, HeaderOperations, Headers, HttpDestination, HttpRule as ApiRule,
    VirtualServiceSpec,
};
use leno_api::validate::virtual_service::claim_of;
use leno_api::{Code, Object, Severity, Spec};

use super::gateway::{Gateways, bind_virtual_services};
use super::{
    Context, DEFAULT_RETRY_ON, Routes, count, default_retries, number, of_kind, origin, per_million, port,
};
use crate::name::Host;
use crate::route::{
    AbortStatus, Fault, HeaderEdits, HeaderMatch, HttpAction, HttpMatch, HttpRoute, HttpRule, Mirror,
    PathMatch, PathRewrite, Retries, Rewrite, StringMatch, TcpRoute, WeightedBackend,
};

const MILLION: u32 = 1_000_000;

/// Adds what VirtualServices say, for hosts that no HTTPRoute speaks for.
pub(crate) fn add_routes(
    context: &mut Context<'_>,
    objects: &[&Arc<Object>],
    routes: &mut Routes,
    gateways: &mut Gateways<'_>,
) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::VirtualService(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut of_mesh = specs.clone();
    of_mesh.retain(|(_, spec)| in_mesh(&spec.gateways));
    let mut hosts_of: BTreeMap<usize, Vec<Host>> = BTreeMap::new();
    for (host, winner) in winners(context, &of_mesh) {
        hosts_of.entry(winner).or_default().push(host);
    }
    for (i, (object, spec)) in of_mesh.into_iter().enumerate() {
        let hosts = hosts_of.remove(&i).unwrap_or_default();
        compile(context, object, spec, hosts, routes);
    }
    bind_virtual_services(context, &specs, gateways);
}

/// Which VirtualService holds for each service of the mesh. The losers are reported.
fn winners(context: &mut Context<'_>, specs: &[(&Object, &VirtualServiceSpec)]) -> BTreeMap<Host, usize> {
    let mut won: BTreeMap<Host, (usize, usize)> = BTreeMap::new();
    for (i, (object, spec)) in specs.iter().enumerate() {
        for (h, written) in spec.hosts.iter().enumerate() {
            let path = format!("spec.hosts[{h}]");
            for host in matching_hosts(context, object, &path, written) {
                // More characters are more specific; an exact host is the most specific.
                let rank = if written.starts_with('*') {
                    written.len()
                } else {
                    usize::MAX
                };
                match won.get(&host) {
                    Some((_, holds)) if *holds == i => {}
                    Some((held, holds)) if *held >= rank => {
                        if *held == rank {
                            let message =
                                format!("{host} has routes by {} already, which hold", specs[*holds].0.key);
                            let hint = "put the rules of one host into one VirtualService";
                            context.report(
                                object,
                                (Code::RouteConflict, Severity::Error),
                                &path,
                                message,
                                hint,
                            );
                        }
                    }
                    _ => {
                        won.insert(host, (rank, i));
                    }
                }
            }
        }
    }
    won.into_iter()
        .map(|(host, (_, winner))| (host, winner))
        .collect()
}

fn matching_hosts(context: &mut Context<'_>, object: &Object, path: &str, written: &str) -> Vec<Host> {
    if let Some(suffix) = written.strip_prefix('*') {
        let suffix = suffix.to_ascii_lowercase();
        return context
            .services
            .keys()
            .filter(|host| host.as_str().ends_with(&suffix))
            .cloned()
            .collect();
    }
    let host = context.resolve(written, &object.key.namespace);
    if context.services.contains_key(&host) {
        return vec![host];
    }
    let message = format!("the host {host} is not in the mesh; its routes wait for it");
    let hint = context.nearest_host(&host);
    context.report(
        object,
        (Code::HostNotFound, Severity::Warning),
        path,
        message,
        hint,
    );
    Vec::new()
}

fn compile(
    context: &mut Context<'_>,
    object: &Object,
    spec: &VirtualServiceSpec,
    hosts: Vec<Host>,
    routes: &mut Routes,
) {
    let rules: Vec<HttpRule> = spec
        .http
        .iter()
        .enumerate()
        .filter_map(|(i, rule)| http_rule(context, object, i, rule, &in_mesh))
        .collect();
    let (dialect, http_hosts): (Vec<Host>, Vec<Host>) = hosts
        .iter()
        .cloned()
        .partition(|host| routes.http.contains_key(host));
    if !rules.is_empty() {
        for host in dialect {
            let message = format!("an HTTPRoute speaks for {host} and holds");
            let hint = "keep the routes of one host in one dialect";
            context.report(
                object,
                (Code::DialectConflict, Severity::Error),
                "spec.hosts",
                message,
                hint,
            );
        }
        let route = HttpRoute {
            origin: origin(object),
            hosts: http_hosts.clone(),
            ports: Vec::new(),
            rules,
        };
        let route = Arc::new(route);
        for host in http_hosts {
            routes.http.insert(host, vec![route.clone()]);
        }
    }
    let tcp: Vec<Arc<TcpRoute>> = spec
        .tcp
        .iter()
        .enumerate()
        .filter_map(|(i, rule)| tcp_rule(context, object, i, rule, &hosts))
        .map(Arc::new)
        .collect();
    if !tcp.is_empty() {
        for host in hosts {
            routes.tcp.insert(host, tcp.clone());
        }
    }
}

/// Whether rules with these `gateways` hold for sidecars.
pub(super) fn in_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh")
}

/// `applies`: whether a match with these `gateways` holds where the rule is for. None: none of its matches does.
pub(super) fn http_rule(
    context: &mut Context<'_>,
    object: &Object,
    i: usize,
    rule: &ApiRule,
    applies: &dyn Fn(&[String]) -> bool,
) -> Option<HttpRule> {
    let matches: Vec<HttpMatch> = rule
        .matches
        .iter()
        .filter(|m| applies(&m.gateways))
        .map(http_match)
        .collect();
    if matches.is_empty() && !rule.matches.is_empty() {
        return None;
    }
    let at = format!("spec.http[{i}]");
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
        number: number(i),
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
    })
}

fn action(context: &mut Context<'_>, object: &Object, at: &str, rule: &ApiRule) -> HttpAction {
    if let Some(redirect) = &rule.redirect {
        return HttpAction::Redirect {
            scheme: redirect.scheme.clone(),
            authority: redirect.authority.clone(),
            port: redirect.port.and_then(port),
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
            body: response.body.as_ref().and_then(|body| body.string.clone()),
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

fn backend(
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

fn tcp_rule(
    context: &mut Context<'_>,
    object: &Object,
    i: usize,
    rule: &api::TcpRule,
    hosts: &[Host],
) -> Option<TcpRoute> {
    let matches: Vec<_> = rule
        .matches
        .iter()
        .filter(|matching| in_mesh(&matching.gateways))
        .collect();
    if matches.is_empty() && !rule.matches.is_empty() {
        return None;
    }
    // One match without a port is a match of all of them.
    let all = matches.iter().any(|matching| matching.port.is_none());
    let ports = if all {
        Vec::new()
    } else {
        matches.iter().filter_map(|m| port(m.port?)).collect()
    };
    Some(TcpRoute {
        origin: origin(object),
        hosts: hosts.to_vec(),
        ports,
        backends: stream_backends(context, object, &format!("spec.tcp[{i}]"), &rule.route),
    })
}

pub(super) fn stream_backends(
    context: &mut Context<'_>,
    object: &Object,
    at: &str,
    routes: &[api::TcpDestination],
) -> Vec<WeightedBackend> {
    let single = routes.len() == 1;
    let backends = routes.iter().enumerate().map(|(r, route)| {
        let path = format!("{at}.route[{r}].destination");
        let mut backend = backend(context, object, &path, &route.destination);
        backend.weight = if single && route.weight == 0 {
            100
        } else {
            count(route.weight)
        };
        backend
    });
    backends.collect()
}
