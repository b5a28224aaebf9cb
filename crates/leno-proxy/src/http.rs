//! The HTTP connection manager: one connection's requests, each with the newest routes and clusters.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use leno_engine::compile::http::{Codec, HttpConnectionManager, HttpTimeouts};
use tokio::io::AsyncReadExt;

use crate::alpn::is_http2;
use crate::codec::{self, Refusal, Request, Response, ServerLimits, Service};
use crate::connection::Connection;
use crate::drain::{Activity, ConnectionDrain, Lifetime};
use crate::inspect;
use crate::io::{Io, Rewound};
use crate::request;
use crate::session::Session;
use crate::worker::Worker;

/// Serves a connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    connection: Connection,
    manager: Arc<HttpConnectionManager>,
    io: Io,
) {
    let activity = Activity::new();
    let mut drain = connection
        .drain
        .connection(Rc::clone(&activity), lifetime(&manager));
    let secure = connection.facts.tls;
    let alpn = connection.peer.as_ref().and_then(|p| p.alpn.as_deref());
    let known = match manager.codec {
        Codec::Http1 => Some(false),
        Codec::Http2 => Some(true),
        Codec::Auto => alpn.and_then(is_http2),
    };
    let (http2, io) = match known {
        Some(http2) => (http2, Rewound::new(Bytes::new(), io)),
        None => match Box::pin(detect(io, &mut drain)).await {
            Some(detected) => detected,
            None => return,
        },
    };
    let limits = limits(&manager, connection.buffer_limit);
    let remote = connection.record.remote;
    let scratch = worker.scratch.clone();
    let workspace = Rc::clone(&worker.http1);
    let session = Rc::new(Session {
        drain: drain.watch(),
        streams: worker.streams(),
        worker,
        connection,
        manager,
        activity,
        requests: Cell::new(0),
    });
    let service = Rc::new(HttpService(session));
    // Each in a place of its own: an HTTP/1 connection has not the size of an HTTP/2 one.
    let ended = match http2 {
        true => {
            let serving = codec::h2::server::serve(io, secure, &limits, scratch, service, drain);
            Box::pin(serving).await
        }
        false => Box::pin(codec::h1::serve(io, secure, &limits, &workspace, service, drain)).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%remote, %error, "downstream connection ended");
    }
}

/// Reads until it is clear whether the client speaks HTTP/2. None: it has gone, or nothing came.
async fn detect(mut io: Io, drain: &mut ConnectionDrain) -> Option<(bool, Rewound)> {
    let mut prefix = BytesMut::with_capacity(4096);
    loop {
        let read = tokio::select! {
            read = io.read_buf(&mut prefix) => read,
            () = drain.close_idle() => return None,
        };
        match read {
            Ok(0) if prefix.is_empty() => return None,
            Ok(0) => return Some((false, Rewound::new(prefix.freeze(), io))),
            Ok(_) => {}
            Err(_) => return None,
        }
        if let Some(http2) = inspect::is_http2(&prefix) {
            return Some((http2, Rewound::new(prefix.freeze(), io)));
        }
    }
}

fn lifetime(manager: &HttpConnectionManager) -> Lifetime {
    let HttpTimeouts {
        idle,
        drain,
        max_connection_duration,
        ..
    } = manager.timeouts;
    Lifetime {
        idle,
        most: max_connection_duration.map(|most| (most, drain)),
    }
}

fn limits(manager: &HttpConnectionManager, buffer_limit: Option<u32>) -> ServerLimits {
    let window = manager.http2.initial_stream_window;
    ServerLimits {
        max_headers: manager.limits.max_headers as usize,
        max_header_bytes: manager.limits.max_header_bytes as usize,
        header_timeout: manager.timeouts.request_headers,
        any_method: manager.any_method,
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
        let session = Rc::clone(&self.0);
        session.requests.set(session.requests.get().saturating_add(1));
        request::handle(session, request)
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        request::refuse(&self.0, refusal)
    }

    fn draining(&self) -> bool {
        let session = &self.0;
        let limit = session.manager.limits.max_requests_per_connection;
        session.drain.is_draining() || limit.is_some_and(|limit| session.requests.get() >= limit)
    }
}
