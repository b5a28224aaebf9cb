//! Access logs: Istio's `accessLogFile`, `accessLogEncoding`, `accessLogFormat`.

use leno_model::MeshConfig;
use leno_proto::ToAny;

use crate::parts::{list, nested, string};
use crate::pb::protobuf::value::Kind;
use crate::pb::protobuf::{Struct, Value};
use crate::pb::{accesslog, core, file_log};

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

/// What the mesh's configuration says of access logs; None: there are none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogInput {
    file: String,
    format: Option<String>,
    json: bool,
    /// It says besides why a policy denied.
    denials: bool,
}

pub(crate) fn log_input(mesh: &MeshConfig) -> Option<LogInput> {
    let file = mesh.access_log_file.as_deref().filter(|file| !file.is_empty())?;
    Some(LogInput {
        file: file.into(),
        format: mesh.access_log_format.clone().filter(|format| !format.is_empty()),
        json: mesh.access_log_json,
        denials: false,
    })
}

impl LogInput {
    /// Where policies may deny, and the proxy is leno's.
    pub(crate) fn with_denials(self, denials: bool) -> Self {
        Self { denials, ..self }
    }
}

/// The log of requests or connections.
pub(crate) fn access_log(input: Option<&LogInput>) -> Vec<accesslog::AccessLog> {
    input.map(|input| file(input, None)).into_iter().collect()
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
    input
        .map(|input| file(input, Some(refused)))
        .into_iter()
        .collect()
}

fn file(input: &LogInput, filter: Option<accesslog::AccessLogFilter>) -> accesslog::AccessLog {
    use core::substitution_format_string::Format;
    let format = match (&input.format, input.json) {
        (None, false) if input.denials => {
            Format::TextFormatSource(inline(&format!("{} \"{DENIED}\"\n", TEXT.trim_end())))
        }
        (None, false) => Format::TextFormatSource(inline(TEXT)),
        // Istio ends each line of the user's for them.
        (Some(text), false) if text.ends_with('\n') => Format::TextFormatSource(inline(text)),
        (Some(text), false) => Format::TextFormatSource(inline(&format!("{text}\n"))),
        (format, true) => Format::JsonFormat(
            format
                .as_deref()
                .and_then(parse)
                .unwrap_or_else(|| default_json(input.denials)),
        ),
    };
    let config = file_log::FileAccessLog {
        path: input.file.clone(),
        access_log_format: Some(file_log::file_access_log::AccessLogFormat::LogFormat(
            core::SubstitutionFormatString {
                format: Some(format),
                ..Default::default()
            },
        )),
    };
    accesslog::AccessLog {
        name: "envoy.access_loggers.file".into(),
        filter,
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(config.to_any())),
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
