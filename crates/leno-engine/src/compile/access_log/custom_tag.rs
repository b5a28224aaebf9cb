//! `envoy.type.tracing.v3.CustomTag`: what a configuration adds to spans, and to entries of access log services.

use super::{Format, FormatValues, Heads, MetadataKind, format};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::metadata::Value;
use crate::compile::pb::{metadata_kind, tracing as pb};

#[derive(Clone, Debug, PartialEq)]
pub struct CustomTag {
    pub name: String,
    pub value: TagValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TagValue {
    Fixed(String),
    Environment {
        name: String,
        /// What it was when the configuration was read, or the default.
        value: String,
    },
    Header {
        name: String,
        default: String,
    },
    Format(Format),
    Metadata {
        kind: MetadataKind,
        namespace: String,
        path: Vec<String>,
        default: String,
    },
}

impl CustomTag {
    /// Appends the value; false, and nothing appended, where there is none.
    pub fn write(&self, heads: Heads<'_>, values: &dyn FormatValues, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        match &self.value {
            TagValue::Fixed(value) | TagValue::Environment { value, .. } => {
                out.extend_from_slice(value.as_bytes());
            }
            TagValue::Header { name, default } => {
                let said = heads.request.and_then(|head| head.field(name));
                out.extend_from_slice(said.unwrap_or(default.as_bytes()));
            }
            TagValue::Format(format) => format.write_omitting(heads, values, out),
            TagValue::Metadata {
                kind,
                namespace,
                path,
                default,
            } => {
                let mut found = false;
                values.metadata(*kind, namespace, &mut |all| {
                    found = all.at(path).is_some_and(|value| write_tag(value, out));
                });
                if !found {
                    out.extend_from_slice(default.as_bytes());
                }
            }
        }
        out.len() > before
    }
}

pub(crate) fn custom_tag(at: &At<'_>, message: &pb::CustomTag) -> Result<CustomTag, Rejection> {
    use pb::custom_tag::{Environment, Header, Literal, Type};
    let pb::CustomTag { tag, r#type } = message;
    at.not_empty("tag", tag)?;
    let value = match at.required("type", r#type)? {
        Type::Literal(Literal { value }) => {
            at.field("literal").not_empty("value", value)?;
            TagValue::Fixed(value.clone())
        }
        Type::Environment(Environment { name, default_value }) => {
            let at = at.field("environment");
            at.not_empty("name", name)?;
            TagValue::Environment {
                name: name.clone(),
                value: at.environment(name).unwrap_or_else(|| default_value.clone()),
            }
        }
        Type::RequestHeader(Header { name, default_value }) => TagValue::Header {
            name: at.field("request_header").field("name").header_name(name)?,
            default: default_value.clone(),
        },
        Type::Value(text) => TagValue::Format(format(&at.field("value"), text)?),
        Type::Metadata(said) => metadata(&at.field("metadata"), said)?,
    };
    Ok(CustomTag {
        name: tag.clone(),
        value,
    })
}

fn metadata(at: &At<'_>, message: &pb::custom_tag::Metadata) -> Result<TagValue, Rejection> {
    use metadata_kind::metadata_key::{PathSegment, path_segment::Segment};
    use metadata_kind::metadata_kind::Kind;
    let pb::custom_tag::Metadata {
        kind,
        metadata_key,
        default_value,
    } = message;
    let metadata_kind::MetadataKind { kind } = at.required("kind", kind)?;
    let at_key = at.field("metadata_key");
    let metadata_kind::MetadataKey { key, path } = at.required("metadata_key", metadata_key)?;
    at_key.not_empty("key", key)?;
    Ok(TagValue::Metadata {
        kind: match at.field("kind").required("kind", kind)? {
            Kind::Request(_) => MetadataKind::Dynamic,
            Kind::Route(_) => MetadataKind::Route,
            Kind::Cluster(_) => MetadataKind::Cluster,
            Kind::Host(_) => MetadataKind::UpstreamHost,
        },
        namespace: key.clone(),
        path: at_key.each("path", path, |at, PathSegment { segment }| {
            let Segment::Key(key) = at.required("segment", segment)? else {
                return Err(at.field("index").reject("not supported"));
            };
            at.not_empty("key", key)?;
            Ok(key.clone())
        })?,
        default: default_value.clone(),
    })
}

/// False: there is nothing in it.
fn write_tag(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Null => return false,
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        value => value.write_json(out),
    }
    true
}
