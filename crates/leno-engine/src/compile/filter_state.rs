//! `envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue`: a value, and what kind of object it becomes.
//!
//! A kind is one row in [`KINDS`]. Only those are taken whose effect leno has: an object that should change where a
//! request goes may not be noted and forgotten.

use std::net::SocketAddr;
use std::rc::Rc;

use super::Rejection;
use super::access_log::{Format, FormatValues, Heads, LogFormat, format_of, formatters};
use super::at::{At, no_effect};
use super::pb::{core, filter_state as pb};
use crate::decide::notes::{self, Notes, Object, Shared, Shown};

const HASHABLE: &str = "envoy.hashable_string";
const APPLICATION_PROTOCOLS: &str = notes::APPLICATION_PROTOCOLS;

#[derive(Clone, Debug, PartialEq)]
pub struct Noting {
    key: String,
    value: Format,
    /// What is not known is left out of the value, else it is `-`.
    omit_empty: bool,
    read_only: bool,
    shown: Shown,
    hashable: bool,
    /// What is no address is not noted.
    is_address: bool,
    shared: Shared,
    skip_if_empty: bool,
}

/// An object of Envoy's.
struct Kind {
    factory: &'static str,
    shown: Shown,
    is_address: bool,
}

const KINDS: &[Kind] = &[
    Kind {
        factory: "envoy.string",
        shown: Shown::Text,
        is_address: false,
    },
    Kind {
        factory: HASHABLE,
        shown: Shown::Text,
        is_address: false,
    },
    Kind {
        factory: APPLICATION_PROTOCOLS,
        shown: Shown::Nowhere,
        is_address: false,
    },
    Kind {
        factory: notes::ORIGINAL_DST,
        shown: Shown::Plain,
        is_address: true,
    },
    Kind {
        factory: notes::LOCAL,
        shown: Shown::Plain,
        is_address: true,
    },
    Kind {
        factory: notes::REMOTE,
        shown: Shown::Plain,
        is_address: true,
    },
];

pub(crate) fn noting(at: &At<'_>, message: &pb::FilterStateValue) -> Result<Noting, Rejection> {
    let pb::FilterStateValue {
        factory_key,
        read_only,
        shared_with_upstream,
        skip_if_empty,
        key,
        value,
    } = message;
    let pb::filter_state_value::Key::ObjectKey(key) = at.required("key", key)?;
    at.not_empty("object_key", key)?;
    let (field, factory) = match factory_key.as_str() {
        "" => ("object_key", key.as_str()),
        factory => ("factory_key", factory),
    };
    let Some(kind) = KINDS.iter().find(|kind| kind.factory == factory) else {
        return Err(at
            .field(field)
            .reject(format!("objects of {factory:?} are not supported")));
    };
    let pb::filter_state_value::Value::FormatString(format) = at.required("value", value)?;
    let omit_empty = format.omit_empty_values;
    let format = text_format(&at.field("format_string"), format)?;
    // Each list that connections are made with is kept.
    if kind.factory == APPLICATION_PROTOCOLS && format.literal().is_none() {
        return Err(at
            .field("format_string")
            .reject("only a fixed text is supported here"));
    }
    if kind.factory != APPLICATION_PROTOCOLS && key == APPLICATION_PROTOCOLS {
        return Err(at.field("factory_key").reject("another kind of object is needed"));
    }
    Ok(Noting {
        key: key.clone(),
        value: format,
        omit_empty,
        read_only: *read_only,
        shown: kind.shown,
        hashable: kind.factory == HASHABLE || kind.is_address,
        is_address: kind.is_address,
        shared: match at.choice("shared_with_upstream", *shared_with_upstream)? {
            pb::filter_state_value::SharedWithUpstream::None => Shared::No,
            pb::filter_state_value::SharedWithUpstream::Once => Shared::Once,
            pb::filter_state_value::SharedWithUpstream::Transitive => Shared::Always,
        },
        skip_if_empty: *skip_if_empty,
    })
}

/// A text, with its formatters.
pub(crate) fn text_format(
    at: &At<'_>,
    message: &core::SubstitutionFormatString,
) -> Result<Format, Rejection> {
    let core::SubstitutionFormatString {
        omit_empty_values: _,
        content_type,
        formatters,
        json_format_options,
        format: said,
    } = message;
    let options = self::formatters(at, formatters)?;
    no_effect!(at, "it is no answer"; content_type);
    no_effect!(at, "keys are always in their order"; json_format_options);
    match format_of(
        at,
        at.required("format", said)?,
        message.omit_empty_values,
        options,
    )? {
        LogFormat::Text { format, .. } => Ok(format),
        LogFormat::Json { .. } => Err(at.field("json_format").reject("not supported")),
    }
}

impl Noting {
    pub(crate) fn note(&self, heads: Heads<'_>, values: &dyn FormatValues, notes: &Notes) {
        let mut text = Vec::new();
        match self.omit_empty {
            true => self.value.write_omitting(heads, values, &mut text),
            false => self.value.write(heads, values, &mut text),
        }
        let Ok(value) = String::from_utf8(text) else {
            return;
        };
        if value.is_empty() && self.skip_if_empty {
            return;
        }
        if self.is_address && value.parse::<SocketAddr>().is_err() {
            return;
        }
        notes.set_state(
            &Rc::from(self.key.as_str()),
            Object {
                value,
                read_only: self.read_only,
                hashable: self.hashable,
                shown: self.shown,
                shared: self.shared,
            },
        );
    }
}
