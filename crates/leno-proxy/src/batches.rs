//! Records that wait to be sent to collectors, in batches: a worker's own. What is held for a collector that is slow or
//! gone is bounded; what is lost is told.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use leno_engine::compile::collector::Collector;
use leno_telemetry::batch;
use prost::Message;
use tokio::sync::Notify;

/// Bytes held for one collector by one worker, while it is not answering: more is lost.
const MOST: usize = 1 << 20;
/// One worker's batches.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    queues: RefCell<Vec<Queue>>,
    /// A batch has begun, or is full.
    pub(crate) changed: Notify,
}

#[derive(Debug)]
struct Queue {
    collector: Arc<Collector>,
    batch: Vec<u8>,
    count: u64,
    /// None: there is nothing.
    due: Option<Instant>,
    /// One batch at a time.
    sending: bool,
    /// Since the last batch that came through.
    lost: u64,
}

/// Records that are sent together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) collector: Arc<Collector>,
    pub(crate) records: Vec<u8>,
    pub(crate) count: u64,
    /// Its first record has waited long enough.
    pub(crate) timed: bool,
}

// === impl Batches ===

impl Batches {
    /// Takes a record for its collector.
    pub(crate) fn add(&self, collector: &Arc<Collector>, record: &impl Message) {
        self.add_with(collector, |out| batch::append(&collector.envelope, record, out));
    }

    /// Takes a record that is appended by the function.
    pub(crate) fn add_with(&self, collector: &Arc<Collector>, append: impl FnOnce(&mut Vec<u8>)) {
        let mut queues = self.queues.borrow_mut();
        let known = queues
            .iter()
            .position(|queue| Arc::ptr_eq(&queue.collector, collector));
        let at = known.unwrap_or_else(|| {
            queues.push(Queue::new(collector));
            queues.len() - 1
        });
        let Some(queue) = queues.get_mut(at) else { return };
        let most = match collector.batch_bytes {
            // Only the number of records counts.
            usize::MAX => MOST,
            bytes => MOST.max(bytes),
        };
        if queue.batch.len() >= most || queue.count >= collector.most_records as u64 {
            queue.lost += 1;
            return;
        }
        append(&mut queue.batch);
        queue.count += 1;
        let full =
            queue.batch.len() >= collector.batch_bytes || queue.count >= collector.batch_records as u64;
        if queue.due.is_none() || full {
            let now = Instant::now();
            queue.due = Some(if full { now } else { now + collector.flush_every });
            self.changed.notify_one();
        }
    }

    /// The batches whose time has come, and when the next one's does.
    pub(crate) fn due(&self, now: Instant) -> (Vec<Batch>, Option<Instant>) {
        let mut queues = self.queues.borrow_mut();
        // A configuration that has gone, and nothing more to be sent for it.
        queues
            .retain(|queue| queue.due.is_some() || queue.sending || Arc::strong_count(&queue.collector) > 1);
        let mut due = Vec::new();
        let mut next = None;
        for queue in queues.iter_mut().filter(|queue| !queue.sending) {
            match queue.due {
                Some(at) if at <= now => due.push(queue.take()),
                Some(at) => next = Some(next.map_or(at, |next: Instant| next.min(at))),
                None => {}
            }
        }
        (due, next)
    }

    pub(crate) fn all(&self) -> Vec<Batch> {
        let mut queues = self.queues.borrow_mut();
        let waiting = queues.iter_mut().filter(|queue| queue.due.is_some());
        waiting.map(Queue::take).collect()
    }

    pub(crate) fn sent(&self, batch: &Batch, result: Result<(), &dyn fmt::Display>) {
        let Batch { collector, count, .. } = batch;
        let mut queues = self.queues.borrow_mut();
        let of = |queue: &&mut Queue| Arc::ptr_eq(&queue.collector, collector);
        let Some(queue) = queues.iter_mut().find(of) else {
            return;
        };
        queue.sending = false;
        let cluster = collector.service.cluster();
        match result {
            Ok(()) if queue.lost > 0 => {
                tracing::warn!(
                    cluster,
                    records = queue.lost,
                    "a collector is back: records were lost"
                );
                queue.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if queue.lost == 0 {
                    tracing::warn!(cluster, %error, "a collector does not take records: they are lost");
                }
                queue.lost += count;
            }
        }
        if queue.due.is_some() {
            self.changed.notify_one();
        }
    }
}

impl Queue {
    fn new(collector: &Arc<Collector>) -> Self {
        Self {
            collector: Arc::clone(collector),
            batch: Vec::new(),
            count: 0,
            due: None,
            sending: false,
            lost: 0,
        }
    }

    fn take(&mut self) -> Batch {
        let collector = &self.collector;
        let full = self.batch.len() >= collector.batch_bytes || self.count >= collector.batch_records as u64;
        self.due = None;
        self.sending = true;
        Batch {
            collector: Arc::clone(&self.collector),
            records: std::mem::take(&mut self.batch),
            count: std::mem::take(&mut self.count),
            timed: !full,
        }
    }
}
