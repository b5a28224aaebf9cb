//! A response on its way to the client: where it is known how the request ended.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use leno_engine::compile::access_log::Point;
use leno_engine::flags::Flag;
use leno_telemetry::stats::ClusterStat;

use crate::codec::{Body, Frame, Source, TunnelEnd};
use crate::drain::CutBy;
use crate::outcome::StreamError;
use crate::record::Exchange;
use crate::tcp::{Ended, Why};

/// Counts a response's bytes, and knows how it ended.
pub(crate) struct SentBody {
    exchange: Rc<Exchange>,
    body: Body,
    length: Option<u64>,
    /// The upstream has told how long it is; else nobody is told, as in Envoy.
    told: bool,
}

impl SentBody {
    pub(crate) fn follow(exchange: Rc<Exchange>, body: Body) -> Body {
        if body.is_end() {
            exchange.finish();
            // What is counted of it on the wire is known only when it has been sent.
            if !exchange.counter.counts() {
                return Body::Empty;
            }
        }
        let length = body.length();
        let response = exchange.response.borrow();
        let told = length.is_some()
            && response
                .as_ref()
                .is_some_and(|head| head.headers.contains("content-length"));
        drop(response);
        Body::Stream(Box::new(Self {
            length,
            told,
            exchange,
            body,
        }))
    }

    fn cut_off(&self, error: &StreamError) {
        let exchange = &self.exchange;
        let (flag, details) = match error {
            StreamError::TimedOut => (Flag::UpstreamRequestTimeout, "response_timeout"),
            StreamError::Reset(_) | StreamError::Refused => (
                Flag::UpstreamRemoteReset,
                "upstream_reset_after_response_started{remote_reset}",
            ),
            StreamError::Protocol(_) => (
                Flag::UpstreamProtocolError,
                "upstream_reset_after_response_started{protocol_error}",
            ),
            StreamError::Revoked => (Flag::LocalReset, CutBy::Revoked.details()),
            _ => (
                Flag::UpstreamConnectionTermination,
                "upstream_reset_after_response_started{connection_termination}",
            ),
        };
        exchange.flag(flag);
        exchange.details.replace(details.into());
        exchange.finish();
    }
}

impl Source for SentBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let exchange = &self.exchange;
        let Poll::Ready(frame) = self.body.poll_frame(cx) else {
            return self.poll_given_up(cx).map(|error| Some(Err(error)));
        };
        match &frame {
            None => exchange.finish(),
            Some(Ok(Frame::Data(data))) => {
                exchange.watch.moved();
                exchange.sent.set(exchange.sent.get() + data.len() as u64);
                exchange.reach_first(Point::AnswerBodyBegins);
                if self.body.is_end() {
                    exchange.finish();
                }
            }
            Some(Ok(Frame::Trailers(trailers))) => {
                exchange.see_trailers(trailers);
                exchange.finish();
            }
            Some(Err(error)) => self.cut_off(error),
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }

    fn length(&self) -> Option<u64> {
        self.body.length().filter(|length| self.told || *length == 0)
    }

    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        let exchange = &self.exchange;
        let has_finished = exchange.has_finished();
        if has_finished {
            exchange.watch.flush();
        }
        let expired = ready!(exchange.watch.poll_expired(cx));
        // As Envoy: what was answered stays answered.
        if has_finished {
            exchange
                .worker()
                .counts
                .alone()
                .named("http2.tx_flush_timeout", 1);
        } else {
            if let Some(flag) = expired.flag() {
                exchange.flag(flag);
            }
            exchange.details.replace(expired.details().into());
            exchange.finish();
        }
        Poll::Ready(StreamError::TimedOut)
    }
}

impl Drop for SentBody {
    fn drop(&mut self) {
        // A codec that knows the length does not look for the end.
        if self
            .length
            .is_some_and(|length| self.exchange.sent.get() >= length)
        {
            self.exchange.finish();
        }
    }
}

impl std::fmt::Debug for SentBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// An upgraded connection's record is made at its end.
pub(crate) struct TunnelRecord(pub(crate) Rc<Exchange>);

impl TunnelEnd for TunnelRecord {
    fn ended(self: Box<Self>, ended: &Ended) {
        let exchange = &self.0;
        exchange.received.set(ended.received);
        exchange.sent.set(ended.sent);
        for (counter, received, sent) in [
            (&exchange.counter, ended.received, ended.sent),
            (&exchange.upstream.borrow().counter, ended.sent, ended.received),
        ] {
            counter.received(received);
            counter.sent(sent);
        }
        exchange.with_cluster(|counts| {
            counts.add(ClusterStat::CxRxBytesTotal, ended.sent);
            counts.add(ClusterStat::CxTxBytesTotal, ended.received);
        });
        match &ended.why {
            Why::Finished {
                downstream_first: false,
            }
            | Why::Upstream(_) => exchange.finish(),
            Why::Finished {
                downstream_first: true,
            }
            | Why::Downstream(_)
            | Why::Idle
            | Why::Cut => {}
        }
    }
}

impl std::fmt::Debug for TunnelRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TunnelRecord")
    }
}
