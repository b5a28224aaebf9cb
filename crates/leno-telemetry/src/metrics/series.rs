//! One label set's counters, written by one worker.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::record::{ConnectionRecord, RequestRecord};

use super::identity::{OwnedIdentity, Protocol};

/// Upper bounds of the latency buckets, in microseconds; above the last there is one more. Envoy's, with finer ones
/// below a millisecond, where calls on one machine are.
pub const LATENCY_BOUNDS_US: [u64; 22] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// Upper bounds of the size buckets, in bytes; above the last there is one more.
pub const SIZE_BOUNDS_BYTES: [u64; 14] = [
    1,
    10,
    100,
    500,
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

#[derive(Debug)]
pub(super) struct Series {
    pub(super) identity: OwnedIdentity,
    counters: Counters,
}

#[derive(Debug)]
enum Counters {
    // A TCP series does without the histograms.
    Http(Box<Http>),
    Tcp(Tcp),
}

#[derive(Debug, Default)]
struct Http {
    latency: Histogram<{ LATENCY_BOUNDS_US.len() + 1 }>,
    request_bytes: Histogram<{ SIZE_BOUNDS_BYTES.len() + 1 }>,
    response_bytes: Histogram<{ SIZE_BOUNDS_BYTES.len() + 1 }>,
}

#[derive(Debug, Default)]
struct Tcp {
    opened: AtomicU64,
    closed: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

#[derive(Debug)]
struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    sum: AtomicU64,
}

/// What a label set's series add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) latency: Distribution<{ LATENCY_BOUNDS_US.len() + 1 }>,
    pub(super) request_bytes: Distribution<{ SIZE_BOUNDS_BYTES.len() + 1 }>,
    pub(super) response_bytes: Distribution<{ SIZE_BOUNDS_BYTES.len() + 1 }>,
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Distribution<const N: usize> {
    /// Not cumulative.
    pub(super) buckets: [u64; N],
    pub(super) sum: u64,
}

// === impl Series ===

impl Series {
    pub(super) fn new(identity: OwnedIdentity) -> Self {
        let counters = match identity.protocol {
            Protocol::Http | Protocol::Grpc => Counters::Http(Box::default()),
            Protocol::Tcp => Counters::Tcp(Tcp::default()),
        };
        Series { identity, counters }
    }

    pub(super) fn request(&self, record: &RequestRecord<'_>) {
        if let Counters::Http(http) = &self.counters {
            http.latency.observe(&LATENCY_BOUNDS_US, micros(record.duration));
            http.request_bytes
                .observe(&SIZE_BOUNDS_BYTES, record.bytes_received);
            http.response_bytes.observe(&SIZE_BOUNDS_BYTES, record.bytes_sent);
        }
    }

    pub(super) fn opened(&self) {
        if let Counters::Tcp(tcp) = &self.counters {
            add(&tcp.opened, 1);
        }
    }

    pub(super) fn closed(&self, record: &ConnectionRecord<'_>) {
        if let Counters::Tcp(tcp) = &self.counters {
            add(&tcp.closed, 1);
            add(&tcp.sent, record.bytes_sent);
            add(&tcp.received, record.bytes_received);
        }
    }

    pub(super) fn add_to(&self, sums: &mut Sums) {
        match &self.counters {
            Counters::Http(http) => {
                http.latency.add_to(&mut sums.latency);
                http.request_bytes.add_to(&mut sums.request_bytes);
                http.response_bytes.add_to(&mut sums.response_bytes);
            }
            Counters::Tcp(tcp) => {
                sums.opened = sums.opened.wrapping_add(tcp.opened.load(Relaxed));
                sums.closed = sums.closed.wrapping_add(tcp.closed.load(Relaxed));
                sums.sent = sums.sent.wrapping_add(tcp.sent.load(Relaxed));
                sums.received = sums.received.wrapping_add(tcp.received.load(Relaxed));
            }
        }
    }
}

// === impl Histogram ===

impl<const N: usize> Histogram<N> {
    fn observe(&self, bounds: &[u64], value: u64) {
        let at = bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(at) {
            add(bucket, 1);
        }
        add(&self.sum, value);
    }

    fn add_to(&self, distribution: &mut Distribution<N>) {
        for (sum, bucket) in distribution.buckets.iter_mut().zip(&self.buckets) {
            *sum = sum.wrapping_add(bucket.load(Relaxed));
        }
        distribution.sum = distribution.sum.wrapping_add(self.sum.load(Relaxed));
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; N],
            sum: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Default for Distribution<N> {
    fn default() -> Self {
        Distribution {
            buckets: [0; N],
            sum: 0,
        }
    }
}

impl<const N: usize> Distribution<N> {
    pub(super) fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, bucket| sum.wrapping_add(*bucket))
    }
}

/// Not `fetch_add`: there is one writer.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
