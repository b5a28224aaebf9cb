//! `envoy.config.core.v3.Metadata`: what is said of endpoints, routes and listeners besides what they do.

use std::collections::BTreeMap;
use std::fmt;

use super::pb::{core, protobuf};

/// One filter's fields.
pub type Fields = BTreeMap<String, Value>;

/// A `google.protobuf.Value` that can be compared and looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Value>),
    Fields(Fields),
}

/// A number by its bits: every one equals itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(u64);

/// The fields under a filter's name; empty without.
pub(crate) fn of(metadata: Option<&core::Metadata>, filter: &str) -> Fields {
    let found = metadata.and_then(|metadata| metadata.filter_metadata.get(filter));
    found.map(fields).unwrap_or_default()
}

/// The fields of all filters whose names are wanted, by these.
pub(crate) fn namespaces(metadata: Option<&core::Metadata>, wanted: impl Fn(&str) -> bool) -> Fields {
    let all = metadata
        .into_iter()
        .flat_map(|metadata| &metadata.filter_metadata);
    let all = all.filter(|(name, _)| wanted(name));
    all.map(|(name, message)| (name.clone(), Value::Fields(fields(message))))
        .collect()
}

pub(crate) fn fields(message: &protobuf::Struct) -> Fields {
    let protobuf::Struct { fields } = message;
    fields
        .iter()
        .map(|(name, value)| (name.clone(), value.into()))
        .collect()
}

// === impl Value ===

impl Value {
    /// As protobuf's JSON has it.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Number(number) => out.extend_from_slice(f64::from(*number).to_string().as_bytes()),
            Self::Text(text) => quote(text, out),
            Self::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write_json(out);
                }
                out.push(b']');
            }
            Self::Fields(fields) => {
                out.push(b'{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    quote(name, out);
                    out.push(b':');
                    value.write_json(out);
                }
                out.push(b'}');
            }
        }
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            control if control < ' ' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

impl From<&protobuf::Value> for Value {
    fn from(message: &protobuf::Value) -> Self {
        use protobuf::value::Kind;
        match &message.kind {
            None | Some(Kind::NullValue(_)) => Self::Null,
            Some(Kind::BoolValue(value)) => Self::Bool(*value),
            Some(Kind::NumberValue(value)) => Self::Number(Number::from(*value)),
            Some(Kind::StringValue(text)) => Self::Text(text.clone()),
            Some(Kind::ListValue(protobuf::ListValue { values })) => {
                Self::List(values.iter().map(Self::from).collect())
            }
            Some(Kind::StructValue(message)) => Self::Fields(fields(message)),
        }
    }
}

// === impl Number ===

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        // Both zeros are one number.
        Self(if value == 0.0 { 0.0_f64 } else { value }.to_bits())
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        Self::from_bits(number.0)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&f64::from(*self), f)
    }
}
