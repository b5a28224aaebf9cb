//! One direction of a stream, as what it is on a wire: bytes, in which gRPC's frames arrive cut anywhere.

use std::collections::VecDeque;

use prost::Message;

/// Compressed or not, and the length.
const HEAD: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Pipe {
    on_the_way: VecDeque<u8>,
    /// Of a message that has not arrived in full.
    arrived: Vec<u8>,
}

impl Pipe {
    pub(crate) fn send(&mut self, message: &impl Message) {
        let body = message.encode_to_vec();
        self.on_the_way.push_back(0);
        self.on_the_way
            .extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        self.on_the_way.extend(body);
    }

    /// At most so many bytes arrive; returns the messages that are complete by them.
    pub(crate) fn deliver(&mut self, most: usize) -> Vec<Vec<u8>> {
        let count = most.min(self.on_the_way.len());
        self.arrived.extend(self.on_the_way.drain(..count));
        let mut messages = Vec::new();
        while let Some((head, rest)) = self.arrived.split_first_chunk::<HEAD>() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let Some(body) = rest.get(..length) else {
                break;
            };
            messages.push(body.to_vec());
            self.arrived.drain(..HEAD + length);
        }
        messages
    }

    /// Nothing is on the way, and nothing has arrived in part.
    pub(crate) fn is_empty(&self) -> bool {
        self.on_the_way.is_empty() && self.arrived.is_empty()
    }

    pub(crate) fn on_the_way(&self) -> usize {
        self.on_the_way.len()
    }
}

/// SplitMix64: the same seed, the same run.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Tells the seed of a run that fails.
struct Told(&'static str, u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: again with LENO_SEED={}", self.0, self.1);
        }
    }
}

/// Runs with so many seeds that nobody chose, or with the one that `LENO_SEED` says.
pub(crate) fn with_seeds(test: &'static str, count: u64, run: impl Fn(u64)) {
    let chosen = std::env::var("LENO_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let first: u64 = chosen.unwrap_or(now.as_nanos() as u64 & 0xFFFF_FFFF_FFFF);
    let count = if chosen.is_some() { 1 } else { count };
    println!("{test}: seeds {first} and {} more", count - 1);
    for seed in first..first + count {
        let told = Told(test, seed);
        run(seed);
        drop(told);
    }
}
