//! Whether and when a failed attempt is tried again.
//!
//! Envoy's `retry_on` conditions (router filter documentation, `x-envoy-retry-on` and `x-envoy-retry-grpc-on`).
//! Retries by request headers (`x-envoy-retry-on`, `x-envoy-max-retries`) are not honoured: any caller could then
//! multiply the load.

use std::sync::Arc;
use std::time::Duration;

use crate::compile::route::RetryPolicy;
use crate::message::ResponseHead;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Retry {
        after: Duration,
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

    pub fn on_response(&mut self, head: &ResponseHead, random: u64) -> Verdict {
        // `x-envoy-ratelimited` asks not to be retried, unless retrying on it is wanted.
        let wanted = if head.headers.contains("x-envoy-ratelimited") {
            self.policy.on.envoy_ratelimited
        } else {
            wants_status(&self.policy, head.status)
                || wants_grpc(&self.policy, head)
                || wants_headers(&self.policy, head)
        };
        self.verdict(wanted, random)
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

    fn verdict(&mut self, wanted: bool, random: u64) -> Verdict {
        if !wanted {
            return Verdict::No;
        }
        if !self.may_retry() {
            return Verdict::Exhausted;
        }
        let after = self.backoff(random);
        self.made += 1;
        Verdict::Retry { after }
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
