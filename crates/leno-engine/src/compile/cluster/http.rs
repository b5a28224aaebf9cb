//! `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`: how HTTP is spoken to a cluster.

use std::sync::Arc;
use std::time::Duration;

use super::{ErrorMatcher, UpstreamHttp1, UpstreamHttp2, UpstreamProtocol, errors};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::hash::{self, HashPolicy};
use crate::compile::http::options::{self as shared, http1};
use crate::compile::pb::{cluster, core, hcm, upstream_http as pb};
use crate::compile::route::mirror::{MirrorPolicy, mirror};
use crate::compile::route::retry::{self, RetryPolicy};

pub(super) struct UpstreamHttp {
    pub(super) protocol: UpstreamProtocol,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connection_duration: Option<Duration>,
    pub(super) max_stream_duration: Option<Duration>,
    pub(super) max_requests_per_connection: Option<u32>,
    pub(super) http2: UpstreamHttp2,
    pub(super) http1: UpstreamHttp1,
    /// In place of the routes'.
    pub(super) mirrors: Vec<MirrorPolicy>,
    pub(super) retry: Option<Arc<RetryPolicy>>,
    pub(super) hash: Vec<HashPolicy>,
    pub(super) errors: Option<Arc<ErrorMatcher>>,
    /// `upstream_http_protocol_options`: the server name is the request's authority.
    pub(super) auto_sni: bool,
    pub(super) auto_san_validation: bool,
    /// In place of the authority, if it is there.
    pub(super) sni_header: Option<String>,
}

/// Envoy's defaults; 1 h for idle connections.
impl Default for UpstreamHttp {
    fn default() -> Self {
        Self {
            protocol: UpstreamProtocol::Http1,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_stream_duration: None,
            max_requests_per_connection: None,
            http2: UpstreamHttp2 {
                max_concurrent_streams: 1024,
                initial_stream_window: 16 << 20,
                initial_connection_window: 24 << 20,
                keepalive: None,
            },
            http1: UpstreamHttp1::default(),
            mirrors: Vec::new(),
            retry: None,
            hash: Vec::new(),
            errors: None,
            auto_sni: false,
            auto_san_validation: false,
            sni_header: None,
        }
    }
}

pub(super) fn options(at: &At<'_>, message: &pb::HttpProtocolOptions) -> Result<UpstreamHttp, Rejection> {
    let pb::HttpProtocolOptions {
        common_http_protocol_options,
        upstream_http_protocol_options,
        http_filters,
        header_validation_config,
        outlier_detection,
        request_mirror_policies,
        hash_policy,
        retry_policy,
        upstream_protocol_options,
    } = message;
    refuse!(at; header_validation_config);
    at.each("http_filters", http_filters, codec_filter)?;
    let mut http = UpstreamHttp {
        hash: at.each("hash_policy", hash_policy, hash::hash_policy)?,
        errors: match outlier_detection {
            None => None,
            Some(detection) => {
                let errors = errors::errors(&at.field("outlier_detection"), detection)?;
                Some(Arc::new(errors))
            }
        },
        mirrors: at.each("request_mirror_policies", request_mirror_policies, mirror)?,
        retry: match retry_policy {
            None => None,
            Some(policy) => Some(Arc::new(retry::policy(&at.field("retry_policy"), policy)?)),
        },
        ..UpstreamHttp::default()
    };
    if let Some(common) = common_http_protocol_options {
        self::common(&at.field("common_http_protocol_options"), common, &mut http)?;
    }
    names(at, upstream_http_protocol_options.as_ref(), &mut http)?;
    let field = "upstream_protocol_options";
    protocol(at, at.required(field, upstream_protocol_options)?, &mut http)?;
    Ok(http)
}

/// What names a server's certificate may have.
fn names(
    at: &At<'_>,
    message: Option<&core::UpstreamHttpProtocolOptions>,
    http: &mut UpstreamHttp,
) -> Result<(), Rejection> {
    let Some(core::UpstreamHttpProtocolOptions {
        auto_sni,
        auto_san_validation,
        override_auto_sni_header,
    }) = message
    else {
        return Ok(());
    };
    let at = at.field("upstream_http_protocol_options");
    if !override_auto_sni_header.is_empty() {
        let at = at.field("override_auto_sni_header");
        http.sni_header = Some(at.header_name(override_auto_sni_header)?);
    }
    http.auto_sni = *auto_sni;
    http.auto_san_validation = *auto_san_validation;
    Ok(())
}

/// The cluster's own fields, which came before [`options`] and count only without those, as in Envoy.
pub(super) fn legacy(at: &At<'_>, message: &cluster::Cluster) -> Result<UpstreamHttp, Rejection> {
    use cluster::cluster::ClusterProtocolSelection as Selection;
    let mut http = UpstreamHttp::default();
    let (one, two) = (&message.http_protocol_options, &message.http2_protocol_options);
    both(at, one.as_ref(), two.as_ref(), &mut http)?;
    http.protocol = match at.choice("protocol_selection", message.protocol_selection)? {
        Selection::UseDownstreamProtocol => UpstreamProtocol::Downstream,
        Selection::UseConfiguredProtocol if one.is_some() && two.is_some() => {
            return Err(at
                .field("http2_protocol_options")
                .reject("excludes http_protocol_options, unless protocol_selection says which"));
        }
        Selection::UseConfiguredProtocol if two.is_some() => UpstreamProtocol::Http2,
        Selection::UseConfiguredProtocol => UpstreamProtocol::Http1,
    };
    if let Some(common) = &message.common_http_protocol_options {
        self::common(&at.field("common_http_protocol_options"), common, &mut http)?;
    }
    names(at, message.upstream_http_protocol_options.as_ref(), &mut http)?;
    Ok(http)
}

/// The only upstream filter that may be named is the one that is always there.
fn codec_filter(at: &At<'_>, message: &hcm::HttpFilter) -> Result<(), Rejection> {
    use hcm::http_filter::ConfigType;
    let hcm::HttpFilter {
        name,
        is_optional,
        disabled,
        config_type,
    } = message;
    silent!("names are for people"; name);
    silent!("what is not known is rejected all the same"; is_optional);
    refuse!(at; disabled);
    match at.required("typed_config", config_type)? {
        ConfigType::TypedConfig(any)
            if any
                .type_url
                .ends_with("/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec") =>
        {
            Ok(())
        }
        ConfigType::TypedConfig(any) => Err(at.field("typed_config").unknown_extension(any)),
        ConfigType::ConfigDiscovery(_) => Err(at.field("config_discovery").reject("not supported")),
    }
}

fn common(
    at: &At<'_>,
    message: &core::HttpProtocolOptions,
    http: &mut UpstreamHttp,
) -> Result<(), Rejection> {
    let core::HttpProtocolOptions {
        idle_timeout,
        max_connection_duration,
        max_connection_duration_jitter,
        max_headers_count,
        max_response_headers_kb,
        max_stream_duration,
        headers_with_underscores_action,
        max_requests_per_connection,
    } = message;
    http.max_connection_duration = at.timeout("max_connection_duration", max_connection_duration, None)?;
    http.max_stream_duration = at.timeout("max_stream_duration", max_stream_duration, None)?;
    no_effect!(at, "not used upstream"; max_connection_duration_jitter, headers_with_underscores_action);
    no_effect!(at, "leno's own limits hold for answers"; max_headers_count, max_response_headers_kb);
    http.idle_timeout = at.timeout("idle_timeout", idle_timeout, http.idle_timeout)?;
    let most = max_requests_per_connection.as_ref().map(|most| most.value);
    http.max_requests_per_connection = most.filter(|most| *most > 0);
    Ok(())
}

fn protocol(
    at: &At<'_>,
    options: &pb::http_protocol_options::UpstreamProtocolOptions,
    http: &mut UpstreamHttp,
) -> Result<(), Rejection> {
    use pb::http_protocol_options::explicit_http_config::ProtocolConfig;
    use pb::http_protocol_options::{
        AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions as Options, UseDownstreamHttpConfig,
    };
    match options {
        Options::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config }) => {
            let at = at.field("explicit_http_config");
            match at.required("protocol_config", protocol_config)? {
                ProtocolConfig::HttpProtocolOptions(options) => {
                    both(&at, Some(options), None, http)?;
                    http.protocol = UpstreamProtocol::Http1;
                }
                ProtocolConfig::Http2ProtocolOptions(options) => {
                    http2(&at.field("http2_protocol_options"), options, &mut http.http2)?;
                    http.protocol = UpstreamProtocol::Http2;
                }
                ProtocolConfig::Http3ProtocolOptions(_) => {
                    return Err(at.field("http3_protocol_options").reject("not supported"));
                }
            }
        }
        Options::UseDownstreamProtocolConfig(config) => {
            let at = at.field("use_downstream_protocol_config");
            let UseDownstreamHttpConfig {
                http_protocol_options,
                http2_protocol_options,
                http3_protocol_options,
            } = config;
            no_effect!(at, "HTTP/3 is not spoken"; http3_protocol_options);
            both(
                &at,
                http_protocol_options.as_ref(),
                http2_protocol_options.as_ref(),
                http,
            )?;
            http.protocol = UpstreamProtocol::Downstream;
        }
        Options::AutoConfig(config) => {
            let at = at.field("auto_config");
            let AutoHttpConfig {
                http_protocol_options,
                http2_protocol_options,
                http3_protocol_options,
                alternate_protocols_cache_options,
            } = config;
            no_effect!(at, "HTTP/3 is not spoken"; http3_protocol_options, alternate_protocols_cache_options);
            both(
                &at,
                http_protocol_options.as_ref(),
                http2_protocol_options.as_ref(),
                http,
            )?;
            http.protocol = UpstreamProtocol::Auto;
        }
    }
    Ok(())
}

fn both(
    at: &At<'_>,
    one: Option<&core::Http1ProtocolOptions>,
    two: Option<&core::Http2ProtocolOptions>,
    http: &mut UpstreamHttp,
) -> Result<(), Rejection> {
    if let Some(options) = one {
        let at = at.field("http_protocol_options");
        let options = http1(&at, options)?;
        if options.chunked_length {
            return Err(at
                .field("allow_chunked_length")
                .reject("not supported of upstreams"));
        }
        http.http1 = UpstreamHttp1 {
            header_case: options.header_case,
            whole_url: options.whole_url,
        };
    }
    if let Some(options) = two {
        http2(&at.field("http2_protocol_options"), options, &mut http.http2)?;
    }
    Ok(())
}

fn http2(
    at: &At<'_>,
    message: &core::Http2ProtocolOptions,
    http2: &mut UpstreamHttp2,
) -> Result<(), Rejection> {
    let options = shared::http2(at, message)?;
    if options.allow_connect {
        at.field("allow_connect")
            .warn("upstreams are asked for tunnels whatever this says, as by Envoy");
    }
    http2.max_concurrent_streams = options
        .max_concurrent_streams
        .unwrap_or(http2.max_concurrent_streams);
    http2.initial_stream_window = options
        .initial_stream_window
        .unwrap_or(http2.initial_stream_window);
    http2.keepalive = options.keepalive;
    http2.initial_connection_window = options
        .initial_connection_window
        .unwrap_or(http2.initial_connection_window);
    Ok(())
}
