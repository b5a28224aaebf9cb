//! B3, in one header or in several (<https://github.com/openzipkin/b3-propagation>).

use super::{Malformed, SpanContext, Told, TraceId, hex};
use crate::message::Headers;

pub(super) const SINGLE: &str = "b3";
const TRACE: &str = "x-b3-traceid";
const SPAN: &str = "x-b3-spanid";
const PARENT: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";

/// What the caller has decided; `d` asks for more than a trace, and is one.
pub(super) fn sampled(headers: &Headers) -> Option<bool> {
    if let Some(b3) = headers.get(SINGLE) {
        let at = match b3.len() {
            1 => 0,
            35 | 52 => 34,
            51 | 68 => 50,
            _ => return None,
        };
        return match b3.get(at)? {
            b'1' | b'd' => Some(true),
            b'0' => Some(false),
            _ => None,
        };
    }
    let said = headers.get(SAMPLED)?;
    Some(matches!(said, b"1" | b"true"))
}

/// None: it speaks of no span.
pub(super) fn told(headers: &Headers) -> Result<Option<Told>, Malformed> {
    if let Some(b3) = headers.get(SINGLE) {
        return single(b3);
    }
    let (Some(trace), Some(span)) = (headers.get(TRACE), headers.get(SPAN)) else {
        return Ok(None);
    };
    let parent = headers.get(PARENT).filter(|parent| !parent.is_empty());
    let told = || {
        Some(said(
            trace_id(trace)?,
            hex(span)?,
            parent.map(hex).unwrap_or(Some(0))?,
        ))
    };
    told().map(Some).ok_or(Malformed)
}

/// `TRACE-SPAN`, `TRACE-SPAN-SAMPLED`, `TRACE-SPAN-SAMPLED-PARENT`, or `SAMPLED` alone.
fn single(b3: &[u8]) -> Result<Option<Told>, Malformed> {
    let is_flag = |text: &[u8]| matches!(text, b"0" | b"1" | b"d");
    if b3.len() == 1 {
        return if is_flag(b3) { Ok(None) } else { Err(Malformed) };
    }
    let whole = |text: &[u8]| hex(text).filter(|_| text.len() == 16);
    let trace = |text: &[u8]| trace_id(text).filter(|_| matches!(text.len(), 16 | 32));
    let parts: Vec<&[u8]> = b3.split(|b| *b == b'-').collect();
    let told = || match parts.as_slice() {
        [id, span] => Some(said(trace(id)?, whole(span)?, 0)),
        [id, span, flag] if is_flag(flag) => Some(said(trace(id)?, whole(span)?, 0)),
        [id, span, flag, parent] if is_flag(flag) => Some(said(trace(id)?, whole(span)?, whole(parent)?)),
        _ => None,
    };
    told().map(Some).ok_or(Malformed)
}

fn said(trace: TraceId, span: u64, parent: u64) -> Told {
    Told {
        trace,
        span,
        parent: Some(parent).filter(|parent| *parent != 0),
        // Decided by `sampled`.
        sampled: false,
        state: String::new(),
    }
}

fn trace_id(text: &[u8]) -> Option<TraceId> {
    let (high, low) = match text.len() {
        32 => text.split_at(16),
        _ => (&b"0"[..], text),
    };
    let high = hex(high)?;
    Some(TraceId {
        high,
        low: hex(low)?,
        long: high != 0,
    })
}

/// As the caller tells it.
pub(super) fn tell(span: &SpanContext, headers: &mut Headers) {
    let sampled = if span.sampled { "1" } else { "0" };
    if span.single {
        let parent = span.parent.map(|parent| format!("-{parent:016x}"));
        let parent = parent.unwrap_or_default();
        headers.set(
            SINGLE,
            format!("{}-{:016x}-{sampled}{parent}", span.trace, span.span),
        );
        return;
    }
    headers.set(TRACE, span.trace.to_string());
    headers.set(SPAN, format!("{:016x}", span.span));
    if let Some(parent) = span.parent {
        headers.set(PARENT, format!("{parent:016x}"));
    }
    headers.set(SAMPLED, sampled);
}
