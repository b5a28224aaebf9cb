//! Header fields: what came off the wire stays where it was received, what is added is written beside it.
//!
//! A proxy reads a dozen fields, adds a few and sends them all again. So a field is two spans, of the bytes that were
//! received or of those that were added; a block of fields is one allocation, and a clone shares it until one of the
//! two is edited.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

/// Header names are lower case; order and repetition are kept. Pseudo-headers are fields of the heads instead.
#[derive(Clone, Default)]
pub struct Headers(Option<Rc<Block>>);

/// Room for what most messages have; a larger one takes an allocation or two more.
const FIELDS: usize = 20;
const ADDED_BYTES: usize = 192;

#[derive(Default)]
struct Block {
    wire: Bytes,
    added: Added,
    fields: SmallVec<[Field; FIELDS]>,
}

/// Bytes one after the other: in place as long as there is room, then all of them in an allocation of their own.
#[derive(Clone)]
struct Added {
    inline: [u8; ADDED_BYTES],
    len: usize,
    spilled: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
}

/// Bytes of `wire`, or with [`Span::ADDED`] of `added`.
#[derive(Clone, Copy)]
struct Span {
    at: u32,
    len: u32,
}

// === impl Headers ===

impl Headers {
    pub fn with_capacity(n: usize) -> Self {
        let mut block = Block::default();
        block.fields.reserve(n);
        Self(Some(Rc::new(block)))
    }

    /// The fields of a head, or trailers, as a codec found them in `wire`: the ranges of each name, which must be lower
    /// case, and value. Nothing is copied. What a range has outside of `wire` is empty.
    pub fn from_wire(wire: Bytes, fields: impl IntoIterator<Item = (Range<usize>, Range<usize>)>) -> Self {
        let span = |range: Range<usize>| Span::of(range).unwrap_or(Span::EMPTY);
        let mut headers = Self(Some(Rc::new(Block {
            wire,
            ..Block::default()
        })));
        // In place: a block is too large to be moved for nothing.
        let list = &mut headers.edit().fields;
        for (name, value) in fields {
            list.push(Field {
                name: span(name),
                value: span(value),
            });
        }
        headers
    }

    pub fn len(&self) -> usize {
        self.fields().len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields().is_empty()
    }

    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// The first value of `name`, which must be lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let block = self.0.as_deref()?;
        let field = block.fields.iter().find(|f| block.is(f, name.as_bytes()))?;
        Some(block.text(field.value))
    }

    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.blocks().flat_map(move |block| {
            let fields = block.fields.iter().filter(|f| block.is(f, name.as_bytes()));
            fields.map(|f| block.text(f.value))
        })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds a value, keeping those that are there.
    pub fn append(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let block = self.edit();
        let name = block.add(name.as_ref());
        let value = block.add(value.as_ref());
        block.fields.push(Field { name, value });
    }

    /// Replaces every value of `name` by one.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let block = self.edit();
        let value = block.add(value.as_ref());
        block.set(name.as_ref(), value);
    }

    /// Removes every value of `name`; the last one is returned.
    pub fn remove(&mut self, name: &str) -> Option<Bytes> {
        let block = self.0.as_deref()?;
        let name = name.as_bytes();
        let last = block.fields.iter().rfind(|f| block.is(f, name))?;
        let value = block.share(last.value);
        self.edit().retain(|n| n != name);
        Some(value)
    }

    /// Removes every value of every one of `names`.
    pub fn remove_all(&mut self, names: &[&str]) {
        let is_named = |name: &[u8]| names.iter().any(|n| n.as_bytes() == name);
        if self.iter().any(|(name, _)| is_named(name)) {
            self.edit().retain(|name| !is_named(name));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.blocks().flat_map(|block| {
            let fields = block.fields.iter();
            fields.map(|f| (block.text(f.name), block.text(f.value)))
        })
    }

    /// Names and values to be kept by somebody else, in one or two shared allocations.
    pub fn iter_shared(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.blocks().flat_map(|block| {
            let added = Bytes::copy_from_slice(block.added.as_ref());
            let share = move |span: Span| block.slice(span, &added);
            block.fields.iter().map(move |f| (share(f.name), share(f.value)))
        })
    }

    /// Sum of name and value lengths, for limits.
    pub fn size(&self) -> usize {
        self.fields()
            .iter()
            .map(|f| f.name.len as usize + f.value.len as usize)
            .sum()
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.0.as_deref().into_iter()
    }

    fn fields(&self) -> &[Field] {
        self.0.as_deref().map_or(&[], |block| &block.fields)
    }

    /// This message's own block: from now on nobody else's.
    fn edit(&mut self) -> &mut Block {
        Rc::make_mut(self.0.get_or_insert_default())
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        f.debug_map()
            .entries(self.iter().map(|(n, v)| (text(n), text(v))))
            .finish()
    }
}

// === impl Block ===

impl Block {
    fn is(&self, field: &Field, name: &[u8]) -> bool {
        field.name.len as usize == name.len() && self.text(field.name) == name
    }

    fn text(&self, span: Span) -> &[u8] {
        let from: &[u8] = match span.is_added() {
            true => self.added.as_ref(),
            false => &self.wire,
        };
        from.get(span.range()).unwrap_or_default()
    }

    fn share(&self, span: Span) -> Bytes {
        if span.is_added() {
            return Bytes::copy_from_slice(self.text(span));
        }
        self.slice(span, &Bytes::new())
    }

    fn slice(&self, span: Span, added: &Bytes) -> Bytes {
        let from = if span.is_added() { added } else { &self.wire };
        match from.get(span.range()) {
            Some(_) => from.slice(span.range()),
            None => Bytes::new(),
        }
    }

    fn add(&mut self, text: &[u8]) -> Span {
        let at = self.added.push(text);
        Span::of(at..at + text.len()).map_or(Span::EMPTY, Span::added)
    }

    fn set(&mut self, name: &[u8], value: Span) {
        let Some(at) = self.fields.iter().position(|f| self.is(f, name)) else {
            let name = self.add(name);
            return self.fields.push(Field { name, value });
        };
        self.fields[at].value = value;
        if self.fields[at + 1..].iter().any(|f| self.is(f, name)) {
            let mut seen = false;
            self.retain(|n| n != name || !std::mem::replace(&mut seen, true));
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|f| keep(self.text(f.name)));
        self.fields = fields;
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Self {
            wire: self.wire.clone(),
            added: self.added.clone(),
            fields: SmallVec::from_slice(&self.fields),
        }
    }
}

// === impl Added ===

impl Added {
    /// Appends; where to is the result.
    fn push(&mut self, text: &[u8]) -> usize {
        let (start, end) = (self.len, self.len + text.len());
        self.len = end;
        if let Some(room) = self.inline.get_mut(start..end) {
            room.copy_from_slice(text);
            return start;
        }
        if self.spilled.is_empty() {
            self.spilled.reserve(2 * end);
            self.spilled
                .extend_from_slice(self.inline.get(..start).unwrap_or_default());
        }
        self.spilled.extend_from_slice(text);
        start
    }
}

impl AsRef<[u8]> for Added {
    fn as_ref(&self) -> &[u8] {
        match self.inline.get(..self.len) {
            Some(inline) => inline,
            None => &self.spilled,
        }
    }
}

impl Default for Added {
    fn default() -> Self {
        Self {
            inline: [0; ADDED_BYTES],
            len: 0,
            spilled: Vec::new(),
        }
    }
}

// === impl Span ===

impl Span {
    const ADDED: u32 = 1 << 31;
    const EMPTY: Self = Self { at: 0, len: 0 };

    /// None: more than 2 GiB, which no limit on headers lets through.
    fn of(range: Range<usize>) -> Option<Self> {
        let at = u32::try_from(range.start).ok()?;
        let len = u32::try_from(range.end.checked_sub(range.start)?).ok()?;
        (at & Self::ADDED == 0).then_some(Self { at, len })
    }

    fn added(self) -> Self {
        Self {
            at: self.at | Self::ADDED,
            ..self
        }
    }

    fn is_added(self) -> bool {
        self.at & Self::ADDED != 0
    }

    fn range(self) -> Range<usize> {
        let at = (self.at & !Self::ADDED) as usize;
        at..at + self.len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Decimal;

    /// `a: 1`, `b: 2`, `a: 3` as received.
    fn received() -> Headers {
        let wire = Bytes::from_static(b"a: 1\r\nb: 2\r\na: 3\r\n");
        Headers::from_wire(wire, [(0..1, 3..4), (6..7, 9..10), (12..13, 15..16)])
    }

    fn text(headers: &Headers) -> String {
        let mut out = String::new();
        for (name, value) in headers.iter() {
            out += &format!(
                "{}={} ",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            );
        }
        out
    }

    #[test]
    fn order_and_repetition_are_kept() {
        let mut headers = received();
        headers.append("b", "4");
        headers.append("c", Decimal::from(5_u64));
        assert_eq!(text(&headers), "a=1 b=2 a=3 b=4 c=5 ");
        assert_eq!(headers.get("b"), Some(&b"2"[..]));
        assert_eq!(headers.get_all("b").collect::<Vec<_>>(), [&b"2"[..], &b"4"[..]]);
        assert_eq!((headers.len(), headers.size()), (5, 10));
    }

    #[test]
    fn set_replaces_every_value_where_the_first_was() {
        let mut headers = received();
        headers.set("a", "new");
        headers.set("d", "7");
        assert_eq!(text(&headers), "a=new b=2 d=7 ");
    }

    #[test]
    fn removed_values_are_gone_and_the_last_is_told() {
        let mut headers = received();
        assert_eq!(headers.remove("a").as_deref(), Some(&b"3"[..]));
        assert_eq!(headers.remove("a"), None);
        headers.append("x", "y");
        assert_eq!(headers.remove("x").as_deref(), Some(&b"y"[..]));
        assert_eq!(text(&headers), "b=2 ");
        let mut headers = received();
        headers.remove_all(&["b", "nothing"]);
        assert_eq!(text(&headers), "a=1 a=3 ");
    }

    #[test]
    fn a_clone_does_not_see_what_is_edited_later() {
        let mut headers = received();
        headers.append("c", "1");
        let kept = headers.clone();
        headers.set("b", "edited");
        headers.remove("a");
        assert_eq!(text(&kept), "a=1 b=2 a=3 c=1 ");
        assert_eq!(text(&headers), "b=edited c=1 ");
        assert_ne!(kept, headers);
    }

    #[test]
    fn shared_fields_are_the_same_as_borrowed_ones() {
        let mut headers = received();
        headers.set("b", "added");
        let shared: Vec<_> = headers.iter_shared().collect();
        let borrowed: Vec<_> = headers.iter().collect();
        assert_eq!(shared.len(), borrowed.len());
        for ((n, v), (name, value)) in shared.iter().zip(borrowed) {
            assert_eq!((n.as_ref(), v.as_ref()), (name, value));
        }
    }

    #[test]
    fn more_than_there_is_room_for_is_kept_as_well() {
        let mut headers = received();
        let long = "x".repeat(ADDED_BYTES / 2);
        for name in ["c", "d", "e"] {
            headers.append(name, &long);
        }
        headers.set("a", "1");
        let other = headers.clone();
        assert_eq!(other.len(), 5);
        for name in ["c", "d", "e"] {
            assert_eq!(other.get_str(name), Some(long.as_str()));
        }
        assert_eq!(other.get("a"), Some(&b"1"[..]));
    }

    #[test]
    fn a_range_outside_of_what_was_received_is_empty() {
        #[expect(clippy::reversed_empty_ranges, reason = "a codec's mistake")]
        let wrong = [(0..1, 90..91), (2..3, 9..4), (2..3, usize::MAX - 1..usize::MAX)];
        let headers = Headers::from_wire(Bytes::from_static(b"abc"), wrong);
        assert_eq!(text(&headers), "a= c= c= ");
    }
}
