//! What the proxy says of itself over HTTP: readiness, and metrics for Prometheus.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use leno_engine::message::{Decimal, Headers, RequestHead, ResponseHead, Version};
use leno_http1::{
    Framing, HeadScanner, Limits, Request, ResponseTo, Settings, encode_response, leading_empty_lines,
    parse_request,
};
use leno_telemetry::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
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

const SETTINGS: Settings = Settings {
    limits: Limits {
        head_bytes: 8192,
        fields: 100,
    },
    http10: true,
    any_method: true,
};

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
            if let Err(error) = serve_connection(stream, &metrics, &ready).await {
                tracing::debug!(%error, "admin connection");
            }
            drop(permit);
        });
    }
}

async fn serve_connection(mut stream: TcpStream, metrics: &Metrics, ready: &Ready) -> io::Result<()> {
    let mut input = BytesMut::new();
    loop {
        let read = tokio::time::timeout(HEADER_TIMEOUT, read_head(&mut stream, &mut input));
        let Some(end) = read.await?? else {
            return Ok(());
        };
        let head = input.split_to(end);
        let (reply, close) = reply(&head, metrics, ready)?;
        stream.write_all(&reply).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// The length of the next head. None: there is none.
async fn read_head(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<Option<usize>> {
    let mut scanner = HeadScanner::default();
    loop {
        let empty = leading_empty_lines(input);
        if empty > 0 {
            input.advance(empty);
            scanner = HeadScanner::default();
        }
        if let Some(end) = scanner.find(input) {
            return Ok(Some(end));
        }
        // What is too long is refused by whoever reads it.
        if input.len() > SETTINGS.limits.head_bytes {
            return Ok(Some(input.len()));
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// The answer to a request, and whether it is the last.
fn reply(head: &[u8], metrics: &Metrics, ready: &Ready) -> io::Result<(Vec<u8>, bool)> {
    let request = parse_request(head, false, &SETTINGS);
    let (answer, body) = match &request {
        Ok(request) => answer(&request.head, metrics, ready),
        Err(error) => respond(error.status(), TEXT, format!("{error}\n")),
    };
    let asked = request.as_ref().ok();
    let is_last = |request: &Request| !request.persistent || request.framing != Framing::None;
    let date = httpdate::fmt_http_date(SystemTime::now());
    let to = ResponseTo {
        version: asked.map_or(Version::Http11, |request| request.head.version),
        head: asked.is_some_and(|request| request.head.method.as_ref() == b"HEAD"),
        close: asked.is_none_or(is_last),
        date: date.as_bytes(),
    };
    let mut out = Vec::new();
    let encoded =
        encode_response(&answer, Some(body.len() as u64), &to, &mut out).map_err(io::Error::other)?;
    if !encoded.body.is_withheld() {
        out.extend_from_slice(&body);
    }
    Ok((out, encoded.close))
}

fn answer(request: &RequestHead, metrics: &Metrics, ready: &Ready) -> (ResponseHead, Bytes) {
    if !matches!(request.method.as_ref(), b"GET" | b"HEAD") {
        return respond(405, TEXT, "only GET\n".into());
    }
    match request.path_only() {
        b"/ready" if ready() => respond(200, TEXT, "LIVE\n".into()),
        b"/ready" => respond(503, TEXT, "PRE_INITIALIZING\n".into()),
        b"/stats/prometheus" | b"/metrics" => respond(200, EXPOSITION, metrics.prometheus_text()),
        b"/" => respond(200, TEXT, PATHS.into()),
        _ => respond(404, TEXT, format!("no such page; there are\n{PATHS}")),
    }
}

fn respond(status: u16, kind: &'static str, body: String) -> (ResponseHead, Bytes) {
    let mut headers = Headers::default();
    headers.append("content-type", kind);
    headers.append("content-length", Decimal::from(body.len()));
    let head = ResponseHead {
        version: Version::Http11,
        status,
        headers,
    };
    (head, body.into())
}
