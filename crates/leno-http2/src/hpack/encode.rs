//! Compression (RFC 7541 §6).
//!
//! A field enters the table when it is seen for the second time: what differs with every message (request ids,
//! traces) never pushes out what repeats, whatever the fields are called. Only what enters the table is worth the
//! time of Huffman coding.

use super::huffman;
use super::integer;
use super::table::{Entry, OVERHEAD, STATIC, Table, static_name};
use crate::section::Kind;

/// The most that we keep for a peer, whatever it offers.
const MOST: usize = 4096;
/// Fields remembered as seen once.
const SEEN: usize = 64;
/// Entries that can be found: of the shortest fields the table holds as many.
const PLACES: usize = 128;

#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// The peer's limit has changed, or the table was given up: said at the beginning of the next block (§4.2).
    resized: Option<Resized>,
    seen: Box<[u32; SEEN]>,
    newest: Newest,
}

/// Where in the table a field is, without looking at all of its entries: for every hash, modulo [`PLACES`], the entry
/// that came last, as its number since the beginning. One that another has hidden so is sent literally and enters
/// again.
#[derive(Debug)]
struct Newest {
    entries: u32,
    by_hash: Box<[u32; PLACES]>,
}

#[derive(Clone, Copy, Debug)]
struct Resized {
    least: usize,
    last: usize,
}

/// How a literal is marked (§6.2).
#[derive(Clone, Copy)]
enum Literal {
    Indexed,
    NotIndexed,
    /// Nobody on the way may put it into a table (§7.1.3).
    NeverIndexed,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::new(MOST),
            resized: None,
            seen: Box::new([0; SEEN]),
            newest: Newest {
                entries: 0,
                by_hash: Box::new([0; PLACES]),
            },
        }
    }
}

impl Newest {
    fn insert(&mut self, hash: u32) {
        self.entries = self.entries.wrapping_add(1);
        if let Some(place) = self.by_hash.get_mut(hash as usize % PLACES) {
            *place = self.entries;
        }
    }

    /// How many entries have come after it. It may not be there any more, or be another.
    fn place(&self, hash: u32) -> Option<usize> {
        let number = *self.by_hash.get(hash as usize % PLACES)?;
        Some(self.entries.wrapping_sub(number) as usize)
    }
}

impl Encoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn limit(&mut self, size: usize) {
        let size = size.min(MOST);
        if size == self.table.max() && self.resized.is_none() {
            return;
        }
        self.table.resize(size);
        let least = self.resized.map_or(size, |r| r.least.min(size));
        self.resized = Some(Resized { least, last: size });
    }

    /// A block that was begun is not sent: what it has put into the table, the peer does not know.
    pub fn give_up(&mut self) {
        self.table.clear();
        let last = self.table.max();
        self.resized = Some(Resized { least: 0, last });
    }

    /// Before the first field of a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(Resized { least, last }) = self.resized.take() else {
            return;
        };
        if least < last {
            integer::write(least, 5, 0x20, out);
        }
        integer::write(last, 5, 0x20, out);
    }

    /// One field.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        self.checked(name, value, out, || true);
    }

    /// One field, if it may be sent; what is in a table was looked at when it got there. False: it may not.
    pub(crate) fn checked(
        &mut self,
        name: &[u8],
        value: &[u8],
        out: &mut Vec<u8>,
        may_be_sent: impl FnOnce() -> bool,
    ) -> bool {
        let index = static_name(name);
        if index > 0
            && let Some(exact) = static_exact(index, name, value)
        {
            integer::write(exact, 7, 0x80, out);
            return true;
        }
        let hash = hash(name, value);
        if let Some(place) = self.newest.place(hash)
            && let Some(entry) = self.table.get(place)
            && entry.hash == hash
            && entry.is(name, value)
        {
            integer::write(STATIC.len() + 1 + place, 7, 0x80, out);
            return true;
        }
        if !may_be_sent() {
            return false;
        }
        if is_secret(name, value) {
            literal(Literal::NeverIndexed, index, name, value, out);
            return true;
        }
        let size = name.len() + value.len() + OVERHEAD;
        let seen = self.seen.get_mut(hash as usize % SEEN);
        let again = seen.is_some_and(|seen| std::mem::replace(seen, hash) == hash);
        // A field that takes half of the table would not be alone in it.
        if again && size <= self.table.max() / 2 {
            literal(Literal::Indexed, index, name, value, out);
            self.table.insert(Entry::new(name, value, Kind::Plain, hash));
            self.newest.insert(hash);
        } else {
            literal(Literal::NotIndexed, index, name, value, out);
        }
        true
    }
}

/// The static table's entry with this value; the entries of one name stand together.
fn static_exact(first: usize, name: &[u8], value: &[u8]) -> Option<usize> {
    if value.is_empty() && first > 1 {
        return STATIC.get(first - 1).filter(|(_, v)| v.is_empty()).map(|_| first);
    }
    let same = STATIC
        .iter()
        .skip(first - 1)
        .take_while(|(n, _)| n.as_bytes() == name);
    let at = same
        .map(|(_, v)| v.as_bytes())
        .position(|v| !v.is_empty() && v == value)?;
    Some(first + at)
}

/// What an observer of sizes could guess bit by bit, were it compressed (§7.1). A long cookie cannot be guessed.
fn is_secret(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"authorization" | b"proxy-authorization" => true,
        b"cookie" | b"set-cookie" => value.len() < 20,
        _ => false,
    }
}

fn literal(how: Literal, index: usize, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let (prefix, first) = match how {
        Literal::Indexed => (6, 0x40),
        Literal::NotIndexed => (4, 0x00),
        Literal::NeverIndexed => (4, 0x10),
    };
    integer::write(index, prefix, first, out);
    let is_worth_it = matches!(how, Literal::Indexed);
    if index == 0 {
        text(name, is_worth_it, out);
    }
    text(value, is_worth_it, out);
}

fn text(text: &[u8], try_huffman: bool, out: &mut Vec<u8>) {
    let length = if try_huffman {
        huffman::encoded_length(text)
    } else {
        text.len()
    };
    if length < text.len() {
        integer::write(length, 7, 0x80, out);
        huffman::encode(text, out);
    } else {
        integer::write(text.len(), 7, 0x00, out);
        out.extend_from_slice(text);
    }
}

/// Eight bytes at a time; who makes two fields collide has one of them sent literally.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (name.len() as u64) << 32 | value.len() as u64;
    for part in [name, value] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(K);
        }
        // What is left, with what is before it where that makes eight.
        let last = match part.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte)),
        };
        hash = (hash.rotate_left(5) ^ last).wrapping_mul(K);
    }
    // 0 is nobody's: what was never seen has it.
    ((hash >> 32) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::Decoder;

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        for (name, value) in fields {
            encoder.field(name.as_bytes(), value.as_bytes(), &mut block);
        }
        block
    }

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Fields {
        let mut fields = Vec::new();
        let decoded = decoder.decode(block, |n, v| fields.push((n.to_vec(), v.to_vec())));
        assert_eq!(decoded, Ok(()));
        fields
    }

    fn owned(fields: &[(&str, &str)]) -> Fields {
        fields
            .iter()
            .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn what_repeats_becomes_one_byte_and_what_differs_stays_out_of_the_table() {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::default();
        let mut sizes = Vec::new();
        for round in 0..50 {
            let id = format!("{round:036}");
            let fields = [
                (":method", "GET"),
                ("x-request-id", &id),
                ("user-agent", "tests/1.0"),
            ];
            let block = encode(&mut encoder, &fields);
            assert_eq!(decode(&mut decoder, &block), owned(&fields));
            sizes.push(block.len());
        }
        assert_eq!(encoder.table.iter().count(), 1);
        assert_eq!(sizes.last(), Some(&(1 + 1 + 1 + 12 + 1 + 36 + 1)));
    }

    #[test]
    fn a_table_that_has_been_full_many_times_still_finds_what_is_in_it() {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::default();
        for round in 0..2000_usize {
            // Each comes twice in a row and so enters; the constant one is found, or enters again.
            let changing = format!("{:040}", round / 2);
            let fields = [
                ("x-changing", changing.as_str()),
                ("x-constant", "the same value"),
            ];
            let block = encode(&mut encoder, &fields);
            assert_eq!(decode(&mut decoder, &block), owned(&fields));
        }
        let again = encode(&mut encoder, &[("x-constant", "the same value")]);
        assert!(again.len() <= 2, "{again:?}");
    }

    #[test]
    fn secrets_are_never_indexed() {
        let mut encoder = Encoder::default();
        for _ in 0..3 {
            let block = encode(
                &mut encoder,
                &[("authorization", "Bearer a"), ("cookie", "short")],
            );
            assert_eq!(block[0] & 0xf0, 0x10);
        }
        assert_eq!(encoder.table.iter().count(), 0);
    }

    #[test]
    fn a_smaller_table_is_announced_with_the_next_block() {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::default();
        let fields = [("a", "b")];
        for size in [4096, 0, 4096, 100] {
            encoder.limit(0);
            encoder.limit(size);
            for _ in 0..3 {
                let block = encode(&mut encoder, &fields);
                assert_eq!(decode(&mut decoder, &block), owned(&fields));
            }
        }
    }

    #[test]
    fn after_a_block_that_was_not_sent_both_sides_agree_again() {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::default();
        for round in 0..6 {
            let block = encode(&mut encoder, &[("a", "b"), ("c", "d")]);
            if round % 2 == 0 {
                encoder.give_up();
            } else {
                assert_eq!(decode(&mut decoder, &block), owned(&[("a", "b"), ("c", "d")]));
            }
        }
    }

    #[test]
    fn empty_values_of_static_names_are_indexed_where_the_table_has_them() {
        let mut encoder = Encoder::default();
        for (fields, length) in [([("accept", "")], 1), ([("accept-encoding", "")], 3)] {
            let block = encode(&mut encoder, &fields);
            assert_eq!(block.len(), length, "{fields:?}");
            assert_eq!(decode(&mut Decoder::default(), &block), owned(&fields));
        }
    }
}
