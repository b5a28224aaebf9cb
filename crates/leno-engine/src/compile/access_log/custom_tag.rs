//! `envoy.type.tracing.v3.CustomTag`: what a configuration adds to spans, and to entries of access log services.

use super::{Format, FormatValues, Heads, format};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::tracing as pb;

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
        Type::Metadata(_) => return Err(at.field("metadata").reject("not supported")),
    };
    Ok(CustomTag {
        name: tag.clone(),
        value,
    })
}
