//! `envoy.config.accesslog.v3.AccessLog`.

use std::path::PathBuf;
use std::sync::Arc;

use leno_proto::FromAny;

use super::{AccessLog, Format, LogFormat, Sink};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, silent};
use crate::compile::pb::{accesslog as pb, core, file_log, protobuf, stream_log};
use crate::flags::{Flag, Flags};

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
    let only = match filter {
        None => None,
        Some(filter) => Some(flag_filter(&at.field("filter"), filter)?),
    };
    let pb::access_log::ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    let at = at.field("typed_config");
    let (sink, format) = if any.is::<file_log::FileAccessLog>() {
        file(&at, &at.unpack(any)?)?
    } else if any.is::<stream_log::StdoutAccessLog>() {
        let stream_log::StdoutAccessLog { access_log_format } = at.unpack(any)?;
        let format = access_log_format.map(|f| match f {
            stream_log::stdout_access_log::AccessLogFormat::LogFormat(format) => format,
        });
        (Sink::Stdout, log_format(&at, format.as_ref())?)
    } else if any.is::<stream_log::StderrAccessLog>() {
        let stream_log::StderrAccessLog { access_log_format } = at.unpack(any)?;
        let format = access_log_format.map(|f| match f {
            stream_log::stderr_access_log::AccessLogFormat::LogFormat(format) => format,
        });
        (Sink::Stderr, log_format(&at, format.as_ref())?)
    } else {
        return Err(at.unknown_extension(any));
    };
    Ok(AccessLog { sink, format, only })
}

fn flag_filter(at: &At<'_>, message: &pb::AccessLogFilter) -> Result<Flags, Rejection> {
    use pb::access_log_filter::FilterSpecifier;
    let pb::AccessLogFilter { filter_specifier } = message;
    match at.required("filter_specifier", filter_specifier)? {
        FilterSpecifier::ResponseFlagFilter(flags) => Ok(flags_of(&at.field("response_flag_filter"), flags)),
        _ => Err(at.reject("only response_flag_filter is supported")),
    }
}

pub(crate) fn flags_of(at: &At<'_>, message: &pb::ResponseFlagFilter) -> Flags {
    let pb::ResponseFlagFilter { flags: names } = message;
    let mut flags = Flags::default();
    // None named: any will do.
    let all = names.is_empty().then_some(Flag::ALL);
    for flag in all.into_iter().flatten() {
        flags.insert(*flag);
    }
    for (i, name) in names.iter().enumerate() {
        match Flag::ALL.iter().find(|flag| flag.short() == name) {
            Some(flag) => flags.insert(*flag),
            None => at.item("flags", i).warn("this flag is never set"),
        }
    }
    flags
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
        Some(F::Format(text)) => LogFormat::Text(format(&at.field("format"), text)?),
        Some(F::JsonFormat(fields)) => json(&at.field("json_format"), fields)?,
        Some(F::TypedJsonFormat(fields)) => json(&at.field("typed_json_format"), fields)?,
        Some(F::LogFormat(said)) => log_format(at, Some(said))?,
    };
    Ok((sink, format))
}

fn log_format(at: &At<'_>, message: Option<&core::SubstitutionFormatString>) -> Result<LogFormat, Rejection> {
    let at = &at.field("log_format");
    let Some(message) = message else {
        return Ok(LogFormat::Text(format(at, DEFAULT)?));
    };
    let core::SubstitutionFormatString {
        omit_empty_values,
        content_type,
        formatters,
        json_format_options,
        format: said,
    } = message;
    silent!("each brings operators: one that is used and not known is rejected where it stands"; formatters);
    no_effect!(at, "not used in access logs"; omit_empty_values, content_type, json_format_options);
    format_of(at, at.required("format", said)?)
}

pub(crate) fn format_of(
    at: &At<'_>,
    said: &core::substitution_format_string::Format,
) -> Result<LogFormat, Rejection> {
    use core::substitution_format_string::Format as F;
    match said {
        F::TextFormat(text) => Ok(LogFormat::Text(format(&at.field("text_format"), text)?)),
        F::JsonFormat(fields) => json(&at.field("json_format"), fields),
        F::TextFormatSource(source) => {
            let at = at.field("text_format_source");
            let text = String::from_utf8(at.data_source(source)?);
            let text = text.map_err(|_| at.reject("not UTF-8"))?;
            Ok(LogFormat::Text(format(&at, &text)?))
        }
    }
}

fn format(at: &At<'_>, text: &str) -> Result<Format, Rejection> {
    Format::parse(text).map_err(|why| at.reject(why))
}

/// Keys sorted: a protobuf map has no order of its own.
fn json(at: &At<'_>, message: &protobuf::Struct) -> Result<LogFormat, Rejection> {
    let protobuf::Struct { fields } = message;
    let mut formats = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        let at = at.entry("fields", key);
        match &value.kind {
            Some(protobuf::value::Kind::StringValue(text)) => formats.push((key.clone(), format(&at, text)?)),
            _ => return Err(at.reject("only strings are supported")),
        }
    }
    formats.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(LogFormat::Json(formats))
}
