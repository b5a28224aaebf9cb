//! Whether and when a failed attempt is tried again.
//!
//! Envoy's `retry_on` conditions (router filter documentation, `x-envoy-retry-on` and `x-envoy-retry-grpc-on`).
//! Retries that request headers ask for (`x-envoy-retry-on`, `x-envoy-max-retries`) are for callers whose headers count
//! ([`Heard`]): any other could multiply the load.

use std::sync::Arc;
use std::time::Duration;

use super::route::Forwarding;
use super::timeout::Heard;
use crate::compile::matcher::HeaderMatcher;
use crate::compile::route::RetryPolicy;
use crate::compile::route::retry::conditions;
use crate::message::{RequestHead, ResponseHead};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Retry {
        after: Duration,
        /// The answer itself has said when.
        limited: bool,
    },
    /// The answer or failure is final.
    No,
    /// It would have been retried, but there are no attempts left (`URX`).
    Exhausted,
}

/// Why an attempt ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection was made: nothing was sent.
    Connect,
    /// The connection or stream ended before the answer. `sent`: some of the request may have reached the upstream.
    Reset {
        sent: bool,
    },
    /// HTTP/2 REFUSED_STREAM, or GOAWAY with a lower last stream: not processed.
    RefusedStream,
    PerTryTimeout,
    /// A circuit breaker or pool limit of our own: never retried, as load is what it sheds.
    Overflow,
}

/// One request's attempts.
#[derive(Clone, Debug)]
pub struct RetryState {
    policy: Arc<RetryPolicy>,
    /// Retries made.
    made: u32,
}

// === impl RetryState ===

impl RetryState {
    pub fn new(policy: Arc<RetryPolicy>) -> Self {
        Self { policy, made: 0 }
    }

    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// Whether a retry may still come: until then the request must be kept.
    pub fn may_retry(&self) -> bool {
        self.made < self.policy.num_retries
    }

    /// `now`: seconds since 1970.
    pub fn on_response(&mut self, head: &ResponseHead, random: u64, now: u64) -> Verdict {
        let wanted = self.would_retry(head);
        match self.verdict(wanted, random) {
            Verdict::Retry { after, .. } => {
                let said = self.reset_after(head, random, now);
                Verdict::Retry {
                    after: said.unwrap_or(after),
                    limited: said.is_some(),
                }
            }
            verdict => verdict,
        }
    }

    /// How long the answer itself says to wait, and up to half as much again, so that not all come at once.
    fn reset_after(&self, head: &ResponseHead, random: u64, now: u64) -> Option<Duration> {
        let limited = self.policy.rate_limited.as_ref()?;
        let said = limited.resets.iter().find_map(|reset| {
            let value: u64 = head.headers.get_str(&reset.name)?.parse().ok()?;
            let seconds = if reset.unix {
                value.checked_sub(now)?
            } else {
                value
            };
            let said = Duration::from_secs(seconds);
            (said <= limited.longest && !said.is_zero()).then_some(said)
        })?;
        let jitter = u64::try_from(said.as_nanos() / 2).unwrap_or(u64::MAX).max(1);
        Some(said + Duration::from_nanos(random % jitter))
    }

    pub fn on_failure(&mut self, kind: FailureKind, random: u64) -> Verdict {
        let on = &self.policy.on;
        let wanted = match kind {
            FailureKind::Connect => {
                on.five_xx || on.gateway_error || on.connect_failure || on.reset || on.reset_before_request
            }
            FailureKind::Reset { sent } => {
                on.five_xx || on.gateway_error || on.reset || (on.reset_before_request && !sent)
            }
            FailureKind::RefusedStream => on.five_xx || on.gateway_error || on.reset || on.refused_stream,
            FailureKind::PerTryTimeout => on.five_xx || on.gateway_error || on.reset,
            FailureKind::Overflow => false,
        };
        self.verdict(wanted, random)
    }

    /// An attempt has taken longer than one may, and goes on; another is made beside it whatever is retried on, as in
    /// Envoy.
    pub fn on_late(&mut self, random: u64) -> Verdict {
        self.verdict(true, random)
    }

    /// Whether an answer would be retried, if there were another try.
    pub fn would_retry(&self, head: &ResponseHead) -> bool {
        // It asks not to be retried, unless retrying on it is wanted.
        if head.headers.contains("x-envoy-ratelimited") {
            return self.policy.on.envoy_ratelimited;
        }
        wants_status(&self.policy, head.status)
            || wants_grpc(&self.policy, head)
            || wants_headers(&self.policy, head)
    }

    fn verdict(&mut self, wanted: bool, random: u64) -> Verdict {
        if !wanted {
            return Verdict::No;
        }
        if !self.may_retry() {
            return Verdict::Exhausted;
        }
        let after = self.backoff(random);
        self.made += 1;
        Verdict::Retry {
            after,
            limited: false,
        }
    }

    /// Full jitter: uniform below `base × 2^n`, at most the maximum (Envoy's `JitteredExponentialBackOffStrategy`).
    fn backoff(&self, random: u64) -> Duration {
        let scale = 2_u32.saturating_pow(self.made);
        let ceiling = self
            .policy
            .backoff_base
            .saturating_mul(scale)
            .min(self.policy.backoff_max);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        match nanos {
            0 => Duration::ZERO,
            nanos => Duration::from_nanos(random % nanos),
        }
    }
}

impl Forwarding<'_> {
    /// Whether an attempt that takes too long goes on beside another; the caller's word counts first.
    pub fn hedges(&self, head: &RequestHead, heard: Heard) -> bool {
        let said = head.headers.get("x-envoy-hedge-on-per-try-timeout");
        match said.filter(|_| heard != Heard::No) {
            Some(b"true") => true,
            Some(b"false") => false,
            _ => self.forward.hedge,
        }
    }

    /// The policy of the route, or of the `cluster` in its place, with what the caller's own headers ask for. None:
    /// nothing is retried.
    pub fn retry(
        &self,
        cluster: Option<&Arc<RetryPolicy>>,
        head: &RequestHead,
        heard: Heard,
    ) -> Option<Arc<RetryPolicy>> {
        let policy = cluster.or(self.forward.retry.as_ref());
        let excluded = |policy: &Arc<RetryPolicy>| {
            let wanted = &policy.request_headers;
            !wanted.is_empty() && !wanted.iter().any(|one| one.matches_request(head))
        };
        if policy.is_some_and(excluded) {
            return None;
        }
        if heard == Heard::No {
            return policy.cloned();
        }
        let asks = |name: &str| head.headers.get_str(name);
        let words = [asks("x-envoy-retry-on"), asks("x-envoy-retry-grpc-on")];
        let most = asks("x-envoy-max-retries").and_then(|most| most.parse().ok());
        let codes = asks("x-envoy-retriable-status-codes");
        let names = asks("x-envoy-retriable-header-names");
        if words == [None, None] && most.is_none() && codes.is_none() && names.is_none() {
            return policy.cloned();
        }
        let mut merged = policy.map_or_else(RetryPolicy::default, |policy| RetryPolicy::clone(policy));
        for words in words.into_iter().flatten() {
            merged.on = merged.on.and(conditions(words, &mut |_, _| {}));
        }
        merged.num_retries = most.unwrap_or(merged.num_retries);
        let codes = codes.into_iter().flat_map(|codes| codes.split(','));
        merged
            .status_codes
            .extend(codes.filter_map(|code| code.trim().parse::<u16>().ok()));
        let names = names.into_iter().flat_map(|names| names.split(','));
        merged
            .retriable_headers
            .extend(names.map(|name| HeaderMatcher::present(name.trim())));
        Some(Arc::new(merged))
    }
}

/// Whether a header that is checked strictly has a value that means something.
pub fn is_valid_control(name: &str, value: &str) -> bool {
    match name {
        "x-envoy-retry-on" | "x-envoy-retry-grpc-on" => {
            let mut known = true;
            conditions(value, &mut |_, _| known = false);
            known
        }
        _ => value.parse::<u64>().is_ok(),
    }
}

fn wants_status(policy: &RetryPolicy, status: u16) -> bool {
    let on = &policy.on;
    (on.five_xx && (500..600).contains(&status))
        || (on.gateway_error && (502..=504).contains(&status))
        || (on.retriable_4xx && status == 409)
        || (on.retriable_status_codes && policy.status_codes.contains(&status))
}

/// Of an answer that is only trailers: then `grpc-status` is in the head, and nothing has been passed on.
fn wants_grpc(policy: &RetryPolicy, head: &ResponseHead) -> bool {
    let on = &policy.on;
    let status: Option<u32> = head
        .headers
        .get_str("grpc-status")
        .and_then(|text| text.parse().ok());
    match status {
        Some(1) => on.grpc_cancelled,
        Some(4) => on.grpc_deadline_exceeded,
        Some(8) => on.grpc_resource_exhausted,
        Some(13) => on.grpc_internal,
        Some(14) => on.grpc_unavailable,
        _ => false,
    }
}

fn wants_headers(policy: &RetryPolicy, head: &ResponseHead) -> bool {
    policy.on.retriable_headers
        && policy
            .retriable_headers
            .iter()
            .any(|m| m.matches_headers(&head.headers))
}
