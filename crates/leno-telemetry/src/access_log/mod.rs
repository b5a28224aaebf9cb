//! Access log lines, in Istio's and Envoy's formats, written straight into a buffer.
//!
//! The operators are [Envoy's]; the engine parses them once, here they are filled from the record. A line is one
//! allocation at most: the buffer's growth.
//!
//! [Envoy's]: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage

mod closing;
pub mod entry;
mod ipv4;
mod json;
pub mod otlp;
mod start_time;
mod uuid;
mod values;
mod write;

use leno_engine::compile::access_log::{
    Clock, Format, FormatValues, Heads, Json, LogFormat, Operator, TlsFact,
};

use crate::record::{ConnectionRecord, RequestRecord};
pub(crate) use json::escape as escape_json;
pub use start_time::write as write_time;
use values::ConnectionValues;
pub use values::{Common, RequestValues, details};

/// Istio's default line.
pub const DEFAULT_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Istio's default keys with `accessLogEncoding: JSON`.
pub const DEFAULT_JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
];

/// `2016-04-15T20:17:00.310Z`
pub fn rfc3339(time: std::time::SystemTime) -> String {
    let mut out = Vec::new();
    start_time::write(time, None, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// [`DEFAULT_TEXT`], parsed.
pub fn default_text() -> Result<LogFormat, String> {
    Format::parse(DEFAULT_TEXT).map(|format| LogFormat::Text {
        format,
        omit_empty: false,
    })
}

/// [`DEFAULT_JSON`], parsed.
pub fn default_json() -> Result<LogFormat, String> {
    let keys = DEFAULT_JSON
        .iter()
        .map(|(key, text)| Ok(((*key).to_owned(), Json::Format(Format::parse(text)?))));
    let value = Json::Object(keys.collect::<Result<_, String>>()?);
    Ok(LogFormat::Json {
        value,
        omit_empty: false,
    })
}

/// A time format that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

/// Finds time formats that cannot be written, so that they are refused and not logged wrong.
pub fn check(formats: &[&Format]) -> Result<(), Unsupported> {
    let mut operators = formats.iter().flat_map(|format| format.operators());
    operators.try_for_each(|operator| {
        let (name, format) = match operator {
            Operator::StartTime(Clock { format, .. }) => ("START_TIME", format),
            Operator::EmitTime(Clock { format, .. }) => ("EMIT_TIME", format),
            Operator::Tls(_, TlsFact::ValidFrom(format)) => ("PEER_CERT_V_START", format),
            Operator::Tls(_, TlsFact::ValidUntil(format)) => ("PEER_CERT_V_END", format),
            _ => return Ok(()),
        };
        match format {
            None => Ok(()),
            Some(format) => {
                start_time::check(format).map_err(|text| Unsupported(format!("%{name}({text})%")))
            }
        }
    })
}

/// Appends a request's line.
pub fn write_request(format: &LogFormat, record: &RequestRecord<'_>, out: &mut Vec<u8>) {
    write(format, record.heads(), &RequestValues::new(record), out);
}

/// Appends a TCP connection's line.
pub fn write_connection(format: &LogFormat, record: &ConnectionRecord<'_>, out: &mut Vec<u8>) {
    write(format, Heads::default(), &ConnectionValues::new(record), out);
}

/// What formats may say of a connection.
pub fn connection_values<'r>(record: &'r ConnectionRecord<'r>) -> impl FormatValues + 'r {
    ConnectionValues::new(record)
}

/// Appends what the format makes of these values.
pub fn write(format: &LogFormat, heads: Heads<'_>, values: &dyn FormatValues, out: &mut Vec<u8>) {
    match format {
        LogFormat::Text {
            format,
            omit_empty: false,
        } => format.write(heads, values, out),
        LogFormat::Text {
            format,
            omit_empty: true,
        } => format.write_omitting(heads, values, out),
        LogFormat::Json { value, omit_empty } => json::write(value, *omit_empty, heads, values, out),
    }
}

// === impl Unsupported ===

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "command operator {} is not supported", self.0)
    }
}
