//! The HTTP connection manager as Istio's sidecars have it.

use std::time::Duration;

use leno_model::PathNormalization;
use leno_proto::ToAny;

use crate::access_log::{LogInput, Of, access_log};
use crate::audit_log::AuditLog;
use crate::parts::{ads, bool_value, duration, network_filter};
use crate::pb::hcm::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation,
    SetCurrentClientCertDetails, UpgradeConfig,
};
use crate::pb::{core, cors, fault, filter_state, hcm, listener, route, router, set_filter_state};
use crate::tracing::TracingInput;
use crate::{peer_metadata, tls};

pub(crate) const CORS_FILTER: &str = "envoy.filters.http.cors";
pub(crate) const FAULT_FILTER: &str = "envoy.filters.http.fault";

/// What differs between the connection managers of a sidecar.
pub(crate) struct ConnectionManager<'a> {
    pub(crate) stat_prefix: String,
    pub(crate) log: Option<&'a LogInput>,
    /// What its guards come to is told.
    pub(crate) audit: Option<AuditLog>,
    /// The proxy is leno's.
    pub(crate) leno: bool,
    /// What requests are held to.
    pub(crate) guards: Vec<hcm::HttpFilter>,
    pub(crate) paths: PathNormalization,
    pub(crate) side: Side,
}

pub(crate) enum Side {
    /// At the edge: clients are strangers, whose headers say nothing about themselves.
    Gateway {
        routes: String,
    },
    Inbound(Box<route::RouteConfiguration>),
    Outbound {
        /// The route configuration's name.
        routes: String,
        /// The protocol was found by looking, so the cluster does not say that HTTP is inside.
        detected: bool,
    },
}

impl ConnectionManager<'_> {
    pub(crate) fn filter(self) -> listener::Filter {
        let filters = self.http_filters();
        let inbound = matches!(self.side, Side::Inbound(_));
        let edge = matches!(self.side, Side::Gateway { .. });
        let routes = match self.side {
            Side::Inbound(routes) => RouteSpecifier::RouteConfig(*routes),
            Side::Outbound { routes, .. } | Side::Gateway { routes } => RouteSpecifier::Rds(hcm::Rds {
                config_source: ads(),
                route_config_name: routes,
            }),
        };
        let certificates = match (inbound, edge) {
            (true, _) => ForwardClientCertDetails::AppendForward,
            (_, true) => ForwardClientCertDetails::SanitizeSet,
            (false, false) => ForwardClientCertDetails::Sanitize,
        };
        let tracing = self.log.and_then(LogInput::tracing);
        let manager = hcm::HttpConnectionManager {
            stat_prefix: self.stat_prefix,
            route_specifier: Some(routes),
            http_filters: filters,
            access_log: access_log(self.log, Of::Requests)
                .into_iter()
                .chain(self.audit.map(AuditLog::http))
                .collect(),
            tracing: tracing.map(TracingInput::tracing),
            request_id_extension: tracing.and_then(TracingInput::request_id),
            use_remote_address: bool_value(edge),
            // As applications speak it that nobody changes any more.
            http_protocol_options: Some(core::Http1ProtocolOptions {
                accept_http_10: true,
                ..Default::default()
            }),
            // Streams may idle as long as the application lets them.
            stream_idle_timeout: duration(Duration::ZERO),
            upgrade_configs: vec![UpgradeConfig {
                upgrade_type: "websocket".into(),
                ..Default::default()
            }],
            normalize_path: bool_value(self.paths != PathNormalization::None),
            merge_slashes: matches!(
                self.paths,
                PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes
            ),
            path_with_escaped_slashes_action: match self.paths {
                PathNormalization::DecodeAndMergeSlashes => PathWithEscapedSlashesAction::UnescapeAndForward,
                _ => PathWithEscapedSlashesAction::KeepUnchanged,
            }
            .into(),
            // The application's own `server`: it does not know of us.
            server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
            forward_client_cert_details: certificates.into(),
            set_current_client_cert_details: (inbound || edge).then(client_certificate),
            ..Default::default()
        };
        network_filter("envoy.filters.network.http_connection_manager", &manager)
    }

    fn http_filters(&self) -> Vec<hcm::HttpFilter> {
        let mut filters = Vec::new();
        if self.leno {
            let inbound = matches!(self.side, Side::Inbound(_));
            filters.push(peer_metadata::filter(inbound));
        }
        filters.extend(self.guards.iter().cloned());
        if let Side::Outbound { detected: true, .. } = self.side
            && !self.leno
        {
            filters.push(say_http());
        }
        if !matches!(self.side, Side::Inbound(_)) {
            // Without settings of its own: routes bring theirs.
            filters.push(http_filter(FAULT_FILTER, &fault::HttpFault::default()));
            filters.push(http_filter(CORS_FILTER, &cors::Cors::default()));
        }
        filters.push(http_filter(
            "envoy.filters.http.router",
            &router::Router::default(),
        ));
        filters
    }
}

fn http_filter(name: &str, config: &impl ToAny) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config.to_any())),
        ..Default::default()
    }
}

/// What `x-forwarded-client-cert` tells the application of its client.
fn client_certificate() -> SetCurrentClientCertDetails {
    SetCurrentClientCertDetails {
        subject: bool_value(true),
        dns: true,
        uri: true,
        ..Default::default()
    }
}

/// Offers the ALPN names of HTTP for this request, as Istio's own `istio.alpn` does: plain Envoy has the means, but
/// not that filter. leno's proxy has a cluster for each.
fn say_http() -> hcm::HttpFilter {
    use core::substitution_format_string::Format;
    use filter_state::filter_state_value::{Key, SharedWithUpstream, Value};
    let value = filter_state::FilterStateValue {
        key: Some(Key::ObjectKey("envoy.network.application_protocols".into())),
        value: Some(Value::FormatString(core::SubstitutionFormatString {
            format: Some(Format::TextFormatSource(core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineString(tls::http_offer())),
                ..Default::default()
            })),
            ..Default::default()
        })),
        shared_with_upstream: SharedWithUpstream::Once.into(),
        ..Default::default()
    };
    http_filter(
        "envoy.filters.http.set_filter_state",
        &set_filter_state::Config {
            on_request_headers: vec![value],
            ..Default::default()
        },
    )
}
