//! Where a head ends, and the header fields in it.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use leno_engine::message::Headers;
use smallvec::SmallVec;

use crate::{Error, Limits, syntax};

/// Looks for the end of a head, or of trailers, in bytes that come piece by piece; none is looked at twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    seen: usize,
}

/// Empty lines before a request, which a client may send after a body (RFC 9112 §2.2).
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count()
}

/// A field's name and value within the head that it was found in.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
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
        while let Some(at) = bytes
            .get(self.seen..)
            .and_then(|rest| memchr::memchr(b'\n', rest))
        {
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

// === impl Fields ===

impl Fields {
    /// Reads the lines of `head` from `start` to the empty one, which must be its end.
    pub(crate) fn parse(head: &[u8], start: usize, limits: &Limits) -> Result<Self, Error> {
        let mut fields = Self {
            text: BytesMut::from(head),
            list: SmallVec::new(),
        };
        let mut at = start;
        while at < head.len() {
            let end = line_end(head, at);
            let line = head.get(at..end).unwrap_or_default();
            match line {
                b"\n" | b"\r\n" => break,
                [b' ' | b'\t', ..] => return Err(Error::Syntax("a first field that goes on with another")),
                _ => {}
            }
            if fields.list.len() >= limits.fields {
                return Err(Error::TooManyFields);
            }
            // obs-fold (RFC 9112 §5.2): the lines that go on with this one.
            let mut last = end;
            while let Some(b' ' | b'\t') = head.get(last) {
                last = line_end(head, last);
            }
            fields.field(line, at, last)?;
            at = last;
        }
        Ok(fields)
    }

    fn field(&mut self, line: &[u8], at: usize, end: usize) -> Result<(), Error> {
        let colon = memchr::memchr(b':', line).ok_or(Error::Syntax("a field without a colon"))?;
        let name = at..at + colon;
        let Some(text) = self.text.get_mut(name.clone()) else {
            return Err(Error::Syntax("a field outside of its head"));
        };
        if !syntax::is_token(text) {
            return Err(Error::Syntax("a field name that is no token"));
        }
        text.make_ascii_lowercase();
        let (value, mended) = self.value(name.end + 1, end)?;
        self.list.push(Field { name, value, mended });
        Ok(())
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

    pub(crate) fn name(&self, field: &Field) -> &[u8] {
        self.text.get(field.name.clone()).unwrap_or_default()
    }

    pub(crate) fn value_of(&self, field: &Field) -> &[u8] {
        self.text.get(field.value.clone()).unwrap_or_default()
    }

    /// The text, and the fields that `keep` wants.
    pub(crate) fn finish(self, keep: impl Fn(&[u8], &[u8]) -> bool) -> (Bytes, Headers) {
        let Self { text, list } = self;
        let text = text.freeze();
        let of = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let kept = list.iter().filter(|f| keep(of(&f.name), of(&f.value)));
        let headers = Headers::from_wire(text.clone(), kept.map(|f| (f.name.clone(), f.value.clone())));
        (text, headers)
    }
}

/// The end of the line that begins at `at`, with its line feed.
pub(crate) fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(bytes.len(), |end| at + end + 1)
}
