//! What one stream comes to on the wire. Nothing is counted but where a format asks for it.

use std::cell::Cell;
use std::rc::Rc;

use leno_telemetry::record::{OneWay, WireBytes};

/// Shared between a codec, which counts, and the record of the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Option<Rc<Cell<WireBytes>>>);

// === impl Counter ===

impl Counter {
    pub(crate) fn new(counts: bool) -> Self {
        Self(counts.then(Rc::default))
    }

    pub(crate) fn counts(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn get(&self) -> WireBytes {
        self.0.as_ref().map(|bytes| bytes.get()).unwrap_or_default()
    }

    /// HTTP/2's stream has come from `before` to `now`.
    pub(super) fn went_on(&self, before: &WireBytes, now: &WireBytes) {
        self.add(|wire| {
            for (all, before, now) in [
                (&mut wire.sent, &before.sent, &now.sent),
                (&mut wire.received, &before.received, &now.received),
            ] {
                all.all += now.all - before.all;
                all.heads += now.heads - before.heads;
                all.plain_heads += now.plain_heads - before.plain_heads;
            }
        });
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.add(|wire| wire.sent.all += bytes);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.add(|wire| wire.received.all += bytes);
    }

    /// HTTP/1's head has been written, and is counted with everything that is sent. As Envoy: its fields.
    pub(super) fn sent_head(&self, head: &[u8]) {
        self.add(|wire| {
            let fields = fields(head) as u64;
            wire.sent.heads += fields;
            wire.sent.plain_heads += fields;
        });
    }

    /// HTTP/1's head has been read. As Envoy: its names and values, and three bytes for each.
    pub(super) fn received_head(&self, head: &[u8]) {
        self.add(|wire| {
            let fields = names_and_values(head) as u64;
            let OneWay {
                all,
                heads,
                plain_heads,
            } = &mut wire.received;
            *all += head.len() as u64;
            *heads += fields;
            *plain_heads += fields;
        });
    }

    fn add(&self, change: impl FnOnce(&mut WireBytes)) {
        if let Some(counted) = &self.0 {
            let mut bytes = counted.get();
            change(&mut bytes);
            counted.set(bytes);
        }
    }
}

/// Without the first line and the last, which is empty.
fn fields(head: &[u8]) -> usize {
    let first = head
        .iter()
        .position(|b| *b == b'\n')
        .map_or(head.len(), |at| at + 1);
    (head.len() - first).saturating_sub(2)
}

fn names_and_values(head: &[u8]) -> usize {
    let lines = head.split(|b| *b == b'\n').skip(1);
    let of_line = |line: &[u8]| {
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let value = value.get(1..).unwrap_or_default();
        Some(name.len() + value.trim_ascii().len() + 3)
    };
    lines.filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_counted_as_envoy_counts_it() {
        let head = b"GET /plain HTTP/1.1\r\nHost: a\r\nx-pad:  v1 \r\n\r\n";
        let counter = Counter::new(true);
        counter.received_head(head);
        counter.sent(head.len() as u64);
        counter.sent_head(head);
        let WireBytes { sent, received } = counter.get();
        assert_eq!((received.all, received.heads, received.plain_heads), (45, 18, 18));
        assert_eq!((sent.all, sent.heads, sent.plain_heads), (45, 22, 22));
    }
}
