//! Where records go.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leno_engine::compile::access_log::{AccessLog, Attributes, Destination, Heads};
use leno_engine::compile::log_filter::LogType;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::flags::{Flag, Flags};
use leno_telemetry::access_log::{RequestValues, connection_values, entry, otlp};
use leno_telemetry::record::{ConnectionRecord, DownstreamRecord, RequestRecord, UpstreamRecord};

use crate::batches::Batches;

/// Where records go: makes one sink for each worker.
pub trait Telemetry: Send + Sync {
    fn sink(&self) -> Box<dyn Sink + Send>;
    /// Files are opened anew before the next line: they have been moved.
    fn reopen(&self) {}
    /// Waits, within reason, until what sinks have flushed is where it belongs: the process is about to end.
    fn settle(&self);
}

/// One worker's metrics and logs.
pub trait Sink {
    /// It looks at records that neither a log nor `istio.stats` asks for.
    fn takes_all(&self) -> bool;
    fn request(&mut self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]);
    /// Before its end: for logs alone.
    fn log_request(&mut self, _record: &RequestRecord<'_>, _logs: &[Arc<AccessLog>]) {}
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

/// A worker's sink, and its batches for collectors.
pub(crate) struct Reporter {
    sink: RefCell<Box<dyn Sink + Send>>,
    takes_all: bool,
    pub(crate) batches: Batches,
}

// === impl Reporter ===

impl Reporter {
    pub(crate) fn new(sink: Box<dyn Sink + Send>) -> Self {
        Self {
            takes_all: sink.takes_all(),
            sink: RefCell::new(sink),
            batches: Batches::default(),
        }
    }

    /// Somebody looks at the record of a request.
    pub(crate) fn takes(&self, downstream: &DownstreamRecord, logs: &[Arc<AccessLog>]) -> bool {
        self.takes_all || downstream.istio_stats || !logs.is_empty()
    }

    pub(crate) fn request(&self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]) {
        self.sink.borrow_mut().request(record, logs);
        self.collect_request(record, logs);
    }

    /// A record made before the request's end, which only logs take.
    pub(crate) fn meanwhile(&self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]) {
        self.sink.borrow_mut().log_request(record, logs);
        self.collect_request(record, logs);
    }

    fn collect_request(&self, record: &RequestRecord<'_>, logs: &[Arc<AccessLog>]) {
        if logs.is_empty() {
            return;
        }
        let values = RequestValues::new(record);
        let known = Attributes::new(record.heads(), &values);
        for log in logs {
            match &log.to {
                Destination::Lines { .. } => {}
                Destination::Entries(to) if log.takes(&record.facts(), &known) => {
                    self.batches.add(&to.collector, &entry::of_request(to, record));
                }
                Destination::LogRecords(to) if log.takes(&record.facts(), &known) => {
                    self.batches.add(&to.collector, &otlp::of_request(to, record));
                }
                Destination::Entries(_) | Destination::LogRecords(_) => {}
            }
        }
    }

    pub(crate) fn opened(&self, downstream: &DownstreamRecord, upstream: &UpstreamRecord<'_>) {
        self.sink.borrow_mut().opened(downstream, upstream);
    }

    pub(crate) fn connection(&self, record: &ConnectionRecord<'_>, opened: bool, logs: &[Arc<AccessLog>]) {
        self.sink.borrow_mut().connection(record, opened, logs);
        self.collect_connection(record, logs);
    }

    /// A record made before the connection's end, which only logs take.
    pub(crate) fn meanwhile_connected(&self, record: &ConnectionRecord<'_>, logs: &[Arc<AccessLog>]) {
        self.sink.borrow_mut().connection(record, false, logs);
        self.collect_connection(record, logs);
    }

    fn collect_connection(&self, record: &ConnectionRecord<'_>, logs: &[Arc<AccessLog>]) {
        if logs.is_empty() {
            return;
        }
        let values = connection_values(record);
        let known = Attributes::new(Heads::default(), &values);
        for log in logs {
            match &log.to {
                Destination::Lines { .. } => {}
                Destination::Entries(to) if log.takes(&record.facts(), &known) => {
                    self.batches.add(&to.collector, &entry::of_connection(to, record));
                }
                Destination::LogRecords(to) if log.takes(&record.facts(), &known) => {
                    self.batches.add(&to.collector, &otlp::of_connection(to, record));
                }
                Destination::Entries(_) | Destination::LogRecords(_) => {}
            }
        }
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
            termination: details,
            reset: false,
            log_type: LogType::NotSet,
            attempts: 0,
        };
        self.connection(&record, false, logs);
    }

    /// A connection that a network filter has turned away.
    pub(crate) fn turned_away(
        &self,
        downstream: &DownstreamRecord,
        details: &str,
        flags: Flags,
        logs: &[Arc<AccessLog>],
    ) {
        let record = ConnectionRecord {
            start: SystemTime::now(),
            duration: Duration::ZERO,
            flags,
            bytes_received: 0,
            bytes_sent: 0,
            upstream: None,
            downstream,
            peer: &PeerMetadata::default(),
            details,
            termination: details,
            reset: false,
            log_type: LogType::NotSet,
            attempts: 0,
        };
        self.connection(&record, false, logs);
    }

    pub(crate) fn flush(&self) {
        self.sink.borrow_mut().flush();
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
    fn takes_all(&self) -> bool {
        false
    }

    fn request(&mut self, _record: &RequestRecord<'_>, _logs: &[Arc<AccessLog>]) {}
    fn opened(&mut self, _downstream: &DownstreamRecord, _upstream: &UpstreamRecord<'_>) {}
    fn connection(&mut self, _record: &ConnectionRecord<'_>, _opened: bool, _logs: &[Arc<AccessLog>]) {}
    fn flush(&mut self) {}
}
