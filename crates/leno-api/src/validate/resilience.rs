//! VirtualService: retries and faults.

use super::Check;
use crate::codes::Code;
use crate::kinds::virtual_service::{Fault, Percent, Retries};

pub(super) fn retries(check: &mut Check<'_>, at: &str, retries: Option<&Retries>) {
    let Some(retries) = retries else { return };
    check.range(format!("{at}.attempts"), retries.attempts, 0..=1000);
    check.positive(format!("{at}.perTryTimeout"), retries.per_try_timeout);
    check.positive(format!("{at}.backoff"), retries.backoff);
    if retries.attempts == 0 && (retries.per_try_timeout.is_some() || retries.retry_on.is_some()) {
        let message = "perTryTimeout and retryOn are without effect when attempts is 0";
        check.warning(Code::NoEffect, at, message, "give attempts");
    }
    const KNOWN: &[&str] = &[
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ];
    for word in retries
        .retry_on
        .iter()
        .flat_map(|on| on.split(','))
        .map(str::trim)
    {
        let status = word.parse::<u16>().is_ok_and(|code| (100..600).contains(&code));
        if !status && !KNOWN.contains(&word) {
            let hint = crate::nearest(word, KNOWN.iter().copied());
            let hint = hint.map_or_else(
                || format!("known: {}", KNOWN.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            check.error(
                Code::WrongValue,
                format!("{at}.retryOn"),
                format!("{word:?} is no retry condition"),
                hint,
            );
        }
    }
}

pub(super) fn fault(check: &mut Check<'_>, at: &str, fault: Option<&Fault>) {
    let Some(fault) = fault else { return };
    if fault.delay.is_none() && fault.abort.is_none() {
        check.error(Code::Empty, at, "a fault without delay and abort", "give one");
    }
    if let Some(delay) = &fault.delay {
        let at = format!("{at}.delay");
        if delay.fixed_delay.is_none() {
            check.error(
                Code::MissingField,
                &at,
                "a delay without fixedDelay",
                "add fixedDelay: 5s",
            );
        }
        check.positive(format!("{at}.fixedDelay"), delay.fixed_delay);
        share(check, &at, delay.percentage, delay.percent);
    }
    if let Some(abort) = &fault.abort {
        let at = format!("{at}.abort");
        check.one_of(
            &at,
            &[
                ("httpStatus", abort.http_status.is_some()),
                ("grpcStatus", abort.grpc_status.is_some()),
            ],
        );
        if let Some(status) = abort.http_status {
            check.range(format!("{at}.httpStatus"), status, 200..=599);
        }
        if let Some(status) = &abort.grpc_status
            && grpc_code(status).is_none()
        {
            let message = format!("{status:?} is no gRPC status");
            check.error(
                Code::WrongValue,
                format!("{at}.grpcStatus"),
                message,
                "such as UNAVAILABLE, or 0 to 16",
            );
        }
        share(check, &at, abort.percentage, abort.percent);
    }
}

/// A gRPC status by name or number.
pub fn grpc_code(status: &str) -> Option<u32> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let by_name = NAMES
        .iter()
        .position(|name| *name == status)
        .and_then(|i| u32::try_from(i).ok());
    by_name.or_else(|| status.parse().ok().filter(|code| *code <= 16))
}

/// Without a percentage nothing is affected, as in Istio: most likely not what was meant.
fn share(check: &mut Check<'_>, at: &str, precise: Option<Percent>, percent: Option<i64>) {
    percentage(check, &format!("{at}.percentage"), precise, percent);
    if precise.is_none() && percent.is_none() {
        check.warning(
            Code::NoEffect,
            at,
            "without a percentage no request is affected",
            "add percentage.value",
        );
    }
}

pub(super) fn percentage(check: &mut Check<'_>, at: &str, percentage: Option<Percent>, percent: Option<i64>) {
    if let Some(percentage) = percentage {
        check.percent(format!("{at}.value"), percentage.value);
    }
    if let Some(percent) = percent {
        check.range(at, percent, 0..=100);
    }
}
