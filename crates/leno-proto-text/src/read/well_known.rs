//! Reading Google's well-known types, each by its own form.

use prost_reflect::prost_types::{Duration, Timestamp};
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, Value};

use crate::error::{Error, Problem};
use crate::node::{Node, Tree};
use crate::scalar;
use crate::well_known::Form;

use super::Reader;

impl Reader<'_> {
    pub(crate) fn well_known(
        &mut self,
        form: Form,
        descriptor: &MessageDescriptor,
        node: &Node,
    ) -> Result<DynamicMessage, Error> {
        match form {
            Form::Any => self.any(descriptor, node),
            Form::Duration => self.duration(descriptor, node),
            Form::Empty => match self.map(node, || "an empty mapping".to_owned())? {
                [] => Ok(DynamicMessage::new(descriptor.clone())),
                _ => Err(self.unexpected("an empty mapping", node)),
            },
            Form::FieldMask => self.field_mask(descriptor, node),
            Form::ListValue => self.list_value(descriptor, node),
            Form::Struct => self.structure(descriptor, node),
            Form::Timestamp => self.timestamp(descriptor, node),
            Form::Value => self.json_value(descriptor, node),
            Form::Wrapper => self.wrapper(descriptor, node),
        }
    }

    fn any(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, Error> {
        let entries = self.map(node, || "a mapping with `@type`".to_owned())?;
        let mut any = DynamicMessage::new(descriptor.clone());
        if entries.is_empty() {
            return Ok(any);
        }
        let Some(named) = entries.iter().find(|entry| entry.key == "@type") else {
            return Err(self.error(Problem::MissingType, node.at));
        };
        let Tree::String(type_url) = &named.value.value else {
            return Err(self.unexpected("a type URL", &named.value));
        };
        let inner = type_url
            .rsplit_once('/')
            .and_then(|(_, name)| self.pool.get_message_by_name(name));
        let Some(inner) = inner else {
            return Err(self.error(Problem::UnknownType(type_url.clone()), named.value.at));
        };
        let rest = entries.iter().filter(|entry| entry.key != "@type");
        let message = if Form::of(&inner).is_some() {
            // Its form may not be a mapping, so it stands under `value`.
            let mut message = None;
            for entry in rest {
                if entry.key != "value" {
                    let problem = Problem::UnknownField {
                        name: entry.key.clone(),
                        message: inner.full_name().to_owned(),
                        suggestion: Some("value".to_owned()),
                    };
                    return Err(self.error(problem, entry.key_at));
                }
                message = Some(self.below("value", |reader| reader.message(&inner, &entry.value))?);
            }
            message.unwrap_or_else(|| DynamicMessage::new(inner))
        } else {
            self.fields(&inner, rest)?
        };
        any.set_field_by_number(1, Value::String(type_url.clone()));
        any.set_field_by_number(2, Value::Bytes(prost::Message::encode_to_vec(&message).into()));
        Ok(any)
    }

    fn duration(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, Error> {
        let parsed = match &node.value {
            Tree::String(text) => duration(text),
            _ => None,
        };
        let Some(value) = parsed else {
            return Err(self.unexpected("a duration in seconds such as `1.5s`", node));
        };
        Ok(seconds_and_nanos(descriptor, value.seconds, value.nanos))
    }

    fn timestamp(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, Error> {
        let parsed = match &node.value {
            Tree::String(text) => text.parse::<Timestamp>().ok(),
            _ => None,
        };
        let Some(value) = parsed else {
            return Err(self.unexpected("a time such as `2026-01-31T12:00:00Z`", node));
        };
        Ok(seconds_and_nanos(descriptor, value.seconds, value.nanos))
    }

    fn field_mask(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, Error> {
        let Tree::String(text) = &node.value else {
            return Err(self.unexpected("field paths with commas between them", node));
        };
        let paths = text
            .split(',')
            .filter(|path| !path.is_empty())
            .map(|path| Value::String(snake(path)));
        let mut mask = DynamicMessage::new(descriptor.clone());
        mask.set_field_by_number(1, Value::List(paths.collect()));
        Ok(mask)
    }

    fn wrapper(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, Error> {
        let mut message = DynamicMessage::new(descriptor.clone());
        if let Some(field) = descriptor.get_field(1) {
            let value =
                scalar::value(&field.kind(), &node.value).map_err(|problem| self.error(problem, node.at))?;
            message.set_field(&field, value);
        }
        Ok(message)
    }

    fn structure(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, Error> {
        let mut message = DynamicMessage::new(descriptor.clone());
        let value_type = descriptor.get_field(1).and_then(|field| {
            field
                .kind()
                .as_message()
                .map(|entry| entry.map_entry_value_field().kind())
        });
        let entries = self.map(node, || "a mapping".to_owned())?;
        if let Some(Kind::Message(value_type)) = value_type {
            let mut fields = std::collections::HashMap::new();
            for entry in entries {
                let value = self.below(&entry.key, |reader| reader.json_value(&value_type, &entry.value))?;
                fields.insert(MapKey::String(entry.key.clone()), Value::Message(value));
            }
            message.set_field_by_number(1, Value::Map(fields));
        }
        Ok(message)
    }

    fn list_value(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, Error> {
        let Tree::List(items) = &node.value else {
            return Err(self.unexpected("a list", node));
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        let value_type = descriptor.get_field(1).map(|field| field.kind());
        if let Some(Kind::Message(value_type)) = value_type {
            let values: Result<Vec<Value>, Error> = items
                .iter()
                .map(|item| self.json_value(&value_type, item).map(Value::Message))
                .collect();
            message.set_field_by_number(1, Value::List(values?));
        }
        Ok(message)
    }

    /// `google.protobuf.Value`: anything that JSON can say.
    fn json_value(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, Error> {
        let (field, value) = match &node.value {
            Tree::Null => ("null_value", Value::EnumNumber(0)),
            Tree::Bool(value) => ("bool_value", Value::Bool(*value)),
            Tree::Int(value) => ("number_value", Value::F64(*value as f64)),
            Tree::Float { value, .. } => ("number_value", Value::F64(*value)),
            Tree::String(value) => ("string_value", Value::String(value.clone())),
            Tree::List(_) | Tree::Map(_) => {
                let field = if matches!(node.value, Tree::List(_)) {
                    "list_value"
                } else {
                    "struct_value"
                };
                let kind = descriptor.get_field_by_name(field).map(|field| field.kind());
                let Some(Kind::Message(inner)) = kind else {
                    return Err(self.unexpected("a scalar", node));
                };
                (field, Value::Message(self.message(&inner, node)?))
            }
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_name(field, value);
        Ok(message)
    }
}

fn seconds_and_nanos(descriptor: &MessageDescriptor, seconds: i64, nanos: i32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    message.set_field_by_number(1, Value::I64(seconds));
    message.set_field_by_number(2, Value::I32(nanos));
    message
}

/// `[-]seconds[.fraction]s`, at most nine digits of fraction, within protobuf's ±10,000 years.
fn duration(text: &str) -> Option<Duration> {
    const LIMIT: i64 = 315_576_000_000;
    let body = text.strip_suffix('s')?;
    let (negative, body) = match body.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, body),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = |s: &str| s.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    if seconds > LIMIT {
        return None;
    }
    let sign = if negative { -1 } else { 1 };
    Some(Duration {
        seconds: seconds * i64::from(sign),
        nanos: nanos * sign,
    })
}

/// A field mask's paths are camelCase in JSON.
fn snake(path: &str) -> String {
    let mut name = String::with_capacity(path.len() + 4);
    for c in path.trim().chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_nanoseconds() {
        assert_eq!(
            duration("1.5s"),
            Some(Duration {
                seconds: 1,
                nanos: 500_000_000
            })
        );
        assert_eq!(duration("0.000000001s"), Some(Duration { seconds: 0, nanos: 1 }));
        assert_eq!(
            duration("-0.25s"),
            Some(Duration {
                seconds: 0,
                nanos: -250_000_000
            })
        );
        assert_eq!(
            duration("-3s"),
            Some(Duration {
                seconds: -3,
                nanos: 0
            })
        );
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "s",
            "1",
            "1m",
            "1ms",
            ".5s",
            "1.s.s",
            "+1s",
            "1.0000000001s",
            "999999999999s",
            "٣s",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }
}
