//! `traceparent` and `tracestate` (W3C Trace Context).

use super::{Malformed, SpanContext, Told, TraceId, hex};
use crate::message::Headers;

pub(super) const PARENT: &str = "traceparent";
pub(super) const STATE: &str = "tracestate";

/// `VERSION-TRACE-SPAN-FLAGS`, of any version; None: there is no such header.
pub(super) fn told(headers: &Headers) -> Result<Option<Told>, Malformed> {
    let Some(value) = headers.get(PARENT) else {
        return Ok(None);
    };
    let well_formed = || {
        let parts: Vec<&[u8]> = value.split(|b| *b == b'-').collect();
        let [version, trace, span, flags] = parts.as_slice() else {
            return None;
        };
        let lengths = [version.len(), trace.len(), span.len(), flags.len()];
        if lengths != [2, 32, 16, 2] {
            return None;
        }
        hex(version)?;
        let (high, low) = trace.split_at(16);
        let trace = TraceId {
            high: hex(high)?,
            low: hex(low)?,
            long: true,
        };
        let (span, flags) = (hex(span)?, hex(flags)?);
        let named = (trace.high, trace.low) != (0, 0) && span != 0;
        named.then(|| Told {
            trace,
            span,
            parent: None,
            sampled: flags & 1 == 1,
            state: state(headers),
        })
    };
    well_formed().map(Some).ok_or(Malformed)
}

fn state(headers: &Headers) -> String {
    let values: Vec<&[u8]> = headers.get_all(STATE).collect();
    String::from_utf8_lossy(&values.join(&b","[..])).into_owned()
}

pub(super) fn tell(span: &SpanContext, headers: &mut Headers) {
    let TraceId { high, low, .. } = span.trace;
    let flags = u8::from(span.sampled);
    headers.set(
        PARENT,
        format!("00-{high:016x}{low:016x}-{:016x}-{flags:02x}", span.span),
    );
}
