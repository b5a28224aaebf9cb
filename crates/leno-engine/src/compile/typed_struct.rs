//! `udpa.type.v1.TypedStruct` and `xds.type.v3.TypedStruct`: a message whose fields are those of a `Struct`.
//!
//! Istio sends its own extensions so. There are few of them; the tables here say what their fields are, so that nothing
//! that reads configurations need know which of the two forms it had.

use std::borrow::Cow;

use prost::Message;
use prost::encoding::{bool, bytes, string};

use super::Rejection;
use super::at::At;
use super::pb::protobuf::{Any, ListValue, Struct, Value, value::Kind};

/// Both have the same fields.
#[derive(Clone, PartialEq, Message)]
struct TypedStruct {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Struct>,
}

struct Field {
    name: &'static str,
    tag: u32,
    kind: Type,
}

#[derive(Clone, Copy)]
enum Type {
    Bool,
    Text,
    Message(&'static [Field]),
    /// Of the repeated message.
    Messages(&'static [Field]),
}

type Messages = &'static [(&'static str, Option<&'static [Field]>)];

/// Without a table: nothing of it is read.
const KNOWN: Messages = &[
    ("stats.PluginConfig", None),
    ("io.istio.http.peer_metadata.Config", Some(PEER_METADATA)),
    (
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        Some(METADATA_EXCHANGE),
    ),
];

const PEER_METADATA: &[Field] = &[
    field("downstream_discovery", 1, Type::Messages(DISCOVERY)),
    field("upstream_discovery", 2, Type::Messages(DISCOVERY)),
    field("downstream_propagation", 3, Type::Messages(PROPAGATION)),
    field("upstream_propagation", 4, Type::Messages(PROPAGATION)),
    field("shared_with_upstream", 5, Type::Bool),
];

const DISCOVERY: &[Field] = &[
    field("baggage", 1, Type::Message(&[])),
    field("workload_discovery", 2, Type::Message(&[])),
    field("istio_headers", 3, Type::Message(ISTIO_HEADERS)),
];

const PROPAGATION: &[Field] = &[
    field("istio_headers", 1, Type::Message(ISTIO_HEADERS)),
    field("baggage", 2, Type::Message(&[])),
];

const ISTIO_HEADERS: &[Field] = &[field("skip_external_clusters", 1, Type::Bool)];

const METADATA_EXCHANGE: &[Field] = &[
    field("protocol", 1, Type::Text),
    field("enable_discovery", 2, Type::Bool),
];

const fn field(name: &'static str, tag: u32, kind: Type) -> Field {
    Field { name, tag, kind }
}

/// The message itself, where it comes as a `Struct`.
pub(crate) fn opened<'a>(at: &At<'_>, any: &'a Any) -> Result<Cow<'a, Any>, Rejection> {
    let is_one = ["/udpa.type.v1.TypedStruct", "/xds.type.v3.TypedStruct"];
    if !is_one.iter().any(|name| any.type_url.ends_with(name)) {
        return Ok(Cow::Borrowed(any));
    }
    let decoded = TypedStruct::decode(any.value.as_slice());
    let TypedStruct { type_url, value } = decoded.map_err(|error| at.reject(error.to_string()))?;
    let name = type_url.rsplit_once('/').map_or("", |(_, name)| name);
    let Some((_, table)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        return Ok(Cow::Owned(Any {
            // No extension is called so.
            type_url: format!("{type_url} in a TypedStruct"),
            value: Vec::new(),
        }));
    };
    let value = match (table, value) {
        (Some(table), Some(value)) => message(&at.field("value"), &value, table)?,
        _ => Vec::new(),
    };
    Ok(Cow::Owned(Any { type_url, value }))
}

/// In protobuf's binary form.
fn message(at: &At<'_>, said: &Struct, table: &[Field]) -> Result<Vec<u8>, Rejection> {
    let Struct { fields } = said;
    let mut out = Vec::new();
    let mut known = 0;
    for Field { name, tag, kind } in table {
        let value = fields.get(*name).or_else(|| fields.get(&camel(name)));
        let Some(Value { kind: said }) = value else {
            continue;
        };
        known += 1;
        let at = at.field(name);
        match (kind, said) {
            (_, None | Some(Kind::NullValue(_))) => {}
            (Type::Bool, Some(Kind::BoolValue(value))) => bool::encode(*tag, value, &mut out),
            (Type::Text, Some(Kind::StringValue(text))) => string::encode(*tag, text, &mut out),
            (Type::Message(table), Some(Kind::StructValue(inner))) => {
                bytes::encode(*tag, &message(&at, inner, table)?, &mut out);
            }
            (Type::Messages(table), Some(Kind::ListValue(ListValue { values }))) => {
                for value in values {
                    let Some(Kind::StructValue(inner)) = &value.kind else {
                        return Err(at.reject("a list of objects is needed"));
                    };
                    bytes::encode(*tag, &message(&at, inner, table)?, &mut out);
                }
            }
            _ => return Err(at.reject("not what this field may be")),
        }
    }
    if known < fields.len() {
        let is_known = |name: &&String| {
            table
                .iter()
                .any(|field| field.name == name.as_str() || camel(field.name) == **name)
        };
        let unknown = fields.keys().find(|name| !is_known(name));
        return Err(at.reject(format!(
            "unknown fields, as {:?}",
            unknown.unwrap_or(&String::new())
        )));
    }
    Ok(out)
}

/// `upstream_discovery` → `upstreamDiscovery`
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}
