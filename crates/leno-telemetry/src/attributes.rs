//! What records for OpenTelemetry are made of.

use std::time::SystemTime;

use leno_engine::decide::trace::SpanContext;
use leno_proto::opentelemetry::proto::common::v1 as common;

/// Since 1970.
pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn key_value(key: &str, value: common::AnyValue) -> common::KeyValue {
    common::KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..Default::default()
    }
}

pub(crate) fn text(value: impl AsRef<[u8]>) -> common::AnyValue {
    let text = String::from_utf8_lossy(value.as_ref()).into_owned();
    common::AnyValue {
        value: Some(common::any_value::Value::StringValue(text)),
    }
}

pub(crate) fn trace_id(context: &SpanContext) -> Vec<u8> {
    let (high, low) = (context.trace.high.to_be_bytes(), context.trace.low.to_be_bytes());
    [high, low].concat()
}
