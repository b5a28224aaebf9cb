//! Where a head ends, and the header fields in it.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use leno_engine::message::Headers;
use smallvec::SmallVec;

use crate::known::Known;
use crate::{Error, Limits, syntax};

/// Looks for the end of a head, or of trailers, in bytes that come piece by piece; none is looked at twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    seen: usize,
}

/// Empty lines before a request, which a client may send after a body (RFC 9112 §2.2).
#[inline]
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count()
}

/// A place in a head, which is never of 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// A field's name and value within the head that it was found in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) known: Known,
    /// There was a carriage return or a line feed in the value.
    pub(crate) mended: bool,
}

/// A head that has been read: its text, in which names are lower case and values are mended.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) text: BytesMut,
    pub(crate) list: SmallVec<[Field; 24]>,
}

// === impl HeadScanner ===

impl HeadScanner {
    /// The length of the head with its empty line. `bytes` are those of the last call and what came since.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(at) = bytes.get(self.seen..).and_then(syntax::line_feed) {
            let after = self.seen + at + 1;
            match bytes.get(after..)? {
                [b'\n', ..] => return Some(after + 1),
                [b'\r', b'\n', ..] => return Some(after + 2),
                [] | [b'\r'] => {
                    self.seen = after - 1;
                    return None;
                }
                _ => self.seen = after,
            }
        }
        self.seen = bytes.len();
        None
    }
}

// === impl Span ===

impl Span {
    pub(crate) fn of(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

// === impl Fields ===

impl Fields {
    /// For the fields of `head`; it is large, so it stays where it is made.
    pub(crate) fn of(head: &[u8]) -> Self {
        Self {
            text: BytesMut::from(head),
            list: SmallVec::new(),
        }
    }

    /// Reads the lines of `head` from `start` to the empty one, which must be its end.
    pub(crate) fn parse(&mut self, head: &[u8], start: usize, limits: &Limits) -> Result<(), Error> {
        if u32::try_from(head.len()).is_err() {
            return Err(Error::TooLarge);
        }
        let mut at = start;
        while at < head.len() {
            match head.get(at..).unwrap_or_default() {
                [b'\n', ..] | [b'\r', b'\n', ..] => break,
                [b' ' | b'\t', ..] => return Err(Error::Syntax("a first field that goes on with another")),
                _ => {}
            }
            if self.list.len() >= limits.fields {
                return Err(Error::TooManyFields);
            }
            at = match self.plain(at) {
                Some(next) => next,
                None => self.odd(head, at)?,
            };
        }
        Ok(())
    }

    /// A field as nearly all are: one line, of nothing but what a field may have. Where the next begins. None: it is
    /// not like that, and nothing has been kept of it.
    fn plain(&mut self, at: usize) -> Option<usize> {
        let colon = at + syntax::lower_token(self.text.get_mut(at..)?);
        let text = &self.text;
        if colon == at || text.get(colon) != Some(&b':') {
            return None;
        }
        let is_white = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let rest = text.get(colon + 1..)?;
        let start = colon + 1 + rest.iter().take_while(is_white).count();
        let rest = text.get(start..)?;
        let length = syntax::value_length(rest);
        let next = match rest.get(length..)? {
            [b'\r', b'\n', after, ..] if !is_white(&after) => start + length + 2,
            [b'\n', after, ..] if !is_white(&after) => start + length + 1,
            _ => return None,
        };
        let trailing = rest.get(..length)?.iter().rev().take_while(is_white).count();
        let name = text.get(at..colon)?;
        self.list.push(Field {
            known: Known::of(name),
            name: Span::of(at, colon),
            value: Span::of(start, start + length - trailing),
            mended: false,
        });
        Some(next)
    }

    /// A field of any kind, refused or mended.
    fn odd(&mut self, head: &[u8], at: usize) -> Result<usize, Error> {
        let end = line_end(head, at);
        let line = head.get(at..end).unwrap_or_default();
        // obs-fold (RFC 9112 §5.2): the lines that go on with this one.
        let mut last = end;
        while let Some(b' ' | b'\t') = head.get(last) {
            last = line_end(head, last);
        }
        let colon = memchr::memchr(b':', line).ok_or(Error::Syntax("a field without a colon"))?;
        let name = at..at + colon;
        let Some(text) = self.text.get_mut(name.clone()) else {
            return Err(Error::Syntax("a field outside of its head"));
        };
        if text.is_empty() || syntax::lower_token(text) < text.len() {
            return Err(Error::Syntax("a field name that is no token"));
        }
        let known = Known::of(text);
        let (value, mended) = self.value(name.end + 1, last)?;
        self.list.push(Field {
            name: Span::of(name.start, name.end),
            value: Span::of(value.start, value.end),
            known,
            mended,
        });
        Ok(last)
    }

    /// A value without what is around it. Carriage returns and line feeds within it are taken out, as Envoy does,
    /// so that folded lines become one.
    fn value(&mut self, start: usize, end: usize) -> Result<(Range<usize>, bool), Error> {
        let text = self.text.get(start..end).unwrap_or_default();
        let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let first = text.iter().position(|byte| !white(byte)).unwrap_or(text.len());
        let last = text
            .iter()
            .rposition(|byte| !white(byte))
            .map_or(first, |at| at + 1);
        let range = start + first..start + last;
        let value = text.get(first..last).unwrap_or_default();
        if syntax::is_value(value) {
            return Ok((range, false));
        }
        let mended: SmallVec<[u8; 256]> = value
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect();
        if !syntax::is_value(&mended) {
            return Err(Error::InvalidCharacters);
        }
        let range = range.start..range.start + mended.len();
        if let Some(place) = self.text.get_mut(range.clone()) {
            place.copy_from_slice(&mended);
        }
        Ok((range, true))
    }

    pub(crate) fn value_of(&self, field: &Field) -> &[u8] {
        self.text.get(field.value.range()).unwrap_or_default()
    }

    /// The fields that `keep` wants.
    pub(crate) fn finish(&mut self, keep: impl Fn(&Field, &[u8]) -> bool) -> Headers {
        self.reduce(keep);
        let text = std::mem::take(&mut self.text).freeze();
        self.headers(text)
    }

    /// As [`Self::finish`], and the text, of which there is more to be had.
    pub(crate) fn finish_with_text(&mut self, keep: impl Fn(&Field, &[u8]) -> bool) -> (Bytes, Headers) {
        self.reduce(keep);
        let text = std::mem::take(&mut self.text).freeze();
        let headers = self.headers(text.clone());
        (text, headers)
    }

    fn reduce(&mut self, keep: impl Fn(&Field, &[u8]) -> bool) {
        let Self { text, list } = self;
        list.retain(|field| keep(field, text.get(field.name.range()).unwrap_or_default()));
    }

    fn headers(&self, text: Bytes) -> Headers {
        let ranges = self.list.iter().map(|f| (f.name.range(), f.value.range()));
        Headers::from_wire(text, ranges)
    }
}

/// The end of the line that begins at `at`, with its line feed.
pub(crate) fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    syntax::line_feed(rest).map_or(bytes.len(), |end| at + end + 1)
}
