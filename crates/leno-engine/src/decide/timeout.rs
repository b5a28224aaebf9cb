//! How long a request may take: the route's word, the caller's headers, gRPC's deadline.

use std::time::Duration;

use super::route::{Forwarding, is_grpc};
use crate::message::RequestHead;

/// None everywhere: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// The whole request with its retries, from the end of the request.
    pub global: Option<Duration>,
    pub per_try: Option<Duration>,
    /// After which a try goes on beside another (`hedge_on_per_try_timeout`): the same.
    pub hedge: Option<Duration>,
    pub per_try_idle: Option<Duration>,
    /// No byte in either direction for this long. None: the connection manager's.
    pub idle: Option<Duration>,
    /// An answer that waits for nothing but a client that takes it. None: the connection manager's.
    pub flush: Option<Duration>,
    pub max_stream: Option<Duration>,
    /// What the upstream is told in `grpc-timeout`, where it is not what the caller said.
    pub grpc: Option<Duration>,
}

/// Whether the caller's `x-envoy-…` headers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    No,
    Yes,
    /// And a proxy before this one has said how long it waits (`respect_expected_rq_timeout`).
    WithExpected,
}

impl Forwarding<'_> {
    /// As Envoy's `FilterUtility::finalTimeout`: `x-envoy-upstream-rq-timeout-ms` and
    /// `x-envoy-upstream-rq-per-try-timeout-ms` replace the route's timeouts, `grpc-timeout` that of a gRPC call
    /// where the route allows it. What the caller says is heard only as far as `heard`. A per-try timeout not shorter than the whole has no meaning and is dropped.
    pub fn timeouts(&self, head: &RequestHead, heard: Heard) -> Timeouts {
        let retry = self.forward.retry.as_deref();
        let mut global = self.forward.timeout;
        let mut max_stream = self.forward.max_stream_duration;
        if let Some(streams) = &self.forward.grpc_streams
            && is_grpc(head)
            && let Some(asked) = head.headers.get("grpc-timeout").and_then(grpc_timeout)
        {
            let most = if streams.maximum.is_zero() {
                asked
            } else {
                streams.maximum
            };
            let limit = asked.min(most);
            let limit = limit
                .checked_sub(streams.offset)
                .filter(|left| !left.is_zero())
                .unwrap_or(limit);
            max_stream = Some(limit);
        }
        let mut grpc = max_stream.filter(|most| is_grpc(head) && !most.is_zero());
        if let Some(maximum) = self.forward.grpc_timeout_max
            && is_grpc(head)
        {
            let asked = head.headers.get("grpc-timeout").and_then(grpc_timeout);
            let offset = self.forward.grpc_timeout_offset;
            let asked = asked.map(|asked| {
                let left = asked.checked_sub(offset).filter(|left| !left.is_zero());
                left.unwrap_or(asked)
            });
            // A maximum of zero: whatever the call says. No deadline of the call: no limit but the maximum.
            let unlimited = maximum.is_zero();
            global = match asked {
                Some(asked) if unlimited || asked < maximum => Some(asked),
                _ => (!unlimited).then_some(maximum),
            };
            grpc = global;
        }
        let is_heard = heard != Heard::No;
        let asks = |header| is_heard.then(|| milliseconds(head, header)).flatten();
        let expected = || asks("x-envoy-expected-rq-timeout-ms").filter(|_| heard == Heard::WithExpected);
        if let Some(asked) = expected().or_else(|| asks("x-envoy-upstream-rq-timeout-ms")) {
            global = (!asked.is_zero()).then_some(asked);
        }
        let per_try = asks("x-envoy-upstream-rq-per-try-timeout-ms")
            .or_else(|| retry.and_then(|r| r.per_try_timeout))
            .filter(|per_try| !per_try.is_zero() && global.is_none_or(|global| *per_try < global));
        Timeouts {
            global,
            per_try,
            hedge: per_try.filter(|_| self.hedges(head, heard)),
            per_try_idle: retry.and_then(|r| r.per_try_idle_timeout),
            idle: self.forward.idle_timeout,
            flush: self.forward.flush_timeout,
            max_stream,
            grpc,
        }
    }
}

fn milliseconds(head: &RequestHead, header: &str) -> Option<Duration> {
    head.headers
        .get_str(header)?
        .parse()
        .ok()
        .map(Duration::from_millis)
}

/// gRPC over HTTP/2: at most eight digits and a unit.
pub fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}
