//! `RouteAction`: to which cluster, how long, what else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::internal_redirect;
use super::mirror;
use super::per_filter::filter_configs;
use super::retry;

use super::{
    ClusterChoice, Deciding, EndedConnect, Forward, GrpcStreams, HostRewrite, MirrorPolicy, RetryPolicy,
    WeightedCluster,
};
use crate::compile::Rejection;
use crate::compile::access_log;
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::hash::hash_policy;
use crate::compile::header;
use crate::compile::matcher::{self, PathMatcher, Pattern, StringMatcher};
use crate::compile::metadata::{self, Fields};
use crate::compile::pb::core::RoutingPriority;
use crate::compile::pb::protobuf;
use crate::compile::pb::route as pb;
use crate::compile::proxy_protocol;
use crate::compile::rate_limit::{self, RouteLimits};
use crate::compile::uri_template;
use crate::decide::limits::Priority;

/// Envoy's default.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What holds for the routes of a host that say nothing of their own.
pub(super) struct Inherited {
    pub(super) retry: Option<Arc<RetryPolicy>>,
    pub(super) mirrors: Vec<MirrorPolicy>,
    pub(super) hedge: bool,
}

pub(super) fn forward(
    at: &At<'_>,
    message: &pb::RouteAction,
    inherited: &Inherited,
    matched: &PathMatcher,
) -> Result<Forward, Rejection> {
    let pb::RouteAction {
        cluster_not_found_response_code,
        metadata_match,
        prefix_rewrite,
        regex_rewrite,
        path_rewrite_policy,
        path_rewrite,
        append_x_forwarded_host,
        timeout,
        idle_timeout,
        flush_timeout,
        early_data_policy,
        retry_policy,
        retry_policy_typed_config,
        request_mirror_policies,
        priority,
        rate_limits,
        include_vh_rate_limits,
        hash_policy,
        cors,
        max_grpc_timeout,
        grpc_timeout_offset,
        upgrade_configs,
        internal_redirect_policy,
        internal_redirect_action,
        max_internal_redirects,
        hedge_policy,
        max_stream_duration,
        cluster_specifier,
        host_rewrite_specifier,
    } = message;
    refuse!(at; retry_policy_typed_config, cors, internal_redirect_action, max_internal_redirects);
    no_effect!(at, "HTTP/3 is not spoken"; early_data_policy);
    if regex_rewrite.is_some() && !prefix_rewrite.is_empty() {
        return Err(at
            .field("regex_rewrite")
            .reject("prefix_rewrite and regex_rewrite exclude each other"));
    }
    if path_rewrite_policy.is_some() && (regex_rewrite.is_some() || !prefix_rewrite.is_empty()) {
        return Err(at
            .field("path_rewrite_policy")
            .reject("prefix_rewrite, regex_rewrite and path_rewrite_policy exclude each other"));
    }
    let others = regex_rewrite.is_some() || !prefix_rewrite.is_empty() || path_rewrite_policy.is_some();
    if !path_rewrite.is_empty() && others {
        return Err(at
            .field("path_rewrite")
            .reject("path_rewrite excludes prefix_rewrite, regex_rewrite and path_rewrite_policy"));
    }
    let streams = stream_duration(at, max_stream_duration.as_ref())?;
    let metadata = metadata::of(metadata_match.as_ref(), "envoy.lb");
    let specifier = at.required("cluster_specifier", cluster_specifier)?;
    Ok(Forward {
        rate_limits: RouteLimits {
            route: at.each("rate_limits", rate_limits, rate_limit::rate_limit)?,
            host: Arc::default(),
            include_host: include_vh_rate_limits
                .as_ref()
                .is_some_and(|include| include.value),
        },
        cluster: cluster(at, specifier, &metadata)?,
        metadata,
        timeout: match max_stream_duration {
            None => at.timeout("timeout", timeout, Some(TIMEOUT))?,
            Some(_) => {
                no_effect!(at, "max_stream_duration takes its place"; timeout);
                None
            }
        },
        idle_timeout: at.duration("idle_timeout", idle_timeout)?,
        flush_timeout: at.duration("flush_timeout", flush_timeout)?,
        retry: match retry_policy {
            None => inherited.retry.clone(),
            Some(policy) => Some(Arc::new(retry::policy(&at.field("retry_policy"), policy)?)),
        },
        hedge: hedge(at, hedge_policy.as_ref())?.unwrap_or(inherited.hedge),
        path_format: match path_rewrite.as_str() {
            "" => None,
            text => Some(Box::new(access_log::format(&at.field("path_rewrite"), text)?)),
        },
        prefix_rewrite: Some(prefix_rewrite.clone()).filter(|prefix| !prefix.is_empty()),
        regex_rewrite: match (regex_rewrite, path_rewrite_policy) {
            (None, None) => None,
            (Some(rewrite), _) => Some(matcher::substitution(&at.field("regex_rewrite"), rewrite)?),
            (None, Some(policy)) => {
                let at = at.field("path_rewrite_policy");
                Some(uri_template::rewriting(&at, policy, template_of(matched))?)
            }
        },
        host_rewrite: host_rewrite(at, host_rewrite_specifier.as_ref())?,
        forwarded_host: *append_x_forwarded_host,
        hash: at.each("hash_policy", hash_policy, self::hash_policy)?,
        mirrors: match request_mirror_policies.is_empty() {
            true => inherited.mirrors.clone(),
            false => at.each("request_mirror_policies", request_mirror_policies, mirror::mirror)?,
        },
        upgrades: upgrades(at, upgrade_configs)?,
        connect: connect(at, upgrade_configs)?,
        kept: None,
        max_stream_duration: streams.maximum,
        grpc_timeout_max: at.duration("max_grpc_timeout", max_grpc_timeout)?,
        grpc_timeout_offset: at
            .duration("grpc_timeout_offset", grpc_timeout_offset)?
            .unwrap_or_default(),
        grpc_streams: streams.grpc,
        priority: match at.choice("priority", *priority)? {
            RoutingPriority::Default => Priority::Default,
            RoutingPriority::High => Priority::High,
        },
        redirects: match internal_redirect_policy {
            None => None,
            Some(policy) => {
                let at = at.field("internal_redirect_policy");
                Some(internal_redirect::policy(&at, policy)?)
            }
        },
        cluster_not_found: match at.choice(
            "cluster_not_found_response_code",
            *cluster_not_found_response_code,
        )? {
            pb::route_action::ClusterNotFoundResponseCode::ServiceUnavailable => 503,
            pb::route_action::ClusterNotFoundResponseCode::NotFound => 404,
            pb::route_action::ClusterNotFoundResponseCode::InternalServerError => 500,
        },
    })
}

fn template_of(matched: &PathMatcher) -> Option<&regex::bytes::Regex> {
    match matched {
        PathMatcher::Template(StringMatcher {
            pattern: Pattern::Regex(regex),
            ..
        }) => Some(regex),
        _ => None,
    }
}

struct StreamDuration {
    maximum: Option<Duration>,
    grpc: Option<GrpcStreams>,
}

fn stream_duration(
    at: &At<'_>,
    message: Option<&pb::route_action::MaxStreamDuration>,
) -> Result<StreamDuration, Rejection> {
    let Some(pb::route_action::MaxStreamDuration {
        max_stream_duration,
        grpc_timeout_header_max,
        grpc_timeout_header_offset,
    }) = message
    else {
        return Ok(StreamDuration {
            maximum: None,
            grpc: None,
        });
    };
    let at = at.field("max_stream_duration");
    let offset = at.duration("grpc_timeout_header_offset", grpc_timeout_header_offset)?;
    let maximum = at.duration("grpc_timeout_header_max", grpc_timeout_header_max)?;
    Ok(StreamDuration {
        maximum: at.duration("max_stream_duration", max_stream_duration)?,
        grpc: maximum.map(|maximum| GrpcStreams {
            maximum,
            offset: offset.unwrap_or_default(),
        }),
    })
}

fn cluster(
    at: &At<'_>,
    specifier: &pb::route_action::ClusterSpecifier,
    metadata: &Fields,
) -> Result<ClusterChoice, Rejection> {
    use pb::route_action::ClusterSpecifier as C;
    match specifier {
        C::Cluster(name) => {
            at.not_empty("cluster", name)?;
            Ok(ClusterChoice::One(name.clone()))
        }
        C::ClusterHeader(name) => {
            let name = at.field("cluster_header").header_name(name)?;
            Ok(ClusterChoice::Header(name))
        }
        C::WeightedClusters(weighted) => {
            weighted_clusters(&at.field("weighted_clusters"), weighted, metadata)
        }
        C::ClusterSpecifierPlugin(_) => Err(at.field("cluster_specifier_plugin").reject("not supported")),
        C::InlineClusterSpecifierPlugin(_) => Err(at
            .field("inline_cluster_specifier_plugin")
            .reject("not supported")),
    }
}

fn weighted_clusters(
    at: &At<'_>,
    message: &pb::WeightedCluster,
    metadata: &Fields,
) -> Result<ClusterChoice, Rejection> {
    use pb::weighted_cluster::RandomValueSpecifier;
    let pb::WeightedCluster {
        clusters,
        total_weight,
        runtime_key_prefix,
        random_value_specifier,
    } = message;
    let by = match random_value_specifier {
        None | Some(RandomValueSpecifier::UseHashPolicy(protobuf::BoolValue { value: false })) => {
            Deciding::Random
        }
        Some(RandomValueSpecifier::HeaderName(name)) => {
            Deciding::Header(at.field("header_name").header_name(name)?)
        }
        Some(RandomValueSpecifier::UseHashPolicy(_)) => Deciding::Hash,
    };
    let clusters = at.each("clusters", clusters, |at, one| {
        let mut cluster = weighted_cluster(at, one, metadata)?;
        if !runtime_key_prefix.is_empty() {
            cluster.weight_key = at.key(&format!("{runtime_key_prefix}.{}", cluster.name));
        }
        Ok(cluster)
    })?;
    let sum: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    if sum == 0 || sum > u64::from(u32::MAX) {
        return Err(at
            .field("clusters")
            .reject(format!("the weights add up to {sum}")));
    }
    if total_weight
        .as_ref()
        .is_some_and(|total| u64::from(total.value) != sum)
    {
        return Err(at
            .field("total_weight")
            .reject(format!("the weights add up to {sum}")));
    }
    Ok(ClusterChoice::Weighted { clusters, by })
}

fn weighted_cluster(
    at: &At<'_>,
    message: &pb::weighted_cluster::ClusterWeight,
    metadata: &Fields,
) -> Result<WeightedCluster, Rejection> {
    use pb::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    let pb::weighted_cluster::ClusterWeight {
        name,
        cluster_header,
        weight,
        metadata_match,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        typed_per_filter_config,
        host_rewrite_specifier,
    } = message;
    let own = metadata::of(metadata_match.as_ref(), "envoy.lb");
    let header = match (name.as_str(), cluster_header.as_str()) {
        ("", "") => return Err(at.field("name").reject("required")),
        ("", header) => Some(at.field("cluster_header").header_name(header)?),
        (_, "") => None,
        _ => {
            return Err(at
                .field("cluster_header")
                .reject("name and cluster_header exclude each other"));
        }
    };
    Ok(WeightedCluster {
        name: name.clone(),
        header,
        weight: at.required("weight", weight)?.value,
        // The list's word.
        weight_key: None,
        // The route's, and its own in their place.
        metadata: metadata.clone().into_iter().chain(own).collect(),
        request_headers: header::edits(
            at,
            &header::request(request_headers_to_add, request_headers_to_remove),
        )?,
        response_headers: header::edits(
            at,
            &header::response(response_headers_to_add, response_headers_to_remove),
        )?,
        host_rewrite: match host_rewrite_specifier {
            None => None,
            Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(authority(at, host)?),
        },
        filter_configs: filter_configs(at, typed_per_filter_config)?,
    })
}

fn host_rewrite(
    at: &At<'_>,
    specifier: Option<&pb::route_action::HostRewriteSpecifier>,
) -> Result<HostRewrite, Rejection> {
    use pb::route_action::HostRewriteSpecifier as H;
    Ok(match specifier {
        None => HostRewrite::None,
        Some(H::HostRewriteLiteral(host)) => HostRewrite::Literal(authority(at, host)?),
        Some(H::HostRewrite(text)) if text.is_empty() => HostRewrite::None,
        Some(H::HostRewrite(text)) => {
            HostRewrite::Format(access_log::format(&at.field("host_rewrite"), text)?)
        }
        Some(H::AutoHostRewrite(auto)) if auto.value => HostRewrite::Auto,
        Some(H::AutoHostRewrite(_)) => HostRewrite::None,
        Some(H::HostRewriteHeader(name)) => {
            HostRewrite::Header(at.field("host_rewrite_header").header_name(name)?)
        }
        Some(H::HostRewritePathRegex(rewrite)) => HostRewrite::Path(matcher::substitution(
            &at.field("host_rewrite_path_regex"),
            rewrite,
        )?),
    })
}

fn authority(at: &At<'_>, host: &str) -> Result<String, Rejection> {
    let odd = |b: u8| b.is_ascii_control() || b == b' ';
    if host.is_empty() || host.bytes().any(odd) {
        return Err(at
            .field("host_rewrite_literal")
            .reject(format!("not an authority: {host:?}")));
    }
    Ok(host.to_owned())
}

/// Whether a try that takes too long is not given up. None: nothing is said.
pub(super) fn hedge(at: &At<'_>, message: Option<&pb::HedgePolicy>) -> Result<Option<bool>, Rejection> {
    let Some(pb::HedgePolicy {
        initial_requests,
        additional_request_chance,
        hedge_on_per_try_timeout,
    }) = message
    else {
        return Ok(None);
    };
    let at = at.field("hedge_policy");
    if initial_requests.is_some_and(|requests| requests.value == 0) {
        return Err(at.field("initial_requests").reject("must be at least 1"));
    }
    no_effect!(at, "nor has Envoy it"; initial_requests, additional_request_chance);
    Ok(Some(*hedge_on_per_try_timeout))
}

fn upgrades(
    at: &At<'_>,
    configs: &[pb::route_action::UpgradeConfig],
) -> Result<HashMap<String, bool>, Rejection> {
    let each = at.each("upgrade_configs", configs, |at, config| {
        let pb::route_action::UpgradeConfig {
            upgrade_type,
            enabled,
            connect_config,
        } = config;
        at.not_empty("upgrade_type", upgrade_type)?;
        if upgrade_type.eq_ignore_ascii_case("connect-udp") {
            return Err(at.field("upgrade_type").reject("UDP is not supported"));
        }
        if connect_config.is_some() && !upgrade_type.eq_ignore_ascii_case("connect") {
            return Err(at.field("connect_config").reject("only of CONNECT"));
        }
        let enabled = enabled.as_ref().is_none_or(|enabled| enabled.value);
        Ok((upgrade_type.to_ascii_lowercase(), enabled))
    })?;
    Ok(each.into_iter().collect())
}

/// How a CONNECT ends here, if it does.
fn connect(
    at: &At<'_>,
    configs: &[pb::route_action::UpgradeConfig],
) -> Result<Option<Box<EndedConnect>>, Rejection> {
    let mut numbered = configs.iter().enumerate();
    let found = numbered.find_map(|(i, config)| Some((i, config.connect_config.as_ref()?)));
    let Some((i, config)) = found else {
        return Ok(None);
    };
    let pb::route_action::upgrade_config::ConnectConfig {
        proxy_protocol_config,
        allow_post,
    } = config;
    let at = at.item("upgrade_configs", i);
    let at = at.field("connect_config");
    Ok(Some(Box::new(EndedConnect {
        post: *allow_post,
        introduction: match proxy_protocol_config {
            None => None,
            Some(config) => Some(proxy_protocol::introduction(
                &at.field("proxy_protocol_config"),
                config,
            )?),
        },
    })))
}
