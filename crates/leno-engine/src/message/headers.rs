//! Header fields: what came off the wire stays where it was received, what is added is written beside it.
//!
//! A proxy reads a dozen fields, adds a few and sends them all again. So a field is two spans, of the bytes that were
//! received or of those that were added; a block of fields is one allocation, and a clone shares it until one of the
//! two is edited.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::spelling::Spelling;

/// Header names are lower case; order and repetition are kept. Pseudo-headers are fields of the heads instead.
#[derive(Clone, Default)]
pub struct Headers(Option<Rc<Block>>);

/// Room for what most messages have; a larger one takes an allocation or two more.
const FIELDS: usize = 20;
const ADDED_BYTES: usize = 192;

/// What stands between a name and its value, and after that.
const COLON: &[u8; 2] = b": ";
const LINE_END: &[u8; 2] = b"\r\n";

#[derive(Default)]
struct Block {
    wire: Bytes,
    added: Added,
    fields: SmallVec<[Field; FIELDS]>,
    /// The marks that the names have or had: most names that are looked for are not there, and this knows it of nearly
    /// all of them.
    marks: Marks,
    /// None: nobody wants to know how the names were written.
    spelling: Option<Rc<Spelling>>,
}

/// A bit for each length and last letter of a name, modulo 64.
#[derive(Clone, Copy, Debug, Default)]
struct Marks(u64);

/// Names that are looked for together.
#[derive(Clone, Copy, Debug)]
pub struct Names<const N: usize> {
    names: [&'static str; N],
    marks: Marks,
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

/// Header fields as a line-based protocol writes them (RFC 9112 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines<'a> {
    /// One field or several one after the other, as they were received: `name: value`, each with its end of line.
    Received(&'a [u8]),
    Field(&'a [u8], &'a [u8]),
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
        let span = |range: &Range<usize>| Span::of(range).unwrap_or(Span::EMPTY);
        // In place: a block is too large to be moved for nothing.
        let mut headers = Self(Some(Rc::default()));
        let block = headers.edit();
        block.wire = wire;
        for (name, value) in fields {
            let marks = Marks::of(block.wire.get(name.clone()).unwrap_or_default());
            block.push(marks, span(&name), span(&value));
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
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.marked(Marks::of(name.as_bytes()))?.get(name.as_bytes())
    }

    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let block = self.marked(Marks::of(name.as_bytes()));
        let fields = block.map_or(&[][..], |block| &block.fields).iter();
        fields.filter_map(move |f| {
            let block = block.filter(|block| block.is(f, name.as_bytes()))?;
            Some(block.text(f.value))
        })
    }

    /// All of its values, with commas between them.
    pub fn joined(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let first = self.get(name)?;
        let mut values = self.get_all(name);
        match values.nth(1) {
            None => Some(Cow::Borrowed(first)),
            Some(_) => Some(Cow::Owned(self.get_all(name).collect::<Vec<_>>().join(&b','))),
        }
    }

    #[inline]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds a value, keeping those that are there.
    pub fn append(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let block = self.edit();
        let marks = Marks::of(name.as_ref());
        let name = block.add(name.as_ref());
        let value = block.add(value.as_ref());
        block.push(marks, name, value);
    }

    /// Replaces every value of `name` by one.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let block = self.edit();
        let value = block.add(value.as_ref());
        block.set(name.as_ref(), value);
    }

    /// Removes every value of `name`; the last one is returned.
    #[inline]
    pub fn remove(&mut self, name: &str) -> Option<Bytes> {
        let name = name.as_bytes();
        match self.marked(Marks::of(name)) {
            Some(_) => self.remove_marked(name),
            None => None,
        }
    }

    fn remove_marked(&mut self, name: &[u8]) -> Option<Bytes> {
        let block = self.0.as_deref()?;
        let last = block.fields.iter().rfind(|f| block.is(f, name))?;
        let value = block.share(last.value);
        self.edit().retain(|n| n != name);
        Some(value)
    }

    /// Removes every value of every one of `names`.
    #[inline]
    pub fn remove_all<const N: usize>(&mut self, names: &Names<N>) {
        if self.marked(names.marks).is_some() {
            self.remove_named(&names.names);
        }
    }

    fn remove_named(&mut self, names: &[&str]) {
        let is_named = |name: &[u8]| names.iter().any(|n| n.as_bytes() == name);
        if self.iter().any(|(name, _)| is_named(name)) {
            self.edit().retain(|name| !is_named(name));
        }
    }

    /// None: no name has one of these marks.
    #[inline]
    fn marked(&self, marks: Marks) -> Option<&Block> {
        self.0.as_deref().filter(|block| block.marks.has(marks))
    }

    /// Removes every field whose name is one.
    pub fn remove_matching(&mut self, is_one: impl Fn(&[u8]) -> bool) {
        self.edit().retain(|name| !is_one(name));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let block = self.0.as_deref();
        let text = move |span| block.map_or(&[][..], |block| block.text(span));
        let fields = self.fields().iter();
        fields.map(move |f| (text(f.name), text(f.value)))
    }

    /// The fields in their order, in as few pieces as may be: what was received in the form in which HTTP/1.1 writes it
    /// comes in runs. A field named `alone` comes by itself.
    #[inline]
    pub fn lines<'a>(&'a self, alone: &'a [u8]) -> impl Iterator<Item = Lines<'a>> {
        let block = self.0.as_deref();
        let mut rest = self.fields();
        std::iter::from_fn(move || {
            let block = block?;
            let (first, after) = rest.split_first()?;
            let stands = |f: &Field| block.is_line(f) && !block.is(f, alone);
            if !stands(first) {
                rest = after;
                return Some(Lines::Field(block.text(first.name), block.text(first.value)));
            }
            let (mut last, mut next) = (first, after);
            while let Some((field, after)) = next.split_first()
                && last.end() + LINE_END.len() == field.name.at as usize
                && stands(field)
            {
                (last, next) = (field, after);
            }
            rest = next;
            let run = first.name.at as usize..last.end() + LINE_END.len();
            Some(Lines::Received(block.wire.get(run).unwrap_or_default()))
        })
    }

    /// Every name and value that was added since the message was received, one after the other, also of fields that are
    /// gone again.
    #[inline]
    pub fn added(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |block| block.added.as_ref())
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

    /// How the names were written, where a codec has noted it.
    #[inline]
    pub fn spelling(&self) -> Option<&Spelling> {
        self.0.as_deref()?.spelling.as_deref()
    }

    pub fn set_spelling(&mut self, spelling: Spelling) {
        self.edit().spelling = Some(Rc::new(spelling));
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.0.as_deref().into_iter()
    }

    #[inline]
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
    /// `marks`: the name's.
    #[inline]
    fn push(&mut self, marks: Marks, name: Span, value: Span) {
        self.marks.add(marks);
        self.fields.push(Field { name, value });
    }

    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let field = self.fields.iter().find(|f| self.is(f, name))?;
        Some(self.text(field.value))
    }

    /// Whether the field stands in `wire` as a line of HTTP/1.1.
    #[inline]
    fn is_line(&self, field: &Field) -> bool {
        let Field { name, value } = field;
        let colon = name.at as usize + name.len as usize;
        // A span of `added` is beyond the end of `wire`.
        value.at as usize == colon + COLON.len()
            && self.two_at(colon) == Some(COLON)
            && self.two_at(field.end()) == Some(LINE_END)
    }

    #[inline]
    fn two_at(&self, at: usize) -> Option<&[u8; 2]> {
        self.wire.get(at..)?.first_chunk()
    }

    #[inline]
    fn is(&self, field: &Field, name: &[u8]) -> bool {
        field.name.len as usize == name.len() && same(self.text(field.name), name)
    }

    #[inline]
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
        Span::of(&(at..at + text.len())).map_or(Span::EMPTY, Span::added)
    }

    fn set(&mut self, name: &[u8], value: Span) {
        let marks = Marks::of(name);
        let may_be_there = self.marks.has(marks);
        let there = may_be_there.then(|| self.fields.iter().position(|f| self.is(f, name)));
        let Some(at) = there.flatten() else {
            let name = self.add(name);
            return self.push(marks, name, value);
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
            marks: self.marks,
            spelling: self.spelling.clone(),
        }
    }
}

/// Whether two names of one length are the same; eight bytes at a time, the last ones perhaps twice. Not by `memcmp`:
/// glibc's for AVX-512 reads behind its arguments under a mask, and where that is a page that is not there (behind
/// constants that were given back after the start, for one) each call takes a microsecond instead of a nanosecond.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (words, rest) = a.as_chunks::<8>();
    let (others, other_rest) = b.as_chunks::<8>();
    if !words.iter().zip(others).all(|(word, other)| word == other) {
        return false;
    }
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(last), Some(other)) => last == other,
        _ => rest.iter().zip(other_rest).all(|(byte, other)| byte == other),
    }
}

// === impl Field ===

impl Field {
    /// Where its value ends.
    #[inline]
    fn end(&self) -> usize {
        self.value.at as usize + self.value.len as usize
    }
}

// === impl Marks ===

impl Marks {
    /// Of one name.
    #[inline]
    const fn of(name: &[u8]) -> Self {
        let last = match name.last() {
            Some(last) => *last as usize,
            None => 0,
        };
        Self(1 << ((name.len() + last * 7) % 64))
    }

    #[inline]
    const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// False: none of these is here.
    #[inline]
    const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }
}

// === impl Names ===

impl<const N: usize> Names<N> {
    /// All in lower case.
    pub const fn new(names: [&'static str; N]) -> Self {
        let mut marks = Marks(0);
        let mut at = 0;
        while at < N {
            marks.add(Marks::of(names[at].as_bytes()));
            at += 1;
        }
        Self { names, marks }
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
    #[inline]
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
    #[inline]
    fn of(range: &Range<usize>) -> Option<Self> {
        let at = u32::try_from(range.start).ok()?;
        let len = u32::try_from(range.end.checked_sub(range.start)?).ok()?;
        (at & Self::ADDED == 0).then_some(Self { at, len })
    }

    #[inline]
    fn added(self) -> Self {
        Self {
            at: self.at | Self::ADDED,
            ..self
        }
    }

    #[inline]
    fn is_added(self) -> bool {
        self.at & Self::ADDED != 0
    }

    #[inline]
    fn range(self) -> Range<usize> {
        let at = (self.at & !Self::ADDED) as usize;
        at..at + self.len as usize
    }
}

#[cfg(test)]
mod tests;
