//! What a patch does to each field.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, ReflectMessage, Value};

use super::Lists;
use super::wire::{self, Record};
use crate::well_known::Form;

#[derive(Debug, Clone, Default)]
pub(super) struct Edits(Vec<Edit>);

#[derive(Debug, Clone)]
struct Edit {
    number: u32,
    /// The others of its `oneof`.
    excludes: Vec<u32>,
    change: Change,
}

/// What is encoded here has its tags.
#[derive(Debug, Clone)]
enum Change {
    Value(Vec<u8>),
    Items(Vec<u8>),
    Message(Edits),
    Any(String, Edits),
    /// The key as encoded in the entry, and the entry.
    Entries(Vec<(Vec<u8>, Vec<u8>)>),
}

// === impl Edits ===

impl Edits {
    pub(super) fn of(message: &DynamicMessage, pool: &DescriptorPool) -> Self {
        let fields = message.fields().map(|(field, value)| Edit {
            number: field.number(),
            excludes: excludes(&field),
            change: Change::of(message, &field, value, pool),
        });
        Self(fields.collect())
    }

    pub(super) fn message(&self) -> Vec<u8> {
        // Of nothing there is nothing to be cut off.
        self.apply(&[], Lists::Append).unwrap_or_default()
    }

    pub(super) fn apply(&self, target: &[u8], lists: Lists) -> Option<Vec<u8>> {
        let records = wire::records(target)?;
        let mut out = Vec::with_capacity(target.len());
        for record in &records {
            let kept = match self.0.iter().find(|edit| edit.number == record.number) {
                Some(edit) => edit.change.keeps(record, lists),
                None => !self.0.iter().any(|edit| edit.excludes.contains(&record.number)),
            };
            if kept {
                out.extend_from_slice(record.whole);
            }
        }
        for edit in &self.0 {
            // Several records of one message are one message, joined.
            let own = records.iter().filter(|record| record.number == edit.number);
            let before: Vec<u8> = own.flat_map(|record| record.payload).copied().collect();
            edit.change.put(edit.number, &before, lists, &mut out)?;
        }
        Some(out)
    }

    pub(super) fn part(&self, number: u32) -> Option<Self> {
        let edit = self.0.iter().find(|edit| edit.number == number)?;
        match &edit.change {
            Change::Message(edits) => Some(edits.clone()),
            Change::Value(_) | Change::Items(_) | Change::Any(..) | Change::Entries(_) => None,
        }
    }

    pub(super) fn without(&self, number: u32) -> Self {
        let others = self.0.iter().filter(|edit| edit.number != number);
        Self(others.cloned().collect())
    }
}

// === impl Change ===

impl Change {
    fn of(within: &DynamicMessage, field: &FieldDescriptor, value: &Value, pool: &DescriptorPool) -> Self {
        let alone = |value: Value| {
            let mut alone = DynamicMessage::new(within.descriptor());
            alone.set_field(field, value);
            alone.encode_to_vec()
        };
        match value {
            Value::List(_) => Self::Items(alone(value.clone())),
            Value::Map(entries) => {
                let mut entries: Vec<(Vec<u8>, Vec<u8>)> = entries
                    .iter()
                    .map(|(key, value)| {
                        let entry = [(key.clone(), value.clone())].into_iter().collect();
                        let encoded = alone(Value::Map(entry));
                        let records = wire::records(&encoded).unwrap_or_default();
                        let key = records.first().map(|entry| key_of(entry.payload));
                        (key.unwrap_or_default(), encoded)
                    })
                    .collect();
                entries.sort();
                Self::Entries(entries)
            }
            Value::Message(message) => match Form::of(&message.descriptor()) {
                Some(Form::Any) => any(message, pool).unwrap_or_else(|| Self::Value(alone(value.clone()))),
                Some(
                    Form::Duration
                    | Form::FieldMask
                    | Form::ListValue
                    | Form::Timestamp
                    | Form::Value
                    | Form::Wrapper,
                ) => Self::Value(alone(value.clone())),
                Some(Form::Struct | Form::Empty) | None => Self::Message(Edits::of(message, pool)),
            },
            _ => Self::Value(alone(value.clone())),
        }
    }

    /// Whether what is there stays as it is.
    fn keeps(&self, record: &Record<'_>, lists: Lists) -> bool {
        match self {
            Self::Value(_) | Self::Message(_) | Self::Any(..) => false,
            Self::Items(_) => lists == Lists::Append,
            Self::Entries(entries) => {
                let key = key_of(record.payload);
                !entries.iter().any(|(taken, _)| *taken == key)
            }
        }
    }

    fn put(&self, number: u32, before: &[u8], lists: Lists, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Value(encoded) | Self::Items(encoded) => out.extend_from_slice(encoded),
            Self::Entries(entries) => {
                for (_, entry) in entries {
                    out.extend_from_slice(entry);
                }
            }
            Self::Message(edits) => wire::put(number, &edits.apply(before, lists)?, out),
            Self::Any(type_url, edits) => {
                let (mut known, mut held) = (&[][..], Vec::new());
                for record in wire::records(before)? {
                    match record.number {
                        1 => known = record.payload,
                        2 => held = record.payload.to_vec(),
                        _ => {}
                    }
                }
                let value = if same_type(known, type_url) {
                    edits.apply(&held, lists)?
                } else {
                    edits.message()
                };
                let mut any = Vec::new();
                wire::put(1, type_url.as_bytes(), &mut any);
                wire::put(2, &value, &mut any);
                wire::put(number, &any, out);
            }
        }
        Some(())
    }
}

/// None: what it holds is not known, so that it can only be taken whole.
fn any(message: &DynamicMessage, pool: &DescriptorPool) -> Option<Change> {
    let type_url = message.get_field_by_number(1)?.as_str()?.to_owned();
    let (_, name) = type_url.rsplit_once('/')?;
    let held = message.get_field_by_number(2)?.as_bytes()?.clone();
    let held = DynamicMessage::decode(pool.get_message_by_name(name)?, held).ok()?;
    let edits = Edits::of(&held, pool);
    Some(Change::Any(type_url, edits))
}

/// As protobuf has it, only what follows the last slash counts.
fn same_type(known: &[u8], type_url: &str) -> bool {
    let name = |url: &[u8]| url.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
    !known.is_empty() && name(known) == name(type_url.as_bytes())
}

/// A mapping's key, encoded; the default one is left out.
fn key_of(entry: &[u8]) -> Vec<u8> {
    let records = wire::records(entry).unwrap_or_default();
    let key = records.iter().find(|record| record.number == 1);
    // An empty text may be there or not.
    key.filter(|key| !(key.payload.is_empty() && key.whole.len() == 2 && key.whole.last() == Some(&0)))
        .map(|key| key.whole.to_vec())
        .unwrap_or_default()
}

fn excludes(field: &FieldDescriptor) -> Vec<u32> {
    let Some(choice) = field.containing_oneof() else {
        return Vec::new();
    };
    let numbers = choice.fields().map(|other| other.number());
    numbers.filter(|number| *number != field.number()).collect()
}

// === TypedStruct ===

/// Puts what a `TypedStruct` says in its place, where its type is known: Envoy reads both alike.
pub(super) fn resolve_typed_structs(value: &mut serde_json::Value, known: &impl Fn(&str) -> bool) {
    use serde_json::Value;
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| resolve_typed_structs(item, known)),
        Value::Object(fields) => {
            if let Some((type_url, mut inner)) = typed_struct(fields, known) {
                inner.insert("@type".to_owned(), Value::String(type_url));
                *fields = inner;
            }
            fields
                .values_mut()
                .for_each(|field| resolve_typed_structs(field, known));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

type Fields = serde_json::Map<String, serde_json::Value>;

fn typed_struct(fields: &Fields, known: &impl Fn(&str) -> bool) -> Option<(String, Fields)> {
    let text = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)?.as_str());
    let outer = text(&["@type"])?;
    if !matches!(
        outer.rsplit_once('/')?.1,
        "udpa.type.v1.TypedStruct" | "xds.type.v3.TypedStruct"
    ) {
        return None;
    }
    let type_url = text(&["type_url", "typeUrl"])?;
    let name = type_url.rsplit_once('/').map_or(type_url, |(_, name)| name);
    if !known(name) {
        return None;
    }
    let value = match fields.get("value") {
        None | Some(serde_json::Value::Null) => Fields::new(),
        Some(serde_json::Value::Object(value)) => value.clone(),
        Some(_) => return None,
    };
    Some((format!("type.googleapis.com/{name}"), value))
}
