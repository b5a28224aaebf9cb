//! Access logs that are sent to a service: Envoy's own, and OpenTelemetry's.

use std::sync::Arc;
use std::time::Duration;

use super::formats::{format_with, formatters};
use super::parse::Brought;
use super::{CustomTag, Destination, Json, custom_tag};
use crate::compile::Rejection;
use crate::compile::at::{At, Wants, no_effect, refuse};
use crate::compile::collector::{BATCH_BYTES, Collector, Envelope, Service};
use crate::compile::pb::{grpc_log, opentelemetry_log, otlp, protobuf};
use crate::compile::service::{grpc_service, http_service};

/// Entries of an access log service (`envoy.data.accesslog.v3`).
#[derive(Clone, Debug, PartialEq)]
pub struct Entries {
    pub collector: Arc<Collector>,
    pub request_headers: Vec<String>,
    pub response_headers: Vec<String>,
    pub response_trailers: Vec<String>,
    pub custom_tags: Vec<CustomTag>,
}

/// Records of an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecords {
    pub collector: Arc<Collector>,
    pub body: Option<Json>,
    pub attributes: Vec<(String, Json)>,
    pub custom_tags: Vec<CustomTag>,
}

pub(super) fn http_grpc(
    at: &At<'_>,
    message: &grpc_log::HttpGrpcAccessLogConfig,
) -> Result<Destination, Rejection> {
    let grpc_log::HttpGrpcAccessLogConfig {
        common_config,
        additional_request_headers_to_log,
        additional_response_headers_to_log,
        additional_response_trailers_to_log,
    } = message;
    let name = |at: &At<'_>, name: &String| at.header_name(name);
    let entries = Entries {
        request_headers: at.each(
            "additional_request_headers_to_log",
            additional_request_headers_to_log,
            name,
        )?,
        response_headers: at.each(
            "additional_response_headers_to_log",
            additional_response_headers_to_log,
            name,
        )?,
        response_trailers: at.each(
            "additional_response_trailers_to_log",
            additional_response_trailers_to_log,
            name,
        )?,
        ..entries(at, common_config.as_ref(), false)?
    };
    Ok(Destination::Entries(entries))
}

pub(super) fn tcp_grpc(
    at: &At<'_>,
    message: &grpc_log::TcpGrpcAccessLogConfig,
) -> Result<Destination, Rejection> {
    let grpc_log::TcpGrpcAccessLogConfig { common_config } = message;
    entries(at, common_config.as_ref(), true).map(Destination::Entries)
}

fn entries(
    at: &At<'_>,
    common: Option<&grpc_log::CommonGrpcAccessLogConfig>,
    tcp: bool,
) -> Result<Entries, Rejection> {
    let at = at.field("common_config");
    let Some(grpc_log::CommonGrpcAccessLogConfig {
        log_name,
        grpc_service: service,
        transport_api_version,
        buffer_flush_interval,
        buffer_size_bytes,
        filter_state_objects_to_log,
        grpc_stream_retry_policy,
        custom_tags,
    }) = common
    else {
        return Err(at.reject("required"));
    };
    refuse!(at; filter_state_objects_to_log, grpc_stream_retry_policy);
    // Each entry tells them.
    at.want(Wants {
        wire: true,
        ..Wants::default()
    });
    at.not_empty("log_name", log_name)?;
    at.version("transport_api_version", *transport_api_version)?;
    let service = at.required("grpc_service", service)?;
    let collector = Collector {
        service: Service::Grpc(grpc_service(&at.field("grpc_service"), service)?),
        envelope: Envelope::AccessLogs {
            log_name: log_name.clone(),
            tcp,
        },
        flush_every: at.positive("buffer_flush_interval", buffer_flush_interval, SECOND)?,
        batch_bytes: bytes(buffer_size_bytes.as_ref()),
        batch_records: usize::MAX,
        most_records: usize::MAX,
    };
    Ok(Entries {
        collector: Arc::new(collector),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        response_trailers: Vec::new(),
        custom_tags: at.each("custom_tags", custom_tags, custom_tag)?,
    })
}

const SECOND: Duration = Duration::from_secs(1);

/// 0: nothing is held back.
fn bytes(said: Option<&protobuf::UInt32Value>) -> usize {
    said.map_or(BATCH_BYTES, |bytes| bytes.value as usize)
}

pub(super) fn open_telemetry(
    at: &At<'_>,
    message: &opentelemetry_log::OpenTelemetryAccessLogConfig,
) -> Result<Destination, Rejection> {
    let opentelemetry_log::OpenTelemetryAccessLogConfig {
        common_config,
        http_service: http,
        grpc_service: grpc,
        disable_builtin_labels,
        resource_attributes,
        resource_detectors,
        body,
        attributes,
        stat_prefix,
        formatters,
        log_name,
        buffer_flush_interval,
        buffer_size_bytes,
        filter_state_objects_to_log,
        custom_tags,
    } = message;
    refuse!(at; resource_detectors, filter_state_objects_to_log);
    no_effect!(at, "leno has its own statistics"; stat_prefix);
    let options = self::formatters(at, formatters)?;
    let (service, of_common) = match (grpc, http, common_config) {
        (Some(grpc), None, None) => (
            Service::Grpc(grpc_service(&at.field("grpc_service"), grpc)?),
            None,
        ),
        (None, Some(http), None) => (
            Service::Http(http_service(&at.field("http_service"), http)?),
            None,
        ),
        (None, None, Some(_)) => {
            let entries = entries(at, common_config.as_ref(), false)?;
            (entries.collector.service.clone(), Some(entries))
        }
        _ => return Err(at.reject("one of grpc_service, http_service and common_config is required")),
    };
    let mut tags = at.each("custom_tags", custom_tags, custom_tag)?;
    let mut name = log_name.clone();
    let mut flush_every = at.positive("buffer_flush_interval", buffer_flush_interval, SECOND)?;
    let mut batch_bytes = bytes(buffer_size_bytes.as_ref());
    if let Some(entries) = of_common {
        // What stands beside it counts first.
        if buffer_flush_interval.is_none() {
            flush_every = entries.collector.flush_every;
        }
        if buffer_size_bytes.is_none() {
            batch_bytes = entries.collector.batch_bytes;
        }
        if let (true, Envelope::AccessLogs { log_name, .. }) = (name.is_empty(), &entries.collector.envelope)
        {
            name.clone_from(log_name);
        }
        tags.extend(entries.custom_tags);
    }
    let empty = otlp::KeyValueList::default();
    let collector = Collector {
        service,
        envelope: Envelope::Logs {
            resource: resource(
                &at.field("resource_attributes"),
                resource_attributes.as_ref().unwrap_or(&empty),
            )?,
            builtin: (!disable_builtin_labels).then_some(name),
        },
        flush_every,
        batch_bytes,
        batch_records: usize::MAX,
        most_records: usize::MAX,
    };
    Ok(Destination::LogRecords(LogRecords {
        collector: Arc::new(collector),
        body: match body {
            None => None,
            Some(body) => Some(any(&at.field("body"), body, options)?),
        },
        attributes: list(
            &at.field("attributes"),
            attributes.as_ref().unwrap_or(&empty),
            options,
        )?,
        custom_tags: tags,
    }))
}

fn resource(at: &At<'_>, message: &otlp::KeyValueList) -> Result<Vec<(String, String)>, Rejection> {
    let each = list(at, message, Brought::default())?.into_iter().enumerate();
    each.map(|(i, (key, value))| match value {
        Json::Format(format) if format.literal().is_some() => {
            Ok((key, format.literal().unwrap_or_default().to_owned()))
        }
        _ => {
            let at = at.item("values", i);
            Err(at.field("value").reject("only a fixed text is supported"))
        }
    })
    .collect()
}

fn list(
    at: &At<'_>,
    message: &otlp::KeyValueList,
    options: Brought,
) -> Result<Vec<(String, Json)>, Rejection> {
    let otlp::KeyValueList { values } = message;
    at.each("values", values, |at, pair| {
        let otlp::KeyValue {
            key,
            value,
            key_strindex,
        } = pair;
        refuse!(at; key_strindex);
        Ok((
            key.clone(),
            any(&at.field("value"), at.required("value", value)?, options)?,
        ))
    })
}

/// Strings are formats. Envoy takes no numbers and truths here either.
fn any(at: &At<'_>, message: &otlp::AnyValue, options: Brought) -> Result<Json, Rejection> {
    use otlp::any_value::Value;
    let otlp::AnyValue { value } = message;
    Ok(match at.required("value", value)? {
        Value::StringValue(text) => Json::Format(format_with(&at.field("string_value"), text, options)?),
        Value::ArrayValue(otlp::ArrayValue { values }) => {
            let at = at.field("array_value");
            Json::List(at.each("values", values, |at, item| any(at, item, options))?)
        }
        Value::KvlistValue(inner) => Json::Object(list(&at.field("kvlist_value"), inner, options)?),
        Value::BoolValue(_)
        | Value::IntValue(_)
        | Value::DoubleValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_) => {
            return Err(at.reject("only strings, lists and key-value lists are supported"));
        }
    })
}
