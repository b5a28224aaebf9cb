//! Attempts that take too long, and what those after them are told of it.

use std::future::Future;
use std::time::{Duration, Instant};

use leno_engine::message::{Decimal, RequestHead};

use super::{Failed, Router};
use crate::codec::Answer;
use crate::headers::EXPECTED;
use crate::outcome::Failure;
use crate::try_idle::TryIdle;

impl Router<'_> {
    /// Why there is a retry.
    pub(super) fn tell_if_late(&self, failed: Option<&Failed>) {
        self.tell_lateness(matches!(
            failed,
            Some(Failed {
                failure: Failure::TryTimeout | Failure::TryIdle,
                ..
            })
        ));
    }

    pub(super) fn tell_lateness(&self, late: bool) {
        if self.forwarding.host.include_is_timeout_retry {
            let headers = &mut self.exchange.request.borrow_mut().headers;
            headers.set("x-envoy-is-timeout-retry", if late { "true" } else { "false" });
        }
    }

    /// Which attempt it is.
    pub(super) fn tell_attempt(&self) {
        if self.forwarding.host.include_attempt_count {
            let count = Decimal::from(u64::from(self.exchange.attempts.get()));
            let headers = &mut self.exchange.request.borrow_mut().headers;
            headers.set("x-envoy-attempt-count", count);
        }
    }

    /// An attempt that is not the first has less time.
    pub(super) fn tell_what_is_left(&self, head: &mut RequestHead) {
        let Some(deadline) = self.exchange.watch.deadline() else {
            return;
        };
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let told = head
            .headers
            .get_str(EXPECTED)
            .and_then(|told| told.parse::<u128>().ok());
        if told.is_some_and(|told| left < told) {
            let left = u64::try_from(left).unwrap_or(u64::MAX);
            head.headers.set(EXPECTED, Decimal::from(left));
        }
    }
}

/// One attempt's time-outs.
pub(super) async fn within(
    per_try: Option<Duration>,
    idle: Option<&TryIdle>,
    sending: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
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
