//! MAGLEV: Google's lookup table (NSDI 2016, listing 1) with weights, as Envoy builds it.

use xxhash_rust::xxh64::xxh64;

use super::{HashKey, Host, PickContext, Policy, WeightedHost};

const EMPTY: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Maglev {
    table: Vec<u32>,
}

/// A host's preferences: `offset + n × skip`.
struct Row {
    key: String,
    index: u32,
    offset: u64,
    skip: u64,
    next: u64,
    share: f64,
    target: f64,
}

impl Maglev {
    /// `size` is a prime greater than 1: compile sees to it.
    pub(super) fn new(hosts: &[WeightedHost<'_>], size: u64, key: HashKey) -> Self {
        let size = size.max(2);
        let heaviest = hosts.iter().map(|h| h.share).fold(0.0, f64::max);
        let mut rows: Vec<Row> = hosts
            .iter()
            .enumerate()
            .map(|(at, host)| Row::new(at, host, size, key))
            .collect();
        // Whoever is first in a round has the first choice: by key, so that an order of the endpoints means nothing.
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let mut table = vec![EMPTY; size as usize];
        let mut filled = 0;
        let mut round = 1.0;
        while filled < size && heaviest > 0.0 {
            for row in &mut rows {
                // The heaviest host takes a place each round, one of a third of its weight every third.
                if round * row.share < row.target {
                    continue;
                }
                row.target += heaviest;
                row.take(&mut table, size);
                filled += 1;
                if filled == size {
                    break;
                }
            }
            round += 1.0;
        }
        Self { table }
    }
}

impl Row {
    fn new(index: usize, host: &WeightedHost<'_>, size: u64, key: HashKey) -> Self {
        let key = host.host.hash_key(key);
        Self {
            index: index as u32,
            offset: xxh64(key.as_bytes(), 0) % size,
            skip: xxh64(key.as_bytes(), 1) % (size - 1) + 1,
            next: 0,
            key: key.into_owned(),
            share: host.share,
            target: 0.0,
        }
    }

    /// The first free place of its own order. There is one: `size` is prime, so the order visits every place.
    fn take(&mut self, table: &mut [u32], size: u64) {
        for _ in 0..size {
            let place = (self.offset + self.skip.wrapping_mul(self.next)) % size;
            self.next += 1;
            if let Some(slot) = table.get_mut(place as usize)
                && *slot == EMPTY
            {
                *slot = self.index;
                return;
            }
        }
    }
}

impl Policy for Maglev {
    fn pick(&mut self, _hosts: &[Host], cx: &PickContext<'_>, attempt: u32) -> Option<usize> {
        let mut hash = cx.hash.unwrap_or(cx.random);
        if attempt > 0 {
            hash ^= u64::MAX - u64::from(attempt) + 1;
        }
        let place = hash.checked_rem(self.table.len() as u64)?;
        self.table.get(place as usize).map(|index| *index as usize)
    }
}
