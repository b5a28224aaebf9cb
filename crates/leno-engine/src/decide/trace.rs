//! Whether a request is traced, and what its proxies tell each other of its trace.
//!
//! Nothing here knows a clock or makes up a number: whoever asks brings what is random.

mod b3;
mod reason;
mod w3c;

use std::fmt;

pub use reason::Reason;

use crate::compile::tracing::{Sampler, Tracer, TracerKind, Tracing, Zipkin};
use crate::message::{Headers, RequestHead};

/// Where a span is in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanContext {
    pub trace: TraceId,
    pub span: u64,
    pub parent: Option<u64>,
    /// It is sent to a collector.
    pub sampled: bool,
    /// What others have to say (`tracestate`).
    pub state: String,
    /// The parent is another process's.
    pub remote: bool,
    pub kind: SpanKind,
    /// It may be the caller's span as well, of which this is the server's side (Zipkin).
    pub shared: bool,
    /// The caller has told it in one header (`b3`), and so it goes on.
    single: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    Server,
    Client,
}

/// 128 bits; of which Zipkin may know only the lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId {
    pub high: u64,
    pub low: u64,
    /// It is written with its higher half.
    pub long: bool,
}

/// What a caller has told.
struct Told {
    trace: TraceId,
    span: u64,
    parent: Option<u64>,
    sampled: bool,
    state: String,
}

/// A header that is no trace's: the request is not traced, and goes on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

// === impl Tracer ===

impl Tracer {
    /// The span of a request. `outbound`: towards others. None: what the caller says is not well formed.
    pub fn begin(
        &self,
        tracing: &Tracing,
        head: &RequestHead,
        traced: bool,
        outbound: bool,
        random: impl Fn() -> u64,
    ) -> Option<SpanContext> {
        let split = tracing.spawn_upstream || matches!(self.kind, TracerKind::Zipkin(zipkin) if zipkin.split);
        let kind = match outbound && !split {
            true => SpanKind::Client,
            false => SpanKind::Server,
        };
        match &self.kind {
            TracerKind::OpenTelemetry { sampler } => {
                let told = w3c::told(&head.headers).ok()?;
                Some(opentelemetry(sampler.as_ref(), told, kind, traced, random))
            }
            TracerKind::Zipkin(zipkin) => of_zipkin(*zipkin, head, kind, traced, random).ok(),
        }
    }

    /// The span of a try of a request with that span.
    pub fn child(&self, of: &SpanContext, random: impl Fn() -> u64) -> SpanContext {
        let told = Told {
            trace: of.trace,
            span: of.span,
            parent: of.parent,
            sampled: of.sampled,
            state: of.state.clone(),
        };
        let mut child = below(told, SpanKind::Client, random());
        child.remote = false;
        child.single = of.single;
        if let TracerKind::OpenTelemetry {
            sampler: Some(sampler),
        } = &self.kind
        {
            child.sampled = of.sampled && sampler.takes(Some(of.sampled), of.trace);
        }
        child
    }

    /// Tells the next proxy, or the server.
    pub fn inject(&self, span: &SpanContext, headers: &mut Headers) {
        match &self.kind {
            TracerKind::OpenTelemetry { .. } => {
                w3c::tell(span, headers);
                headers.set(w3c::STATE, &span.state);
            }
            TracerKind::Zipkin(zipkin) => {
                b3::tell(span, headers);
                if zipkin.w3c {
                    w3c::tell(span, headers);
                }
            }
        }
    }
}

fn opentelemetry(
    sampler: Option<&Sampler>,
    told: Option<Told>,
    kind: SpanKind,
    traced: bool,
    random: impl Fn() -> u64,
) -> SpanContext {
    let by_caller = told.as_ref().map(|told| told.sampled);
    let mut span = match told {
        Some(told) => below(told, kind, random()),
        None => {
            let trace = TraceId {
                high: random(),
                low: random(),
                long: true,
            };
            root(trace, kind, random())
        }
    };
    span.sampled = match sampler {
        None => by_caller.unwrap_or(traced),
        Some(sampler) => traced && sampler.takes(by_caller, span.trace),
    };
    span
}

fn of_zipkin(
    zipkin: Zipkin,
    head: &RequestHead,
    kind: SpanKind,
    traced: bool,
    random: impl Fn() -> u64,
) -> Result<SpanContext, Malformed> {
    let headers = &head.headers;
    let of_w3c = match zipkin.w3c {
        true => w3c::told(headers).ok().flatten(),
        false => None,
    };
    let sampled = b3::sampled(headers).or(of_w3c.as_ref().map(|told| told.sampled));
    let sampled = sampled.unwrap_or(traced);
    let told = b3::told(headers)?.or(of_w3c);
    let mut span = match told {
        // The span is the caller's, of which this is the other end.
        Some(told) if zipkin.shared && kind == SpanKind::Server => SpanContext {
            trace: told.trace,
            span: told.span,
            parent: told.parent,
            sampled,
            state: String::new(),
            remote: true,
            kind,
            shared: true,
            single: false,
        },
        Some(told) => below(told, kind, random()),
        None => {
            let low = random();
            let trace = TraceId {
                high: if zipkin.long_ids { random() } else { 0 },
                low,
                long: zipkin.long_ids,
            };
            root(trace, kind, low)
        }
    };
    span.sampled = sampled;
    span.shared = zipkin.shared && kind == SpanKind::Server;
    span.single = headers.contains(b3::SINGLE);
    Ok(span)
}

fn root(trace: TraceId, kind: SpanKind, span: u64) -> SpanContext {
    SpanContext {
        trace,
        span,
        parent: None,
        sampled: false,
        state: String::new(),
        remote: false,
        kind,
        shared: false,
        single: false,
    }
}

fn below(told: Told, kind: SpanKind, span: u64) -> SpanContext {
    SpanContext {
        trace: told.trace,
        span,
        parent: Some(told.span),
        sampled: told.sampled,
        state: told.state,
        remote: true,
        kind,
        shared: false,
        single: false,
    }
}

// === impl Sampler ===

impl Sampler {
    fn takes(&self, by_caller: Option<bool>, trace: TraceId) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::Parent(wrapped) => match by_caller {
                Some(sampled) => sampled,
                None => wrapped.takes(None, trace),
            },
            // By its first eight bytes, as Envoy reads them.
            Self::Ratio(share) => share.takes(trace.high.swap_bytes()),
        }
    }
}

// === impl TraceId ===

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.long {
            write!(f, "{:016x}", self.high)?;
        }
        write!(f, "{:016x}", self.low)
    }
}

fn hex(text: &[u8]) -> Option<u64> {
    let is_hex = !text.is_empty() && text.len() <= 16 && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_hex)?;
    u64::from_str_radix(text, 16).ok()
}
