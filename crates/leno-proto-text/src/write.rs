//! From the message to JSON.
//!
//! prost-reflect's own writer gives up a whole message for one `Any` that is empty or of unknown type; a config
//! dump must show the rest.

use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, ReflectMessage, SerializeOptions, Value};
use serde_json::{Map, Value as Json, json};

use crate::redact;
use crate::scalar;
use crate::well_known::Form;

pub(crate) struct Writer<'a> {
    pub(crate) pool: &'a DescriptorPool,
    /// Secrets are not written.
    pub(crate) redacted: bool,
    /// Fields without presence are written whatever they hold.
    pub(crate) defaults: bool,
}

impl Writer<'_> {
    pub(crate) fn message(&self, message: &DynamicMessage) -> Result<Json, String> {
        match Form::of(&message.descriptor()) {
            None | Some(Form::Empty) => self.fields(message).map(Json::Object),
            Some(Form::Any) => self.any(message),
            Some(Form::Wrapper | Form::Struct | Form::ListValue) => {
                let descriptor = message.descriptor();
                let field = descriptor
                    .get_field(1)
                    .ok_or("a well-known type without its field")?;
                self.value(&field.kind(), &message.get_field(&field))
            }
            Some(Form::Value) => self.json_value(message),
            Some(Form::Duration | Form::Timestamp | Form::FieldMask) => message
                .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
                .map_err(|e| e.to_string()),
        }
    }

    /// What is set, by the names of the `.proto` file.
    fn fields(&self, message: &DynamicMessage) -> Result<Map<String, Json>, String> {
        let descriptor = message.descriptor();
        let fields = message.fields().map(|(field, value)| {
            let mut json = self.value(&field.kind(), value)?;
            if self.redacted && redact::is_sensitive(descriptor.full_name(), field.name()) {
                redact::redact(&mut json);
            }
            Ok((field.name().to_owned(), json))
        });
        let mut written: Map<String, Json> = fields.collect::<Result<_, String>>()?;
        if self.defaults {
            let unset = descriptor
                .fields()
                .filter(|field| !field.supports_presence() && !message.has_field(field));
            for field in unset {
                let json = self.value(&field.kind(), &message.get_field(&field))?;
                written.insert(field.name().to_owned(), json);
            }
        }
        Ok(written)
    }

    fn any(&self, any: &DynamicMessage) -> Result<Json, String> {
        let type_url = any.get_field_by_number(1);
        let type_url = type_url
            .as_ref()
            .and_then(|value| value.as_str())
            .unwrap_or_default();
        let bytes = any.get_field_by_number(2);
        let bytes = bytes
            .as_ref()
            .and_then(|value| value.as_bytes())
            .cloned()
            .unwrap_or_default();
        if type_url.is_empty() && bytes.is_empty() {
            return Ok(json!({}));
        }
        let known = type_url
            .rsplit_once('/')
            .and_then(|(_, name)| self.pool.get_message_by_name(name))
            .and_then(|descriptor| DynamicMessage::decode(descriptor, bytes.clone()).ok());
        let mut object = Map::new();
        match known {
            Some(message) if Form::of(&message.descriptor()).is_none() => object = self.fields(&message)?,
            Some(message) => {
                object.insert("value".to_owned(), self.message(&message)?);
            }
            // To be seen at least, though it cannot be read.
            None => {
                object.insert("value".to_owned(), scalar::to_base64(&bytes).into());
            }
        }
        object.insert("@type".to_owned(), type_url.into());
        Ok(Json::Object(object))
    }

    /// `google.protobuf.Value`: one of its fields is set; none is null.
    fn json_value(&self, message: &DynamicMessage) -> Result<Json, String> {
        match message.fields().next() {
            None => Ok(Json::Null),
            Some((_, Value::EnumNumber(_))) => Ok(Json::Null),
            Some((field, value)) => self.value(&field.kind(), value),
        }
    }

    fn value(&self, kind: &Kind, value: &Value) -> Result<Json, String> {
        Ok(match value {
            Value::Bool(value) => (*value).into(),
            Value::I32(value) => (*value).into(),
            Value::U32(value) => (*value).into(),
            // JSON's numbers are doubles to many readers.
            Value::I64(value) => value.to_string().into(),
            Value::U64(value) => value.to_string().into(),
            // Through text: 0.1 as f32 is not 0.1 as f64.
            Value::F32(value) => number(value.to_string().parse().unwrap_or(f64::from(*value))),
            Value::F64(value) => number(*value),
            Value::String(value) => value.as_str().into(),
            Value::Bytes(value) => scalar::to_base64(value).into(),
            Value::EnumNumber(number) => match kind.as_enum().and_then(|kind| kind.get_value(*number)) {
                Some(named) => named.name().into(),
                None => (*number).into(),
            },
            Value::Message(message) => self.message(message)?,
            Value::List(items) => Json::Array(
                items
                    .iter()
                    .map(|item| self.value(kind, item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Map(entries) => {
                let entry = kind.as_message().ok_or("a map without its entry type")?;
                let kind = entry.map_entry_value_field().kind();
                let entries = entries
                    .iter()
                    .map(|(key, value)| Ok((key_text(key), self.value(&kind, value)?)));
                Json::Object(entries.collect::<Result<_, String>>()?)
            }
        })
    }
}

fn number(value: f64) -> Json {
    // Whole numbers without a decimal point, as protobuf writes them; below 2^53 a double holds them exactly.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return (value as i64).into();
    }
    match serde_json::Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
