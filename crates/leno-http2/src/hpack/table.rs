//! The static table (RFC 7541 Appendix A), and the dynamic one (§2.3.2, §4).

use std::collections::VecDeque;

use crate::section::Kind;

/// What an entry costs beside its octets (RFC 7541 §4.1).
pub(super) const OVERHEAD: usize = 32;

#[rustfmt::skip]
pub(super) static STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""),
    ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
    ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
    ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
    ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""),
    ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

/// Where a name stands first in the static table; 0: nowhere. The names are hashed by the compiler.
pub(super) fn static_name(name: &[u8]) -> usize {
    let mut slot = slot(name);
    loop {
        let index = usize::from(SLOTS[slot]);
        if index == 0 || STATIC[index - 1].0.as_bytes() == name {
            return index;
        }
        slot = (slot + 1) % SLOTS.len();
    }
}

static SLOTS: [u8; 256] = slots();

const fn slot(name: &[u8]) -> usize {
    let [first, .., last] = name else { return 0 };
    let middle = name[name.len() / 2];
    let mixed = name.len() * 31 + *first as usize * 7 + *last as usize * 13 + middle as usize * 3;
    mixed % 256
}

const fn slots() -> [u8; 256] {
    let mut slots = [0; 256];
    let mut index = STATIC.len();
    // Backwards, so that the first of a name is found first.
    while index > 0 {
        let name = STATIC[index - 1].0.as_bytes();
        let is_first = index == 1 || !equal(STATIC[index - 2].0.as_bytes(), name);
        if is_first {
            let mut at = slot(name);
            while slots[at] != 0 {
                at = (at + 1) % slots.len();
            }
            slots[at] = index as u8;
        }
        index -= 1;
    }
    slots
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[derive(Debug)]
pub(super) struct Entry {
    field: Box<[u8]>,
    middle: usize,
    pub(super) kind: Kind,
    /// The encoder's, to find it again.
    pub(super) hash: u32,
}

/// The newest entry is the first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(name: &[u8], value: &[u8], kind: Kind, hash: u32) -> Self {
        Self {
            field: [name, value].concat().into(),
            middle: name.len(),
            kind,
            hash,
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        self.field.get(..self.middle).unwrap_or_default()
    }

    pub(super) fn value(&self) -> &[u8] {
        self.field.get(self.middle..).unwrap_or_default()
    }

    pub(super) fn is(&self, name: &[u8], value: &[u8]) -> bool {
        self.name() == name && self.value() == value
    }

    fn size(&self) -> usize {
        self.field.len() + OVERHEAD
    }
}

// === impl Table ===

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max,
        }
    }

    pub(super) fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict(max);
    }

    pub(super) fn clear(&mut self) {
        self.evict(0);
    }

    /// An entry that is larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.evict(self.max.saturating_sub(size));
        if size <= self.max {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    fn evict(&mut self, down_to: usize) {
        while self.size > down_to {
            match self.entries.pop_back() {
                Some(entry) => self.size -= entry.size(),
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_static_name_is_found_where_it_stands_first() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            let first = STATIC.iter().position(|(n, _)| n == name).unwrap();
            assert_eq!(static_name(name.as_bytes()), first + 1, "{at} {name}");
        }
        assert_eq!(static_name(b"x-unknown"), 0);
        assert_eq!(static_name(b""), 0);
        assert_eq!(static_name(b"a"), 0);
    }

    #[test]
    fn the_oldest_entries_make_room() {
        let entry = |name: &[u8]| Entry::new(name, b"", Kind::Plain, 0);
        let mut table = Table::new(2 * (OVERHEAD + 1));
        for name in [b"a", b"b", b"c"] {
            table.insert(entry(name));
        }
        let names: Vec<_> = table.iter().map(Entry::name).collect();
        assert_eq!(names, [b"c", b"b"]);
        table.insert(entry(&[b'x'; 100]));
        assert!(table.get(0).is_none());
    }
}
