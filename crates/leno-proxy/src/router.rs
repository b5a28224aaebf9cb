//! From a route to an answer: cluster, endpoint, connection, and again where that may help.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use leno_engine::compile::cluster::UpstreamProtocol;
use leno_engine::compile::endpoint::Target;
use leno_engine::decide::balance::{Active, Host, PickContext};
use leno_engine::decide::limits::{Permit, Resource};
use leno_engine::decide::retry::{FailureKind, RetryState, Verdict};
use leno_engine::decide::route::Forwarding;
use leno_engine::decide::timeout::Timeouts;
use leno_engine::flags::Flag;
use leno_engine::message::{RequestHead, Version};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::alpn::Offer;
use crate::codec::{Answer, Body, Frame, Request, Source};
use crate::connection::Connection;
use crate::headers::{self, ORIGINAL_VERSION};
use crate::outcome::{Failure, StreamError};
use crate::record::{Attempted, Exchange};
use crate::replay::Replay;
use crate::try_idle::TryIdle;
use crate::upstream::Upstream;
use crate::{mirror, tcp_proxy};

/// Kept of a request's body where no retry policy asks for more: enough to repeat it on a fresh connection when a
/// pooled one turns out to be closed.
const STALE_REPLAY: usize = 64 * 1024;
/// Kept where a retry policy or a mirror needs it, unless the listener says otherwise: Envoy's default.
const RETRY_REPLAY: usize = 1024 * 1024;

/// Headers by which a caller controls this router, or which are ours to set.
const CONTROLS: [&str; 7] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-expected-rq-timeout-ms",
];

/// One request on its way to its cluster.
pub(crate) struct Router<'r> {
    pub(crate) exchange: &'r Rc<Exchange>,
    pub(crate) connection: &'r Connection,
    pub(crate) forwarding: &'r Forwarding<'r>,
}

/// What all attempts of a request have in common.
struct Plan {
    head: RequestHead,
    upstream: Rc<Upstream>,
    hash: Option<u64>,
    per_try: Option<Duration>,
    per_try_idle: Option<Duration>,
    replay: Replay,
}

/// An attempt that has no answer.
struct Failed {
    failure: Failure,
    host: Option<Host>,
    /// On a connection that had carried requests before.
    reused: bool,
}

// === impl Router ===

impl Router<'_> {
    pub(crate) async fn forward(&self, mut head: RequestHead, body: Body) -> Result<Answer, Failure> {
        let exchange = self.exchange;
        let worker = exchange.worker();
        let found = tcp_proxy::find(worker, &self.forwarding.cluster).await;
        let timeouts = self.forwarding.timeouts(&head);
        exchange.watch.limit(timeouts.idle, timeouts.max_stream);
        self.edit(&mut head, &timeouts);
        exchange.request.replace(Some(head.clone()));
        let upstream = found?;
        self.note(&upstream, None, None, None);
        let permit = upstream.acquire(Resource::Request).ok_or(Failure::Overflow)?;
        let source = exchange.downstream.remote.ip();
        let hashed = self.forwarding.hash(&head, Some(source), worker.random.next());
        let forward = self.forwarding.forward;
        let repeatable = forward.retry.is_some() || !forward.mirrors.is_empty();
        let limit = match repeatable {
            true => self
                .connection
                .buffer_limit
                .map_or(RETRY_REPLAY, |limit| limit as usize),
            false => STALE_REPLAY,
        };
        let replay = Replay::new(body, limit);
        mirror::start(exchange, &forward.mirrors, &head, &replay);
        let plan = Plan {
            head,
            upstream,
            hash: hashed.hash,
            per_try: timeouts.per_try,
            per_try_idle: timeouts.per_try_idle,
            replay,
        };
        let mut deadline = std::pin::pin!(deadline(exchange, timeouts.global));
        let (mut answer, active) = tokio::select! {
            biased;
            result = self.attempts(&plan) => result?,
            () = deadline.as_mut() => return Err(Failure::Timeout),
            expired = poll_fn(|cx| exchange.watch.poll_expired(cx)) => return Err(Failure::Expired(expired)),
        };
        if let Some(cookie) = hashed.set_cookie {
            answer.head.headers.append("set-cookie", cookie);
        }
        answer.body = UpstreamBody::guard(answer.body, exchange, timeouts.global, (permit, active));
        Ok(answer)
    }

    fn edit(&self, head: &mut RequestHead, timeouts: &Timeouts) {
        for name in CONTROLS {
            head.headers.remove(name);
        }
        if let Some(global) = timeouts.per_try.or(timeouts.global) {
            head.headers
                .append("x-envoy-expected-rq-timeout-ms", global.as_millis().to_string());
        }
        self.forwarding.edit_request(head, &**self.exchange);
    }

    async fn attempts(&self, plan: &Plan) -> Result<(Answer, Active), Failure> {
        let exchange = self.exchange;
        let random = || exchange.worker().random.next();
        let mut retry = self.forwarding.forward.retry.clone().map(RetryState::new);
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
                Ok((answer, host, _)) => {
                    let verdict = retry.as_mut().filter(|_| repeatable && answer.upgraded.is_none());
                    (verdict.map(|r| r.on_response(&answer.head, random())), Some(host))
                }
                Err(failed) => {
                    if !fresh && repeatable && is_stale(failed, &plan.head) {
                        fresh = true;
                        continue;
                    }
                    let kind = failure_kind(&failed.failure).filter(|_| repeatable);
                    let verdict = retry
                        .as_mut()
                        .zip(kind)
                        .map(|(r, kind)| r.on_failure(kind, random()));
                    (verdict, failed.host.as_ref())
                }
            };
            match verdict {
                Some(Verdict::Retry { after }) => match plan.upstream.acquire(Resource::Retry) {
                    Some(permit) => {
                        previous.extend(host.map(|h| h.endpoint.address.clone()));
                        // The failed attempt's connection and stream are let go before the pause.
                        drop(attempted);
                        _retry_permit = Some(permit);
                        fresh = false;
                        tokio::time::sleep(after).await;
                        continue;
                    }
                    None => exchange.flag(Flag::UpstreamOverflow),
                },
                Some(Verdict::Exhausted) => exchange.flag(Flag::UpstreamRetryLimitExceeded),
                Some(Verdict::No) | None => {}
            }
            plan.replay.commit();
            return match attempted {
                Ok((answer, _, active)) => Ok((answer, active)),
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
    ) -> Result<(Answer, Host, Active), Failed> {
        let picked = self.pick(plan, retry, previous);
        let host = picked.map_err(|failure| Failed {
            failure,
            host: None,
            reused: false,
        })?;
        let active = host.start();
        let reused = Cell::new(false);
        let idle = plan.per_try_idle.map(TryIdle::new);
        let sending = self.send(plan, &host, fresh, &reused, idle.as_ref());
        let result = within(plan.per_try, idle.as_ref(), sending).await;
        match result {
            Ok(answer) => {
                plan.upstream.report_status(&host, answer.head.status);
                Ok((answer, host, active))
            }
            // The request could not be sent because there was no more of it: not the upstream's doing.
            Err(_) if self.exchange.client_gone.get() => Err(Failed {
                failure: Failure::Downstream,
                host: Some(host),
                reused: false,
            }),
            Err(failure) => {
                plan.upstream.report_failure(&host, &failure);
                self.note_failure(&failure);
                Err(Failed {
                    failure,
                    host: Some(host),
                    reused: reused.get(),
                })
            }
        }
    }

    fn pick(&self, plan: &Plan, retry: Option<&RetryState>, previous: &[Target]) -> Result<Host, Failure> {
        let avoid = retry
            .map(RetryState::policy)
            .filter(|policy| policy.avoid_previous_hosts);
        plan.upstream.pick(&PickContext {
            random: self.exchange.worker().random.next(),
            hash: plan.hash,
            previous: if avoid.is_some() { previous } else { &[] },
            attempts: avoid.map_or(0, |policy| policy.host_selection_attempts),
            original_destination: Some(self.connection.destination),
        })
    }

    async fn send(
        &self,
        plan: &Plan,
        host: &Host,
        fresh: bool,
        reused: &Cell<bool>,
        idle: Option<&TryIdle>,
    ) -> Result<Answer, Failure> {
        let worker = self.exchange.worker();
        let mut head = plan.head.clone();
        let protocol = plan.upstream.cluster().protocol;
        let (http2, offer) = self.protocol(protocol, &head);
        let authority = std::str::from_utf8(&head.authority).ok().map(without_port);
        let to = plan
            .upstream
            .destination(host, authority, offer, self.connection.facts.inbound)?;
        if offer == Offer::Upgrade && protocol == UpstreamProtocol::Http2 && !to.is_mesh() {
            return Err(Failure::Stream(StreamError::Invalid("an upgrade over HTTP/2")));
        }
        self.note(&plan.upstream, Some(host), None, None);
        let pool = plan.upstream.pool(&to);
        let checkout = pool
            .checkout(worker.connector(), &plan.upstream, http2, fresh)
            .await?;
        reused.set(checkout.reused);
        let info = Rc::clone(&checkout.info);
        self.note(&plan.upstream, Some(host), Some(&info), None);
        if self.forwarding.auto_host() && !host.endpoint.hostname.is_empty() {
            head.authority = bytes::Bytes::copy_from_slice(host.endpoint.hostname.as_bytes());
        }
        if self.forwarding.host.include_attempt_count {
            head.headers
                .set("x-envoy-attempt-count", self.exchange.attempts.get().to_string());
        }
        let to_mesh_peer = info.peer_principal.is_some();
        if checkout.is_http2() && to_mesh_peer && head.version != Version::Http2 {
            head.headers.set(ORIGINAL_VERSION, head.version.as_str());
        }
        let body = match idle {
            Some(idle) => idle.request(plan.replay.attempt()),
            None => plan.replay.attempt(),
        };
        let mut answer = checkout
            .send(Request { head, body })
            .await
            .map_err(Failure::Stream)?;
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

    /// What is spoken where ALPN does not decide, and what ALPN offers. Upgrades (websocket) are HTTP/1.1's.
    fn protocol(&self, protocol: UpstreamProtocol, head: &RequestHead) -> (bool, Offer) {
        if head.upgrade.is_some() {
            return (false, Offer::Upgrade);
        }
        let exactly = |http2| (http2, if http2 { Offer::Http2 } else { Offer::Http1 });
        match protocol {
            UpstreamProtocol::Http1 => exactly(false),
            UpstreamProtocol::Http2 => exactly(true),
            UpstreamProtocol::Downstream => exactly(head.version == Version::Http2),
            UpstreamProtocol::Auto => (false, Offer::Http),
        }
    }

    fn note(
        &self,
        upstream: &Upstream,
        host: Option<&Host>,
        connection: Option<&Rc<crate::connect::UpstreamConnection>>,
        failure: Option<std::sync::Arc<str>>,
    ) {
        self.exchange.upstream.replace(Some(Attempted {
            cluster: upstream.cluster(),
            endpoint: host.map(|h| std::sync::Arc::clone(&h.endpoint)),
            connection: connection.map(Rc::clone),
            failure,
        }));
    }

    fn note_failure(&self, failure: &Failure) {
        if let Some(attempted) = &mut *self.exchange.upstream.borrow_mut() {
            attempted.failure = failure.transport_reason();
        }
    }
}

/// One attempt's time-outs.
async fn within(
    per_try: Option<Duration>,
    idle: Option<&TryIdle>,
    sending: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    if per_try.is_none() && idle.is_none() {
        return sending.await;
    }
    let late = async {
        match per_try {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let quiet = async {
        match idle {
            Some(idle) => idle.expired().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = sending => result,
        () = late => Err(Failure::TryTimeout),
        () = quiet => Err(Failure::TryIdle),
    }
}

/// The route's time-out, which begins with the end of the request (Envoy: "the entire downstream request").
async fn deadline(exchange: &Rc<Exchange>, global: Option<Duration>) {
    let Some(global) = global else {
        return std::future::pending().await;
    };
    exchange.request_ended().await;
    tokio::time::sleep(global).await;
}

/// A pooled connection that the upstream had closed, or was closing, when it was used (RFC 9110 §9.2.2): what has not
/// been sent may always be sent again, the rest only where doing it twice is the same as once.
fn is_stale(failed: &Failed, head: &RequestHead) -> bool {
    let idempotent = matches!(
        head.method.as_ref(),
        b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
    );
    failed.reused
        && match failed.failure {
            Failure::Stream(StreamError::Refused) => true,
            Failure::Stream(StreamError::Closed) => idempotent && head.upgrade.is_none(),
            _ => false,
        }
}

fn failure_kind(failure: &Failure) -> Option<FailureKind> {
    Some(match failure {
        Failure::Connect(_) | Failure::ConnectTimeout => FailureKind::Connect,
        Failure::Stream(StreamError::Refused) => FailureKind::RefusedStream,
        Failure::Stream(
            StreamError::Closed | StreamError::Truncated | StreamError::Reset(_) | StreamError::Protocol(_),
        ) => FailureKind::Reset { sent: true },
        Failure::TryTimeout | Failure::TryIdle => FailureKind::PerTryTimeout,
        Failure::Overflow => FailureKind::Overflow,
        Failure::Stream(_)
        | Failure::Timeout
        | Failure::NoHealthyUpstream
        | Failure::NoCluster
        | Failure::Unanswered
        | Failure::Expired(_)
        | Failure::Downstream => return None,
    })
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// An upstream's response body: while it lasts the request counts, and its time-out runs.
struct UpstreamBody {
    body: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    _counted: (Permit, Active),
}

impl UpstreamBody {
    fn guard(body: Body, exchange: &Exchange, global: Option<Duration>, counted: (Permit, Active)) -> Body {
        if body.is_end() {
            return body;
        }
        let left = global.map(|global| global.saturating_sub(exchange.elapsed()));
        Body::Stream(Box::new(Self {
            body,
            deadline: left.map(|left| Box::pin(sleep_until(Instant::now() + left))),
            _counted: counted,
        }))
    }
}

impl Source for UpstreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        match self.body.poll_frame(cx) {
            Poll::Pending => {
                let late = self
                    .deadline
                    .as_mut()
                    .is_some_and(|d| d.as_mut().poll(cx).is_ready());
                if late {
                    Poll::Ready(Some(Err(StreamError::TimedOut)))
                } else {
                    Poll::Pending
                }
            }
            ready => ready,
        }
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
