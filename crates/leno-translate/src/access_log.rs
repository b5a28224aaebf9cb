//! Access logs: to files, to Envoy's access log service, to OpenTelemetry's collectors.

use leno_model::MeshConfig;
use leno_model::telemetry::{Entries, FileFormat, ProviderKind};
use leno_proto::ToAny;

use crate::parts::{list, nested, string};
use crate::pb::protobuf::value::Kind;
use crate::pb::protobuf::{Struct, Value};
use crate::pb::{accesslog, cel_filter, core, file_log, grpc_log, otel_log, otlp};
use crate::tracing::TracingInput;

/// Istio's default line.
const TEXT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "#,
    r#""%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "#,
    r#"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "#,
    r#""%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% "#,
    r#"%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "#,
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Istio's default fields for `JSON`.
const JSON: &[(&str, &str)] = &[
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// The policy that denied, or what would have allowed: leno's own, at the end of Istio's default.
const DENIED: &str = "%DYNAMIC_METADATA(leno:denied)%";

/// What is told of requests and connections, and to whom: logs, and traces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogInput {
    loggers: Vec<Logger>,
    tracing: Option<TracingInput>,
    /// Lines say besides why a policy denied.
    denials: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Logger {
    to: LogTo,
    /// In CEL: only what it is true of.
    expression: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LogTo {
    File {
        path: String,
        format: FormatInput,
        omits_empty: bool,
    },
    Entries {
        said: Entries,
        cluster: String,
    },
    Records {
        cluster: String,
        authority: String,
        log_name: String,
        body: Option<String>,
        attributes: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum FormatInput {
    /// Istio's line, or its object.
    Default {
        json: bool,
    },
    Text(String),
    /// A JSON object.
    Json(String),
}

/// MeshConfig's `accessLogFile`.
pub(crate) fn file_of_mesh(mesh: &MeshConfig) -> Option<Logger> {
    let path = mesh.access_log_file.clone().filter(|file| !file.is_empty())?;
    let format = mesh.access_log_format.clone().filter(|format| !format.is_empty());
    let to = LogTo::File {
        path,
        format: match (format, mesh.access_log_json) {
            (None, json) => FormatInput::Default { json },
            (Some(text), false) => FormatInput::Text(text),
            (Some(object), true) => FormatInput::Json(object),
        },
        omits_empty: false,
    };
    Some(Logger { to, expression: None })
}

// === impl Logger ===

impl Logger {
    /// `cluster`: where the provider is, unless it is a file. None: it takes no logs.
    pub(crate) fn new(
        kind: &ProviderKind,
        cluster: Option<String>,
        expression: Option<String>,
    ) -> Option<Self> {
        let to = match kind {
            ProviderKind::File {
                path,
                format,
                omits_empty,
            } => LogTo::File {
                path: path.clone(),
                format: match format {
                    None => FormatInput::Default { json: false },
                    Some(FileFormat::Text(text)) => FormatInput::Text(text.clone()),
                    Some(FileFormat::Labels(object)) => FormatInput::Json(object.clone()),
                },
                omits_empty: *omits_empty,
            },
            ProviderKind::Entries(said) => LogTo::Entries {
                said: said.clone(),
                cluster: cluster?,
            },
            ProviderKind::Records {
                at,
                log_name,
                body,
                attributes,
            } => LogTo::Records {
                cluster: cluster?,
                authority: at.host.to_string(),
                log_name: log_name.clone(),
                body: body.clone(),
                attributes: attributes.clone(),
            },
            ProviderKind::Zipkin(_) | ProviderKind::OpenTelemetry { .. } => return None,
        };
        Some(Self { to, expression })
    }
}

// === impl LogInput ===

impl LogInput {
    pub(crate) fn new(loggers: Vec<Logger>, tracing: Option<TracingInput>) -> Option<Self> {
        (!loggers.is_empty() || tracing.is_some()).then_some(Self {
            loggers,
            tracing,
            denials: false,
        })
    }

    /// Where policies may deny, and the proxy is leno's.
    pub(crate) fn with_denials(self, denials: bool) -> Self {
        Self { denials, ..self }
    }

    pub(crate) fn tracing(&self) -> Option<&TracingInput> {
        self.tracing.as_ref()
    }

    pub(crate) fn clusters(&self) -> impl Iterator<Item = &str> {
        let logs = self.loggers.iter().filter_map(|logger| match &logger.to {
            LogTo::File { .. } => None,
            LogTo::Entries { cluster, .. } | LogTo::Records { cluster, .. } => Some(cluster.as_str()),
        });
        logs.chain(self.tracing.iter().map(|tracing| tracing.tracer.cluster()))
    }
}

/// What there is a log of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Requests,
    Connections,
}

/// The log of requests or connections.
pub(crate) fn access_log(input: Option<&LogInput>, of: Of) -> Vec<accesslog::AccessLog> {
    logs(input, of, None)
}

/// The log of connections for which no filter chain is there: refused plaintext, among others.
pub(crate) fn refusal_log(input: Option<&LogInput>) -> Vec<accesslog::AccessLog> {
    use accesslog::access_log_filter::FilterSpecifier;
    let refused = accesslog::AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(
            accesslog::ResponseFlagFilter {
                flags: vec!["NR".into()],
            },
        )),
    };
    logs(input, Of::Connections, Some(&refused))
}

fn logs(
    input: Option<&LogInput>,
    of: Of,
    only: Option<&accesslog::AccessLogFilter>,
) -> Vec<accesslog::AccessLog> {
    let logs = input.iter().flat_map(|input| {
        let loggers = input.loggers.iter();
        loggers.filter_map(|logger| log(logger, input.denials, of, only))
    });
    logs.collect()
}

/// None: it takes none of these.
fn log(
    logger: &Logger,
    denials: bool,
    of: Of,
    only: Option<&accesslog::AccessLogFilter>,
) -> Option<accesslog::AccessLog> {
    let (name, config) = match &logger.to {
        LogTo::File {
            path,
            format,
            omits_empty,
        } => {
            let config = file(path, format, *omits_empty, denials);
            ("envoy.access_loggers.file", config.to_any())
        }
        LogTo::Entries { said, cluster } => match (of, said.http) {
            (Of::Requests, true) => {
                let config = grpc_log::HttpGrpcAccessLogConfig {
                    common_config: Some(common(said, cluster)),
                    additional_request_headers_to_log: said.request_headers.clone(),
                    additional_response_headers_to_log: said.response_headers.clone(),
                    additional_response_trailers_to_log: said.response_trailers.clone(),
                };
                ("envoy.access_loggers.http_grpc", config.to_any())
            }
            (Of::Connections, false) => {
                let config = grpc_log::TcpGrpcAccessLogConfig {
                    common_config: Some(common(said, cluster)),
                };
                ("envoy.access_loggers.tcp_grpc", config.to_any())
            }
            (Of::Requests, false) | (Of::Connections, true) => return None,
        },
        LogTo::Records {
            cluster,
            authority,
            log_name,
            body,
            attributes,
        } => {
            let config = records(
                cluster,
                authority,
                log_name,
                (body.as_deref(), attributes.as_deref()),
            );
            ("envoy.access_loggers.open_telemetry", config.to_any())
        }
    };
    Some(accesslog::AccessLog {
        name: name.into(),
        filter: both(only.cloned(), logger.expression.as_deref().map(expression)),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(config)),
    })
}

fn both(
    one: Option<accesslog::AccessLogFilter>,
    other: Option<accesslog::AccessLogFilter>,
) -> Option<accesslog::AccessLogFilter> {
    use accesslog::access_log_filter::FilterSpecifier;
    match (one, other) {
        (Some(one), Some(other)) => Some(accesslog::AccessLogFilter {
            filter_specifier: Some(FilterSpecifier::AndFilter(accesslog::AndFilter {
                filters: vec![one, other],
            })),
        }),
        (one, other) => one.or(other),
    }
}

fn expression(text: &str) -> accesslog::AccessLogFilter {
    use accesslog::access_log_filter::FilterSpecifier;
    let config = cel_filter::ExpressionFilter {
        expression: text.to_owned(),
        ..Default::default()
    };
    accesslog::AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ExtensionFilter(accesslog::ExtensionFilter {
            name: "envoy.access_loggers.extension_filters.cel".into(),
            config_type: Some(accesslog::extension_filter::ConfigType::TypedConfig(
                config.to_any(),
            )),
        })),
    }
}

fn grpc(cluster: &str, authority: &str) -> core::GrpcService {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    core::GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: cluster.to_owned(),
            authority: authority.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn common(said: &Entries, cluster: &str) -> grpc_log::CommonGrpcAccessLogConfig {
    let default = if said.http {
        "http_envoy_accesslog"
    } else {
        "tcp_envoy_accesslog"
    };
    grpc_log::CommonGrpcAccessLogConfig {
        log_name: named(&said.log_name, default),
        grpc_service: Some(grpc(cluster, said.at.host.as_str())),
        transport_api_version: core::ApiVersion::V3.into(),
        filter_state_objects_to_log: said.state.clone(),
        ..Default::default()
    }
}

fn named(name: &str, otherwise: &str) -> String {
    if name.is_empty() { otherwise } else { name }.to_owned()
}

fn records(
    cluster: &str,
    authority: &str,
    log_name: &str,
    (body, attributes): (Option<&str>, Option<&str>),
) -> otel_log::OpenTelemetryAccessLogConfig {
    let attributes = attributes.and_then(|text| serde_json::from_str(text).ok());
    let attributes: serde_json::Map<String, serde_json::Value> = attributes.unwrap_or_default();
    let values = attributes.into_iter().map(|(key, value)| otlp::KeyValue {
        key,
        value: Some(any_value(value)),
        ..Default::default()
    });
    otel_log::OpenTelemetryAccessLogConfig {
        log_name: named(log_name, "otel_envoy_accesslog"),
        grpc_service: Some(grpc(cluster, authority)),
        body: Some(text_value(body.unwrap_or(TEXT.trim_end()))),
        attributes: Some(otlp::KeyValueList {
            values: values.collect(),
        }),
        ..Default::default()
    }
}

fn text_value(text: &str) -> otlp::AnyValue {
    otlp::AnyValue {
        value: Some(otlp::any_value::Value::StringValue(text.to_owned())),
    }
}

/// Texts with command operators; what is no text is written as one.
fn any_value(value: serde_json::Value) -> otlp::AnyValue {
    match value {
        serde_json::Value::String(text) => text_value(&text),
        other => text_value(&other.to_string()),
    }
}

fn file(path: &str, format: &FormatInput, omits_empty: bool, denials: bool) -> file_log::FileAccessLog {
    use core::substitution_format_string::Format;
    let format = match format {
        FormatInput::Default { json: false } if denials => {
            Format::TextFormatSource(inline(&format!("{} \"{DENIED}\"\n", TEXT.trim_end())))
        }
        FormatInput::Default { json: false } => Format::TextFormatSource(inline(TEXT)),
        FormatInput::Default { json: true } => Format::JsonFormat(default_json(denials)),
        // Istio ends each line of the user's for them.
        FormatInput::Text(text) if text.ends_with('\n') => Format::TextFormatSource(inline(text)),
        FormatInput::Text(text) => Format::TextFormatSource(inline(&format!("{text}\n"))),
        FormatInput::Json(text) => Format::JsonFormat(parse(text).unwrap_or_else(|| default_json(denials))),
    };
    file_log::FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(file_log::file_access_log::AccessLogFormat::LogFormat(
            core::SubstitutionFormatString {
                omit_empty_values: omits_empty,
                format: Some(format),
                ..Default::default()
            },
        )),
    }
}

fn inline(text: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.into())),
        ..Default::default()
    }
}

fn default_json(denials: bool) -> Struct {
    let denied = denials.then_some(("denied", DENIED));
    Struct {
        fields: JSON
            .iter()
            .chain(&denied)
            .map(|(name, value)| ((*name).to_owned(), string(*value)))
            .collect(),
    }
}

/// The user's JSON object; None if it is none (the model has said so already, Istio's default then holds).
fn parse(text: &str) -> Option<Struct> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(fields)) => Some(object(fields)),
        _ => None,
    }
}

fn object(fields: serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, field)| (name, value(field)))
            .collect(),
    }
}

fn value(json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => return string(text),
        serde_json::Value::Array(items) => return list(items.into_iter().map(value).collect()),
        serde_json::Value::Object(fields) => return nested(object(fields)),
    };
    Value { kind: Some(kind) }
}
