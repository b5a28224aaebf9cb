//! Decompression (RFC 7541 §3, §6).

use super::huffman;
use super::integer;
use super::malformed::Malformed;
use super::table::{Entry, STATIC, Table};
use crate::section::{Kind, Pseudo};

#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What our settings allow the table.
    most: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Where a literal's name or value is.
enum Text<'i> {
    Plain(&'i [u8]),
    /// In the decoder's buffer.
    Decoded,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Decoder {
    pub fn new(table_size: usize) -> Self {
        Self {
            table: Table::new(table_size),
            most: table_size,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Calls `field` for every field of the block, in their order.
    pub fn decode(&mut self, block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
        self.read(block, |_, name, value| field(name, value))
    }

    pub(crate) fn read(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(Kind, &[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut may_resize = true;
        while let Some(first) = block.first() {
            match *first {
                0x80.. => {
                    let index = integer::read(&mut block, 7)?;
                    self.indexed(index, &mut field)?;
                }
                0x40..0x80 => self.literal(&mut block, 6, true, &mut field)?,
                0x20..0x40 => {
                    let size = integer::read(&mut block, 5)?;
                    // Only at the beginning of a block (§4.2).
                    if !may_resize || size > self.most {
                        return Err(Malformed);
                    }
                    self.table.resize(size);
                    continue;
                }
                _ => self.literal(&mut block, 4, false, &mut field)?,
            }
            may_resize = false;
        }
        Ok(())
    }

    fn indexed(&self, index: usize, field: &mut impl FnMut(Kind, &[u8], &[u8])) -> Result<(), Malformed> {
        let place = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(place) {
            field(static_kind(place), name.as_bytes(), value.as_bytes());
            return Ok(());
        }
        let entry = self.table.get(place - STATIC.len()).ok_or(Malformed)?;
        field(entry.kind, entry.name(), entry.value());
        Ok(())
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        prefix: u32,
        keep: bool,
        field: &mut impl FnMut(Kind, &[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let index = integer::read(block, prefix)?;
        let name = match index.checked_sub(1) {
            None => text(block, &mut self.name)?,
            Some(place) => match STATIC.get(place) {
                Some((name, _)) => Text::Plain(name.as_bytes()),
                None => {
                    let entry = self.table.get(place - STATIC.len()).ok_or(Malformed)?;
                    // Copied: the entry may have to make room for this one.
                    self.name.clear();
                    self.name.extend_from_slice(entry.name());
                    Text::Decoded
                }
            },
        };
        let value = text(block, &mut self.value)?;
        let name = name.bytes(&self.name);
        let value = value.bytes(&self.value);
        let kind = Kind::of(name, value);
        if keep {
            self.table.insert(Entry::new(name, value, kind, 0));
        }
        field(kind, name, value);
        self.trim();
        Ok(())
    }

    /// One long field is no reason to keep much for ever.
    fn trim(&mut self) {
        for buffer in [&mut self.name, &mut self.value] {
            if buffer.capacity() > 4096 {
                *buffer = Vec::new();
            }
        }
    }
}

impl<'i> Text<'i> {
    fn bytes<'t>(self, decoded: &'t [u8]) -> &'t [u8]
    where
        'i: 't,
    {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Decoded => decoded,
        }
    }
}

/// A string (RFC 7541 §5.2).
fn text<'i>(block: &mut &'i [u8], decoded: &mut Vec<u8>) -> Result<Text<'i>, Malformed> {
    let is_huffman = block.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer::read(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if !is_huffman {
        return Ok(Text::Plain(bytes));
    }
    decoded.clear();
    huffman::decode(bytes, decoded).map_err(|()| Malformed)?;
    Ok(Text::Decoded)
}

/// What the static table's entries are to a message.
fn static_kind(place: usize) -> Kind {
    match place + 1 {
        // Its value is empty, which an authority is not.
        1 => Kind::Invalid("an empty :authority"),
        2 | 3 => Kind::Pseudo(Pseudo::Method),
        4 | 5 => Kind::Pseudo(Pseudo::Path),
        6 | 7 => Kind::Pseudo(Pseudo::Scheme),
        8..=14 => Kind::Pseudo(Pseudo::Status),
        28 => Kind::Invalid("Content-Length"),
        57 => Kind::Invalid("a field of HTTP/1.1 connections"),
        _ => Kind::Plain,
    }
}

#[cfg(test)]
#[path = "decode/tests.rs"]
mod tests;
