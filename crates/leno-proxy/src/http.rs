//! The HTTP connection manager: one connection's requests, each with the newest routes and clusters.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use leno_engine::compile::http::{Codec, HttpConnectionManager, HttpTimeouts};
use leno_engine::compile::listener::Listener;
use leno_engine::compile::overload::What;
use leno_telemetry::stats::{Counts, HttpStat};

use crate::alpn::is_http2;
use crate::codec::{self, Counter, Refusal, Request, Response, ServerLimits, Service};
use crate::connection::{Connection, Serving};
use crate::ending::{Ending, Lifetime};
use crate::inspect;
use crate::io::{Io, Rewound};
use crate::outcome::StreamError;
use crate::request;
use crate::session::Session;
use crate::worker::Worker;

/// Bytes of one read while the protocol is not known.
const DETECTED: usize = 4096;

/// A connection on which HTTP is to be spoken.
struct Opened {
    worker: Rc<Worker>,
    connection: Connection,
    manager: Arc<HttpConnectionManager>,
    io: Io,
    ending: Rc<Ending>,
    counts: Rc<Counts<HttpStat>>,
}

/// Serves a connection to its end. What only its beginning needs is not kept.
pub(crate) fn serve(
    worker: Rc<Worker>,
    connection: Connection,
    manager: Arc<HttpConnectionManager>,
    io: Io,
    listener: &Listener,
) -> Serving {
    let counts = worker.http_counts(&listener.stat_name, &manager.stat_prefix);
    let alpn = connection.peer.as_ref().and_then(|p| p.alpn.as_deref());
    let known = match manager.codec {
        Codec::Http1 => Some(false),
        Codec::Http2 => Some(true),
        Codec::Auto => alpn.and_then(is_http2),
    };
    let ending = worker.ending(
        &connection.drain,
        Lifetime {
            shown: connection.record.tls.clone(),
            ..lifetime(&worker, &manager, connection.bypasses_overload)
        },
    );
    let opened = Opened {
        worker,
        connection,
        manager,
        io,
        ending,
        counts,
    };
    match known {
        Some(http2) => opened.serve(http2, Bytes::new()),
        None => {
            let mut opened = Box::new(opened);
            Box::pin(async move {
                let detected = Box::pin(opened.detect()).await;
                let serving = detected.map(|(http2, prefix)| opened.serve(http2, prefix));
                if let Some(serving) = serving {
                    serving.await;
                }
            })
        }
    }
}

impl Opened {
    /// Reads until it is clear whether the client speaks HTTP/2. None: it has gone, or nothing came.
    async fn detect(&mut self) -> Option<(bool, Bytes)> {
        let mut prefix = BytesMut::new();
        loop {
            let mut read = BytesMut::new();
            let reading = poll_fn(|cx| {
                let workspace = &self.worker.http1;
                match workspace.poll_read(&mut self.io, DETECTED, &mut read, cx) {
                    Poll::Pending => self.ending.poll_close_idle(cx).map(|()| None),
                    ready => ready.map(Some),
                }
            });
            let ended = reading.await?.ok()?.0 == 0;
            // Nearly always the first bytes tell, and are passed on as they are.
            if prefix.is_empty() {
                prefix = read;
            } else {
                prefix.extend_from_slice(&read);
            }
            match inspect::is_http2(&prefix) {
                Some(http2) => return Some((http2, prefix.freeze())),
                None if ended && prefix.is_empty() => return None,
                None if ended => return Some((false, prefix.freeze())),
                // The worker's block is not waited with.
                None => prefix = BytesMut::from(prefix.as_ref()),
            }
        }
    }

    fn serve(self, http2: bool, prefix: Bytes) -> Serving {
        let Self {
            worker,
            connection,
            manager,
            io,
            ending,
            counts,
        } = self;
        if let Some(overload) = worker.shared.overload.as_deref()
            && !connection.bypasses_overload
            && overload.acts(What::ShedCodecs, &worker.random)
        {
            for stat in [HttpStat::CxTotal, HttpStat::RqOverloadClose, HttpStat::CxDestroy] {
                counts.inc(stat);
            }
            return Box::pin(std::future::ready(()));
        }
        if !http2 && manager.timeouts.ends_with_answer {
            ending.end_with_answer();
        }
        let limits = limits(&manager, connection.buffer_limit);
        let secure = connection.facts.tls;
        let scratch = worker.scratch.clone();
        let workspace = Rc::clone(&worker.http1);
        let meter = counts.meter();
        let session = Session::begin(worker, connection, manager, Rc::clone(&ending), counts, http2);
        let service = Rc::new(HttpService(session));
        let io = Rewound::new(prefix, io);
        // Each in a place of its own: an HTTP/1 connection has not the size of an HTTP/2 one.
        match http2 {
            true => Box::pin(async move {
                let failing = Rc::clone(&service);
                let serving =
                    codec::h2::server::serve(io, secure, &limits, scratch, service, (ending, meter));
                if let Err(error) = serving.await {
                    failing.failed(&error);
                }
            }),
            false => Box::pin(codec::h1::serve(
                io,
                secure,
                &limits,
                &workspace,
                service,
                (ending, meter),
            )),
        }
    }
}

fn lifetime(worker: &Worker, manager: &HttpConnectionManager, patient: bool) -> Lifetime {
    let HttpTimeouts {
        idle,
        drain,
        max_connection_duration,
        jitter,
        ..
    } = manager.timeouts;
    let longer = |time: Duration, percent: f64| {
        if percent <= 0.0 {
            return time;
        }
        let share = (worker.random.next() % 10_000) as f64 / 10_000.0;
        time.mul_f64(1.0 + share * percent / 100.0)
    };
    Lifetime {
        idle,
        most: max_connection_duration
            .map(|most| Box::new((longer(most, jitter.duration), longer(drain, jitter.drain)))),
        patient,
        upstream: None,
        guard: None,
        shown: None,
        upstream_shown: None,
    }
}

fn limits(manager: &HttpConnectionManager, buffer_limit: Option<u32>) -> ServerLimits {
    let window = manager.http2.initial_stream_window;
    ServerLimits {
        max_headers: manager.limits.max_headers as usize,
        max_header_bytes: manager.limits.max_header_bytes as usize,
        header_timeout: manager.timeouts.request_headers,
        delayed_close: manager.timeouts.delayed_close,
        counts_wire: manager.counts_wire,
        any_method: manager.any_method,
        chunked_length: manager.chunked_length,
        http1: manager.http1.clone(),
        keepalive: manager.http2.keepalive,
        extended_connect: manager.http2.allow_connect,
        max_streams: manager.http2.max_concurrent_streams,
        // What a stream may send ahead is what is held for it.
        stream_window: buffer_limit.map_or(window, |limit| window.min(limit)),
        connection_window: manager.http2.initial_connection_window,
        buffer_limit,
    }
}

struct HttpService(Rc<Session>);

impl Service for HttpService {
    fn call(&self, request: Request) -> impl Future<Output = Response> + 'static {
        let session = &self.0;
        session.requests.set(session.requests.get().saturating_add(1));
        request::handle(session, request)
    }

    fn refuse(&self, refusal: &Refusal, counter: Counter) -> Response {
        request::refuse(&self.0, refusal, counter)
    }

    fn ended_late(&self) {
        self.0.counts.inc(HttpStat::CxDelayedCloseTimeout);
    }

    fn draining(&self) -> bool {
        let session = &self.0;
        let limit = session.manager.limits.max_requests_per_connection;
        session.ending.is_draining()
            || limit.is_some_and(|limit| session.has_had(limit))
            || session.ends_overloaded()
    }

    fn failed(&self, error: &StreamError) {
        let remote = self.0.connection.record.remote;
        if matches!(error, StreamError::Protocol(_)) {
            self.0.counts.inc(HttpStat::CxProtocolError);
        }
        tracing::debug!(%remote, %error, "downstream connection ended");
    }
}
