//! `HttpConnectionManager.Tracing`: which requests get spans, what those say, and who gets them; what a route says
//! otherwise.

mod opentelemetry;
mod zipkin;

use std::sync::Arc;

use leno_proto::FromAny;

use super::Rejection;
use super::access_log::{CustomTag, Format, custom_tag, format};
use super::at::{At, no_effect, silent};
use super::collector::Collector;
use super::pb::{hcm, protobuf, request_id, route, trace as pb, tracing as custom, types};

#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// None: spans are nobody's, but requests are told apart by their ids.
    pub tracer: Option<Arc<Tracer>>,
    pub sampling: Sampling,
    /// By different names.
    pub tags: Vec<CustomTag>,
    /// A span's name, in place of the direction's or a decorator's.
    pub operation: Option<Format>,
    pub upstream_operation: Option<Format>,
    /// Each try has a span of its own.
    pub spawn_upstream: bool,
    /// Upstreams are told of the trace.
    pub propagates: bool,
    /// Bytes of a path in a span.
    pub max_path: usize,
}

/// How many requests are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of those whose client wants it.
    pub client: Share,
    /// Of those that nobody wants traced.
    pub random: Share,
    /// Of all that would be traced.
    pub overall: Share,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub numerator: u64,
    pub of: u64,
}

/// Who gets spans, and in which form.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracer {
    pub collector: Arc<Collector>,
    pub kind: TracerKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TracerKind {
    /// None: what the request's id and its caller say decides.
    OpenTelemetry {
        sampler: Option<Sampler>,
    },
    Zipkin(Zipkin),
}

/// Whether a request is traced that might be.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    AlwaysOn,
    /// As the caller has decided; where there is none, by the other.
    Parent(Box<Sampler>),
    Ratio(Share),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zipkin {
    /// Trace ids of 128 bits.
    pub long_ids: bool,
    /// The server's span is the client's.
    pub shared: bool,
    /// A request has a server's span and a client's.
    pub split: bool,
    /// W3C's headers are read where B3's are not there, and written with them.
    pub w3c: bool,
}

/// What a route says of its requests' spans.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTracing {
    pub sampling: Sampling,
    pub tags: Vec<CustomTag>,
    pub operation: Option<Format>,
    pub upstream_operation: Option<Format>,
}

/// A name for the spans of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decorator {
    pub operation: String,
    /// The other side is told.
    pub propagate: bool,
}

/// How requests are told apart: `envoy.request_id.uuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// Why a request is traced is written into its id.
    pub pack_reason: bool,
    /// Whether it is traced is decided by its id, so that all proxies on its way decide alike.
    pub sample: bool,
}

// === impl Sampling ===

impl Sampling {
    /// Everything.
    pub const ALL: Self = Self {
        client: Share::ALL,
        random: Share::ALL,
        overall: Share::ALL,
    };
}

// === impl Share ===

impl Share {
    pub const ALL: Self = Self {
        numerator: 100,
        of: 100,
    };

    pub fn takes(self, number: u64) -> bool {
        number % self.of < self.numerator
    }
}

// === impl RequestIds ===

impl Default for RequestIds {
    fn default() -> Self {
        Self {
            pack_reason: true,
            sample: true,
        }
    }
}

pub(crate) fn tracing(
    at: &At<'_>,
    message: &hcm::http_connection_manager::Tracing,
) -> Result<Tracing, Rejection> {
    let hcm::http_connection_manager::Tracing {
        client_sampling,
        random_sampling,
        overall_sampling,
        verbose,
        max_path_tag_length,
        custom_tags,
        provider,
        spawn_upstream_span,
        operation,
        upstream_operation,
        no_context_propagation,
    } = message;
    no_effect!(at, "spans have no events"; verbose);
    let spawn_upstream = spawn_upstream_span.as_ref().is_some_and(|spawn| spawn.value);
    Ok(Tracing {
        tracer: match provider {
            None => None,
            Some(provider) => tracer(&at.field("provider"), provider)?,
        },
        sampling: Sampling {
            client: percent(at, "client_sampling", client_sampling.as_ref(), 100)?,
            random: percent(at, "random_sampling", random_sampling.as_ref(), 10_000)?,
            overall: percent(at, "overall_sampling", overall_sampling.as_ref(), 10_000)?,
        },
        tags: tags(at, custom_tags)?,
        operation: named(at, "operation", operation)?,
        upstream_operation: named(at, "upstream_operation", upstream_operation)?,
        spawn_upstream,
        propagates: !no_context_propagation,
        max_path: max_path_tag_length
            .as_ref()
            .map_or(256, |length| length.value as usize),
    })
}

/// None: they are no collector's that leno knows.
fn tracer(at: &At<'_>, message: &pb::tracing::Http) -> Result<Option<Arc<Tracer>>, Rejection> {
    let pb::tracing::Http { name, config_type } = message;
    silent!("the type of its configuration tells which tracer it is"; name);
    let pb::tracing::http::ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    let at = at.field("typed_config");
    let tracer = if any.is::<pb::OpenTelemetryConfig>() {
        opentelemetry::tracer(&at, &at.unpack(any)?)?
    } else if any.is::<pb::ZipkinConfig>() {
        zipkin::tracer(&at, &at.unpack(any)?)?
    } else if any.is::<pb::DatadogConfig>() {
        at.warn("spans are not sent to Datadog");
        return Ok(None);
    } else {
        return Err(at.unknown_extension(any));
    };
    Ok(Some(Arc::new(tracer)))
}

pub(crate) fn of_route(at: &At<'_>, message: &route::Tracing) -> Result<RouteTracing, Rejection> {
    let route::Tracing {
        client_sampling,
        random_sampling,
        overall_sampling,
        custom_tags,
        operation,
        upstream_operation,
    } = message;
    let share = |field, said: &Option<types::FractionalPercent>| match said {
        None => Ok(Share::ALL),
        Some(said) => share(&at.field(field), said),
    };
    Ok(RouteTracing {
        sampling: Sampling {
            client: share("client_sampling", client_sampling)?,
            random: share("random_sampling", random_sampling)?,
            overall: share("overall_sampling", overall_sampling)?,
        },
        tags: tags(at, custom_tags)?,
        operation: named(at, "operation", operation)?,
        upstream_operation: named(at, "upstream_operation", upstream_operation)?,
    })
}

pub(crate) fn decorator(at: &At<'_>, message: &route::Decorator) -> Result<Decorator, Rejection> {
    let route::Decorator { operation, propagate } = message;
    at.not_empty("operation", operation)?;
    Ok(Decorator {
        operation: operation.clone(),
        propagate: propagate.as_ref().is_none_or(|propagate| propagate.value),
    })
}

pub(crate) fn request_ids(
    at: &At<'_>,
    message: Option<&hcm::RequestIdExtension>,
) -> Result<RequestIds, Rejection> {
    let Some(hcm::RequestIdExtension { typed_config }) = message else {
        return Ok(RequestIds::default());
    };
    let at = at.field("request_id_extension");
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    let request_id::UuidRequestIdConfig {
        pack_trace_reason,
        use_request_id_for_trace_sampling,
    } = at.unpack(any)?;
    let is = |said: Option<protobuf::BoolValue>| said.is_none_or(|said| said.value);
    Ok(RequestIds {
        pack_reason: is(pack_trace_reason),
        sample: is(use_request_id_for_trace_sampling),
    })
}

/// The first of each name.
fn tags(at: &At<'_>, messages: &[custom::CustomTag]) -> Result<Vec<CustomTag>, Rejection> {
    let mut tags: Vec<CustomTag> = Vec::with_capacity(messages.len());
    for tag in at.each("custom_tags", messages, custom_tag)? {
        if !tags.iter().any(|known| known.name == tag.name) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn named(at: &At<'_>, field: &'static str, text: &str) -> Result<Option<Format>, Rejection> {
    match text {
        "" => Ok(None),
        text => format(&at.field(field), text).map(Some),
    }
}

/// As Envoy rounds it: `client_sampling` down to percents, the others to hundredths of them.
fn percent(
    at: &At<'_>,
    field: &'static str,
    said: Option<&types::Percent>,
    of: u64,
) -> Result<Share, Rejection> {
    let Some(types::Percent { value }) = said else {
        return Ok(Share { numerator: of, of });
    };
    if !(0.0..=100.0).contains(value) {
        let at = at.field(field);
        return Err(at.field("value").reject(format!("0 to 100, not {value}")));
    }
    let numerator = match of {
        100 => value.trunc(),
        _ => (value / 100.0 * of as f64).round(),
    };
    Ok(Share {
        numerator: numerator as u64,
        of,
    })
}

fn share(at: &At<'_>, message: &types::FractionalPercent) -> Result<Share, Rejection> {
    use types::fractional_percent::DenominatorType;
    let types::FractionalPercent {
        numerator,
        denominator,
    } = *message;
    Ok(Share {
        numerator: numerator.into(),
        of: match at.choice("denominator", denominator)? {
            DenominatorType::Hundred => 100,
            DenominatorType::TenThousand => 10_000,
            DenominatorType::Million => 1_000_000,
        },
    })
}
