//! What the proxy says of itself over HTTP: readiness, and metrics for Prometheus.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use leno_telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const TEXT: &str = "text/plain; charset=utf-8";
/// The exposition format that Prometheus asks for.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const PATHS: &str =
    "/ready: LIVE when the proxy serves\n/stats/prometheus, /metrics: Istio's standard metrics\n";

/// Whether the proxy has what it needs to serve.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// Connections at one time; more wait in the backlog.
const MAX_CONNECTIONS: usize = 64;
/// A connection on which nothing is asked is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, ready: Ready) {
    let open = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (metrics, ready) = (Arc::clone(&metrics), Arc::clone(&ready));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &metrics, &ready);
                async move { Ok::<_, Infallible>(response) }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = serving.await {
                tracing::debug!(%error, "admin connection");
            }
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, ready: &Ready) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
    }
    match request.uri().path() {
        "/ready" if ready() => respond(StatusCode::OK, TEXT, "LIVE\n".into()),
        "/ready" => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "PRE_INITIALIZING\n".into()),
        "/stats/prometheus" | "/metrics" => respond(StatusCode::OK, EXPOSITION, metrics.prometheus_text()),
        "/" => respond(StatusCode::OK, TEXT, PATHS.into()),
        _ => respond(
            StatusCode::NOT_FOUND,
            TEXT,
            format!("no such page; there are\n{PATHS}"),
        ),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
