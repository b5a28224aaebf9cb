//! Log records for an OpenTelemetry collector, filled as Envoy fills them.

use std::time::SystemTime;

use leno_engine::compile::access_log::{FormatValues, Heads, Json, LogRecords};
use leno_proto::opentelemetry::proto::common::v1 as common;
use leno_proto::otlp::LogRecord;

use super::values::{ConnectionValues, RequestValues};
use crate::attributes::{key_value, nanoseconds, text, trace_id};
use crate::record::{ConnectionRecord, RequestRecord};

pub fn of_request(log: &LogRecords, record: &RequestRecord<'_>) -> LogRecord {
    let heads = record.heads();
    let mut filled = filled(log, record.start, heads, &RequestValues::new(record));
    if let Some(span) = record.span {
        filled.trace_id = trace_id(span);
        filled.span_id = span.span.to_be_bytes().to_vec();
    }
    filled
}

pub fn of_connection(log: &LogRecords, record: &ConnectionRecord<'_>) -> LogRecord {
    filled(
        log,
        record.start,
        Heads::default(),
        &ConnectionValues::new(record),
    )
}

fn filled(log: &LogRecords, start: SystemTime, heads: Heads<'_>, values: &dyn FormatValues) -> LogRecord {
    let pair = |(key, value): &(String, Json)| key_value(key, any(value, heads, values));
    let mut attributes: Vec<common::KeyValue> = log.attributes.iter().map(pair).collect();
    for tag in &log.custom_tags {
        let mut value = Vec::new();
        if tag.write(heads, values, &mut value) {
            attributes.push(key_value(&tag.name, text(value)));
        }
    }
    LogRecord {
        time_unix_nano: nanoseconds(start),
        body: log.body.as_ref().map(|body| any(body, heads, values)),
        attributes,
        ..Default::default()
    }
}

/// Everything is text, numbers too.
fn any(value: &Json, heads: Heads<'_>, values: &dyn FormatValues) -> common::AnyValue {
    use common::any_value::Value;
    let value = match value {
        Json::Format(format) => {
            let mut written = Vec::new();
            format.write(heads, values, &mut written);
            return text(written);
        }
        Json::Fixed(fixed) => return text(fixed),
        Json::List(items) => Value::ArrayValue(common::ArrayValue {
            values: items.iter().map(|item| any(item, heads, values)).collect(),
        }),
        Json::Object(keys) => Value::KvlistValue(common::KeyValueList {
            values: keys
                .iter()
                .map(|(key, value)| key_value(key, any(value, heads, values)))
                .collect(),
        }),
    };
    common::AnyValue { value: Some(value) }
}
