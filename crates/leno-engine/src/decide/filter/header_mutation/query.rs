//! Edits of a path's query. As in Envoy the whole is written anew, in the order of the names.

#![allow(deprecated)]

use std::collections::BTreeMap;

use crate::compile::Rejection;
use crate::compile::access_log::{Format, FormatValues, Heads, format};
use crate::compile::at::{At, refuse};
use crate::compile::header::AppendAction;
use crate::compile::pb::{core, protobuf};
use crate::decide::matcher::{decoded, parameters};
use crate::message::RequestHead;

#[derive(Debug)]
pub(super) enum QueryMutation {
    Add {
        name: String,
        value: Format,
        append: AppendAction,
    },
    Remove(String),
}

pub(super) fn mutation(at: &At<'_>, message: &core::KeyValueMutation) -> Result<QueryMutation, Rejection> {
    use core::key_value_append::KeyValueAppendAction as Append;
    let core::KeyValueMutation { append, remove } = message;
    let core::KeyValueAppend {
        record,
        entry,
        action,
    } = match (append, remove.as_str()) {
        (None, "") => return Err(at.reject("append or remove is needed")),
        (None, name) => return Ok(QueryMutation::Remove(name.to_owned())),
        (Some(append), "") => append,
        (Some(_), _) => return Err(at.reject("append and remove exclude each other")),
    };
    let at = at.field("append");
    refuse!(at; entry);
    let core::KeyValuePair { key, value } = at.required("record", record)?;
    let append = match at.choice("action", *action)? {
        Append::AppendIfExistsOrAdd => AppendAction::AppendOrAdd,
        Append::AddIfAbsent => AppendAction::AddIfAbsent,
        Append::OverwriteIfExistsOrAdd => AppendAction::OverwriteOrAdd,
        Append::OverwriteIfExists => AppendAction::OverwriteIfExists,
    };
    let at = at.field("record");
    at.not_empty("key", key)?;
    let text = match value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(protobuf::value::Kind::StringValue(text)) => text,
        _ => return Err(at.field("value").reject("only a text is supported")),
    };
    Ok(QueryMutation::Add {
        name: key.clone(),
        value: format(&at.field("value"), text)?,
        append,
    })
}

pub(super) fn mutate(mutations: &[QueryMutation], head: &mut RequestHead, values: &dyn FormatValues) {
    if mutations.is_empty() {
        return;
    }
    let mut query = BTreeMap::<Vec<u8>, Vec<Vec<u8>>>::new();
    let said = head.query().unwrap_or_default();
    for (name, value) in parameters(said).filter(|_| !said.is_empty()) {
        // As the client wrote it. (Envoy writes it decoded, whatever it then means.)
        let of = query.entry(decoded(name).into_owned()).or_default();
        of.push([name, b"=", value].concat());
    }
    for mutation in mutations {
        match mutation {
            QueryMutation::Remove(name) => drop(query.remove(name.as_bytes())),
            QueryMutation::Add { name, value, append } => {
                let heads = Heads {
                    request: Some(head),
                    ..Heads::default()
                };
                let mut value_text = Vec::new();
                value.write_omitting(heads, values, &mut value_text);
                let mut text = encoded(name.as_bytes());
                text.push(b'=');
                text.extend_from_slice(&encoded(&value_text));
                let is_there = query.contains_key(name.as_bytes());
                let of = || name.clone().into_bytes();
                match append {
                    AppendAction::AddIfAbsent if is_there => {}
                    AppendAction::OverwriteIfExists if !is_there => {}
                    AppendAction::AppendOrAdd | AppendAction::AddIfAbsent => {
                        query.entry(of()).or_default().push(text);
                    }
                    AppendAction::OverwriteOrAdd | AppendAction::OverwriteIfExists => {
                        drop(query.insert(of(), vec![text]));
                    }
                }
            }
        }
    }
    let start = head
        .path
        .iter()
        .position(|b| *b == b'?')
        .unwrap_or(head.path.len());
    let mut path = head.path[..start].to_vec();
    let mut before = b'?';
    for pair in query.values().flatten() {
        path.push(before);
        path.extend_from_slice(pair);
        before = b'&';
    }
    head.path = path.into();
}

/// What may not stand for itself in a query becomes `%XX`.
fn encoded(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(byte) {
            out.push(*byte);
        } else {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
            out.extend_from_slice(&[b'%', high, low]);
        }
    }
    out
}
