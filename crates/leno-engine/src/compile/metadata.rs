//! `envoy.config.core.v3.Metadata`: what is said of endpoints, routes and listeners besides what they do.

use std::collections::BTreeMap;
use std::fmt;

use prost::Message;

use super::pb::{core, protobuf};
use crate::message::base64;

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

/// All metadata of something, as they came: hardly anybody asks, and there are many of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Told(Box<[u8]>);

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

// === impl Told ===

impl Told {
    /// None: there is nothing.
    pub(crate) fn new(message: Option<&core::Metadata>) -> Option<Self> {
        let message = message.filter(|message| !message.filter_metadata.is_empty())?;
        let fields_alone = core::Metadata {
            filter_metadata: message.filter_metadata.clone(),
            ..Default::default()
        };
        Some(Self(fields_alone.encode_to_vec().into()))
    }

    /// What stands under a filter's name.
    pub fn read(&self, namespace: &str, read: &mut dyn FnMut(&Value)) {
        let message = core::Metadata::decode(&*self.0).unwrap_or_default();
        if let Some(found) = message.filter_metadata.get(namespace) {
            read(&Value::Fields(fields(found)));
        }
    }
}

// === impl Value ===

impl Value {
    /// What stands at a path in it; all of it, where the path is empty.
    pub fn at(&self, path: &[String]) -> Option<&Value> {
        path.iter().try_fold(self, |at, name| match at {
            Self::Fields(fields) => fields.get(name),
            _ => None,
        })
    }

    /// As expressions see it.
    pub fn expression(&self) -> leno_cel::Value<'static> {
        use leno_cel::Value as Cel;
        match self {
            Self::Null => Cel::Null,
            Self::Bool(value) => Cel::Bool(*value),
            Self::Number(number) => Cel::Double((*number).into()),
            Self::Text(text) => Cel::text(text.clone()),
            Self::List(items) => Cel::List(items.iter().map(Self::expression).collect()),
            Self::Fields(fields) => {
                let one = |(name, value): (&String, &Self)| (Cel::text(name.clone()), value.expression());
                Cel::Map(fields.iter().map(one).collect())
            }
        }
    }

    /// What an expression has come to, as JSON has it; None: JSON has nothing like it.
    pub fn of_expression(value: &leno_cel::Value<'_>) -> Option<Self> {
        use leno_cel::Value as Cel;
        let printed = || {
            let mut text = Vec::new();
            value.print(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        Some(match value {
            Cel::Null => Self::Null,
            Cel::Bool(value) => Self::Bool(*value),
            Cel::Int(value) => Self::Number(Number::from(*value as f64)),
            Cel::Uint(value) => Self::Number(Number::from(*value as f64)),
            Cel::Double(value) => Self::Number(Number::from(*value)),
            Cel::Text(text) => Self::Text(text.clone().into_owned()),
            Cel::Bytes(bytes) => Self::Text(String::from_utf8_lossy(&base64::encode(bytes)).into_owned()),
            Cel::Duration(time) => Self::Text(leno_cel::duration_json(*time)),
            Cel::Timestamp(_) => Self::Text(printed().replace("+00:00", "Z")),
            Cel::List(items) => Self::List(items.iter().map(Self::of_expression).collect::<Option<_>>()?),
            Cel::Map(entries) => {
                let one = |(key, value): &(Cel<'_>, Cel<'_>)| {
                    let key = match key {
                        Cel::Text(key) => key.clone().into_owned(),
                        Cel::Bool(_) | Cel::Int(_) | Cel::Uint(_) => {
                            let mut text = Vec::new();
                            key.print(&mut text);
                            String::from_utf8_lossy(&text).into_owned()
                        }
                        _ => return None,
                    };
                    Some((key, Self::of_expression(value)?))
                };
                Self::Fields(entries.iter().map(one).collect::<Option<_>>()?)
            }
            Cel::Table(_) | Cel::Variable { .. } => return None,
        })
    }

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

impl From<&Value> for protobuf::Value {
    fn from(value: &Value) -> Self {
        use protobuf::value::Kind;
        let kind = match value {
            Value::Null => Kind::NullValue(0),
            Value::Bool(value) => Kind::BoolValue(*value),
            Value::Number(number) => Kind::NumberValue((*number).into()),
            Value::Text(text) => Kind::StringValue(text.clone()),
            Value::List(items) => Kind::ListValue(protobuf::ListValue {
                values: items.iter().map(Self::from).collect(),
            }),
            Value::Fields(fields) => Kind::StructValue(message(fields)),
        };
        Self { kind: Some(kind) }
    }
}

/// The same as a message.
pub(crate) fn message(fields: &Fields) -> protobuf::Struct {
    let fields = fields.iter();
    protobuf::Struct {
        fields: fields.map(|(name, value)| (name.clone(), value.into())).collect(),
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
