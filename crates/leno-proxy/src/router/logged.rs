//! Each try's own record (`upstream_log`), made only where somebody reads it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use leno_engine::compile::log_filter::LogType;
use leno_engine::flags::Flags;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_telemetry::record::RequestRecord;

use crate::codec::{Answer, Body, Frame, Source};
use crate::outcome::{Failure, StreamError};
use crate::record::{Attempted, Exchange};

/// One try, to the end of its answer. Its record is made when the last part lets go of it.
pub(super) struct TryLog {
    exchange: Rc<Exchange>,
    began: Instant,
    /// As it was sent.
    request: RefCell<Option<RequestHead>>,
    /// As it came.
    response: RefCell<Option<ResponseHead>>,
    answered: Cell<Option<Instant>>,
    trailers: RefCell<Option<Headers>>,
    flags: Cell<Flags>,
    told: RefCell<Attempted>,
    sent: Cell<u64>,
    received: Cell<u64>,
    /// It was no try: there will be another in its place.
    forgotten: Cell<bool>,
}

/// Counts a body's bytes.
struct Counted {
    log: Rc<TryLog>,
    body: Body,
    is_answer: bool,
}

// === impl TryLog ===

impl TryLog {
    /// None: nobody reads it.
    pub(super) fn begin(exchange: &Rc<Exchange>) -> Option<Rc<Self>> {
        let router = &exchange.session().manager.router;
        if router.upstream_log.is_empty() {
            return None;
        }
        let log = Rc::new(Self {
            exchange: Rc::clone(exchange),
            began: Instant::now(),
            request: RefCell::default(),
            response: RefCell::default(),
            answered: Cell::default(),
            trailers: RefCell::default(),
            flags: Cell::default(),
            told: RefCell::default(),
            sent: Cell::default(),
            received: Cell::default(),
            forgotten: Cell::default(),
        });
        if let Some(every) = router.upstream_log_options.every {
            let log = Rc::downgrade(&log);
            tokio::task::spawn_local(async move {
                loop {
                    tokio::time::sleep(every).await;
                    let Some(log) = Weak::upgrade(&log) else { return };
                    log.write(LogType::UpstreamPeriodic);
                }
            });
        }
        Some(log)
    }

    /// What is known of where it goes.
    pub(super) fn tell(&self) {
        self.told.replace(self.exchange.upstream.borrow().clone());
    }

    /// It has a connection, on which this is sent.
    pub(super) fn send(self: &Rc<Self>, head: &RequestHead, version: Version, body: Body) -> Body {
        let mut head = head.clone();
        head.version = version;
        self.request.replace(Some(head));
        self.tell();
        if self
            .exchange
            .session()
            .manager
            .router
            .upstream_log_options
            .when_connected
        {
            self.write(LogType::UpstreamPoolReady);
        }
        self.count(body, false)
    }

    pub(super) fn answered(self: &Rc<Self>, answer: &mut Answer) {
        self.answered.set(Some(Instant::now()));
        self.response.replace(Some(answer.head.clone()));
        let body = std::mem::take(&mut answer.body);
        answer.body = self.count(body, true);
    }

    pub(super) fn failed(&self, failure: &Failure) {
        self.tell();
        self.flags.set(failure.flags());
    }

    /// Another connection takes its place.
    pub(super) fn forget(&self) {
        self.forgotten.set(true);
    }

    fn count(self: &Rc<Self>, body: Body, is_answer: bool) -> Body {
        if body.is_end() {
            return body;
        }
        Body::Stream(Box::new(Counted {
            log: Rc::clone(self),
            body,
            is_answer,
        }))
    }

    /// What is the try's own stands in place of what is the request's.
    fn write(&self, log_type: LogType) {
        let now = Instant::now();
        let since = |at: Instant| at.saturating_duration_since(self.began);
        let (request, response) = (self.request.borrow(), self.response.borrow());
        let (trailers, told) = (self.trailers.borrow(), self.told.borrow());
        let last = trailers.as_ref().or(response.as_ref().map(|head| &head.headers));
        let status = last.and_then(|headers| headers.get_str("grpc-status"));
        let session = self.exchange.session();
        self.exchange.with_record(now, log_type, |record| {
            let own = RequestRecord {
                start: session.worker.wall_time(self.began),
                duration: since(now),
                request_duration: None,
                response_duration: self.answered.get().map(since),
                request: request.as_ref().unwrap_or(record.request),
                response: response.as_ref(),
                trailers: trailers.as_ref(),
                grpc_status: status.and_then(|status| status.parse().ok()),
                flags: self.flags.get(),
                details: "",
                bytes_received: self.received.get(),
                bytes_sent: self.sent.get(),
                upstream: told.record(),
                attempts: 0,
                ..*record
            };
            session
                .worker
                .reporter
                .meanwhile(&own, &session.manager.router.upstream_log);
        });
    }
}

impl Drop for TryLog {
    fn drop(&mut self) {
        if !self.forgotten.get() {
            self.write(LogType::UpstreamEnd);
        }
    }
}

// === impl Counted ===

impl Source for Counted {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let frame = ready!(self.body.poll_frame(cx));
        match &frame {
            Some(Ok(Frame::Data(data))) => {
                let count = if self.is_answer {
                    &self.log.received
                } else {
                    &self.log.sent
                };
                count.set(count.get() + data.len() as u64);
            }
            Some(Ok(Frame::Trailers(trailers))) if self.is_answer => {
                self.log.trailers.replace(Some(trailers.clone()));
            }
            Some(Err(error)) if self.is_answer => {
                self.log.flags.set(Failure::Stream(error.clone()).flags());
            }
            _ => {}
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
