//! Format strings, and what they are filled with.

use super::operator::{MetadataKind, Operator};
use crate::compile::metadata::Value;
use crate::message::{Headers, RequestHead, ResponseHead};

/// A parsed format string.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Format(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Literal(String),
    Operator { operator: Operator, max: Option<usize> },
}

/// The messages a format may speak of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heads<'a> {
    pub request: Option<&'a RequestHead>,
    pub response: Option<&'a ResponseHead>,
    /// Of the response.
    pub trailers: Option<&'a Headers>,
}

/// What a format needs besides the messages: the connection, the upstream, times and sizes.
///
/// Never asked for what is read from [`Heads`]: headers, trailers, paths and queries, `Method`, `Authority`, `Protocol`,
/// `StreamId`. `ResponseCode` falls back to the response head's status where this has none.
pub trait FormatValues {
    /// Appends the operator's value; false if it has none (which a log prints as `-`).
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool;

    /// What stands under a namespace of somebody's metadata.
    fn metadata(&self, _kind: MetadataKind, _namespace: &str, _read: &mut dyn FnMut(&Value)) {}
}

/// Knows nothing: for formats of which only literals and message fields count.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoValues;

impl FormatValues for NoValues {
    fn write(&self, _operator: &Operator, _out: &mut Vec<u8>) -> bool {
        false
    }
}

// === impl Format ===

impl Format {
    /// The text itself, when there is no operator in it.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Every operator in it, and those that they are made of.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.0.iter().flat_map(|piece| match piece {
            Piece::Literal(_) => Vec::new(),
            Piece::Operator { operator, .. } => operator.all(),
        })
    }
}

/// Bytes of names and values, those of pseudo-headers too.
pub fn request_size(head: &RequestHead) -> usize {
    let pseudo = [
        (":method", &head.method),
        (":authority", &head.authority),
        (":path", &head.path),
        (":scheme", &head.scheme),
    ];
    let pseudo = pseudo.iter().filter(|(_, value)| !value.is_empty());
    pseudo
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>()
        + size(&head.headers)
}

/// The same of a response, whose status is three digits.
pub fn response_size(head: &ResponseHead) -> usize {
    ":status".len() + 3 + size(&head.headers)
}

/// The same of headers alone.
pub fn size(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}
