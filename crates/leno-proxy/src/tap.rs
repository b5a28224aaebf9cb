//! Taps that the control plane asks for: requests on their way from the workers to the side stream.

use std::sync::Arc;

use leno_proto::control::{TapRecord, TapReport, TapStart};
use leno_telemetry::tap::{Filter, Full, Tap, Taps};
use tokio::sync::mpsc;

/// Records on their way; what comes when they are so many is lost, and counted.
const QUEUE: usize = 1024;
/// Records of one message.
const MOST_IN_REPORT: usize = 64;
/// Taps at a time; more are not begun.
const MOST_TAPS: usize = 32;

/// The taps that one side stream has asked for; they end with it.
pub(crate) struct Asked {
    taps: Arc<Taps>,
    sender: mpsc::Sender<(u64, TapRecord)>,
    records: mpsc::Receiver<(u64, TapRecord)>,
}

// === impl Asked ===

impl Asked {
    pub(crate) fn new(taps: Arc<Taps>) -> Self {
        let (sender, records) = mpsc::channel(QUEUE);
        Self {
            taps,
            sender,
            records,
        }
    }

    pub(crate) fn start(&self, id: u64, start: TapStart) {
        // The control plane has looked at it: it is of another version if this fails.
        let filter = match Filter::parse(&start.filter.unwrap_or_default()) {
            Ok(filter) => filter,
            Err(error) => {
                tracing::warn!(%error, "a tap is not begun");
                return;
            }
        };
        let sender = self.sender.clone();
        let reader = Box::new(move |record| sender.try_send((id, record)).map_err(|_| Full));
        let tap = Tap::new(id, filter, start.max_per_second, reader);
        if !self.taps.add(Arc::new(tap), MOST_TAPS) {
            tracing::warn!(most = MOST_TAPS, "a tap is not begun: there are too many");
        }
    }

    pub(crate) fn stop(&self, id: u64) {
        self.taps.remove(id);
    }

    /// The next records, once there are some. Cancel safe.
    pub(crate) async fn next(&mut self) -> Vec<TapReport> {
        let mut records = Vec::new();
        self.records.recv_many(&mut records, MOST_IN_REPORT).await;
        let mut reports: Vec<TapReport> = Vec::new();
        for (id, record) in records {
            match reports.iter_mut().find(|report| report.id == id) {
                Some(report) => report.records.push(record),
                None => reports.push(TapReport {
                    id,
                    records: vec![record],
                    ..TapReport::default()
                }),
            }
        }
        reports
    }

    /// What was not told since the last call.
    pub(crate) fn losses(&self) -> Vec<TapReport> {
        let losses = self.taps.losses().into_iter();
        losses
            .filter(|losses| losses.lost > 0 || losses.over_limit > 0)
            .map(|losses| TapReport {
                id: losses.id,
                records: Vec::new(),
                lost: losses.lost,
                over_limit: losses.over_limit,
            })
            .collect()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.taps.clear();
    }
}
