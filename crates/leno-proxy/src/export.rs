//! Records on their way to collectors: a worker's own batches, sent by its own pools, beside the requests and never
//! before them. A collector that is slow or gone loses records; what is held for it is bounded, and the loss is told.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_engine::compile::collector::{Collector, Envelope, Service};
use leno_engine::compile::service::HttpService;
use leno_engine::flags::Flags;
use leno_engine::message::{Decimal, Headers, RequestHead};
use leno_telemetry::batch;
use prost::Message;
use tokio::sync::Notify;

use crate::call;
use crate::grpc_call;
use crate::worker::Worker;

/// Bytes held for one collector by one worker, while it is not answering: more is lost.
const MOST: usize = 1 << 20;
/// How long a batch waits for its collector's answer where the configuration does not say.
const PATIENCE: Duration = Duration::from_secs(10);

/// One worker's batches.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    queues: RefCell<Vec<Queue>>,
    /// A batch has begun, or is full.
    changed: Notify,
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

/// Why a collector did not get its batch.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("response flags {0}")]
    Call(Flags),
    #[error("{0}")]
    Grpc(#[from] grpc_call::Failed),
    #[error("HTTP status {0}")]
    Status(u16),
}

// === impl Exports ===

impl Exports {
    /// Takes a record for its collector.
    pub(crate) fn add(&self, collector: &Arc<Collector>, record: &impl Message) {
        let mut queues = self.queues.borrow_mut();
        let known = queues.iter().position(|queue| Arc::ptr_eq(&queue.collector, collector));
        let at = known.unwrap_or_else(|| {
            queues.push(Queue::new(collector));
            queues.len() - 1
        });
        let Some(queue) = queues.get_mut(at) else { return };
        if queue.batch.len() >= MOST.max(collector.batch_bytes) {
            queue.lost += 1;
            return;
        }
        batch::append(&collector.envelope, record, &mut queue.batch);
        queue.count += 1;
        let full = queue.batch.len() >= collector.batch_bytes;
        if queue.due.is_none() || full {
            let now = Instant::now();
            queue.due = Some(if full { now } else { now + collector.flush_every });
            self.changed.notify_one();
        }
    }

    /// The batches whose time has come, and when the next one's does.
    fn due(&self, now: Instant) -> (Vec<(Arc<Collector>, Vec<u8>, u64)>, Option<Instant>) {
        let mut queues = self.queues.borrow_mut();
        // A configuration that has gone, and nothing more to be sent for it.
        queues.retain(|queue| queue.due.is_some() || queue.sending || Arc::strong_count(&queue.collector) > 1);
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

    fn all(&self) -> Vec<(Arc<Collector>, Vec<u8>, u64)> {
        let mut queues = self.queues.borrow_mut();
        let waiting = queues.iter_mut().filter(|queue| queue.due.is_some());
        waiting.map(Queue::take).collect()
    }

    fn sent(&self, collector: &Arc<Collector>, count: u64, result: &Result<(), Unsent>) {
        let mut queues = self.queues.borrow_mut();
        let of = |queue: &&mut Queue| Arc::ptr_eq(&queue.collector, collector);
        let Some(queue) = queues.iter_mut().find(of) else {
            return;
        };
        queue.sending = false;
        let cluster = collector.service.cluster();
        match result {
            Ok(()) if queue.lost > 0 => {
                tracing::warn!(cluster, records = queue.lost, "a collector is back: records were lost");
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

    fn take(&mut self) -> (Arc<Collector>, Vec<u8>, u64) {
        self.due = None;
        self.sending = true;
        let batch = std::mem::take(&mut self.batch);
        (Arc::clone(&self.collector), batch, std::mem::take(&mut self.count))
    }
}

/// Sends what is due, for as long as the worker lives.
pub(crate) async fn run(worker: Rc<Worker>) {
    loop {
        let (due, next) = worker.reporter.exports.due(Instant::now());
        for (collector, batch, count) in due {
            let worker = Rc::clone(&worker);
            tokio::task::spawn_local(async move { send(&worker, &collector, &batch, count).await });
        }
        let pause = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = worker.reporter.exports.changed.notified() => {}
            () = pause => {}
        }
    }
}

/// Sends everything now: the process is about to end, and waits so long.
pub(crate) async fn flush(worker: &Rc<Worker>, time: Duration) {
    let all = worker.reporter.exports.all();
    let each = all
        .iter()
        .map(|(collector, batch, count)| send(worker, collector, batch, *count));
    // What has not gone by then is lost.
    let _ = tokio::time::timeout(time, futures_util::future::join_all(each)).await;
}

async fn send(worker: &Rc<Worker>, collector: &Arc<Collector>, batch: &[u8], count: u64) {
    let message = batch::seal(&collector.envelope, &worker.shared.node, batch);
    let result = match &collector.service {
        Service::Grpc(service) => {
            let path = match &collector.envelope {
                Envelope::AccessLogs { .. } => {
                    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
                }
                Envelope::Logs { .. } => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            };
            let called = grpc_call::call(worker, service, path, &message, PATIENCE).await;
            called.map(drop).map_err(Unsent::from)
        }
        Service::Http(service) => post(worker, service, "application/x-protobuf", message).await,
    };
    worker.reporter.exports.sent(collector, count, &result);
}

async fn post(
    worker: &Rc<Worker>,
    service: &HttpService,
    content_type: &'static str,
    message: Vec<u8>,
) -> Result<(), Unsent> {
    let mut headers = Headers::default();
    headers.append("content-type", content_type);
    headers.append("content-length", Decimal::from(message.len()));
    for (name, value) in &service.headers {
        headers.append(name, value);
    }
    let head = RequestHead {
        version: call::version(worker, &service.cluster),
        method: Bytes::from_static(b"POST"),
        scheme: Bytes::from_static(b"http"),
        authority: Bytes::copy_from_slice(service.authority.as_bytes()),
        path: Bytes::copy_from_slice(service.path.as_bytes()),
        headers,
        upgrade: None,
    };
    let answered = call::call(worker, &service.cluster, head, message.into(), service.timeout).await;
    match answered.map_err(Unsent::Call)?.0.status {
        200..=299 => Ok(()),
        status => Err(Unsent::Status(status)),
    }
}
