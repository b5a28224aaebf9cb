//! Live requests for operators: which proxies are asked for them, and what comes of it.
//!
//! Nothing waits for a reader. Between the proxies and each reader there is a queue of bounded length; what finds it
//! full is counted as lost, and the reader is told.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leno_proto::control::{TapRecord, TapReport, TapResponse, TapStart};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Status;

/// Records on their way to one reader.
const QUEUE: usize = 1024;
/// Records of one response.
const MOST_IN_RESPONSE: usize = 64;
/// How often a reader is told of losses where no record comes.
const TELL_EVERY: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

/// The taps that are open, by number.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    open: Mutex<HashMap<u64, Arc<Tap>>>,
}

/// What one operator watches.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) id: u64,
    pub(crate) target: String,
    pub(crate) start: TapStart,
    asked: Mutex<HashSet<String>>,
    /// When the second that is counted began, and the records of it so far.
    second: Mutex<(Instant, u32)>,
    lost: AtomicU64,
    over_limit: AtomicU64,
    queue: mpsc::Sender<TapRecord>,
}

// === impl Taps ===

impl Taps {
    pub(crate) fn open(&self, tap: Arc<Tap>) {
        self.lock().insert(tap.id, tap);
    }

    pub(crate) fn close(&self, id: u64) {
        self.lock().remove(&id);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Tap>> {
        self.lock().values().cloned().collect()
    }

    /// What a proxy tells; of a tap that it was not asked for, or that is closed, nobody wants to know.
    pub(crate) fn heard(&self, node: &str, report: TapReport) {
        let tap = self.lock().get(&report.id).cloned();
        if let Some(tap) = tap.filter(|tap| tap.has_asked(node)) {
            tap.take(report);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Tap>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Tap ===

impl Tap {
    pub(crate) fn new(id: u64, target: String, start: TapStart) -> (Arc<Self>, mpsc::Receiver<TapRecord>) {
        let (queue, records) = mpsc::channel(QUEUE);
        let tap = Self {
            id,
            target,
            start,
            asked: Mutex::default(),
            second: Mutex::new((Instant::now(), 0)),
            lost: AtomicU64::new(0),
            over_limit: AtomicU64::new(0),
            queue,
        };
        (Arc::new(tap), records)
    }

    pub(crate) fn ask(&self, node: &str) {
        self.asked().insert(node.to_owned());
    }

    pub(crate) fn ended(&self, node: &str) {
        self.asked().remove(node);
    }

    pub(crate) fn nodes(&self) -> Vec<String> {
        self.asked().iter().cloned().collect()
    }

    fn has_asked(&self, node: &str) -> bool {
        self.asked().contains(node)
    }

    fn take(&self, report: TapReport) {
        self.lost.fetch_add(report.lost, Relaxed);
        self.over_limit.fetch_add(report.over_limit, Relaxed);
        for record in report.records {
            if !self.is_within_limit() {
                self.over_limit.fetch_add(1, Relaxed);
            } else if self.queue.try_send(record).is_err() {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    fn is_within_limit(&self) -> bool {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.0.elapsed() >= SECOND {
            *second = (Instant::now(), 0);
        }
        let within = second.1 < self.start.max_per_second;
        second.1 += u32::from(within);
        within
    }

    fn response(&self, records: Vec<TapRecord>) -> TapResponse {
        TapResponse {
            records,
            lost: self.lost.swap(0, Relaxed),
            over_limit: self.over_limit.swap(0, Relaxed),
            proxies: u32::try_from(self.asked().len()).unwrap_or(u32::MAX),
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes records on until the reader or the control plane has gone.
    pub(crate) async fn pass_on(
        &self,
        mut records: mpsc::Receiver<TapRecord>,
        reader: mpsc::Sender<Result<TapResponse, Status>>,
        mut running: watch::Receiver<()>,
    ) {
        let mut told = self.response(Vec::new());
        if reader.send(Ok(told.clone())).await.is_err() {
            return;
        }
        let mut tick = tokio::time::interval(TELL_EVERY);
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                _ = records.recv_many(&mut batch, MOST_IN_RESPONSE) => {}
                _ = tick.tick() => {}
                () = reader.closed() => return,
                _ = running.changed() => return,
            }
            let response = self.response(batch);
            let news = !response.records.is_empty() || response.lost > 0 || response.over_limit > 0;
            if !news && response.proxies == told.proxies {
                continue;
            }
            told.proxies = response.proxies;
            if reader.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}
