//! From a route to an answer: cluster, endpoint, connection, and again where that may help.

mod ended;
mod hedge;
mod kept;
mod late;
mod logged;
mod noted;
mod pick;
mod preconnect;
mod traced;
mod trying;
mod tunnel;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use leno_engine::compile::cluster::UpstreamProtocol;
use leno_engine::compile::endpoint::Target;
use leno_engine::compile::route::RetryPolicy;
use leno_engine::decide::balance::{Active, Host};
use leno_engine::decide::limits::{Permit, Priority, Resource};
use leno_engine::decide::retry::{RetryState, Verdict};
use leno_engine::decide::route::Forwarding;
use leno_engine::decide::timeout::{Heard, Timeouts};
use leno_engine::decide::wish::Wishes;
use leno_engine::flags::Flag;
use leno_engine::message::{Decimal, RequestHead, Version};
use leno_telemetry::stats::{ClusterStat, RouteStat};

use self::ended::{backed_off, count, count_failure, failure_kind, is_stale};
use self::late::within;
use self::logged::TryLog;
use self::trying::Trying;
use self::tunnel::opened;
use crate::alpn::{self, Offer};
use crate::codec::{Answer, Body};
use crate::counts::Lasting;
use crate::destination::Purpose;
use crate::headers::{self, CONTROLS, CONTROLS_OF_THIS_ONE, EXPECTED, ORIGINAL_VERSION};
use crate::idle::Expired;
use crate::mirror;
use crate::outcome::{Failure, StreamError};
use crate::record::Exchange;
use crate::replay::Replay;
use crate::try_idle::TryIdle;
use crate::upstream::{Checkout, Picked, Upstream};

/// One request on its way to its cluster.
pub(crate) struct Router<'r> {
    pub(crate) exchange: &'r Rc<Exchange>,
    pub(crate) forwarding: &'r Forwarding<'r>,
    /// Whether the caller's own wishes count.
    pub(crate) heard: Heard,
}

/// What a route has come to.
pub(crate) enum Forwarded {
    Answered(Answer),
    /// Perhaps to another route, with the request's body once more.
    Redirected {
        answer: Answer,
        body: Body,
    },
}

/// What all attempts of a request have in common.
struct Plan {
    upstream: Rc<Upstream>,
    hash: Option<u64>,
    wishes: Option<Wishes>,
    per_try: Option<Duration>,
    per_try_idle: Option<Duration>,
    /// A try that has taken so long goes on beside another. Then `per_try` says nothing.
    hedge: Option<Duration>,
    replay: Replay,
    retry: Option<Arc<RetryPolicy>>,
    /// Attempts under way.
    trying: Trying,
}

/// An attempt that has an answer is counted at its host and its cluster for as long as the answer lasts.
struct InFlight {
    active: Active,
    lasting: Lasting<ClusterStat>,
    /// Of the member of an aggregate.
    permit: Option<Permit>,
}

/// An attempt that has no answer.
struct Failed {
    failure: Failure,
    picked: Option<Picked>,
    /// On a connection that had carried requests before.
    reused: bool,
    log: Option<Rc<TryLog>>,
}

// === impl Failed ===

impl Failed {
    /// It was on a connection that had ended: no try of its own.
    fn forget(&self) {
        if let Some(log) = &self.log {
            log.forget();
        }
    }
}

// === impl InFlight ===

impl InFlight {
    /// `permit`: the route's own cluster's.
    fn count(self, exchange: &Exchange, permit: Option<Permit>) {
        exchange.count(permit.or(self.permit), self.active, self.lasting);
    }
}

// === impl Router ===

impl Router<'_> {
    /// `upstream`: the route's cluster, as far as it was found.
    pub(crate) async fn forward(
        &self,
        upstream: Result<Rc<Upstream>, Failure>,
        body: Body,
    ) -> Result<Forwarded, Failure> {
        let exchange = self.exchange;
        let timeouts = self.forwarding.timeouts(&exchange.request.borrow(), self.heard);
        let cluster = upstream.as_ref().ok().map(|upstream| upstream.cluster());
        let of_cluster = cluster.as_ref().and_then(|cluster| cluster.retry.as_ref());
        let retry = self
            .forwarding
            .retry(of_cluster, &exchange.request.borrow(), self.heard);
        let of_cluster = cluster.and_then(|cluster| cluster.max_stream_duration);
        let own = timeouts.max_stream.filter(|own| !own.is_zero());
        let by_cluster = of_cluster.is_some_and(|most| own.is_none_or(|own| most < own));
        let max_stream = if by_cluster {
            of_cluster
        } else {
            timeouts.max_stream
        };
        exchange.watch.limit(timeouts.idle, max_stream, timeouts.flush);
        let upstream = upstream?;
        exchange.begin_beside();
        self.edit(&mut exchange.request.borrow_mut(), &timeouts);
        let counted = Rc::clone(&upstream);
        let forwarded = self
            .forward_to(upstream, &timeouts, retry, by_cluster, body)
            .await;
        count(exchange, &counted, self.heard != Heard::No, &forwarded);
        forwarded
    }

    async fn forward_to(
        &self,
        upstream: Rc<Upstream>,
        timeouts: &Timeouts,
        retry: Option<Arc<RetryPolicy>>,
        by_cluster: bool,
        body: Body,
    ) -> Result<Forwarded, Failure> {
        let exchange = self.exchange;
        if let Some(dropped) = upstream.drops() {
            return Err(Failure::Dropped(dropped));
        }
        let permit = match upstream.is_aggregate() {
            true => None,
            false => Some(self.admit(&upstream)?),
        };
        let cluster = upstream.cluster();
        let hashed = self.hash(&cluster);
        if self.ends_connect() {
            // Apart: no other request has room for it.
            let (answer, in_flight) = Box::pin(self.connect(&upstream, hashed.hash)).await?;
            in_flight.count(exchange, permit);
            return Ok(Forwarded::Answered(self.tunnelled(answer, body)));
        }
        let (body, in_tunnel) = self.set_aside(&upstream, body);
        let hedge = timeouts.hedge;
        let replay_limit = self.replay_limit(&cluster, retry.is_some());
        let plan = Plan {
            wishes: self.wishes(&cluster),
            upstream,
            hash: hashed.hash,
            hedge,
            per_try: timeouts.per_try.filter(|_| hedge.is_none()),
            per_try_idle: timeouts.per_try_idle,
            replay: match hedge {
                None => Replay::new(body, replay_limit),
                Some(_) => Replay::new(body, replay_limit).beside_each_other(),
            },
            retry,
            trying: Trying::default(),
        };
        mirror::start(
            exchange,
            self.mirrors(&cluster),
            &exchange.request.borrow(),
            &plan.replay,
        );
        exchange.answer_within(timeouts.global);
        let mut attempts = pin!(async {
            match plan.hedge {
                None => self.attempts(&plan).await,
                Some(per_try) => Box::pin(self.hedged(&plan, per_try)).await,
            }
        });
        let answered = poll_fn(|cx| match attempts.as_mut().poll(cx) {
            Poll::Pending => exchange.watch.poll_expired(cx).map(|expired| match expired {
                Expired::Answer => Err(Failure::Timeout),
                Expired::Whole if by_cluster => Err(Failure::UpstreamDuration),
                what => Err(Failure::Expired {
                    what,
                    ended: exchange.request_has_ended(),
                }),
            }),
            ready => ready,
        });
        let answered = answered.await;
        // Nobody waits for it any more: it was too late.
        if let Err(failure) = &answered {
            plan.trying.give_up(failure);
        }
        let (mut answer, in_flight) = answered?;
        if let Some(cookie) = hashed.set_cookie {
            answer.head.headers.append("set-cookie", cookie);
        }
        in_flight.count(exchange, permit);
        if self.leads_on(&answer)
            && let Some(body) = plan.replay.again()
        {
            return Ok(Forwarded::Redirected { answer, body });
        }
        Ok(Forwarded::Answered(self.tunnelled(answer, in_tunnel)))
    }

    /// Whether the route may follow the answer by itself.
    fn leads_on(&self, answer: &Answer) -> bool {
        let policy = self.forwarding.forward.redirects.as_ref();
        policy.is_some_and(|policy| policy.statuses.contains(&answer.head.status))
    }

    fn edit(&self, head: &mut RequestHead, timeouts: &Timeouts) {
        let options = &self.exchange.session().manager.router;
        if self.heard != Heard::No {
            // What a proxy before this one was told stays, where it counts.
            match options.respect_expected_timeout && head.headers.contains(EXPECTED) {
                true => head.headers.remove_all(&CONTROLS_OF_THIS_ONE),
                false => head.headers.remove_all(&CONTROLS),
            }
        }
        if let Some(left) = timeouts.grpc {
            let milliseconds = Decimal::from(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            head.headers
                .set("grpc-timeout", [milliseconds.as_ref(), b"m"].concat());
        }
        // A try that is not given up has all the time.
        let per_try = timeouts.per_try.filter(|_| timeouts.hedge.is_none());
        if let Some(global) = per_try.or(timeouts.global)
            && !options.suppress_envoy_headers
        {
            let limit = u64::try_from(global.as_millis()).unwrap_or(u64::MAX);
            head.headers.set(EXPECTED, Decimal::from(limit));
        }
        self.forwarding.edit_request(head, &**self.exchange, self.tells());
    }

    fn priority(&self) -> Priority {
        self.forwarding.forward.priority
    }

    /// Whether what was rewritten is told to the upstream.
    fn tells(&self) -> bool {
        !self.exchange.session().manager.router.suppress_envoy_headers
    }

    async fn attempts(&self, plan: &Plan) -> Result<(Answer, InFlight), Failure> {
        let exchange = self.exchange;
        let counts = &plan.upstream.counts;
        let random = || exchange.worker().random.next();
        let mut retry = plan.retry.clone().map(RetryState::new);
        let mut previous: Vec<Target> = Vec::new();
        let mut fresh = false;
        let mut _retry_permit: Option<Permit> = None;
        loop {
            if !fresh {
                exchange.attempts.set(exchange.attempts.get() + 1);
            }
            let attempted = self.attempt(plan, retry.as_ref(), &previous, fresh).await;
            let repeatable = plan.replay.can_repeat();
            let (verdict, host) = match &attempted {
                Ok((answer, picked, _)) => {
                    let verdict = retry.as_mut().filter(|_| repeatable && answer.upgraded.is_none());
                    (
                        verdict.map(|r| r.on_response(&answer.head, random(), now())),
                        Some(&picked.host),
                    )
                }
                Err(failed) => {
                    if !fresh && repeatable && is_stale(failed, &exchange.request.borrow()) {
                        failed.forget();
                        fresh = true;
                        continue;
                    }
                    if let Some(trace) = exchange.trace() {
                        trace.try_fails(&failed.failure);
                    }
                    let kind = failure_kind(&failed.failure).filter(|_| repeatable);
                    let verdict = retry
                        .as_mut()
                        .zip(kind)
                        .map(|(r, kind)| r.on_failure(kind, random()));
                    (verdict, failed.picked.as_ref().map(|picked| &picked.host))
                }
            };
            match verdict {
                Some(Verdict::Retry { after, limited }) => {
                    match plan.upstream.acquire(Resource::Retry, self.priority()) {
                        Some(permit) => {
                            previous.extend(host.map(|h| h.endpoint.address.clone()));
                            if let Ok((answer, picked, _)) = &attempted {
                                let stats = &exchange.worker().counts.stats;
                                picked.upstream.count_retried(stats, answer.head.status);
                            }
                            self.tell_if_late(attempted.as_ref().err());
                            // The failed attempt's connection and stream are let go before the pause.
                            drop(attempted);
                            if let Some(trace) = exchange.trace() {
                                trace.try_is_canceled();
                            }
                            _retry_permit = Some(permit);
                            exchange.inc_both(counts, ClusterStat::RqRetry, RouteStat::RqRetry);
                            counts.inc(backed_off(limited));
                            fresh = false;
                            tokio::time::sleep(after).await;
                            continue;
                        }
                        None => {
                            exchange.inc_both(
                                counts,
                                ClusterStat::RqRetryOverflow,
                                RouteStat::RqRetryOverflow,
                            );
                            exchange.flag(Flag::UpstreamOverflow);
                        }
                    }
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
            plan.replay.commit();
            return match attempted {
                Ok((answer, picked, in_flight)) => {
                    // Edits of the answer and the access log see the authority that was sent.
                    self.rewrite_host(&mut exchange.request.borrow_mut(), &picked.host);
                    Ok((answer, in_flight))
                }
                Err(failed) => Err(failed.failure),
            };
        }
    }

    async fn attempt(
        &self,
        plan: &Plan,
        retry: Option<&RetryState>,
        previous: &[Target],
        fresh: bool,
    ) -> Result<(Answer, Picked, InFlight), Failed> {
        self.await_host(plan).await;
        let picked = self.pick(plan, retry, previous);
        let unsent = |failure| Failed {
            failure,
            picked: None,
            reused: false,
            log: None,
        };
        let picked = picked.map_err(unsent)?;
        let in_flight = InFlight {
            permit: self
                .admit_to_member(&plan.upstream, &picked.upstream)
                .map_err(unsent)?,
            active: picked.host.start(),
            lasting: Lasting::begin(&picked.upstream.counts, ClusterStat::RqActive, None),
        };
        self.trace_try(&plan.upstream, &picked.host, fresh);
        let number = self.exchange.attempts.get();
        plan.trying.begin(number, &picked);
        let log = TryLog::begin(self.exchange);
        let reused = Cell::new(false);
        let idle = plan.per_try_idle.map(TryIdle::new);
        let result = {
            let sending = pin!(self.send(plan, &picked, fresh, &reused, (idle.as_ref(), log.as_ref())));
            match (plan.per_try, &idle) {
                (None, None) => sending.await,
                (per_try, idle) => Box::pin(within(per_try, idle.as_ref(), sending)).await,
            }
        };
        let was_late = plan.trying.end(number);
        match result {
            Ok(mut answer) => {
                Upstream::listen(&picked, &mut answer);
                if let Some(log) = &log {
                    log.answered(&mut answer);
                }
                picked.upstream.report_answer(&picked.host, &answer.head);
                if let Some(trace) = self.exchange.trace() {
                    trace.try_is_answered(&answer.head);
                }
                in_flight.active.answered(&answer.head);
                Ok((answer, picked, in_flight))
            }
            // The request could not be sent because there was no more of it: not the upstream's doing.
            Err(_) if self.exchange.client_gone.get() => Err(Failed {
                failure: Failure::Downstream,
                picked: Some(picked),
                reused: false,
                log,
            }),
            Err(failure) => {
                if !was_late {
                    picked.upstream.report_failure(&picked.host, &failure);
                }
                picked.host.state.load.settle(false);
                count_failure(&plan.upstream, &picked.upstream, &failure);
                self.note_failure(&failure);
                if let Some(log) = &log {
                    log.failed(&failure);
                }
                Err(Failed {
                    failure,
                    picked: Some(picked),
                    reused: reused.get(),
                    log,
                })
            }
        }
    }

    async fn send(
        &self,
        plan: &Plan,
        Picked { upstream, host }: &Picked,
        fresh: bool,
        reused: &Cell<bool>,
        (idle, log): (Option<&TryIdle>, Option<&Rc<TryLog>>),
    ) -> Result<Answer, Failure> {
        let exchange = self.exchange;
        let connection = &exchange.session().connection;
        let protocol = upstream.protocol();
        let (http2, pool) = {
            let head = exchange.request.borrow();
            let (http2, offer) = match head.upgrade.is_some() {
                true => alpn::for_cluster(&upstream.cluster(), &head),
                false => alpn::for_request(protocol, &head),
            };
            let offer = match self.named_offer().filter(|_| offer != Offer::Upgrade) {
                Some(named) => named,
                None => offer,
            };
            let purpose = Purpose {
                authority: Some(upstream.server_name(&head)),
                offer,
                inbound: connection.facts.inbound,
                behalf: Some(exchange.behalf()),
            };
            if offer == Offer::Upgrade
                && protocol == UpstreamProtocol::Http2
                && !upstream.destination(host, &purpose)?.is_mesh()
            {
                return Err(Failure::Stream(StreamError::Invalid("an upgrade over HTTP/2")));
            }
            let pool = upstream.pool_for(host, &purpose)?;
            (http2, pool)
        };
        self.tell_attempt();
        self.note(host, None);
        if let Some(log) = log {
            log.tell();
        }
        preconnect::start(exchange.worker(), upstream, &pool, (self.priority(), http2));
        let checkout = pool
            .checkout(
                exchange.worker().connector(),
                upstream,
                self.priority(),
                http2,
                fresh,
            )
            .await?;
        upstream.report_connected(host);
        host.state.load.issue();
        exchange.inc_both(&upstream.counts, ClusterStat::RqTotal, RouteStat::RqTotal);
        reused.set(checkout.reused);
        self.note(host, Some(&checkout));
        let to_mesh_peer = checkout.info.peer_principal().is_some();
        if let Some(trace) = exchange.trace() {
            trace.inject(&mut exchange.request.borrow_mut(), checkout.version());
        }
        let through = self.through(checkout.is_http2(), &exchange.request.borrow());
        let body = match (&through, idle) {
            (Some(through), _) => through.body(),
            (None, Some(idle)) => idle.request(plan.replay.attempt()),
            (None, None) => plan.replay.attempt(),
        };
        let upgrade = through
            .as_ref()
            .and_then(|_| exchange.request.borrow().upgrade.clone());
        let sending = self.send_on(checkout, (upstream, host), (body, log), to_mesh_peer);
        let began = upstream.heeds_latency().then(Instant::now);
        let mut answer = sending.await.map_err(Failure::Stream)?;
        if let Some(began) = began {
            upstream.report_latency(host, began);
        }
        if let Some(through) = through {
            answer = opened(answer, through, upgrade);
        }
        self.exchange.begin_response();
        if let Some(idle) = idle {
            answer.body = idle.response(answer.body);
        }
        let spoken = answer
            .head
            .headers
            .remove(ORIGINAL_VERSION)
            .filter(|_| to_mesh_peer);
        if let Some(version) = spoken.and_then(|v| headers::parse_version(&v)) {
            answer.head.version = version;
        }
        Ok(answer)
    }

    /// Sends the request as this attempt sends it; what of it is this attempt's alone is edited in a copy.
    fn send_on(
        &self,
        checkout: Checkout,
        (upstream, host): (&Upstream, &Host),
        (body, log): (Body, Option<&Rc<TryLog>>),
        to_mesh_peer: bool,
    ) -> impl Future<Output = Result<Answer, StreamError>> + use<> {
        let exchange = self.exchange;
        let counter = exchange.count_try();
        let version = checkout.version();
        let logged = |head: &RequestHead, body| match log {
            None => body,
            Some(log) => log.send(head, version, body),
        };
        let head = exchange.request.borrow();
        let again = exchange.attempts.get() > 1;
        let tells_version = to_mesh_peer && checkout.is_http2() && head.version != Version::Http2;
        let takes_scheme = exchange.session().manager.scheme_of_upstream;
        if !again && !tells_version && !takes_scheme && !self.rewrites_host(host) {
            let body = logged(&head, body);
            return checkout.send(&head, body, counter);
        }
        let mut head = head.clone();
        if again {
            self.tell_what_is_left(&mut head);
        }
        self.rewrite_host(&mut head, host);
        if tells_version {
            head.headers.set(ORIGINAL_VERSION, head.version.as_str());
        }
        if takes_scheme {
            let tls = upstream.cluster().transport.of(&host.endpoint).tls().is_some();
            head.scheme = Bytes::from_static(if tls { b"https" } else { b"http" });
        }
        let body = logged(&head, body);
        checkout.send(&head, body, counter)
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
