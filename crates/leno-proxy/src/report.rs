//! Where the mesh's records go: Istio's metrics, the edges, the access logs, and whoever watches live requests.
//!
//! Log lines are formatted into a worker's own buffer and written by one thread, in batches, so that a slow disk or
//! pipe is never waited for on a request's way. A writer that cannot keep up loses lines, and says how many.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use leno_engine::compile::access_log::{
    AccessLog, Attributes, Destination, Heads, LogFormat, Sink as Target,
};
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::decide::log_filter::Facts;
use leno_telemetry::access_log::{RequestValues, connection_values, write_connection, write_request};
use leno_telemetry::metrics::{Metrics, Shard};
use leno_telemetry::record::{ConnectionRecord, DownstreamRecord, RequestRecord, UpstreamRecord};
use leno_telemetry::tap::{Tapping, Taps};

use crate::telemetry::{Sink, Telemetry};

/// Bytes a worker holds back for one log before it hands them on; it also does so every second.
const BATCH: usize = 64 << 10;
/// Batches on their way to the writer.
const QUEUE: usize = 64;
/// How long a process that ends waits for its last lines to be written: whoever reads them may have stopped reading.
const SETTLE: Duration = Duration::from_secs(1);

/// The process's metrics and logs.
#[derive(Debug)]
pub struct MeshTelemetry {
    metrics: Arc<Metrics>,
    counting: IstioMetrics,
    taps: Arc<Taps>,
    writer: SyncSender<Batch>,
}

/// Which requests and connections Istio's metrics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IstioMetrics {
    /// A proxy of the mesh.
    All,
    /// Those of listeners with Istio's filter that counts (`istio.stats`).
    WhereAsked,
}

#[derive(Debug)]
enum Batch {
    Lines {
        target: Target,
        lines: Vec<u8>,
    },
    /// Files have been moved.
    Reopen,
    /// Everything before it is written: said by hanging up.
    Mark(#[expect(dead_code, reason = "dropped, not used")] std::sync::mpsc::Sender<()>),
}

/// One worker's part.
struct WorkerSink {
    metrics: Arc<Metrics>,
    counting: IstioMetrics,
    shard: Shard,
    tapping: Tapping,
    writer: SyncSender<Batch>,
    pending: HashMap<Target, Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    /// Lines lost since the last batch that was taken.
    lost: u64,
}

impl MeshTelemetry {
    /// Starts the thread that writes logs; it ends with the last sink.
    pub fn start(metrics: Arc<Metrics>, counting: IstioMetrics) -> io::Result<Self> {
        let (writer, batches) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&batches))?;
        Ok(Self {
            metrics,
            counting,
            taps: Arc::default(),
            writer,
        })
    }

    /// Who watches requests as they end.
    pub fn taps(&self) -> Arc<Taps> {
        Arc::clone(&self.taps)
    }
}

impl Telemetry for MeshTelemetry {
    fn sink(&self) -> Box<dyn Sink + Send> {
        Box::new(WorkerSink {
            metrics: Arc::clone(&self.metrics),
            counting: self.counting,
            shard: self.metrics.shard(),
            tapping: Tapping::new(Arc::clone(&self.taps)),
            writer: self.writer.clone(),
            pending: HashMap::new(),
        })
    }

    fn reopen(&self) {
        // With the queue full the writer is stuck, and nothing is waited for.
        if self.writer.try_send(Batch::Reopen).is_err() {
            tracing::warn!("access logs are not opened anew: their writer is behind");
        }
    }

    fn settle(&self) {
        let (mark, written) = channel();
        // With the queue full the writer is stuck: then nothing is waited for.
        if self.writer.try_send(Batch::Mark(mark)).is_ok() {
            let _ = written.recv_timeout(SETTLE);
        }
    }
}

impl WorkerSink {
    fn counts(&self, downstream: &DownstreamRecord) -> bool {
        self.counting == IstioMetrics::All || downstream.istio_stats
    }

    fn log(
        &mut self,
        logs: &[Arc<AccessLog>],
        facts: &Facts<'_>,
        known: &Attributes<'_>,
        write: impl Fn(&LogFormat, &mut Vec<u8>),
    ) {
        for log in logs {
            let Destination::Lines { sink, format } = &log.to else {
                continue;
            };
            if !log.takes(facts, known) {
                continue;
            }
            if !self.pending.contains_key(sink) {
                self.pending.insert(sink.clone(), Pending::default());
            }
            let Some(pending) = self.pending.get_mut(sink) else {
                continue;
            };
            write(format, &mut pending.lines);
            if pending.lines.len() >= BATCH {
                pending.hand_on(sink, &self.writer);
            }
        }
    }
}

impl Pending {
    fn hand_on(&mut self, target: &Target, writer: &SyncSender<Batch>) {
        if self.lines.is_empty() {
            return;
        }
        // Where there was a whole batch, another will follow.
        let room = if self.lines.len() < BATCH {
            0
        } else {
            BATCH + BATCH / 16
        };
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(room));
        match writer.try_send(Batch::Lines {
            target: target.clone(),
            lines,
        }) {
            Ok(()) if self.lost > 0 => {
                tracing::warn!(
                    lines = self.lost,
                    ?target,
                    "access log lines were lost: the target is too slow"
                );
                self.lost = 0;
            }
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                if let Batch::Lines { lines, .. } = batch {
                    self.lost += lines.iter().filter(|b| **b == b'\n').count() as u64;
                }
            }
        }
    }
}

impl Sink for WorkerSink {
    fn takes_all(&self) -> bool {
        self.counting == IstioMetrics::All
    }

    fn request(&mut self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]) {
        if self.counts(record.downstream) {
            self.shard.request(record);
        }
        self.tapping.request(record, self.metrics.local());
        self.log_request(record, logs);
    }

    fn log_request(&mut self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]) {
        if logs.is_empty() {
            return;
        }
        let values = RequestValues::new(record);
        let known = Attributes::new(record.heads(), &values);
        self.log(logs, &record.facts(), &known, |format, out| {
            write_request(format, record, out)
        });
    }

    fn opened(&mut self, downstream: &DownstreamRecord, upstream: &UpstreamRecord<'_>) {
        if self.counts(downstream) {
            self.shard
                .connection_opened(downstream, Some(*upstream), &PeerMetadata::default());
        }
    }

    fn connection(&mut self, record: &ConnectionRecord<'_>, opened: bool, logs: &[Arc<AccessLog>]) {
        if opened && self.counts(record.downstream) {
            self.shard.connection_closed(record);
        }
        if logs.is_empty() {
            return;
        }
        let values = connection_values(record);
        let known = Attributes::new(Heads::default(), &values);
        self.log(logs, &record.facts(), &known, |format, out| {
            write_connection(format, record, out)
        });
    }

    fn flush(&mut self) {
        for (target, pending) in &mut self.pending {
            pending.hand_on(target, &self.writer);
        }
    }
}

fn write_all(batches: &Receiver<Batch>) {
    let mut files: HashMap<PathBuf, File> = HashMap::new();
    while let Ok(batch) = batches.recv() {
        let (target, lines) = match batch {
            Batch::Lines { target, lines } => (target, lines),
            Batch::Reopen => {
                files.clear();
                continue;
            }
            Batch::Mark(_) => continue,
        };
        let written = match &target {
            Target::Stdout => io::stdout().write_all(&lines).and_then(|()| io::stdout().flush()),
            Target::Stderr => io::stderr().write_all(&lines),
            Target::File(path) => append(&mut files, path, &lines),
        };
        if let Err(error) = written {
            tracing::warn!(%error, ?target, "the access log cannot be written");
        }
    }
}

fn append(files: &mut HashMap<PathBuf, File>, path: &PathBuf, lines: &[u8]) -> io::Result<()> {
    if !files.contains_key(path) {
        files.insert(
            path.clone(),
            OpenOptions::new().append(true).create(true).open(path)?,
        );
    }
    let Some(file) = files.get_mut(path) else {
        return Ok(());
    };
    let written = file.write_all(lines);
    if written.is_err() {
        // Opened anew next time: it may have been moved, or the disk may have room again.
        files.remove(path);
    }
    written
}
