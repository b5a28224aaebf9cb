//! Header edits.

mod mutation;

use super::Rejection;
use super::access_log::{Brought, Format, format_with};
use super::at::At;
use super::pb::core;

pub use mutation::Mutation;
pub(crate) use mutation::mutation;

/// Header edits, in Envoy's order: remove, then add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderOps {
    pub remove: Vec<String>,
    pub add: Vec<HeaderOp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HeaderOp {
    pub name: String,
    /// A format with `%…%` command operators, parsed.
    pub value: Format,
    pub append: AppendAction,
    pub keep_empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAction {
    AppendOrAdd,
    AddIfAbsent,
    OverwriteOrAdd,
    OverwriteIfExists,
}

/// The four fields of one level: which names they have in the message, and their values.
pub(crate) struct Fields<'m> {
    pub(crate) add: (&'static str, &'m [core::HeaderValueOption]),
    pub(crate) remove: (&'static str, &'m [String]),
}

pub(crate) fn request<'m>(add: &'m [core::HeaderValueOption], remove: &'m [String]) -> Fields<'m> {
    Fields {
        add: ("request_headers_to_add", add),
        remove: ("request_headers_to_remove", remove),
    }
}

pub(crate) fn response<'m>(add: &'m [core::HeaderValueOption], remove: &'m [String]) -> Fields<'m> {
    Fields {
        add: ("response_headers_to_add", add),
        remove: ("response_headers_to_remove", remove),
    }
}

/// Only what is added, under this field's name.
pub(crate) fn added<'m>(field: &'static str, add: &'m [core::HeaderValueOption]) -> Fields<'m> {
    Fields {
        add: (field, add),
        remove: ("", &[]),
    }
}

pub(crate) fn edits(at: &At<'_>, fields: &Fields<'_>) -> Result<HeaderOps, Rejection> {
    edits_with(at, fields, Brought::default())
}

/// `options`: what formatters have brought.
pub(crate) fn edits_with(at: &At<'_>, fields: &Fields<'_>, options: Brought) -> Result<HeaderOps, Rejection> {
    let (add_field, add) = fields.add;
    let (remove_field, remove) = fields.remove;
    Ok(HeaderOps {
        remove: at.each(remove_field, remove, |at, name| header_name(at, name))?,
        add: at.each(add_field, add, |at, one| header_op(at, one, options))?,
    })
}

fn header_op(
    at: &At<'_>,
    message: &core::HeaderValueOption,
    options: Brought,
) -> Result<HeaderOp, Rejection> {
    use core::header_value_option::HeaderAppendAction as Append;
    let core::HeaderValueOption {
        header,
        append,
        append_action,
        keep_empty_value,
    } = message;
    let append = match (append, at.choice("append_action", *append_action)?) {
        (None, Append::AppendIfExistsOrAdd) => AppendAction::AppendOrAdd,
        (None, Append::AddIfAbsent) => AppendAction::AddIfAbsent,
        (None, Append::OverwriteIfExistsOrAdd) => AppendAction::OverwriteOrAdd,
        (None, Append::OverwriteIfExists) => AppendAction::OverwriteIfExists,
        (Some(append), Append::AppendIfExistsOrAdd) if append.value => AppendAction::AppendOrAdd,
        (Some(_), Append::AppendIfExistsOrAdd) => AppendAction::OverwriteOrAdd,
        (Some(_), _) => {
            return Err(at
                .field("append")
                .reject("append and append_action exclude each other"));
        }
    };
    let core::HeaderValue {
        key,
        value,
        raw_value,
    } = at.required("header", header)?;
    let at = at.field("header");
    let text = match (value.as_str(), raw_value.as_slice()) {
        (text, []) => text,
        ("", raw) => match std::str::from_utf8(raw) {
            Ok(text) => text,
            Err(_) => return Err(at.field("raw_value").reject("only UTF-8 is supported")),
        },
        _ => {
            return Err(at
                .field("raw_value")
                .reject("value and raw_value exclude each other"));
        }
    };
    if let Some(bad) = text.bytes().find(|b| matches!(b, b'\0' | b'\r' | b'\n')) {
        return Err(at
            .field("value")
            .reject(format!("byte {bad:#04x} in a header value")));
    }
    Ok(HeaderOp {
        name: header_name(&at.field("key"), key)?,
        value: format_with(&at.field("value"), text, options)?,
        append,
        keep_empty: *keep_empty_value,
    })
}

/// Lower case; pseudo-headers and `host` have their own rewrites.
fn header_name(at: &At<'_>, name: &str) -> Result<String, Rejection> {
    let name = at.header_name(name)?;
    if name.starts_with(':') || name == "host" {
        return Err(at.reject(format!("{name} cannot be edited as a header")));
    }
    Ok(name)
}
