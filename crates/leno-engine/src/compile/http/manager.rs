//! `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::FromAny;

use super::client_cert;
use super::log_options;
use super::options;
use super::original_ip;
use super::proxy_status;
use super::*;
use crate::compile::Rejection;
use crate::compile::access_log::access_logs;
use crate::compile::address;
use crate::compile::at::{At, is_true, no_effect, refuse, silent};
use crate::compile::header::{Mutation, mutation};
use crate::compile::local_reply;
use crate::compile::pb::hcm as pb;
use crate::compile::pb::{core, early_header_mutation, router, types};
use crate::compile::tracing;
use crate::compile::{route, typed_struct};
use crate::decide::filter;

/// Without `server_name`.
const SERVER: &str = "leno";

pub(crate) fn manager(
    at: &At<'_>,
    message: &pb::HttpConnectionManager,
) -> Result<HttpConnectionManager, Rejection> {
    let pb::HttpConnectionManager {
        codec_type,
        stat_prefix,
        http_filters,
        add_user_agent,
        tracing,
        common_http_protocol_options: _,
        http1_safe_max_connection_duration: _,
        http_protocol_options,
        http2_protocol_options,
        http3_protocol_options,
        server_name,
        server_header_transformation,
        scheme_header_transformation,
        max_request_headers_kb: _,
        stream_idle_timeout: _,
        stream_flush_timeout: _,
        request_timeout: _,
        request_headers_timeout: _,
        drain_timeout: _,
        drain_timeout_jitter: _,
        delayed_close_timeout: _,
        access_log,
        access_log_flush_interval,
        flush_access_log_on_new_request,
        access_log_options,
        use_remote_address,
        xff_num_trusted_hops,
        original_ip_detection_extensions,
        early_header_mutation_extensions,
        internal_address_config,
        skip_xff_append,
        via,
        generate_request_id,
        preserve_external_request_id,
        always_set_request_id_in_response,
        forward_client_cert_details,
        set_current_client_cert_details,
        forward_client_cert_matcher,
        proxy_100_continue,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
        upgrade_configs,
        normalize_path,
        merge_slashes,
        path_with_escaped_slashes_action,
        request_id_extension,
        local_reply_config,
        strip_matching_host_port,
        stream_error_on_invalid_http_message,
        path_normalization_options,
        strip_trailing_host_dot,
        proxy_status_config,
        typed_header_validation_config,
        append_x_forwarded_port,
        append_local_overload,
        add_proxy_protocol_connection_state,
        forward_proto_config,
        route_specifier,
        strip_port_mode,
    } = message;
    refuse!(at; proxy_100_continue,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
        path_normalization_options,
        typed_header_validation_config);
    no_effect!(at, "not used"; stream_error_on_invalid_http_message,
        add_proxy_protocol_connection_state);
    no_effect!(at, "HTTP/3 is not spoken"; http3_protocol_options);
    let http1 = match http_protocol_options {
        None => options::Http1::default(),
        Some(options) => options::http1(&at.field("http_protocol_options"), options)?,
    };
    let access_log = access_logs(at, "access_log", access_log)?;
    let log_options = log_options::log_options(
        at,
        access_log_options.as_ref(),
        access_log_flush_interval,
        *flush_access_log_on_new_request,
    )?;
    let tracing = match tracing {
        None => None,
        Some(said) => Some(Arc::new(tracing::tracing(&at.field("tracing"), said)?)),
    };
    let (filters, router) = http_filter_list(at, "http_filters", http_filters)?;
    let routes = routes(at, route_specifier.as_ref())?;
    let local_replies = match local_reply_config {
        None => None,
        Some(config) => {
            let at = at.field("local_reply_config");
            Some(Arc::new(local_reply::local_replies(&at, config)?))
        }
    };
    Ok(HttpConnectionManager {
        on_demand: at.wants().on_demand,
        stat_prefix: stat_prefix.clone(),
        codec: codec(at, *codec_type)?,
        routes,
        filters,
        router,
        keeps_trailers: tracing.as_ref().is_some_and(|tracing| tracing.tracer.is_some())
            || access_log.iter().any(|log| log.to.wants_trailers())
            || at.wants().trailers,
        counts_wire: at.wants().wire,
        access_log,
        log_options,
        limits: limits(at, message)?,
        timeouts: timeouts(at, message)?,
        server_header: server_header(at, *server_header_transformation, server_name)?,
        client_cert: client_cert::client_cert(
            at,
            *forward_client_cert_details,
            set_current_client_cert_details.as_ref(),
        )?,
        client_cert_by_request: match forward_client_cert_matcher {
            None => None,
            Some(matcher) => {
                let at = at.field("forward_client_cert_matcher");
                Some(Box::new(client_cert::tree(&at, matcher)?))
            }
        },
        use_remote_address: is_true(use_remote_address),
        introduces_itself: is_true(add_user_agent),
        told_ports: match forward_proto_config {
            None => None,
            Some(config) => Some(Box::new(told_ports(&at.field("forward_proto_config"), config)?)),
        },
        ip_detection: original_ip::detection(at, message, original_ip_detection_extensions)?,
        xff_trusted_hops: *xff_num_trusted_hops as usize,
        upgrades: upgrades(at, upgrade_configs)?,
        upgrade_filters: upgrade_filters(at, upgrade_configs)?,
        proxy_status: match proxy_status_config {
            None => None,
            Some(config) => {
                let at = at.field("proxy_status_config");
                let name = if server_name.is_empty() {
                    SERVER
                } else {
                    server_name
                };
                Some(Box::new(proxy_status::proxy_status(&at, config, name)?))
            }
        },
        ignored_upgrades: http1.ignored_upgrades,
        generate_request_id: generate_request_id.as_ref().is_none_or(|generate| generate.value),
        request_ids: tracing::request_ids(at, request_id_extension.as_ref())?,
        tracing,
        preserve_request_id: *preserve_external_request_id,
        answer_request_id: *always_set_request_id_in_response,
        internal: match internal_address_config {
            None => InternalAddresses::default(),
            Some(config) => internal(&at.field("internal_address_config"), config)?,
        },
        underscores: underscores(at, message)?,
        early: early(at, early_header_mutation_extensions)?,
        scheme: match scheme_header_transformation {
            None => None,
            Some(transformation) => scheme(&at.field("scheme_header_transformation"), transformation)?,
        },
        forwarded_port: *append_x_forwarded_port,
        keep_forwarded_for: *skip_xff_append,
        normalize_path: is_true(normalize_path),
        escaped_slashes: escaped_slashes(at, *path_with_escaped_slashes_action)?,
        local_replies,
        strip_trailing_dot: *strip_trailing_host_dot,
        merge_slashes: *merge_slashes,
        strip_port: match strip_port_mode {
            Some(pb::http_connection_manager::StripPortMode::StripAnyHostPort(true)) => StripPort::Any,
            _ if *strip_matching_host_port => StripPort::Matching,
            _ => StripPort::None,
        },
        via: Some(via.clone()).filter(|via| !via.is_empty()),
        any_method: http1.any_method,
        chunked_length: http1.chunked_length,
        tells_local_overload: *append_local_overload,
        scheme_of_upstream: scheme_header_transformation
            .as_ref()
            .is_some_and(|said| said.match_upstream && said.transformation.is_none()),
        http1: Http1Options {
            header_case: http1.header_case,
            refuses_http10: !http1.takes_http10,
            default_host: http1.default_host,
        },
        http2: http2(at, http2_protocol_options.as_ref())?,
    })
}

fn told_ports(at: &At<'_>, message: &pb::ForwardProtoConfig) -> Result<ToldPorts, Rejection> {
    let pb::ForwardProtoConfig {
        https_destination_ports,
        http_destination_ports,
    } = message;
    let each = |field, ports: &[u32]| -> Result<Vec<u16>, Rejection> {
        ports.iter().map(|port| at.port(field, *port)).collect()
    };
    Ok(ToldPorts {
        https: each("https_destination_ports", https_destination_ports)?,
        http: each("http_destination_ports", http_destination_ports)?,
    })
}

fn codec(at: &At<'_>, codec_type: i32) -> Result<Codec, Rejection> {
    use pb::http_connection_manager::CodecType;
    Ok(match at.choice("codec_type", codec_type)? {
        CodecType::Auto => Codec::Auto,
        CodecType::Http1 => Codec::Http1,
        CodecType::Http2 => Codec::Http2,
        CodecType::Http3 => return Err(at.field("codec_type").reject("HTTP/3 is not supported")),
    })
}

fn escaped_slashes(at: &At<'_>, action: i32) -> Result<EscapedSlashes, Rejection> {
    use pb::http_connection_manager::PathWithEscapedSlashesAction as Action;
    Ok(match at.choice("path_with_escaped_slashes_action", action)? {
        // Without a runtime the default is to keep them, as Envoy's is.
        Action::ImplementationSpecificDefault | Action::KeepUnchanged => EscapedSlashes::Kept,
        Action::RejectRequest => EscapedSlashes::Refused,
        Action::UnescapeAndRedirect => EscapedSlashes::Redirected,
        Action::UnescapeAndForward => EscapedSlashes::Unescaped,
    })
}

fn routes(
    at: &At<'_>,
    specifier: Option<&pb::http_connection_manager::RouteSpecifier>,
) -> Result<RouteSource, Rejection> {
    use pb::http_connection_manager::RouteSpecifier as R;
    match specifier {
        None => Err(at.field("route_specifier").reject("required")),
        Some(R::RouteConfig(table)) => {
            let at = at.field("route_config");
            let table = route::table(&at, table)?;
            if table.vhds.is_some() {
                return Err(at.field("vhds").reject("only where the routes come by rds"));
            }
            Ok(RouteSource::Inline(Arc::new(table)))
        }
        Some(R::Rds(pb::Rds {
            config_source,
            route_config_name,
        })) => {
            let at = at.field("rds");
            at.not_empty("route_config_name", route_config_name)?;
            let source = source::config_source(&at.field("config_source"), config_source)?;
            Ok(RouteSource::Rds(route_config_name.clone(), source))
        }
        Some(R::ScopedRoutes(scoped)) => {
            let scoped = scopes::scoped_routes(&at.field("scoped_routes"), scoped)?;
            Ok(RouteSource::Scoped(Box::new(scoped)))
        }
    }
}

/// The filters before the router, which must be the last.
fn http_filter_list(
    at: &At<'_>,
    field: &'static str,
    filters: &[pb::HttpFilter],
) -> Result<(Vec<Arc<filter::FilterConfig>>, RouterOptions), Rejection> {
    let mut compiled = Vec::new();
    let mut router = None;
    for (i, one) in filters.iter().enumerate() {
        let at = at.item(field, i);
        if router.is_some() {
            return Err(at.reject("a filter after the router"));
        }
        match http_filter(&at, one)? {
            HttpFilter::Router(options) => router = Some(options),
            HttpFilter::Filter(config) => compiled.push(Arc::new(config)),
            HttpFilter::Nothing => {}
        }
    }
    let Some(router) = router else {
        return Err(at.field(field).reject("the last filter must be the router"));
    };
    Ok((compiled, router))
}

enum HttpFilter {
    Router(RouterOptions),
    Filter(filter::FilterConfig),
    /// It only counts, and leno counts anyway; or it is optional and unknown.
    Nothing,
}

fn http_filter(at: &At<'_>, message: &pb::HttpFilter) -> Result<HttpFilter, Rejection> {
    use pb::http_filter::ConfigType;
    let pb::HttpFilter {
        name,
        is_optional,
        disabled,
        config_type,
    } = message;
    at.not_empty("name", name)?;
    let any = match at.required("typed_config", config_type)? {
        ConfigType::TypedConfig(any) => any,
        ConfigType::ConfigDiscovery(source) => {
            no_effect!(at, "the types that may come are known here"; is_optional);
            let at = at.field("config_discovery");
            return discovered::discovered(&at, name, *disabled, source).map(HttpFilter::Filter);
        }
    };
    let at = at.field("typed_config");
    let any = &*typed_struct::opened(&at, any)?;
    if any.is::<router::Router>() {
        return router_options(&at, &at.unpack(any)?).map(HttpFilter::Router);
    }
    if filter::only_counts(any) {
        filter::counts(&at);
        return Ok(HttpFilter::Nothing);
    }
    match filter::config(&at, name, any, *disabled) {
        Ok(config) => Ok(HttpFilter::Filter(config)),
        Err(rejection) if *is_optional && !filter::is_known(any) => {
            at.warn(&rejection.reason);
            Ok(HttpFilter::Nothing)
        }
        Err(rejection) => Err(rejection),
    }
}

fn router_options(at: &At<'_>, message: &router::Router) -> Result<RouterOptions, Rejection> {
    let router::Router {
        dynamic_stats,
        start_child_span,
        upstream_log,
        upstream_log_options,
        suppress_envoy_headers,
        strict_check_headers,
        respect_expected_rq_timeout,
        suppress_grpc_request_failure_code_stats,
        upstream_http_filters,
        reject_connect_request_early_data,
    } = message;
    refuse!(at; upstream_http_filters, reject_connect_request_early_data);
    for (i, name) in strict_check_headers.iter().enumerate() {
        if !STRICT.contains(&name.as_str()) {
            let at = at.item("strict_check_headers", i);
            return Err(at.reject(format!("{name:?} is none of {}", STRICT.join(", "))));
        }
    }
    Ok(RouterOptions {
        suppress_envoy_headers: *suppress_envoy_headers,
        respect_expected_timeout: *respect_expected_rq_timeout,
        spawn_upstream: *start_child_span,
        strict_headers: strict_check_headers.clone(),
        without_stats: dynamic_stats.as_ref().is_some_and(|counts| !counts.value),
        without_grpc_codes: *suppress_grpc_request_failure_code_stats,
        upstream_log: access_logs(at, "upstream_log", upstream_log)?,
        upstream_log_options: match upstream_log_options {
            None => LogOptions::default(),
            Some(options) => log_options::upstream(&at.field("upstream_log_options"), options)?,
        },
    })
}

/// What may be checked strictly.
const STRICT: [&str; 5] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
];

fn internal(
    at: &At<'_>,
    message: &pb::http_connection_manager::InternalAddressConfig,
) -> Result<InternalAddresses, Rejection> {
    let pb::http_connection_manager::InternalAddressConfig {
        unix_sockets,
        cidr_ranges,
    } = message;
    Ok(InternalAddresses {
        ranges: at.each("cidr_ranges", cidr_ranges, address::cidr)?,
        unix_sockets: *unix_sockets,
    })
}

fn early(at: &At<'_>, extensions: &[core::TypedExtensionConfig]) -> Result<Vec<Mutation>, Rejection> {
    let each = at.each("early_header_mutation_extensions", extensions, |at, extension| {
        let core::TypedExtensionConfig { name, typed_config } = extension;
        silent!("names are for people"; name);
        let any = at.required("typed_config", typed_config)?;
        let at = at.field("typed_config");
        let early_header_mutation::HeaderMutation { mutations } = &at.unpack(any)?;
        if mutations.is_empty() {
            return Err(at.field("mutations").reject("required"));
        }
        at.each("mutations", mutations, mutation)
    })?;
    Ok(each.into_iter().flatten().collect())
}

fn underscores(at: &At<'_>, message: &pb::HttpConnectionManager) -> Result<Underscores, Rejection> {
    use core::http_protocol_options::HeadersWithUnderscoresAction as Action;
    let action = common(message).headers_with_underscores_action;
    let at = at.field("common_http_protocol_options");
    Ok(match at.choice("headers_with_underscores_action", action)? {
        Action::Allow => Underscores::Allowed,
        Action::RejectRequest => Underscores::Refused,
        Action::DropHeader => Underscores::Dropped,
    })
}

fn scheme(at: &At<'_>, message: &core::SchemeHeaderTransformation) -> Result<Option<Scheme>, Rejection> {
    use core::scheme_header_transformation::Transformation;
    let core::SchemeHeaderTransformation {
        // With the other fields of the manager's own.
        match_upstream: _,
        transformation,
    } = message;
    Ok(match transformation {
        None => None,
        Some(Transformation::SchemeToOverwrite(scheme)) => match scheme.as_str() {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            other => {
                let at = at.field("scheme_to_overwrite");
                return Err(at.reject(format!("http or https, not {other:?}")));
            }
        },
    })
}

fn common(message: &pb::HttpConnectionManager) -> core::HttpProtocolOptions {
    message.common_http_protocol_options.unwrap_or_default()
}

fn limits(at: &At<'_>, message: &pb::HttpConnectionManager) -> Result<HttpLimits, Rejection> {
    let core::HttpProtocolOptions {
        // With the timeouts.
        idle_timeout: _,
        max_connection_duration: _,
        max_connection_duration_jitter: _,
        max_headers_count,
        max_response_headers_kb,
        max_stream_duration: _,
        headers_with_underscores_action: _,
        max_requests_per_connection,
    } = &common(message);
    let options = at.field("common_http_protocol_options");
    no_effect!(options, "not used"; max_response_headers_kb);
    let kilobytes = message.max_request_headers_kb.as_ref().map_or(60, |kb| kb.value);
    if !(1..=8192).contains(&kilobytes) {
        return Err(at
            .field("max_request_headers_kb")
            .reject(format!("1 to 8192, not {kilobytes}")));
    }
    let requests = max_requests_per_connection.as_ref().map(|most| most.value);
    Ok(HttpLimits {
        max_header_bytes: kilobytes * 1024,
        max_headers: max_headers_count.as_ref().map_or(100, |most| most.value.max(1)),
        max_requests_per_connection: requests.filter(|most| *most > 0),
    })
}

fn timeouts(at: &At<'_>, message: &pb::HttpConnectionManager) -> Result<HttpTimeouts, Rejection> {
    let common = common(message);
    let options = at.field("common_http_protocol_options");
    Ok(HttpTimeouts {
        idle: options.timeout(
            "idle_timeout",
            &common.idle_timeout,
            Some(Duration::from_secs(3600)),
        )?,
        stream_idle: at.timeout(
            "stream_idle_timeout",
            &message.stream_idle_timeout,
            Some(Duration::from_secs(300)),
        )?,
        request: at.timeout("request_timeout", &message.request_timeout, None)?,
        request_headers: at.timeout("request_headers_timeout", &message.request_headers_timeout, None)?,
        drain: at
            .duration("drain_timeout", &message.drain_timeout)?
            .unwrap_or(Duration::from_secs(5)),
        max_connection_duration: options.timeout(
            "max_connection_duration",
            &common.max_connection_duration,
            None,
        )?,
        jitter: Jitter {
            duration: percent(
                &options,
                "max_connection_duration_jitter",
                common.max_connection_duration_jitter.as_ref(),
            )?,
            drain: percent(at, "drain_timeout_jitter", message.drain_timeout_jitter.as_ref())?,
        },
        ends_with_answer: message.http1_safe_max_connection_duration,
        max_stream_duration: options.timeout("max_stream_duration", &common.max_stream_duration, None)?,
        delayed_close: at.timeout(
            "delayed_close_timeout",
            &message.delayed_close_timeout,
            Some(Duration::from_secs(1)),
        )?,
        stream_flush: at.duration("stream_flush_timeout", &message.stream_flush_timeout)?,
    })
}

fn percent(at: &At<'_>, field: &'static str, said: Option<&types::Percent>) -> Result<f64, Rejection> {
    let percent = said.map_or(0.0, |percent| percent.value);
    match (0.0..=100.0).contains(&percent) {
        true => Ok(percent),
        false => Err(at.field(field).reject("0 to 100")),
    }
}

fn server_header(at: &At<'_>, transformation: i32, name: &str) -> Result<ServerHeader, Rejection> {
    use pb::http_connection_manager::ServerHeaderTransformation as T;
    let name = if name.is_empty() { SERVER } else { name }.to_owned();
    Ok(match at.choice("server_header_transformation", transformation)? {
        T::Overwrite => ServerHeader::Overwrite(name),
        T::AppendIfAbsent => ServerHeader::AppendIfAbsent(name),
        T::PassThrough => ServerHeader::PassThrough,
    })
}

/// The upgrades that are allowed, in lower case.
fn upgrades(
    at: &At<'_>,
    configs: &[pb::http_connection_manager::UpgradeConfig],
) -> Result<Vec<String>, Rejection> {
    let each = at.each("upgrade_configs", configs, |at, config| {
        let pb::http_connection_manager::UpgradeConfig {
            upgrade_type,
            filters: _,
            enabled,
        } = config;
        at.not_empty("upgrade_type", upgrade_type)?;
        let enabled = enabled.as_ref().is_none_or(|enabled| enabled.value);
        Ok(enabled.then(|| upgrade_type.to_ascii_lowercase()))
    })?;
    Ok(each.into_iter().flatten().collect())
}

/// Filters of upgrades, where they have others.
fn upgrade_filters(
    at: &At<'_>,
    configs: &[pb::http_connection_manager::UpgradeConfig],
) -> Result<UpgradeFilters, Rejection> {
    let each = at.each("upgrade_configs", configs, |at, config| {
        if config.filters.is_empty() {
            return Ok(None);
        }
        let (filters, router) = http_filter_list(at, "filters", &config.filters)?;
        if router != RouterOptions::default() {
            return Err(at.field("filters").reject("the router has options of its own"));
        }
        Ok(Some((config.upgrade_type.to_ascii_lowercase(), filters)))
    })?;
    Ok(each.into_iter().flatten().collect())
}

/// Envoy's defaults where nothing is said.
fn http2(at: &At<'_>, message: Option<&core::Http2ProtocolOptions>) -> Result<Http2Options, Rejection> {
    let said = match message {
        None => options::Http2::default(),
        Some(message) => options::http2(&at.field("http2_protocol_options"), message)?,
    };
    Ok(Http2Options {
        allow_connect: said.allow_connect,
        max_concurrent_streams: said.max_concurrent_streams.unwrap_or(1024),
        initial_stream_window: said.initial_stream_window.unwrap_or(16 << 20),
        keepalive: said.keepalive,
        initial_connection_window: said.initial_connection_window.unwrap_or(24 << 20),
    })
}
