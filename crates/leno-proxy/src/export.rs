//! Batches of records on their way to collectors: by the worker's own pools, beside the requests and never before them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_engine::compile::collector::{Envelope, Service};
use leno_engine::compile::service::HttpService;
use leno_engine::flags::Flags;
use leno_engine::message::{Decimal, Headers, RequestHead};
use leno_telemetry::batch;

use crate::batches::Batch;
use crate::call;
use crate::grpc_call;
use crate::worker::Worker;

/// How long a batch waits for its collector's answer where the configuration does not say.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Sends what is due, for as long as the worker lives.
pub(crate) async fn run(worker: Rc<Worker>) {
    loop {
        let (due, next) = worker.reporter.batches.due(Instant::now());
        for batch in due {
            let worker = Rc::clone(&worker);
            tokio::task::spawn_local(async move { send(&worker, &batch).await });
        }
        let pause = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = worker.reporter.batches.changed.notified() => {}
            () = pause => {}
        }
    }
}

/// Sends everything now: the process is about to end, and waits so long.
pub(crate) async fn flush(worker: &Rc<Worker>, time: Duration) {
    let all = worker.reporter.batches.all();
    let each = all.iter().map(|batch| send(worker, batch));
    // What has not gone by then is lost.
    let _ = tokio::time::timeout(time, futures_util::future::join_all(each)).await;
}

async fn send(worker: &Rc<Worker>, batch: &Batch) {
    let collector = &batch.collector;
    let message = batch::seal(&collector.envelope, &worker.shared.node, &batch.records);
    let result = match &collector.service {
        Service::Grpc(service) => {
            let path = match &collector.envelope {
                Envelope::AccessLogs { .. } => {
                    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
                }
                Envelope::Logs { .. } => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
                Envelope::Spans { .. } | Envelope::ZipkinProto | Envelope::ZipkinJson => {
                    "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
                }
            };
            let called = grpc_call::call(worker, service, path, &message, PATIENCE).await;
            called.map(drop).map_err(Unsent::from)
        }
        Service::Http(service) => {
            let content_type = match &collector.envelope {
                Envelope::ZipkinJson => "application/json",
                _ => "application/x-protobuf",
            };
            post(worker, service, content_type, message).await
        }
    };
    count(worker, batch, &result);
    worker.reporter.batches.sent(
        batch,
        result
            .as_ref()
            .map(drop)
            .map_err(|error| error as &dyn std::fmt::Display),
    );
}

/// In Envoy's statistics of its tracers.
fn count(worker: &Worker, batch: &Batch, result: &Result<(), Unsent>) {
    use leno_telemetry::stats::{OpenTelemetryStat as O, ZipkinStat as Z};
    match &batch.collector.envelope {
        Envelope::AccessLogs { .. } | Envelope::Logs { .. } => {}
        Envelope::Spans { .. } => {
            let counts = worker.counts.opentelemetry();
            counts.add(O::SpansSent, batch.count);
            counts.add(O::TimerFlushed, batch.timed.into());
            if matches!(batch.collector.service, Service::Http(_)) {
                counts.inc(O::HttpReportsSent);
                counts.inc(match result {
                    Ok(()) => O::HttpReportsSuccess,
                    Err(_) => O::HttpReportsFailed,
                });
            }
        }
        Envelope::ZipkinProto | Envelope::ZipkinJson => {
            let counts = worker.counts.zipkin();
            counts.add(Z::SpansSent, batch.count);
            counts.add(Z::TimerFlushed, batch.timed.into());
            counts.inc(match result {
                Ok(()) => Z::ReportsSent,
                Err(Unsent::Status(_)) => Z::ReportsDropped,
                Err(_) => Z::ReportsFailed,
            });
        }
    }
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
