//! Access loggers, and format strings with `%…%` command operators (Envoy's "access log command operators").
//!
//! Header edits of routes use the same formats. What a message says ([`Heads`]) is evaluated here; everything else
//! comes through [`FormatValues`], from whoever knows the request.

mod attributes;
mod coalesce;
mod collected;
mod config;
mod custom_tag;
mod format;
mod formats;
mod operator;
mod options;
mod parse;
mod write;
mod zone;

use std::path::PathBuf;

pub use self::attributes::Attributes;
pub use self::collected::{Entries, LogRecords};
pub(crate) use self::config::access_logs;
pub(crate) use self::custom_tag::custom_tag;
pub use self::custom_tag::{CustomTag, TagValue};
pub use self::format::{Format, FormatValues, Heads, NoValues, Piece, request_size, response_size, size};
pub(crate) use self::formats::{format, format_of, format_with, formatters};
pub use self::operator::{
    AddressForm, Attempted, Clock, End, GrpcForm, Hash, HelloHash, HostOf, Message, MetadataKind, Operator,
    PathOf, Point, SanKind, ServerName, Side, StateForm, TlsFact, Unit, Way, Whose, Wire,
};
pub use self::options::LogOptions;
pub(crate) use self::options::every;
pub(crate) use self::parse::Brought;
pub use self::parse::Reading;
pub use self::zone::Zone;
use super::log_filter::LogFilter;

#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    pub to: Destination,
    /// None: everything.
    pub filter: Option<LogFilter>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    Lines { sink: Sink, format: LogFormat },
    Entries(Entries),
    LogRecords(LogRecords),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    File(PathBuf),
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    Text {
        format: Format,
        /// What there is not is left out, in place of `-`.
        omit_empty: bool,
    },
    Json {
        value: Json,
        /// Keys without a value are left out, in place of `null`.
        omit_empty: bool,
    },
}

/// A JSON value whose strings are formats.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Format(Format),
    /// A number, boolean or null, as it is written.
    Fixed(String),
    List(Vec<Json>),
    /// Keys in order.
    Object(Vec<(String, Json)>),
}

impl Destination {
    /// Every format string in it.
    pub fn formats(&self) -> Vec<&Format> {
        let mut found = Vec::new();
        let tags = match self {
            Self::Lines { format, .. } => return format.formats(),
            Self::Entries(entries) => &entries.custom_tags,
            Self::LogRecords(records) => {
                let values = records.attributes.iter().map(|(_, value)| value);
                values
                    .chain(&records.body)
                    .for_each(|value| value.collect(&mut found));
                &records.custom_tags
            }
        };
        found.extend(tags.iter().filter_map(|tag| match &tag.value {
            TagValue::Format(format) => Some(format),
            _ => None,
        }));
        found
    }
}

impl Destination {
    pub(crate) fn wants_trailers(&self) -> bool {
        match self {
            Self::Entries(entries) => !entries.response_trailers.is_empty(),
            Self::Lines { .. } | Self::LogRecords(_) => false,
        }
    }
}

impl LogFormat {
    /// Every format string in it.
    pub fn formats(&self) -> Vec<&Format> {
        let mut found = Vec::new();
        match self {
            Self::Text { format, .. } => found.push(format),
            Self::Json { value, .. } => value.collect(&mut found),
        }
        found
    }
}

impl Json {
    fn collect<'f>(&'f self, found: &mut Vec<&'f Format>) {
        match self {
            Self::Format(format) => found.push(format),
            Self::Fixed(_) => {}
            Self::List(items) => items.iter().for_each(|item| item.collect(found)),
            Self::Object(keys) => keys.iter().for_each(|(_, value)| value.collect(found)),
        }
    }
}
