//! Streams, and where to find them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::carried::Carried;

/// A stream of a connection. A key that outlives its stream finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(super) slot: u32,
    pub(super) id: u32,
}

impl Key {
    /// A small number, which is some other stream's when this one is over.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// One direction of a stream (RFC 9113 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Nothing but interim responses yet.
    Head,
    Body,
    Over,
}

#[derive(Debug)]
pub(super) struct Stream<T> {
    pub(super) receive: Side,
    pub(super) send: Side,
    /// The driver's part of it.
    pub(super) own: T,
    pub(super) send_window: i64,
    pub(super) receive_window: i64,
    /// Received and taken by the driver, but not given back to the peer yet.
    pub(super) unannounced: u32,
    /// Bytes that Content-Length says are still to come.
    pub(super) expected: Option<u64>,
    /// The answer to HEAD has no body, whatever its Content-Length.
    pub(super) is_head: bool,
    pub(super) interim: u32,
    /// Seconds.
    pub(super) opened: u64,
    /// Not yet over in both directions.
    pub(super) active: bool,
    pub(super) carried: Carried,
}

#[derive(Debug)]
pub(super) struct Streams<T> {
    slots: Vec<Option<(u32, Stream<T>)>>,
    free: Vec<u32>,
    by_id: HashMap<u32, u32, BuildHasherDefault<IdHasher>>,
    active: usize,
    /// Streams that ended lately, the newest last: what still comes for them was sent before the peer knew.
    ended: VecDeque<(u32, Ended)>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Both sides had said all, or the peer reset it.
    Closed,
    /// We reset it, which the peer may not know yet.
    ResetByUs,
}

const REMEMBERED: usize = 256;

/// Stream ids are small and follow one another; who chooses them badly slows down its own connection only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((self.0 as u32) << 8 | u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl<T> Default for Streams<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::default(),
            active: 0,
            ended: VecDeque::new(),
        }
    }
}

impl<T> Streams<T> {
    pub(super) fn insert(&mut self, id: u32, stream: Stream<T>) -> Key {
        self.active += usize::from(stream.active);
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(slot as usize) {
            Some(place) => *place = Some((id, stream)),
            None => self.slots.push(Some((id, stream))),
        }
        self.by_id.insert(id, slot);
        Key { slot, id }
    }

    pub(super) fn find(&self, id: u32) -> Option<Key> {
        self.by_id.get(&id).map(|slot| Key { slot: *slot, id })
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Stream<T>> {
        match self.slots.get_mut(key.slot()) {
            Some(Some((id, stream))) if *id == key.id => Some(stream),
            _ => None,
        }
    }

    pub(super) fn look(&self, key: Key) -> Option<&Stream<T>> {
        match self.slots.get(key.slot()) {
            Some(Some((id, stream))) if *id == key.id => Some(stream),
            _ => None,
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, place)| {
            place.as_ref().map(|(id, _)| Key {
                slot: slot as u32,
                id: *id,
            })
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Stream<T>)> {
        self.slots.iter_mut().flatten().map(|(id, stream)| (*id, stream))
    }

    /// No frame but what was on its way belongs to it any more.
    pub(super) fn end(&mut self, key: Key, how: Ended) {
        let Some(stream) = self.get(key) else { return };
        stream.receive = Side::Over;
        stream.send = Side::Over;
        if std::mem::replace(&mut stream.active, false) {
            self.active -= 1;
            self.note(key.id, how);
        }
    }

    /// A stream that ended before it was one.
    pub(super) fn note(&mut self, id: u32, how: Ended) {
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((id, how));
    }

    pub(super) fn ended(&self, id: u32) -> Option<Ended> {
        let mut ended = self.ended.iter().rev();
        ended.find(|(of, _)| *of == id).map(|(_, how)| *how)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Stream<T>> {
        let place = self.slots.get_mut(key.slot())?;
        if place.as_ref().is_none_or(|(id, _)| *id != key.id) {
            return None;
        }
        let (id, stream) = place.take()?;
        self.active -= usize::from(stream.active);
        self.by_id.remove(&id);
        self.free.push(key.slot);
        if self.by_id.is_empty() && self.slots.len() > 8 {
            // A burst is no reason to keep its memory.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.by_id.shrink_to(8);
        }
        Some(stream)
    }

    pub(super) fn active(&self) -> usize {
        self.active
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
