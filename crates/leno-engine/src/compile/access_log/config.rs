//! `envoy.config.accesslog.v3.AccessLog`.

use std::path::PathBuf;
use std::sync::Arc;

use leno_proto::FromAny;

use super::collected;
use super::{AccessLog, Destination, Format, Json, LogFormat, Sink};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, silent};
use crate::compile::log_filter;
use crate::compile::pb::{
    accesslog as pb, core, file_log, grpc_log, opentelemetry_log, protobuf, stream_log,
};

/// Envoy's default line.
const DEFAULT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
    r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "#,
    "\"%UPSTREAM_HOST%\"\n",
);

pub(crate) fn access_logs(
    at: &At<'_>,
    field: &'static str,
    logs: &[pb::AccessLog],
) -> Result<Vec<Arc<AccessLog>>, Rejection> {
    at.each(field, logs, |at, log| access_log(at, log).map(Arc::new))
}

fn access_log(at: &At<'_>, message: &pb::AccessLog) -> Result<AccessLog, Rejection> {
    let pb::AccessLog {
        name,
        filter,
        config_type,
    } = message;
    silent!("names are for people"; name);
    let filter = match filter {
        None => None,
        Some(filter) => Some(log_filter::filter(&at.field("filter"), filter)?),
    };
    let pb::access_log::ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    let at = at.field("typed_config");
    let lines = |(sink, format)| Destination::Lines { sink, format };
    let to = if any.is::<file_log::FileAccessLog>() {
        lines(file(&at, &at.unpack(any)?)?)
    } else if any.is::<stream_log::StdoutAccessLog>() {
        let stream_log::StdoutAccessLog { access_log_format } = at.unpack(any)?;
        let format = access_log_format.map(|f| match f {
            stream_log::stdout_access_log::AccessLogFormat::LogFormat(format) => format,
        });
        lines((Sink::Stdout, log_format(&at, format.as_ref())?))
    } else if any.is::<stream_log::StderrAccessLog>() {
        let stream_log::StderrAccessLog { access_log_format } = at.unpack(any)?;
        let format = access_log_format.map(|f| match f {
            stream_log::stderr_access_log::AccessLogFormat::LogFormat(format) => format,
        });
        lines((Sink::Stderr, log_format(&at, format.as_ref())?))
    } else if any.is::<grpc_log::HttpGrpcAccessLogConfig>() {
        collected::http_grpc(&at, &at.unpack(any)?)?
    } else if any.is::<grpc_log::TcpGrpcAccessLogConfig>() {
        collected::tcp_grpc(&at, &at.unpack(any)?)?
    } else if any.is::<opentelemetry_log::OpenTelemetryAccessLogConfig>() {
        collected::open_telemetry(&at, &at.unpack(any)?)?
    } else {
        return Err(at.unknown_extension(any));
    };
    Ok(AccessLog { to, filter })
}

fn file(at: &At<'_>, message: &file_log::FileAccessLog) -> Result<(Sink, LogFormat), Rejection> {
    use file_log::file_access_log::AccessLogFormat as F;
    let file_log::FileAccessLog {
        path,
        access_log_format,
    } = message;
    at.not_empty("path", path)?;
    let sink = match path.as_str() {
        "/dev/stdout" => Sink::Stdout,
        "/dev/stderr" => Sink::Stderr,
        path => Sink::File(PathBuf::from(path)),
    };
    let format = match access_log_format {
        None => log_format(at, None)?,
        Some(F::Format(text)) => text_format(&at.field("format"), text, false)?,
        Some(F::JsonFormat(fields)) => json(&at.field("json_format"), fields, false)?,
        Some(F::TypedJsonFormat(fields)) => json(&at.field("typed_json_format"), fields, false)?,
        Some(F::LogFormat(said)) => log_format(at, Some(said))?,
    };
    Ok((sink, format))
}

fn log_format(at: &At<'_>, message: Option<&core::SubstitutionFormatString>) -> Result<LogFormat, Rejection> {
    let at = &at.field("log_format");
    let Some(message) = message else {
        return text_format(at, DEFAULT, false);
    };
    let core::SubstitutionFormatString {
        omit_empty_values,
        content_type,
        formatters,
        json_format_options,
        format: said,
    } = message;
    silent!("each brings operators: one that is used and not known is rejected where it stands"; formatters);
    no_effect!(at, "not used in access logs"; content_type);
    no_effect!(at, "keys are always in their order"; json_format_options);
    format_of(at, at.required("format", said)?, *omit_empty_values)
}

pub(crate) fn format_of(
    at: &At<'_>,
    said: &core::substitution_format_string::Format,
    omit_empty: bool,
) -> Result<LogFormat, Rejection> {
    use core::substitution_format_string::Format as F;
    match said {
        F::TextFormat(text) => text_format(&at.field("text_format"), text, omit_empty),
        F::JsonFormat(fields) => json(&at.field("json_format"), fields, omit_empty),
        F::TextFormatSource(source) => {
            let at = at.field("text_format_source");
            let text = String::from_utf8(at.data_source(source)?);
            let text = text.map_err(|_| at.reject("not UTF-8"))?;
            text_format(&at, &text, omit_empty)
        }
    }
}

/// A format with what the environment says now.
pub(crate) fn format(at: &At<'_>, text: &str) -> Result<Format, Rejection> {
    let mut format = Format::parse(text).map_err(|why| at.reject(why))?;
    format.set_environment(|name| at.environment(name));
    Ok(format)
}

fn text_format(at: &At<'_>, text: &str, omit_empty: bool) -> Result<LogFormat, Rejection> {
    Ok(LogFormat::Text {
        format: format(at, text)?,
        omit_empty,
    })
}

fn json(at: &At<'_>, message: &protobuf::Struct, omit_empty: bool) -> Result<LogFormat, Rejection> {
    Ok(LogFormat::Json {
        value: object(at, message)?,
        omit_empty,
    })
}

/// Keys sorted: a protobuf map has no order of its own.
fn object(at: &At<'_>, message: &protobuf::Struct) -> Result<Json, Rejection> {
    let protobuf::Struct { fields } = message;
    let mut keys = Vec::with_capacity(fields.len());
    for (key, field) in fields {
        keys.push((key.clone(), value(&at.entry("fields", key), field)?));
    }
    keys.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Json::Object(keys))
}

fn value(at: &At<'_>, message: &protobuf::Value) -> Result<Json, Rejection> {
    use protobuf::value::Kind;
    Ok(match &message.kind {
        None | Some(Kind::NullValue(_)) => Json::Fixed("null".into()),
        Some(Kind::BoolValue(value)) => Json::Fixed(value.to_string()),
        // As JSON writes them: 5, not 5.0.
        Some(Kind::NumberValue(value)) if value.is_finite() => Json::Fixed(value.to_string()),
        Some(Kind::NumberValue(value)) => return Err(at.reject(format!("not a number of JSON: {value}"))),
        Some(Kind::StringValue(text)) => Json::Format(format(at, text)?),
        Some(Kind::ListValue(list)) => Json::List(at.each("values", &list.values, value)?),
        Some(Kind::StructValue(inner)) => object(at, inner)?,
    })
}
