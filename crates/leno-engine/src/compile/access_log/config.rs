//! `envoy.config.accesslog.v3.AccessLog`.

use std::path::PathBuf;
use std::sync::Arc;

use leno_proto::FromAny;

use super::collected;
use super::formats::{json, log_format, text_format};
use super::parse::Brought;
use super::{AccessLog, Destination, LogFormat, Sink};
use crate::compile::Rejection;
use crate::compile::at::{At, silent};
use crate::compile::log_filter;
use crate::compile::pb::{accesslog as pb, file_log, grpc_log, opentelemetry_log, stream_log};

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
        Some(F::Format(text)) => text_format(&at.field("format"), text, false, Brought::default())?,
        Some(F::JsonFormat(fields)) => json(&at.field("json_format"), fields, false, Brought::default())?,
        Some(F::TypedJsonFormat(fields)) => {
            json(&at.field("typed_json_format"), fields, false, Brought::default())?
        }
        Some(F::LogFormat(said)) => log_format(at, Some(said))?,
    };
    Ok((sink, format))
}
