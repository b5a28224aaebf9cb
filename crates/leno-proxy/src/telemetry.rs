//! Where records go.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leno_engine::compile::access_log::AccessLog;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::flags::Flag;
use leno_telemetry::record::{ConnectionRecord, DownstreamRecord, RequestRecord, UpstreamRecord};

/// Where records go: makes one sink for each worker.
pub trait Telemetry: Send + Sync {
    fn sink(&self) -> Box<dyn Sink + Send>;
    /// Waits, within reason, until what sinks have flushed is where it belongs: the process is about to end.
    fn settle(&self);
}

/// One worker's metrics and logs.
pub trait Sink {
    fn request(&mut self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]);
    /// A TCP connection has both its ends.
    fn opened(&mut self, downstream: &DownstreamRecord, upstream: &UpstreamRecord<'_>);
    /// `opened`: whether [`Self::opened`] was told.
    fn connection(&mut self, record: &ConnectionRecord<'_>, opened: bool, logs: &[Arc<AccessLog>]);
    /// Lines held back are written; called every second.
    fn flush(&mut self);
}

/// Nobody looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTelemetry;

/// A worker's sink.
pub(crate) struct Reporter(RefCell<Box<dyn Sink + Send>>);

// === impl Reporter ===

impl Reporter {
    pub(crate) fn new(sink: Box<dyn Sink + Send>) -> Self {
        Self(RefCell::new(sink))
    }

    pub(crate) fn request(&self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]) {
        self.0.borrow_mut().request(record, logs);
    }

    pub(crate) fn opened(&self, downstream: &DownstreamRecord, upstream: &UpstreamRecord<'_>) {
        self.0.borrow_mut().opened(downstream, upstream);
    }

    pub(crate) fn connection(&self, record: &ConnectionRecord<'_>, opened: bool, logs: &[Arc<AccessLog>]) {
        self.0.borrow_mut().connection(record, opened, logs);
    }

    /// A connection that was turned away before any filter had it.
    pub(crate) fn refused(
        &self,
        downstream: &DownstreamRecord,
        flag: Flag,
        details: &'static str,
        logs: &[Arc<AccessLog>],
    ) {
        let record = ConnectionRecord {
            start: SystemTime::now(),
            duration: Duration::ZERO,
            flags: flag.into(),
            bytes_received: 0,
            bytes_sent: 0,
            upstream: None,
            downstream,
            peer: &PeerMetadata::default(),
            details,
        };
        self.connection(&record, false, logs);
    }

    /// A connection that a network filter has turned away.
    pub(crate) fn turned_away(&self, downstream: &DownstreamRecord, details: &str, logs: &[Arc<AccessLog>]) {
        let record = ConnectionRecord {
            start: SystemTime::now(),
            duration: Duration::ZERO,
            flags: Default::default(),
            bytes_received: 0,
            bytes_sent: 0,
            upstream: None,
            downstream,
            peer: &PeerMetadata::default(),
            details,
        };
        self.connection(&record, false, logs);
    }

    pub(crate) fn flush(&self) {
        self.0.borrow_mut().flush();
    }
}

// === impl NoTelemetry ===

impl Telemetry for NoTelemetry {
    fn sink(&self) -> Box<dyn Sink + Send> {
        Box::new(NoTelemetry)
    }

    fn settle(&self) {}
}

impl Sink for NoTelemetry {
    fn request(&mut self, _record: &RequestRecord<'_>, _logs: &[Arc<AccessLog>]) {}
    fn opened(&mut self, _downstream: &DownstreamRecord, _upstream: &UpstreamRecord<'_>) {}
    fn connection(&mut self, _record: &ConnectionRecord<'_>, _opened: bool, _logs: &[Arc<AccessLog>]) {}
    fn flush(&mut self) {}
}
