//! Records into metrics and access logs.
//!
//! A worker formats a line into its own buffer and hands full buffers, or what there is each second, to one thread
//! that writes: a slow disk delays lines, never requests. When that thread is too far behind, lines are dropped and
//! the loss is said.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use leno_engine::compile::access_log::{AccessLog, Sink as LogSink};
use leno_telemetry::access_log::{write_connection, write_request};
use leno_telemetry::metrics::{Metrics, Shard};
use leno_telemetry::record::{ConnectionRecord, DownstreamRecord, RequestRecord, UpstreamRecord};

use crate::record::{Sink, Telemetry};

/// Bytes of one log that a worker holds.
const BUFFER: usize = 64 * 1024;
/// Buffers on their way to the writer.
const QUEUE: usize = 256;

type Batch = (LogSink, Vec<u8>);

/// Metrics, and access logs into files and streams.
#[derive(Debug)]
pub struct MeshTelemetry {
    metrics: Arc<Metrics>,
    writer: SyncSender<Batch>,
}

struct WorkerSink {
    shard: Shard,
    /// A handful at most.
    buffers: Vec<(LogSink, Vec<u8>)>,
    writer: SyncSender<Batch>,
    dropped: u64,
}

// === impl MeshTelemetry ===

impl MeshTelemetry {
    /// Starts the writing thread; it ends when the last worker has.
    pub fn start(metrics: Arc<Metrics>) -> io::Result<Self> {
        let (writer, batches) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&batches))?;
        Ok(Self { metrics, writer })
    }
}

impl Telemetry for MeshTelemetry {
    fn sink(&self) -> Box<dyn Sink + Send> {
        Box::new(WorkerSink {
            shard: self.metrics.shard(),
            buffers: Vec::new(),
            writer: self.writer.clone(),
            dropped: 0,
        })
    }
}

// === impl WorkerSink ===

impl WorkerSink {
    fn log(&mut self, logs: &[Arc<AccessLog>], line: impl Fn(&AccessLog, &mut Vec<u8>)) {
        for log in logs {
            let at = match self.buffers.iter().position(|(sink, _)| *sink == log.sink) {
                Some(at) => at,
                None => {
                    self.buffers.push((log.sink.clone(), Vec::new()));
                    self.buffers.len() - 1
                }
            };
            let Some((sink, buffer)) = self.buffers.get_mut(at) else {
                continue;
            };
            line(log, buffer);
            if buffer.len() >= BUFFER {
                let full = std::mem::replace(buffer, Vec::with_capacity(BUFFER));
                self.dropped += hand_over(&self.writer, (sink.clone(), full));
            }
        }
    }
}

impl Sink for WorkerSink {
    fn request(&mut self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]) {
        self.shard.request(record);
        self.log(logs, |log, out| write_request(&log.format, record, out));
    }

    fn opened(&mut self, downstream: &DownstreamRecord, upstream: &UpstreamRecord<'_>) {
        self.shard
            .connection_opened(downstream, Some(*upstream), &Default::default());
    }

    fn connection(&mut self, record: &ConnectionRecord<'_>, opened: bool, logs: &[Arc<AccessLog>]) {
        if !opened {
            self.shard
                .connection_opened(record.downstream, record.upstream, record.peer);
        }
        self.shard.connection_closed(record);
        self.log(logs, |log, out| write_connection(&log.format, record, out));
    }

    fn flush(&mut self) {
        for (sink, buffer) in self.buffers.iter_mut().filter(|(_, buffer)| !buffer.is_empty()) {
            self.dropped += hand_over(&self.writer, (sink.clone(), std::mem::take(buffer)));
        }
        if self.dropped > 0 {
            tracing::warn!(
                bytes = self.dropped,
                "access log lines dropped: the writer does not keep up"
            );
            self.dropped = 0;
        }
    }
}

/// The bytes that were lost.
fn hand_over(writer: &SyncSender<Batch>, batch: Batch) -> u64 {
    match writer.try_send(batch) {
        Ok(()) => 0,
        Err(TrySendError::Full((_, lost)) | TrySendError::Disconnected((_, lost))) => lost.len() as u64,
    }
}

fn write(batches: &Receiver<Batch>) {
    let mut files: HashMap<PathBuf, File> = HashMap::new();
    for (sink, lines) in batches {
        let written = match &sink {
            LogSink::Stdout => io::stdout().write_all(&lines),
            LogSink::Stderr => io::stderr().write_all(&lines),
            LogSink::File(path) => append(&mut files, path, &lines),
        };
        if let Err(error) = written {
            tracing::error!(?sink, %error, bytes = lines.len(), "access log lines lost");
        }
    }
}

fn append(files: &mut HashMap<PathBuf, File>, path: &PathBuf, lines: &[u8]) -> io::Result<()> {
    if !files.contains_key(path) {
        files.insert(
            path.clone(),
            OpenOptions::new().create(true).append(true).open(path)?,
        );
    }
    match files.get_mut(path) {
        Some(file) => file.write_all(lines),
        None => Ok(()),
    }
}
