//! A request, and an answer that is to be as it is wanted.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::cluster::health_check::HttpProbe;
use leno_engine::decide::health::{Counted, Failure};
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_telemetry::stats::Meter;

use super::one::{One, Well};
use super::own::Own;
use crate::codec::{Body, Counter, Frame, Request, h1, h2};
use crate::io::Io;
use crate::outcome::StreamError;

const USER_AGENT: &str = "Envoy/HC";
/// It wants nothing more, whatever else it says.
const IMMEDIATE_FAIL: &str = "x-envoy-immediate-health-check-fail";
const DEGRADED: &str = "x-envoy-degraded";
const CHECKED_CLUSTER: &str = "x-envoy-upstream-healthchecked-cluster";

pub(super) enum HttpConnection {
    Http1(Box<h1::Client>),
    Http2(h2::client::Client),
}

pub(super) struct Answered {
    pub(super) head: ResponseHead,
    pub(super) body: Bytes,
    pub(super) trailers: Option<Headers>,
}

// === impl HttpConnection ===

impl HttpConnection {
    pub(super) fn new(io: Io, http2: bool, own: &Rc<Own>, cluster: &Cluster) -> Self {
        let with = own.connector();
        match http2 {
            false => Self::Http1(Box::new(h1::Client::new(io, with.http1, None, Meter::default()))),
            true => Self::Http2(h2::client::Client::start(
                io,
                None,
                &cluster.http2,
                None,
                with.scratch.clone(),
                Meter::default(),
            )),
        }
    }

    /// After an exchange: there may be another.
    pub(super) fn is_usable(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_free(),
            Self::Http2(client) => !client.is_closed(),
        }
    }

    /// Before one: the other side has not ended it meanwhile.
    pub(super) fn is_quiet(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_quiet(),
            Self::Http2(client) => !client.is_closed(),
        }
    }

    /// The answer, with as much of its body as is wanted.
    pub(super) async fn exchange(&mut self, request: Request, most: usize) -> Result<Answered, StreamError> {
        let Request { head, body: sent, .. } = request;
        match self {
            Self::Http1(client) => {
                let mut asking = client.ask(&head, sent, Counter::default());
                let head = poll_fn(|cx| client.poll_answer(&mut asking, cx)).await?;
                let mut body = Whole::new(most);
                while let Some(frame) = poll_fn(|cx| client.poll_frame(cx)).await {
                    body.take(frame?);
                }
                Ok(body.of(head))
            }
            Self::Http2(client) => {
                let mut answer = h2::client::answer(client.ask(&head, sent, &Counter::default()), ()).await?;
                let mut body = Whole::new(most);
                while let Some(frame) = answer.body.frame().await {
                    body.take(frame?);
                }
                Ok(body.of(answer.head))
            }
        }
    }
}

/// A body as far as it is wanted.
struct Whole {
    most: usize,
    bytes: BytesMut,
    trailers: Option<Headers>,
}

impl Whole {
    fn new(most: usize) -> Self {
        Self {
            most,
            bytes: BytesMut::new(),
            trailers: None,
        }
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                let rest = self.most.saturating_sub(self.bytes.len());
                self.bytes.extend_from_slice(data.get(..rest).unwrap_or(&data));
            }
            Frame::Trailers(trailers) => self.trailers = Some(trailers),
        }
    }

    fn of(self, head: ResponseHead) -> Answered {
        Answered {
            head,
            body: self.bytes.freeze(),
            trailers: self.trailers,
        }
    }
}

pub(super) async fn ask(
    connection: &mut HttpConnection,
    one: One<'_>,
    probe: &HttpProbe,
    secured: bool,
) -> Result<Well, Failure> {
    let mut head = head(
        one,
        &probe.host,
        (probe.method, &probe.path),
        probe.http2,
        secured,
    );
    probe.headers.edit_request(&mut head, &NoValues);
    if !probe.send.is_empty() {
        head.headers.set("content-length", probe.send.len().to_string());
    }
    let body = match probe.send.is_empty() {
        true => Body::Empty,
        false => Body::Full(probe.send.clone()),
    };
    let most = match probe.receive.is_empty() {
        true => 0,
        false => probe.body_limit.unwrap_or(usize::MAX),
    };
    let answered = connection
        .exchange(
            Request {
                head,
                body,
                counter: Counter::default(),
            },
            most,
        )
        .await;
    let answered = answered.map_err(|error| {
        tracing::debug!(cluster = one.cluster.name, endpoint = %one.endpoint.address, %error, "health check");
        Failure::Network
    })?;
    judge(one, probe, &answered)
}

fn judge(one: One<'_>, probe: &HttpProbe, answered: &Answered) -> Result<Well, Failure> {
    let ResponseHead { status, headers, .. } = &answered.head;
    let is_in = |ranges: &[std::ops::Range<u16>]| ranges.iter().any(|range| range.contains(status));
    let failed = |retriable| {
        Err(Failure::Active {
            status: Some(*status),
            retriable,
        })
    };
    let is_answer = probe.is_answer(&answered.body);
    if !is_answer || !is_in(&probe.expected) {
        if headers.contains(IMMEDIATE_FAIL) {
            one.health.known.exclude(one.host);
        }
        return failed(is_answer && is_in(&probe.retriable));
    }
    if let Some(name) = &probe.service_name {
        one.health.known.count(Counted::VerifyCluster);
        if !name.matches(headers.get_str(CHECKED_CLUSTER).unwrap_or_default().as_bytes()) {
            return failed(false);
        }
    }
    Ok(Well {
        degraded: headers.contains(DEGRADED),
    })
}

/// Of every request of a check.
pub(super) fn head(
    one: One<'_>,
    host: &str,
    (method, path): (&'static str, &str),
    http2: bool,
    secured: bool,
) -> RequestHead {
    let mut headers = Headers::default();
    headers.append("user-agent", USER_AGENT);
    RequestHead {
        version: if http2 { Version::Http2 } else { Version::Http11 },
        method: Bytes::from_static(method.as_bytes()),
        scheme: Bytes::from_static(if secured { b"https" } else { b"http" }),
        authority: Bytes::copy_from_slice(one.hostname(host).as_bytes()),
        path: Bytes::copy_from_slice(path.as_bytes()),
        headers,
        upgrade: None,
    }
}
