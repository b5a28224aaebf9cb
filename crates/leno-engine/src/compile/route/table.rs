//! The table itself: virtual hosts, their domains and what is said per filter.

use std::collections::HashMap;
use std::sync::Arc;

use super::forward::Inherited;
use super::per_filter::filter_configs;
use super::*;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::config_source::{self, Origin, Protocol};
use crate::compile::header;
use crate::compile::metadata::Told;
use crate::compile::pb::{core, protobuf};
use crate::compile::rate_limit::{self, RateLimit};
use crate::compile::tracing;

pub(crate) fn table(at: &At<'_>, message: &pb::RouteConfiguration) -> Result<RouteTable, Rejection> {
    let pb::RouteConfiguration {
        name,
        virtual_hosts,
        vhds,
        internal_only_headers,
        response_headers_to_add,
        response_headers_to_remove,
        request_headers_to_add,
        request_headers_to_remove,
        most_specific_header_mutations_wins,
        validate_clusters,
        max_direct_response_body_size_bytes,
        cluster_specifier_plugins,
        request_mirror_policies,
        ignore_port_in_host_matching,
        vhost_header,
        ignore_path_parameters_in_path_matching,
        typed_per_filter_config,
        metadata,
        route_specifiers,
    } = message;
    silent!("nothing here reads it"; metadata);
    refuse!(at; cluster_specifier_plugins, route_specifiers);
    // Envoy's limit, 4 KiB, guards its memory against the control plane; ours is the message's own size.
    no_effect!(at, "there is no limit"; max_direct_response_body_size_bytes);
    let mirrors = at.each("request_mirror_policies", request_mirror_policies, mirror::mirror)?;
    let hosts = at.each("virtual_hosts", virtual_hosts, |at, host| {
        virtual_host(at, host, *ignore_path_parameters_in_path_matching, &mirrors)
    })?;
    let table = RouteTable {
        on_demand: false,
        name: name.clone(),
        validates: validate_clusters.is_none_or(|on| on.value),
        domains: domains(at, &hosts)?,
        hosts,
        internal_headers: at.each("internal_only_headers", internal_only_headers, |at, name| {
            at.header_name(name)
        })?,
        host_header: match vhost_header.as_str() {
            "" => None,
            name => Some(at.field("vhost_header").header_name(name)?),
        },
        ignore_port: *ignore_port_in_host_matching,
        most_specific_wins: *most_specific_header_mutations_wins,
        request_headers: header::edits(
            at,
            &header::request(request_headers_to_add, request_headers_to_remove),
        )?,
        response_headers: header::edits(
            at,
            &header::response(response_headers_to_add, response_headers_to_remove),
        )?,
        vhds: match vhds {
            None => None,
            Some(vhds) => Some(Box::new(virtual_hosts_source(&at.field("vhds"), vhds)?)),
        },
        filter_configs: filter_configs(at, typed_per_filter_config)?,
    };
    // Its formats have all been read.
    Ok(RouteTable {
        on_demand: at.wants().on_demand,
        ..table
    })
}

/// Only the delta protocol has names for what is not there.
fn virtual_hosts_source(at: &At<'_>, message: &pb::Vhds) -> Result<Source, Rejection> {
    let pb::Vhds { config_source } = message;
    let source = config_source::config_source(&at.field("config_source"), config_source)?;
    match &source.origin {
        Origin::Ads => Ok(source),
        Origin::Stream(control) if control.protocol == Protocol::Delta => Ok(source),
        Origin::Stream(_) | Origin::File(_) | Origin::Rest(_) => Err(at
            .field("config_source")
            .reject("DELTA_GRPC, or ads where that is delta")),
    }
}

fn virtual_host(
    at: &At<'_>,
    message: &pb::VirtualHost,
    ignore_parameters: bool,
    mirrors: &[MirrorPolicy],
) -> Result<VirtualHost, Rejection> {
    let pb::VirtualHost {
        name,
        domains,
        routes,
        matcher,
        require_tls,
        virtual_clusters,
        rate_limits,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        cors,
        typed_per_filter_config,
        include_request_attempt_count,
        include_attempt_count_in_response,
        retry_policy,
        retry_policy_typed_config,
        hedge_policy,
        include_is_timeout_retry_header,
        per_request_buffer_limit_bytes,
        request_body_buffer_limit,
        request_mirror_policies,
        metadata,
        route_specifiers,
    } = message;
    refuse!(at; cors, retry_policy_typed_config, route_specifiers);
    if matcher.is_some() && !routes.is_empty() {
        return Err(at
            .field("matcher")
            .reject("matcher and routes exclude each other"));
    }
    let kept = kept(at, per_request_buffer_limit_bytes, request_body_buffer_limit)?;
    at.not_empty("name", name)?;
    if domains.is_empty() {
        return Err(at.field("domains").reject("required"));
    }
    let own_mirrors = at.each("request_mirror_policies", request_mirror_policies, mirror::mirror)?;
    // A route's own retry policy replaces the host's whole.
    let inherited = Inherited {
        retry: match retry_policy {
            None => None,
            Some(policy) => Some(Arc::new(retry::policy(&at.field("retry_policy"), policy)?)),
        },
        mirrors: match own_mirrors.is_empty() {
            true => mirrors.to_vec(),
            false => own_mirrors,
        },
        hedge: forward::hedge(at, hedge_policy.as_ref())?.unwrap_or_default(),
    };
    let rate_limits: Arc<[RateLimit]> = at
        .each("rate_limits", rate_limits, rate_limit::rate_limit)?
        .into();
    let facts = Arc::new(HostFacts {
        name: name.clone(),
        told: Told::new(metadata.as_ref()),
        clusters: virtual_cluster::virtual_clusters(at, name, virtual_clusters)?,
    });
    let route = |at: &At<'_>, one: &pb::Route| {
        let mut route = self::route(at, one, &inherited)?;
        route.matches.ignore_parameters = ignore_parameters;
        route.host = Arc::clone(&facts);
        if !one.stat_prefix.is_empty() {
            route.stat_name = Some(format!("{name}.route.{}", one.stat_prefix).into());
        }
        if let Action::Forward(forward) = &mut route.action {
            forward.kept = forward.kept.or(kept);
            forward.rate_limits.host = Arc::clone(&rate_limits);
        }
        Ok(Arc::new(route))
    };
    let (tree, routes) = match matcher {
        None => (None, at.each("routes", routes, route)?),
        Some(matcher) => {
            let (tree, routes) = tree::tree(&at.field("matcher"), matcher, &route)?;
            (Some(Box::new(tree)), routes)
        }
    };
    use pb::virtual_host::TlsRequirementType;
    Ok(VirtualHost {
        facts: Arc::clone(&facts),
        name: name.clone(),
        domains: at.each("domains", domains, |at, domain| self::domain(at, domain))?,
        routes,
        tree,
        request_headers: header::edits(
            at,
            &header::request(request_headers_to_add, request_headers_to_remove),
        )?,
        response_headers: header::edits(
            at,
            &header::response(response_headers_to_add, response_headers_to_remove),
        )?,
        rate_limits: Arc::clone(&rate_limits),
        filter_configs: filter_configs(at, typed_per_filter_config)?,
        include_attempt_count: *include_request_attempt_count,
        include_is_timeout_retry: *include_is_timeout_retry_header,
        answer_attempt_count: *include_attempt_count_in_response,
        require_tls: match at.choice("require_tls", *require_tls)? {
            TlsRequirementType::None => false,
            // No request is taken for one from inside: nothing proves it.
            TlsRequirementType::All | TlsRequirementType::ExternalOnly => true,
        },
    })
}

fn route(at: &At<'_>, message: &pb::Route, inherited: &Inherited) -> Result<Route, Rejection> {
    let pb::Route {
        name,
        r#match,
        metadata,
        decorator,
        typed_per_filter_config,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        tracing,
        per_request_buffer_limit_bytes,
        stat_prefix: _,
        request_body_buffer_limit,
        route_specifiers,
        action,
    } = message;
    refuse!(at; route_specifiers);
    let kept = kept(at, per_request_buffer_limit_bytes, request_body_buffer_limit)?;
    let matches = matching::route_match(&at.field("match"), at.required("match", r#match)?)?;
    let mut action = action::action(at, at.required("action", action)?, inherited, &matches.path)?;
    if let Action::Forward(forward) = &mut action {
        forward.kept = kept;
    }
    Ok(Route {
        name: name.clone(),
        action,
        matches,
        request_headers: header::edits(
            at,
            &header::request(request_headers_to_add, request_headers_to_remove),
        )?,
        response_headers: header::edits(
            at,
            &header::response(response_headers_to_add, response_headers_to_remove),
        )?,
        filter_configs: filter_configs(at, typed_per_filter_config)?,
        origin: text(metadata.as_ref(), "istio", "config"),
        tracing: match tracing {
            None => None,
            Some(said) => Some(Box::new(tracing::of_route(&at.field("tracing"), said)?)),
        },
        decorator: match decorator {
            None => None,
            Some(said) => Some(Box::new(tracing::decorator(&at.field("decorator"), said)?)),
        },
        place: text(metadata.as_ref(), "leno", "place"),
        rule: number(metadata.as_ref(), "leno", "rule"),
        told: Told::new(metadata.as_ref()),
        stat_name: None,
        host: Arc::default(),
    })
}

/// The newer field says how much, the older how much at most.
fn kept(
    at: &At<'_>,
    older: &Option<protobuf::UInt32Value>,
    newer: &Option<protobuf::UInt64Value>,
) -> Result<Option<KeptBody>, Rejection> {
    Ok(match (older, newer) {
        (Some(_), Some(_)) => {
            return Err(at
                .field("request_body_buffer_limit")
                .reject("excludes per_request_buffer_limit_bytes"));
        }
        (_, Some(limit)) => Some(KeptBody {
            bytes: limit.value,
            may_be_more: true,
        }),
        (Some(limit), None) => Some(KeptBody {
            bytes: limit.value.into(),
            may_be_more: false,
        }),
        (None, None) => None,
    })
}

fn text(metadata: Option<&core::Metadata>, filter: &str, field: &str) -> Option<String> {
    match told(metadata, filter, field)? {
        protobuf::value::Kind::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// 0 where it is not said.
fn number(metadata: Option<&core::Metadata>, filter: &str, field: &str) -> u32 {
    match told(metadata, filter, field) {
        Some(protobuf::value::Kind::NumberValue(number)) => *number as u32,
        _ => 0,
    }
}

fn told<'a>(
    metadata: Option<&'a core::Metadata>,
    filter: &str,
    field: &str,
) -> Option<&'a protobuf::value::Kind> {
    let fields = &metadata?.filter_metadata.get(filter)?.fields;
    fields.get(field)?.kind.as_ref()
}

/// In lower case. A `*` stands alone, first or last. An empty one is taken, as in Envoy, and is no request's.
fn domain(at: &At<'_>, domain: &str) -> Result<String, Rejection> {
    let inner = domain
        .strip_prefix('*')
        .or(domain.strip_suffix('*'))
        .unwrap_or(domain);
    if inner.contains('*') {
        return Err(at.reject(format!("not a domain: {domain:?}")));
    }
    Ok(domain.to_ascii_lowercase())
}

/// A domain may stand only once in a table.
fn domains(at: &At<'_>, hosts: &[VirtualHost]) -> Result<DomainIndex, Rejection> {
    let mut index = DomainIndex::default();
    let mut suffix: HashMap<String, usize> = HashMap::new();
    let mut prefix: HashMap<String, usize> = HashMap::new();
    for (i, host) in hosts.iter().enumerate() {
        for (j, domain) in host.domains.iter().enumerate() {
            let taken = match (
                domain.as_str(),
                domain.strip_prefix('*'),
                domain.strip_suffix('*'),
            ) {
                ("*", ..) => index.any.replace(i),
                (_, Some(end), _) => suffix.insert(end.to_owned(), i),
                (_, None, Some(start)) => prefix.insert(start.to_owned(), i),
                (exact, None, None) => index.exact.insert(exact.to_owned(), i),
            };
            if let Some(other) = taken {
                let host = at.item("virtual_hosts", i);
                let reason = format!("{domain:?} stands already in virtual_hosts[{other}]");
                return Err(host.item("domains", j).reject(reason));
            }
        }
    }
    index.suffix = longest_first(suffix);
    index.prefix = longest_first(prefix);
    Ok(index)
}

fn longest_first(domains: HashMap<String, usize>) -> Vec<(String, usize)> {
    let mut sorted: Vec<_> = domains.into_iter().collect();
    sorted.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    sorted
}
