//! What is learnt of servers' load: what they tell with the head of an answer or at its end, and how long answers take.

use std::task::{Context, Poll};
use std::time::Instant;

use leno_engine::decide::balance::Host;
use leno_engine::decide::orca::LoadReport;

use super::{Picked, Upstream};
use crate::codec::{Answer, Body, Frame, Source};
use crate::outcome::StreamError;

/// An answer's body whose trailers may tell.
struct Telling {
    body: Body,
    from: Picked,
}

impl Upstream {
    /// Listens for a report, where reports count.
    pub(crate) fn listen(picked: &Picked, answer: &mut Answer) {
        if !picked.upstream.balancer.borrow().heeds_loads() {
            return;
        }
        if let Some(report) = LoadReport::of(&answer.head.headers) {
            return picked.tell(&report);
        }
        if !answer.body.is_end() {
            answer.body = Body::Stream(Box::new(Telling {
                body: std::mem::take(&mut answer.body),
                from: picked.clone(),
            }));
        }
    }

    /// Whether it matters how long answers take.
    pub(crate) fn heeds_latency(&self) -> bool {
        self.balancer.borrow().heeds_latency()
    }

    /// The answer to what was sent then begins.
    pub(crate) fn report_latency(&self, host: &Host, sent: Instant) {
        let now = Instant::now();
        let took = now.saturating_duration_since(sent);
        self.balancer.borrow().report_latency(host, took, now);
    }
}

impl Picked {
    fn tell(&self, report: &LoadReport) {
        let balancer = self.upstream.balancer.borrow();
        balancer.report_load(&self.host, report, Instant::now());
    }
}

impl Source for Telling {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let polled = self.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) = &polled
            && let Some(report) = LoadReport::of(trailers)
        {
            self.from.tell(&report);
        }
        polled
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
