//! A request's place in its trace, and the spans that are made of it and of its tries.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use leno_engine::compile::access_log::CustomTag;
use leno_engine::compile::collector::Collector;
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::listener::Direction;
use leno_engine::compile::route::Route;
use leno_engine::compile::tracing::{Tracer, TracerKind, Tracing};
use leno_engine::decide::trace::{Reason, SpanContext};
use leno_engine::flags::{Flag, Flags};
use leno_engine::message::{RequestHead, ResponseHead, Version};
use leno_telemetry::access_log::RequestValues;
use leno_telemetry::record::RequestRecord;
use leno_telemetry::stats::{Counts, HttpStat};
use leno_telemetry::trace::{self, Span, Tags, Tried};

use crate::outcome::Failure;
use crate::worker::Worker;

const OPERATION: &str = "x-envoy-decorator-operation";

/// One request's.
pub(crate) struct Trace {
    reason: Reason,
    tracing: Arc<Tracing>,
    route: Option<Arc<Route>>,
    outbound: bool,
    /// None: nobody gets spans, or the caller's headers are not well formed.
    span: Option<Active>,
}

struct Active {
    tracer: Arc<Tracer>,
    context: SpanContext,
    /// What a decorator or the other side say.
    name: RefCell<String>,
    /// The decorator's name, for the client.
    told: Cell<bool>,
    tried: RefCell<Option<Try>>,
    ended: RefCell<Vec<Try>>,
}

/// A try of the request, with a span of its own.
struct Try {
    context: SpanContext,
    began: Instant,
    /// None: it has not ended.
    ended: Option<Instant>,
    retry: u32,
    address: Option<SocketAddr>,
    version: Option<Version>,
    cluster: (String, String),
    response: Option<ResponseHead>,
    flags: Flags,
    canceled: bool,
    reason: Option<&'static str>,
}

// === impl Trace ===

impl Trace {
    /// Decides, and writes into the request's head what follows from it.
    pub(crate) fn begin(
        tracing: &Arc<Tracing>,
        manager: &HttpConnectionManager,
        direction: Direction,
        route: Option<&Arc<Route>>,
        head: &mut RequestHead,
        worker: &Worker,
        counts: &Counts<HttpStat>,
    ) -> Self {
        let random = || worker.random.next();
        let of_route = route.and_then(|route| route.tracing.as_ref());
        let sampling = of_route.map_or(&tracing.sampling, |of_route| &of_route.sampling);
        let reason = Reason::decide(manager.request_ids, sampling, head, random());
        counts.inc(match reason {
            Reason::NotTraceable => HttpStat::TracingNotTraceable,
            Reason::Sampling => HttpStat::TracingRandomSampling,
            Reason::ServiceForced => HttpStat::TracingServiceForced,
            Reason::ClientForced => HttpStat::TracingClientEnabled,
        });
        let outbound = direction == Direction::Outbound;
        let span = tracing.tracer.as_ref().and_then(|tracer| {
            let context = tracer.begin(tracing, head, reason.is_traced(), outbound, random)?;
            Some(Active {
                name: RefCell::new(name(tracer, head, outbound)),
                tracer: Arc::clone(tracer),
                context,
                told: Cell::new(false),
                tried: RefCell::default(),
                ended: RefCell::default(),
            })
        });
        let trace = Self {
            reason,
            tracing: Arc::clone(tracing),
            route: route.map(Arc::clone),
            outbound,
            span,
        };
        trace.decorate(head);
        trace
    }

    /// A name by a format goes before all others.
    fn is_named(&self) -> bool {
        let of_route = self.route.as_ref().and_then(|route| route.tracing.as_ref());
        self.tracing.operation.is_some() || of_route.is_some_and(|of_route| of_route.operation.is_some())
    }

    /// The name that the route or the caller has for the request.
    fn decorate(&self, head: &mut RequestHead) {
        if self.is_named() || self.tracing.tracer.is_none() {
            return;
        }
        let decorator = self.route.as_ref().and_then(|route| route.decorator.as_ref());
        if let Some(decorator) = decorator {
            self.rename(&decorator.operation);
        }
        let propagated = decorator.filter(|decorator| decorator.propagate);
        if self.outbound {
            if let Some(decorator) = propagated {
                head.headers.set(OPERATION, &decorator.operation);
            }
            return;
        }
        let said = head.headers.remove(OPERATION);
        let said = said.as_deref().filter(|said| !said.is_empty());
        if let Some(said) = said {
            self.rename(&String::from_utf8_lossy(said));
        }
        if let Some(span) = &self.span {
            span.told.set(said.is_none() && propagated.is_some());
        }
    }

    fn rename(&self, name: &str) {
        if let Some(span) = &self.span {
            name.clone_into(&mut span.name.borrow_mut());
        }
    }

    /// The client is told the request's name, or the server has told another.
    pub(crate) fn answer(&self, head: &mut ResponseHead) {
        if self.is_named() || self.tracing.tracer.is_none() {
            return;
        }
        if self.outbound {
            if let Some(said) = head.headers.remove(OPERATION).filter(|said| !said.is_empty()) {
                self.rename(&String::from_utf8_lossy(&said));
            }
            return;
        }
        let decorator = self.route.as_ref().and_then(|route| route.decorator.as_ref());
        let told = self.span.as_ref().is_some_and(|span| span.told.get());
        if let Some(decorator) = decorator.filter(|_| told) {
            head.headers.set(OPERATION, &decorator.operation);
        }
    }

    pub(crate) fn context(&self) -> Option<&SpanContext> {
        self.span.as_ref().map(|span| &span.context)
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.reason == Reason::ServiceForced
    }

    /// A try begins, for a cluster by its name and the one that statistics know.
    pub(crate) fn try_begins(&self, retry: u32, cluster: (&str, &str), split: bool, worker: &Worker) {
        let Some(span) = &self.span else { return };
        if !(split || self.tracing.spawn_upstream) {
            return;
        }
        self.try_ends();
        span.tried.replace(Some(Try {
            context: span.tracer.child(&span.context, || worker.random.next()),
            began: Instant::now(),
            ended: None,
            retry,
            address: None,
            version: None,
            cluster: (cluster.0.to_owned(), cluster.1.to_owned()),
            response: None,
            flags: Flags::default(),
            canceled: false,
            reason: None,
        }));
    }

    /// Whom it is for.
    pub(crate) fn try_goes_to(&self, address: Option<SocketAddr>) {
        self.with_try(|tried| tried.address = address);
    }

    /// Tells the upstream of the span, on a connection of this version.
    pub(crate) fn inject(&self, head: &mut RequestHead, version: Version) {
        self.with_try(|tried| tried.version = Some(version));
        let Some(span) = self.span.as_ref().filter(|_| self.tracing.propagates) else {
            return;
        };
        let tried = span.tried.borrow();
        let context = tried.as_ref().map_or(&span.context, |tried| &tried.context);
        span.tracer.inject(context, &mut head.headers);
    }

    pub(crate) fn try_is_answered(&self, head: &ResponseHead) {
        self.with_try(|tried| {
            if tried.context.sampled {
                tried.response = Some(head.clone());
            }
        });
    }

    /// Its answer is not wanted.
    pub(crate) fn try_is_canceled(&self) {
        self.with_try(|tried| tried.canceled = true);
    }

    pub(crate) fn try_fails(&self, failure: &Failure) {
        self.with_try(|tried| {
            tried.flags |= failure.flags();
            tried.reason = failure.reset_reason();
            tried.canceled = tried.reason.is_none();
        });
        self.try_ends();
    }

    fn with_try(&self, change: impl FnOnce(&mut Try)) {
        if let Some(span) = &self.span
            && let Some(tried) = span
                .tried
                .borrow_mut()
                .as_mut()
                .filter(|tried| tried.ended.is_none())
        {
            change(tried);
        }
    }

    fn try_ends(&self) {
        let Some(span) = &self.span else { return };
        if let Some(mut tried) = span.tried.take() {
            tried.ended = Some(Instant::now());
            // The context stays with it: the last one is what a header edit of the answer may still see.
            span.ended.borrow_mut().push(tried);
        }
    }

    /// Sends the spans of the request and of its tries.
    pub(crate) fn finish(&self, record: &RequestRecord<'_>, began: Instant, worker: &Worker) {
        let Some(span) = &self.span else { return };
        let late = record
            .details
            .strip_prefix("upstream_reset_after_response_started{");
        self.with_try(|tried| {
            tried.canceled |= record.flags.contains(Flag::DownstreamConnectionTermination)
                || (tried.response.is_none() && tried.reason.is_none() && tried.context.sampled);
            if late.is_some() {
                tried.flags = record.flags;
                tried.reason = Some("connection termination");
            }
        });
        self.try_ends();
        let ended = span.ended.take();
        if !span.context.sampled && !ended.iter().any(|tried| tried.context.sampled) {
            return;
        }
        let last = ended.len().checked_sub(1);
        for (at, tried) in ended
            .iter()
            .enumerate()
            .filter(|(_, tried)| tried.context.sampled)
        {
            self.send_try(span, tried, Some(at) == last, record, began, worker);
        }
        if span.context.sampled {
            let tags = trace::of_request(record, self.tags(), &worker.shared.node, self.tracing.max_path);
            let by_route = self.of_route(|of_route| of_route.operation.as_ref());
            let format = by_route.or(self.tracing.operation.as_ref());
            let named = format.map(|format| written(format, record));
            let name = span.name.borrow();
            send(
                &span.tracer.collector,
                &Span {
                    context: &span.context,
                    name: named.as_deref().unwrap_or(&name),
                    start: record.start,
                    duration: record.duration,
                    tags,
                },
                record,
                worker,
            );
        }
    }

    fn send_try(
        &self,
        span: &Active,
        tried: &Try,
        is_last: bool,
        record: &RequestRecord<'_>,
        began: Instant,
        worker: &Worker,
    ) {
        let (name, shown) = (tried.cluster.0.as_str(), tried.cluster.1.as_str());
        let tags: Tags = trace::of_try(
            &Tried {
                version: tried.version,
                address: tried.address,
                cluster: Some((name, shown)),
                response: tried.response.as_ref(),
                trailers: record.trailers.filter(|_| is_last),
                flags: tried.flags,
                retry: tried.retry,
                canceled: tried.canceled,
                reason: tried.reason,
            },
            record,
            self.tags(),
        );
        let by_route = self.of_route(|of_route| of_route.upstream_operation.as_ref());
        let format = by_route.or(self.tracing.upstream_operation.as_ref());
        let name = match format {
            Some(format) => written(format, record),
            None => format!("router {shown} egress"),
        };
        let ended = tried.ended.unwrap_or(tried.began);
        send(
            &span.tracer.collector,
            &Span {
                context: &tried.context,
                name: &name,
                start: record.start + tried.began.saturating_duration_since(began),
                duration: ended.saturating_duration_since(tried.began),
                tags,
            },
            record,
            worker,
        );
    }

    fn of_route<'t, T>(
        &'t self,
        what: impl FnOnce(&'t leno_engine::compile::tracing::RouteTracing) -> Option<T>,
    ) -> Option<T> {
        what(self.route.as_ref()?.tracing.as_ref()?)
    }

    /// The route's go before the manager's of the same name.
    fn tags(&self) -> impl Iterator<Item = &CustomTag> {
        let of_route = self.of_route(|of_route| Some(&of_route.tags));
        let of_route = of_route.map_or(&[][..], |tags| tags);
        let others = self.tracing.tags.iter();
        let others = others.filter(|tag| !of_route.iter().any(|own| own.name == tag.name));
        of_route.iter().chain(others)
    }
}

/// Before anybody says another.
fn name(tracer: &Tracer, head: &RequestHead, outbound: bool) -> String {
    let host = String::from_utf8_lossy(&head.authority);
    match (&tracer.kind, outbound) {
        (TracerKind::Zipkin(_), _) => host.into_owned(),
        (TracerKind::OpenTelemetry { .. }, true) => format!("egress {host}"),
        (TracerKind::OpenTelemetry { .. }, false) => "ingress".to_owned(),
    }
}

fn written(format: &leno_engine::compile::access_log::Format, record: &RequestRecord<'_>) -> String {
    let mut name = Vec::new();
    format.write_omitting(record.heads(), &RequestValues::new(record), &mut name);
    String::from_utf8_lossy(&name).into_owned()
}

fn send(collector: &Arc<Collector>, span: &Span<'_>, record: &RequestRecord<'_>, worker: &Worker) {
    let address = record.downstream.local.ip();
    let node = &worker.shared.node;
    worker.reporter.batches.add_with(collector, |out| {
        trace::append(&collector.envelope, span, node, address, out);
    });
}
