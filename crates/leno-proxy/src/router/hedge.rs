//! Tries beside each other (`hedge_policy`): one that has taken longer than a try may is not given up when another is
//! made, and the first good answer of any counts.
//!
//! As in Envoy: for its lateness a try is repeated once, whatever the policy retries on; a bad answer after that, or one
//! that nothing may be retried for any more, is thrown away while others are under way.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use leno_engine::compile::endpoint::Target;
use leno_engine::compile::route::RetryOn;
use leno_engine::decide::limits::{Permit, Resource};
use leno_engine::decide::retry::{RetryState, Verdict};
use leno_engine::flags::Flag;
use leno_telemetry::stats::{ClusterStat, RouteStat};
use tokio::time::{Sleep, sleep};

use super::ended::{backed_off, failure_kind, is_stale};
use super::{Failed, InFlight, Plan, Router, now};
use crate::codec::Answer;
use crate::outcome::Failure;
use crate::record::Attempted;
use crate::upstream::Picked;

type Ended = Result<(Answer, Picked, InFlight), Failed>;

/// A try under way.
struct Try<'t> {
    number: u32,
    attempt: Pin<Box<dyn Future<Output = Ended> + 't>>,
    /// When it is late. None: it has been, and was repeated if that was allowed.
    late: Option<Pin<Box<Sleep>>>,
    repeated: bool,
    /// What it has told of itself; in the exchange's place while it is polled.
    told: Attempted,
}

/// The pause before a retry, and the right to it.
struct Pause {
    until: Pin<Box<Sleep>>,
    permit: Permit,
    late: bool,
}

enum Event {
    Late(usize),
    Ended(usize, Ended),
    Due(usize),
}

/// What all tries of one request have come to so far.
struct Hedge<'t> {
    router: &'t Router<'t>,
    plan: &'t Plan,
    per_try: Duration,
    retry: Option<RetryState>,
    tries: Vec<Try<'t>>,
    pauses: Vec<Pause>,
    /// Of retries that are under way.
    permits: Vec<Permit>,
}

impl Router<'_> {
    /// Tries until one is answered, each beside those that are late. `plan` has no time for each try of its own.
    pub(super) async fn hedged(&self, plan: &Plan, per_try: Duration) -> Result<(Answer, InFlight), Failure> {
        let policy = plan
            .retry
            .clone()
            .filter(|policy| policy.on != RetryOn::default());
        let mut hedge = Hedge {
            router: self,
            plan,
            per_try,
            retry: policy.map(RetryState::new),
            tries: Vec::new(),
            pauses: Vec::new(),
            permits: Vec::new(),
        };
        hedge.begin(false);
        loop {
            match poll_fn(|cx| hedge.poll(cx)).await {
                Event::Late(at) => hedge.late(at),
                Event::Due(at) => hedge.resume(at),
                Event::Ended(at, ended) => {
                    if let Some(result) = hedge.ended(at, ended) {
                        return result;
                    }
                }
            }
        }
    }
}

impl<'t> Hedge<'t> {
    fn begin(&mut self, fresh: bool) {
        let (router, plan) = (self.router, self.plan);
        let exchange = router.exchange;
        if !fresh {
            exchange.attempts.set(exchange.attempts.get() + 1);
        }
        let (retry, previous) = (self.retry.clone(), self.previous());
        let told = exchange.upstream.borrow().clone();
        self.tries.push(Try {
            number: exchange.attempts.get(),
            attempt: Box::pin(async move { router.attempt(plan, retry.as_ref(), &previous, fresh).await }),
            late: Some(Box::pin(sleep(self.per_try))),
            repeated: false,
            told,
        });
    }

    /// Where the tries that are under way have gone.
    fn previous(&self) -> Vec<Target> {
        let endpoints = self.tries.iter().filter_map(|one| one.told.endpoint.as_ref());
        endpoints.map(|endpoint| endpoint.address.clone()).collect()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let told: &RefCell<Attempted> = &self.router.exchange.upstream;
        for (at, one) in self.tries.iter_mut().enumerate() {
            std::mem::swap(&mut *told.borrow_mut(), &mut one.told);
            let ended = one.attempt.as_mut().poll(cx);
            std::mem::swap(&mut *told.borrow_mut(), &mut one.told);
            if let Poll::Ready(ended) = ended {
                return Poll::Ready(Event::Ended(at, ended));
            }
            if let Some(late) = &mut one.late
                && late.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Event::Late(at));
            }
        }
        for (at, pause) in self.pauses.iter_mut().enumerate() {
            if pause.until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Due(at));
            }
        }
        Poll::Pending
    }

    fn late(&mut self, at: usize) {
        let exchange = self.router.exchange;
        let Some(one) = self.tries.get_mut(at) else { return };
        // The time of a try begins when the request has been received.
        if !exchange.request_has_ended() {
            one.late = Some(Box::pin(sleep(self.per_try)));
            return;
        }
        one.late = None;
        self.plan.trying.late(one.number);
        let random = exchange.worker().random.next();
        let verdict = self.retry.as_mut().map(|retry| retry.on_late(random));
        let repeated = self.plan.replay.can_repeat() && self.is_retried(verdict, true);
        if let Some(one) = self.tries.get_mut(at) {
            one.repeated = repeated;
        }
    }

    /// Whether another try is on its way.
    fn is_retried(&mut self, verdict: Option<Verdict>, late: bool) -> bool {
        let (router, plan) = (self.router, self.plan);
        let (exchange, counts) = (router.exchange, &plan.upstream.counts);
        match verdict {
            Some(Verdict::Retry { after, limited }) => {
                let Some(permit) = plan.upstream.acquire(Resource::Retry, router.priority()) else {
                    exchange.inc_both(counts, ClusterStat::RqRetryOverflow, RouteStat::RqRetryOverflow);
                    exchange.flag(Flag::UpstreamOverflow);
                    return false;
                };
                exchange.inc_both(counts, ClusterStat::RqRetry, RouteStat::RqRetry);
                counts.inc(backed_off(limited));
                self.pauses.push(Pause {
                    until: Box::pin(sleep(after)),
                    permit,
                    late,
                });
                return true;
            }
            Some(Verdict::Exhausted) => {
                exchange.inc_both(
                    counts,
                    ClusterStat::RqRetryLimitExceeded,
                    RouteStat::RqRetryLimitExceeded,
                );
                exchange.flag(Flag::UpstreamRetryLimitExceeded);
            }
            Some(Verdict::No) if exchange.attempts.get() > 1 => {
                exchange.inc_both(counts, ClusterStat::RqRetrySuccess, RouteStat::RqRetrySuccess)
            }
            Some(Verdict::No) | None => {}
        }
        false
    }

    fn resume(&mut self, at: usize) {
        let Pause { permit, late, .. } = self.pauses.swap_remove(at);
        self.permits.push(permit);
        self.router.tell_lateness(late);
        self.begin(false);
    }

    /// None: others are waited for.
    fn ended(&mut self, at: usize, ended: Ended) -> Option<Result<(Answer, InFlight), Failure>> {
        let (router, plan) = (self.router, self.plan);
        let exchange = router.exchange;
        let Try { repeated, told, .. } = self.tries.swap_remove(at);
        let repeatable = plan.replay.can_repeat();
        let random = exchange.worker().random.next();
        match ended {
            Ok((answer, picked, in_flight)) => {
                let bad = match (&mut self.retry, repeated) {
                    (None, _) => false,
                    (Some(retry), true) => retry.would_retry(&answer.head),
                    (Some(retry), false) if repeatable && answer.upgraded.is_none() => {
                        let verdict = retry.on_response(&answer.head, random, now());
                        if self.is_retried(Some(verdict), false) {
                            return None;
                        }
                        verdict != Verdict::No
                    }
                    (Some(_), false) => false,
                };
                if bad && self.has_others() {
                    return None;
                }
                exchange.upstream.replace(told);
                plan.replay.commit();
                router.rewrite_host(&mut exchange.request.borrow_mut(), &picked.host);
                Some(Ok((answer, in_flight)))
            }
            Err(failed) => {
                if repeatable && is_stale(&failed, &exchange.request.borrow()) && !repeated {
                    failed.forget();
                    self.begin(true);
                    return None;
                }
                let kind = failure_kind(&failed.failure).filter(|_| repeatable && !repeated);
                let verdict = self
                    .retry
                    .as_mut()
                    .zip(kind)
                    .map(|(retry, kind)| retry.on_failure(kind, random));
                if self.is_retried(verdict, false) || self.has_others() {
                    return None;
                }
                exchange.upstream.replace(told);
                plan.replay.commit();
                Some(Err(failed.failure))
            }
        }
    }

    fn has_others(&self) -> bool {
        !self.tries.is_empty() || !self.pauses.is_empty()
    }
}
