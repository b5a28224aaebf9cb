//! A config dump as Envoy's admin port writes it: all of it or one kind of resource, cut by a field mask, and nothing
//! of what is secret.

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value};
use serde_json::{Map, Value as Json, json};

use leno_proto::envoy::admin::v3::ConfigDump;
use leno_proto::google::protobuf::Any;

use crate::error::Error;
use crate::schema::Schema;
use crate::write::Writer;

/// What is wanted of a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// One field of the dumps in it, by name: `static_clusters`.
    pub resource: Option<String>,
    /// Paths of the fields to show, with commas between: `cluster.name,last_updated`.
    pub mask: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Dumped {
    Json(Json),
    /// There is no such resource.
    NoResource,
    /// The mask is of no message in the dump.
    NoField,
}

impl Schema {
    /// Writes a message without its secrets; of a `ConfigDump`, what is selected.
    pub fn dump(&self, any: &Any, selection: &Selection) -> Result<Dumped, Error> {
        let is_dump = any.type_url.rsplit('/').next() == Some(ConfigDump::full_name().as_str());
        let failed = |message: String| Error::Write {
            type_name: any.type_url.clone(),
            message,
        };
        if !is_dump {
            let json = self.config(any)?;
            let Json::Object(mut fields) = json else {
                return Ok(Dumped::Json(json));
            };
            fields.remove("@type");
            return Ok(Dumped::Json(Json::Object(fields)));
        }
        let dump = ConfigDump::decode(any.value.as_slice()).map_err(|e| failed(e.to_string()))?;
        let paths = selection.mask.as_deref().map(paths);
        let mut configs = Vec::new();
        let mut known = selection.resource.is_none();
        for config in &dump.configs {
            let message = self.dynamic(config)?;
            match &selection.resource {
                Some(resource) => {
                    let found = self.resources(&message, resource)?;
                    known |= found.is_some();
                    configs.extend(found.into_iter().flatten());
                }
                None if paths.as_ref().is_none_or(|paths| has_all(&message, paths)) => {
                    configs.push(self.config(config)?);
                }
                None => {}
            }
        }
        if !known {
            return Ok(Dumped::NoResource);
        }
        if selection.resource.is_none() && configs.is_empty() && !dump.configs.is_empty() {
            return Ok(Dumped::NoField);
        }
        if let Some(paths) = &paths {
            for config in &mut configs {
                keep(config, &paths.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
        }
        Ok(Dumped::Json(match configs.is_empty() {
            true => json!({}),
            false => json!({ "configs": configs }),
        }))
    }

    /// The field's elements, each with its type. None: the message has no such field.
    fn resources(&self, message: &DynamicMessage, field: &str) -> Result<Option<Vec<Json>>, Error> {
        let Some(field) = message.descriptor().get_field_by_name(field) else {
            return Ok(None);
        };
        let value = message.get_field(&field);
        let elements = match value.as_ref() {
            Value::List(elements) => elements.as_slice(),
            Value::Message(_) if !message.has_field(&field) => &[],
            one => std::slice::from_ref(one),
        };
        let each = elements.iter().filter_map(Value::as_message).map(|element| {
            let type_url = format!("type.googleapis.com/{}", element.descriptor().full_name());
            self.config(&Any {
                type_url,
                value: element.encode_to_vec(),
            })
        });
        each.collect::<Result<_, _>>().map(Some)
    }

    /// With its `@type` in front.
    fn config(&self, any: &Any) -> Result<Json, Error> {
        let writer = Writer {
            pool: self.descriptors(),
            redacted: true,
            // As Envoy does with this one.
            defaults: any.type_url.ends_with("/envoy.admin.v3.ServerInfo"),
        };
        let failed = |message| Error::Write {
            type_name: any.type_url.clone(),
            message,
        };
        let fields = writer.message(&self.dynamic(any)?).map_err(failed)?;
        let mut config = Map::from_iter([("@type".to_owned(), any.type_url.clone().into())]);
        if let Json::Object(fields) = fields {
            config.extend(fields);
        }
        Ok(Json::Object(config))
    }

    fn dynamic(&self, any: &Any) -> Result<DynamicMessage, Error> {
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        let descriptor = self
            .descriptors()
            .get_message_by_name(name)
            .ok_or_else(|| Error::UnknownMessage(name.to_owned()))?;
        DynamicMessage::decode(descriptor, any.value.as_slice()).map_err(|error| Error::Write {
            type_name: name.to_owned(),
            message: error.to_string(),
        })
    }
}

fn paths(mask: &str) -> Vec<Vec<&str>> {
    let paths = mask.split(',').map(str::trim).filter(|path| !path.is_empty());
    paths.map(|path| path.split('.').collect()).collect()
}

/// A mask of other messages' fields is none of this one.
fn has_all(message: &DynamicMessage, paths: &[Vec<&str>]) -> bool {
    paths.iter().all(|path| has(&message.descriptor(), path))
}

/// As protobuf has it, only the last of a path may be a list.
fn has(message: &MessageDescriptor, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    let Some(field) = message.get_field_by_name(first) else {
        return false;
    };
    match field.kind() {
        _ if rest.is_empty() => true,
        Kind::Message(inside) if !field.is_list() && !field.is_map() => has(&inside, rest),
        _ => false,
    }
}

/// Leaves only what the paths lead to.
fn keep(json: &mut Json, paths: &[&[&str]]) {
    match json {
        Json::Array(elements) => elements.iter_mut().for_each(|element| keep(element, paths)),
        Json::Object(fields) => fields.retain(|name, value| {
            let inside: Vec<&[&str]> = paths
                .iter()
                .filter_map(|path| path.split_first())
                .filter(|(first, _)| *first == name)
                .map(|(_, rest)| rest)
                .collect();
            let whole = inside.iter().any(|rest| rest.is_empty());
            if !whole && !inside.is_empty() {
                keep(value, &inside);
            }
            name == "@type" || !inside.is_empty()
        }),
        _ => {}
    }
}
