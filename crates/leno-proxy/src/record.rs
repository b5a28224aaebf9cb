//! What is known of a request while it runs, and its one record at its end: the only place where telemetry is made.

mod so_far;

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leno_engine::compile::access_log::Point;
use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::route::{HostFacts, Route};
use leno_engine::decide::balance::{self, load};
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::decide::limits::Permit;
use leno_engine::decide::notes::Notes;
use leno_engine::decide::wish::Wish;
use leno_engine::flags::{Flag, Flags};
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_telemetry::record::{DownstreamRecord, OnDemand, RequestRecord, RouteRecord, UpstreamRecord};
use leno_telemetry::stats::{ClusterStat, ClusterTime, Counts, HttpStat, HttpTime};

use crate::beside::Beside;
use crate::codec::Counter;
use crate::connect::UpstreamConnection;
use crate::counts::Lasting;
use crate::destination::Behalf;
use crate::drain::CutBy;
use crate::ending;
use crate::idle::{Limits, Watch, Watched};
use crate::session::Session;
use crate::sizes;
use crate::trace::Trace;
use crate::upstream::{self, Besides};
use crate::worker::Worker;

/// Who has told nothing.
static UNKNOWN: PeerMetadata = PeerMetadata::unknown();

/// One request, from its head to the end of its response. Its record is made when the last part lets go of it.
pub(crate) struct Exchange {
    session: Rc<Session>,
    /// The connection, where it is not as it looks: another proxy told who the client is.
    client: Option<Rc<DownstreamRecord>>,
    pub(crate) watch: Watch,
    /// As it is sent upstream, edit by edit.
    pub(crate) request: RefCell<RequestHead>,
    pub(crate) response: RefCell<Option<ResponseHead>>,
    pub(crate) flags: Cell<Flags>,
    pub(crate) details: RefCell<Cow<'static, str>>,
    pub(crate) received: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    /// Of the client's stream.
    pub(crate) counter: Counter,
    pub(crate) route: RefCell<Option<Arc<Route>>>,
    /// Where no route of its is the request's.
    pub(crate) host: RefCell<Option<Arc<HostFacts>>>,
    pub(crate) attempts: Cell<u32>,
    pub(crate) upstream: RefCell<Attempted>,
    pub(crate) peer: RefCell<Option<Rc<PeerMetadata>>>,
    pub(crate) notes: Notes,
    /// Where a format asks for it.
    pub(crate) on_demand: OnceCell<Box<OnDemand>>,
    /// Where a filter wants it to go.
    pub(crate) wish: RefCell<Option<Wish>>,
    /// A filter has waited for the route's cluster.
    pub(crate) cluster_sought: Cell<bool>,
    /// A filter has said what may give the request another route.
    pub(crate) reroutes: Cell<bool>,
    /// The request's body ended in an error of the client's connection.
    pub(crate) client_gone: Cell<bool>,
    /// As what it is counted besides its cluster.
    pub(crate) beside: RefCell<Option<Box<Beside>>>,
    /// It is one of an upgrade, or of CONNECT, that its route takes.
    pub(crate) upgrades: Cell<bool>,
    /// As what its answer is.
    pub(crate) besides: RefCell<Besides>,
    grpc_status: Cell<Option<u32>>,
    /// None: it is not looked at yet, or no request is traced here.
    trace: RefCell<Option<Rc<Trace>>>,
    /// Of the response, where a log or a span wants them.
    trailers: RefCell<Option<Headers>>,
    response_duration: Cell<Option<Duration>>,
    /// The response has been sent to its end, or was cut off for a reason that `flags` tell.
    finished: Cell<bool>,
    active: ending::Active,
    /// What it is counted as upstream while it lasts.
    counted: RefCell<Option<Counted>>,
}

/// The right to be one more request, and as what it is counted.
type Counted = (Option<Permit>, balance::Active, Lasting<ClusterStat>);

/// The last attempt, as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempted {
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) connection: Option<Rc<UpstreamConnection>>,
    pub(crate) failure: Option<Arc<str>>,
    /// As what the request was sent.
    pub(crate) version: Option<Version>,
    pub(crate) counter: Counter,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn new(
        session: &Rc<Session>,
        client: Option<Rc<DownstreamRecord>>,
        request: RequestHead,
        counter: Counter,
    ) -> Rc<Self> {
        let timeouts = &session.manager.timeouts;
        let limits = Limits {
            idle: timeouts.stream_idle,
            request: timeouts.request,
            whole: timeouts.max_stream_duration,
            flush: timeouts.stream_flush,
        };
        let counts = &session.counts;
        counts.inc(HttpStat::RqTotal);
        counts.inc(HttpStat::RqActive);
        counts.inc(match request.version {
            Version::Http2 => HttpStat::RqHttp2Total,
            _ => HttpStat::RqHttp1Total,
        });
        Rc::new(Self {
            watch: Watch::new(Instant::now(), limits),
            client,
            request: RefCell::new(request),
            response: RefCell::default(),
            flags: Cell::default(),
            details: RefCell::default(),
            received: Cell::default(),
            sent: Cell::default(),
            counter,
            route: RefCell::default(),
            host: RefCell::default(),
            attempts: Cell::default(),
            upstream: RefCell::default(),
            peer: RefCell::default(),
            notes: Notes::beneath(session.connection.record.notes.clone()),
            on_demand: OnceCell::new(),
            wish: RefCell::default(),
            cluster_sought: Cell::new(false),
            reroutes: Cell::new(false),
            client_gone: Cell::default(),
            beside: RefCell::default(),
            upgrades: Cell::default(),
            besides: RefCell::default(),
            grpc_status: Cell::default(),
            trace: RefCell::default(),
            trailers: RefCell::default(),
            response_duration: Cell::default(),
            finished: Cell::default(),
            active: session.ending.begin(),
            counted: RefCell::default(),
            session: Rc::clone(session),
        })
    }

    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// For connections to upstreams that are told of it.
    pub(crate) fn behalf(&self) -> Behalf<'_> {
        Behalf {
            notes: Some(&self.notes),
            ..self.session.connection.behalf()
        }
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.session.worker
    }

    /// The connection, with the client as it is trusted to be.
    pub(crate) fn downstream(&self) -> &DownstreamRecord {
        self.client.as_ref().unwrap_or(&self.session.connection.record)
    }

    pub(crate) fn flag(&self, flag: Flag) {
        let mut flags = self.flags.get();
        flags.insert(flag);
        self.flags.set(flags);
    }

    /// The route is known, and with it whether the request is traced.
    pub(crate) fn begin_trace(&self) {
        let manager = &self.session.manager;
        let Some(tracing) = &manager.tracing else { return };
        if self.trace.borrow().is_some() {
            return;
        }
        let trace = Trace::begin(
            tracing,
            manager,
            self.session.connection.record.direction,
            self.route.borrow().as_ref(),
            &mut self.request.borrow_mut(),
            &self.session.worker,
            &self.session.counts,
        );
        self.trace.replace(Some(Rc::new(trace)));
    }

    pub(crate) fn trace(&self) -> Option<Rc<Trace>> {
        self.trace.borrow().as_ref().map(Rc::clone)
    }

    /// The request had no body.
    pub(crate) fn ended_with_its_head(&self) {
        self.watch.end_request(self.watch.began());
    }

    /// The request has been received to its end.
    pub(crate) fn end_request(&self) {
        if !self.request_has_ended() {
            self.watch.end_request(Instant::now());
            self.set_deadline();
        }
    }

    pub(crate) fn request_has_ended(&self) -> bool {
        self.watch.request_has_ended()
    }

    /// How long the answer may take from the end of the request on.
    pub(crate) fn answer_within(&self, time: Option<Duration>) {
        self.watch.answer_within(time);
        self.set_deadline();
    }

    fn set_deadline(&self) {
        if let Some(at) = self.watch.deadline() {
            self.worker().deadlines.add(at);
        }
    }

    /// The upstream's answer has begun.
    pub(crate) fn begin_response(&self) {
        self.response_duration.set(Some(self.watch.began().elapsed()));
    }

    /// Milliseconds between the end of the request and the beginning of the answer.
    pub(crate) fn service_time(&self) -> u64 {
        let sent = self.watch.request_duration().unwrap_or_default();
        let answered = self.response_duration.get().unwrap_or_default();
        let time = answered.saturating_sub(sent);
        time.as_secs() * 1000 + u64::from(time.subsec_millis())
    }

    /// Counts the request at its cluster and its endpoint for as long as it lasts.
    pub(crate) fn count(
        &self,
        permit: Option<Permit>,
        active: balance::Active,
        lasting: Lasting<ClusterStat>,
    ) {
        self.counted.replace(Some((permit, active, lasting)));
    }

    /// Reads `grpc-status`, from trailers or from the head of an answer without a body.
    pub(crate) fn see_grpc_status(&self, headers: &Headers) {
        if let Some(status) = headers.get_str("grpc-status").and_then(|s| s.parse().ok()) {
            self.grpc_status.set(Some(status));
        }
    }

    /// Reads the response's trailers.
    pub(crate) fn see_trailers(&self, trailers: &Headers) {
        self.see_grpc_status(trailers);
        if self.session.manager.keeps_trailers {
            self.trailers.replace(Some(trailers.clone()));
        }
    }

    /// Whom the last attempt has reached, if that was proved.
    pub(crate) fn upstream_principal(&self) -> Option<Arc<str>> {
        let upstream = self.upstream.borrow();
        upstream.connection.as_ref()?.peer_principal().cloned()
    }

    /// What has cut the client's connection off.
    pub(crate) fn cut_by(&self) -> Option<CutBy> {
        self.session.ending.cut_by()
    }

    /// The counters of the cluster that it goes to, where it is known.
    pub(crate) fn with_cluster(&self, count: impl FnOnce(&Counts<ClusterStat>)) {
        let upstream = self.upstream.borrow();
        let Some(cluster) = &upstream.cluster else { return };
        let worker = &self.session.worker;
        if let Some(upstream) = worker.upstream(&worker.snapshot(), &cluster.name) {
            count(&upstream.counts);
        }
    }

    pub(crate) fn has_finished(&self) -> bool {
        self.finished.get()
    }

    pub(crate) fn finish(&self) {
        self.reach_first(Point::AnswerEnds);
        self.finished.set(true);
    }

    /// Of a gRPC call that had an answer it is known only now whether the endpoint has served it.
    fn settle_load(&mut self) {
        let status = self.grpc_status.get();
        if let Some((_, active, _)) = self.counted.get_mut() {
            active.settle(|| status.is_some_and(load::succeeded));
        }
    }

    /// What has become of it, in the statistics.
    fn count_end(&mut self, now: Instant) {
        self.settle_load();
        let counts = &self.session.counts;
        let time = now.saturating_duration_since(self.watch.began());
        counts.took(HttpTime::Rq, time);
        let counts_time = !self.session.manager.router.without_stats;
        if let (Some(_), Some((.., lasting))) = (self.response_duration.get(), self.counted.get_mut())
            && counts_time
        {
            // From the end of the request on, as in Envoy.
            let since = self.watch.request_duration().unwrap_or_default();
            let time = time.saturating_sub(since);
            lasting.counts().took(ClusterTime::Rq, time);
            self.besides.get_mut().took(time);
            let cluster = self.upstream.get_mut().cluster.as_ref();
            if cluster.is_some_and(|cluster| cluster.counts_sizes)
                && let Some(response) = self.response.get_mut()
            {
                let request = (&*self.request.get_mut(), self.received.get());
                sizes::count(lasting.counts(), request, (&*response, self.sent.get()));
            }
            if let Some(beside) = self.beside.get_mut() {
                beside.took(time);
            }
        }
        counts.dec(HttpStat::RqActive);
        if self.upgrades.get() {
            counts.dec(HttpStat::CxUpgradesActive);
        }
        let status = self.response.get_mut().as_ref().map(|head| head.status);
        if let Some(status) = status {
            counts.inc(HttpStat::RqCompleted);
            if let Some(class) = HttpStat::of_status(status) {
                counts.inc(class);
            }
        }
        if let Some(stat) = HttpStat::of_details(self.details.get_mut(), status) {
            counts.inc(stat);
        }
        let flags = self.flags.get();
        if flags.is_empty() {
            return;
        }
        for (flag, stat) in [
            (Flag::DownstreamConnectionTermination, HttpStat::RqRxReset),
            (Flag::DownstreamRemoteReset, HttpStat::RqRxReset),
            (Flag::StreamIdleTimeout, HttpStat::RqIdleTimeout),
            (Flag::NoRouteFound, HttpStat::NoRoute),
            (Flag::NoClusterFound, HttpStat::NoCluster),
        ] {
            if flags.contains(flag) {
                counts.inc(stat);
            }
        }
    }

    /// A redirect that the proxy follows by itself ends what has been, with a record of its own, and begins the next.
    pub(crate) fn led_on(&self, by: ResponseHead, request: RequestHead) {
        self.request.replace(request);
        self.response.replace(Some(by));
        self.details.replace("internal_redirect".into());
        self.report(Instant::now());
        self.trace.take();
        self.session.counts.inc(HttpStat::RqTotal);
        self.response.replace(None);
        self.details.replace("".into());
        self.attempts.set(0);
        self.upstream.take();
        self.beside.take();
        self.besides.take();
        self.response_duration.set(None);
    }

    /// A record before the end, for logs.
    pub(crate) fn log(&self, log_type: LogType) {
        let now = Instant::now();
        self.with_record(now, log_type, |record| {
            let Session { worker, manager, .. } = &*self.session;
            worker.reporter.meanwhile(record, &manager.access_log);
        });
    }

    /// Records again and again, while it lasts.
    pub(crate) fn log_every(self: &Rc<Self>, interval: Duration) {
        let exchange = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(exchange) = exchange.upgrade() else {
                    return;
                };
                if exchange.finished.get() {
                    return;
                }
                exchange.log(LogType::DownstreamPeriodic);
            }
        });
    }

    fn report(&self, now: Instant) {
        let Session { worker, manager, .. } = &*self.session;
        let trace = self.trace();
        let downstream = &self.session.connection.record;
        if trace.is_none() && !worker.reporter.takes(downstream, &manager.access_log) {
            return;
        }
        self.with_record(now, LogType::DownstreamEnd, |record| {
            worker.reporter.request(record, &manager.access_log);
            if let Some(trace) = trace {
                trace.finish(record, self.watch.began(), worker);
            }
        });
    }

    /// What is known of it, as of now.
    pub(crate) fn with_record(&self, now: Instant, log_type: LogType, tell: impl FnOnce(&RequestRecord<'_>)) {
        let began = self.watch.began();
        let (response, trailers) = (self.response.borrow(), self.trailers.borrow());
        let (route, upstream, peer) = (self.route.borrow(), self.upstream.borrow(), self.peer.borrow());
        let (host, beside) = (self.host.borrow(), self.beside.borrow());
        let trace = self.trace();
        let record = RequestRecord {
            start: self.session.worker.wall_time(began),
            duration: now.saturating_duration_since(began),
            request_duration: self.watch.request_duration(),
            response_duration: self.response_duration.get(),
            request: &self.request.borrow(),
            response: response.as_ref(),
            trailers: trailers.as_ref(),
            grpc_status: self.grpc_status.get(),
            flags: self.flags.get(),
            details: &self.details.borrow(),
            bytes_received: self.received.get(),
            bytes_sent: self.sent.get(),
            wire: self.counter.get(),
            route: RouteRecord {
                virtual_cluster: beside
                    .as_ref()
                    .and_then(|beside| beside.virtual_cluster.as_deref()),
                ..route_record(route.as_deref(), host.as_deref())
            },
            upstream: upstream.record(),
            attempts: self.attempts.get(),
            span: trace.as_ref().and_then(|trace| trace.context()),
            forced: trace.as_ref().is_some_and(|trace| trace.is_forced()),
            random: self.session.worker.random.next(),
            downstream: self.downstream(),
            peer: peer.as_deref().unwrap_or(&UNKNOWN),
            notes: &self.notes,
            log_type,
            details_on_demand: self.on_demand.get().map(|kept| &**kept),
        };
        tell(&record);
    }

    fn cut_off(&self) {
        let (flag, details) = match self.cut_by() {
            Some(by) => (Flag::LocalReset, by.details()),
            None if self.session.ending.given_up.get() => (Flag::DownstreamRemoteReset, "http2.remote_reset"),
            None => (
                Flag::DownstreamConnectionTermination,
                "downstream_remote_disconnect",
            ),
        };
        self.flag(flag);
        self.details.replace(details.into());
    }
}

impl Watched for Exchange {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.cut_off();
        }
        let now = Instant::now();
        self.count_end(now);
        self.active.end(now);
        self.report(now);
        self.session.ending.streams.let_go();
    }
}

fn route_record<'r>(route: Option<&'r Route>, host: Option<&'r HostFacts>) -> RouteRecord<'r> {
    let Some(route) = route else {
        return RouteRecord {
            host: host.map_or("", |host| &host.name),
            host_metadata: host.and_then(|host| host.told.as_ref()),
            ..RouteRecord::default()
        };
    };
    RouteRecord {
        found: true,
        name: &route.name,
        rule: route.rule,
        made_by: route.origin.as_deref().unwrap_or_default(),
        place: route.place.as_deref().unwrap_or_default(),
        host: &route.host.name,
        metadata: route.told.as_ref(),
        host_metadata: route.host.told.as_ref(),
        virtual_cluster: None,
    }
}

// === impl Attempted ===

impl Attempted {
    pub(crate) fn record(&self) -> Option<UpstreamRecord<'_>> {
        let connection = self.connection.as_deref();
        let cluster = self.cluster.as_ref()?;
        Some(UpstreamRecord {
            name: &cluster.name,
            hostname: self.endpoint.as_ref().map_or("", |endpoint| &endpoint.hostname),
            cluster: &cluster.stat_name,
            service: cluster.service.as_ref(),
            workload: self.endpoint.as_ref().and_then(|e| e.workload.as_ref()),
            // Whom it was for, if there is no connection.
            remote: connection
                .map(|c| &c.remote)
                .or_else(|| upstream::address(self.endpoint.as_deref()?)),
            local: connection.and_then(|c| c.local),
            peer_principal: connection.and_then(UpstreamConnection::peer_principal),
            local_principal: connection.and_then(UpstreamConnection::local_principal),
            transport_failure: self.failure.as_deref(),
            is_connected: connection.is_some(),
            version: connection.and(self.version),
            connection_id: connection.map(|c| c.id),
            tls: connection.and_then(UpstreamConnection::tls_facts),
            server_name: connection.and_then(UpstreamConnection::server_name),
            wire: self.counter.get(),
            cluster_metadata: cluster.told.as_ref(),
            metadata: self.endpoint.as_ref().and_then(|endpoint| endpoint.told.as_ref()),
        })
    }
}
