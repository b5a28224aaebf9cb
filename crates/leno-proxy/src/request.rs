//! One request: its route, its filters, its cluster's answer.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use leno_engine::compile::access_log::Point;
use leno_engine::compile::config_source::Source;
use leno_engine::compile::http::{HttpConnectionManager, RouteSource, ScopedRoutes, Scopes};
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::overload::What;
use leno_engine::compile::route::RouteTable;
use leno_engine::decide::internal_redirect::{Followed, NextRequest};
use leno_engine::decide::original_ip::Detected;
use leno_engine::decide::route::{Decision, Forwarding, RouteContext, is_grpc};
use leno_engine::decide::timeout::Heard;
use leno_engine::flags::Flag;
use leno_engine::message::{Decimal, Headers, LocalReply, RequestHead, ResponseHead, Version};
use leno_telemetry::record::{DownstreamRecord, Named};
use leno_telemetry::stats::{ClusterStat, HttpStat};

use crate::codec::{Answer, Body, Counter, Refusal, Request, Response, Tunnel};
use crate::ending::Lifetime;
use crate::filters::Filters;
use crate::find;
use crate::headers::{self, Prepared};
use crate::lookup::{Answer as Looked, Want};
use crate::outcome::Failure;
use crate::overload::overloaded;
use crate::proxy_status;
use crate::record::Exchange;
use crate::replay::Received;
use crate::reply::{direct, failed, local, no_route, refusal, shape, upgrade_refused};
use crate::resources::WARMING_TIMEOUT;
use crate::router::{Forwarded, Router};
use crate::sent::{SentBody, TunnelRecord};
use crate::session::Session;
use crate::state::Config;
use crate::upstream::Upstream;

/// Serves one request, up to the head of its answer. What comes before the first wait is done at once: a future that
/// did it would have room for the request beside what becomes of it.
pub(crate) fn handle(session: &Rc<Session>, request: Request) -> impl Future<Output = Response> + use<> {
    let Request {
        mut head,
        body,
        counter,
    } = request;
    let manager = &session.manager;
    let begun = headers::begin(&mut head, &session.connection, manager);
    let detected = manager.detect(&head.headers, session.connection.record.remote.ip());
    let client = client(session, &detected);
    let prepared = headers::prepare(
        begun,
        &mut head,
        &session.connection,
        manager,
        &session.worker,
        &detected,
    );
    let grpc = is_grpc(&head);
    let exchange = Exchange::new(session, client, head, counter);
    session.ending.streams.add(&exchange);
    let body = Received::follow(&exchange, body);
    answer(exchange, grpc, prepared, body)
}

async fn answer(exchange: Rc<Exchange>, grpc: bool, prepared: Prepared, body: Body) -> Response {
    let exchanged = Exchanged {
        exchange: &exchange,
        grpc,
        prepared,
    };
    let (mut answer, filters, origin) = exchanged.answer(body).await;
    let manager = &exchange.session().manager;
    if let Some(filters) = &filters
        && let Err(reply) = filters.response_headers(&mut answer.head, &mut answer.body).await
    {
        answer = exchanged.local(reply);
    }
    if matches!(origin, Origin::Upstream) && !manager.router.suppress_envoy_headers {
        let time = Decimal::from(exchange.service_time());
        answer.head.headers.set("x-envoy-upstream-service-time", time);
    }
    if manager.answer_request_id
        && let Some(id) = exchange.request.borrow().headers.get("x-request-id")
    {
        answer.head.headers.set("x-request-id", id);
    }
    headers::finish(&mut answer.head, manager, prepared.restored);
    if let Some(config) = &manager.proxy_status {
        proxy_status::write(config, &exchange, &mut answer.head);
    }
    if let Some(trace) = exchange.trace() {
        trace.answer(&mut answer.head);
    }
    respond(exchange, answer, filters)
}

/// The connection as the request's record has it, where a proxy before this one has told who the client is.
fn client(session: &Session, detected: &Detected) -> Option<Rc<DownstreamRecord>> {
    let record = &session.connection.record;
    let client = detected.client?;
    (client != record.remote.ip()).then(|| {
        Rc::new(DownstreamRecord {
            remote: SocketAddr::new(client, 0),
            named: record.named.as_ref().map(|named| {
                Arc::new(Named {
                    local: Arc::clone(&named.local),
                    remote: client.to_string().into(),
                    direct: Arc::clone(&named.direct),
                })
            }),
            ..DownstreamRecord::clone(record)
        })
    })
}

/// The answer to a request that never became one, and its record.
pub(crate) fn refuse(session: &Rc<Session>, refusal: &Refusal, counter: Counter) -> Response {
    let nothing = RequestHead {
        version: Version::Http11,
        method: Bytes::new(),
        scheme: Bytes::new(),
        authority: Bytes::new(),
        path: Bytes::new(),
        headers: Headers::default(),
        upgrade: None,
    };
    let exchange = Exchange::new(session, None, nothing, counter);
    if refusal.malformed {
        exchange.flag(Flag::DownstreamProtocolError);
    }
    exchange.details.replace(refusal.details.into());
    let mut head = ResponseHead {
        version: Version::Http11,
        status: refusal.status,
        headers: Headers::default(),
    };
    let body = refusal.body;
    if !body.is_empty() {
        head.headers.append("content-length", Decimal::from(body.len()));
        head.headers.append("content-type", "text/plain");
    }
    headers::finish(&mut head, &session.manager, None);
    exchange.response.replace(Some(head.clone()));
    let all = Body::Full(Bytes::from_static(body.as_bytes()));
    let body = if exchange.counter.counts() {
        SentBody::follow(exchange, all)
    } else {
        exchange.sent.set(body.len() as u64);
        exchange.finish();
        all
    };
    Response {
        head,
        body,
        tunnel: None,
    }
}

/// Hands an answer to the codec; what it becomes of is followed to its end.
fn respond(exchange: Rc<Exchange>, answer: Answer, filters: Option<Rc<Filters>>) -> Response {
    let Answer { head, body, upgraded } = answer;
    if exchange.details.borrow().is_empty() {
        exchange.details.replace("via_upstream".into());
    }
    exchange.see_grpc_status(&head.headers);
    let mut told = head.clone();
    let asked = exchange.request.borrow();
    // What opens a tunnel of HTTP/2 is a switch of protocols to everybody but its codec.
    if asked.upgrade.is_some() && asked.version == Version::Http2 && told.status == 200 {
        told.status = 101;
    }
    drop(asked);
    exchange.response.replace(Some(told));
    exchange.reach(Point::AnsweringBegins);
    if let Some(upstream) = upgraded {
        if exchange.session().manager.log_options.when_connected {
            exchange.log(LogType::DownstreamTunnelSuccessfullyEstablished);
        }
        let connection = &exchange.session().connection;
        let tunnel = Tunnel {
            upstream,
            scratch: exchange.worker().scratch.at_most(connection.buffer_limit),
            ending: exchange.worker().ending(&connection.drain, Lifetime::default()),
            finish: Box::new(TunnelRecord(exchange)),
        };
        return Response {
            head,
            body: Body::Empty,
            tunnel: Some(Box::new(tunnel)),
        };
    }
    let body = match &filters {
        Some(filters) => filters.response_body(body),
        None => body,
    };
    Response {
        head,
        body: SentBody::follow(exchange, body),
        tunnel: None,
    }
}

/// Where an answer comes from.
enum Origin {
    Upstream,
    Local,
}

/// What a request has come to on its way through the route table.
enum Pass {
    Answered(Answer, Option<Rc<Filters>>, Origin),
    /// By this redirect.
    LedOn(Box<LedOn>),
}

/// A redirect that the proxy follows by itself.
struct LedOn {
    by: ResponseHead,
    to: NextRequest,
    body: Body,
}

/// A request on its way to its answer.
struct Exchanged<'e> {
    exchange: &'e Rc<Exchange>,
    grpc: bool,
    prepared: Prepared,
}

impl Exchanged<'_> {
    async fn answer(&self, mut body: Body) -> (Answer, Option<Rc<Filters>>, Origin) {
        let exchange = self.exchange;
        let session = exchange.session();
        if let Some(overload) = session.overload() {
            let acts = |what| overload.acts(what, &session.worker.random);
            if acts(What::ShedRequests) || acts(What::StopRequests) {
                session.counts.inc(HttpStat::RqOverloadClose);
                return (
                    self.local(overloaded(session.manager.tells_local_overload)),
                    None,
                    Origin::Local,
                );
            }
        }
        if let Some(reply) = refusal(&exchange.request.borrow(), &self.prepared, &session.manager) {
            return (self.local(reply), None, Origin::Local);
        }
        let mut table = match table(exchange).await {
            Ok(table) => table,
            Err(reply) => return (self.local(reply), None, Origin::Local),
        };
        if let Some(source) = &table.vhds
            && Box::pin(seek_host(exchange, &table, source)).await
            && let Ok(with_host) = self::table(exchange).await
        {
            table = with_host;
        }
        if table.on_demand || session.manager.on_demand {
            exchange.keep();
        }
        if self.prepared.heard == Heard::No {
            for name in &table.internal_headers {
                exchange.request.borrow_mut().headers.remove(name);
            }
        }
        let mut followed = Followed::default();
        loop {
            match self.pass(&table, &mut followed, body).await {
                Pass::Answered(answer, filters, origin) => return (answer, filters, origin),
                Pass::LedOn(led_on) => {
                    let LedOn { by, to, body: again } = *led_on;
                    exchange.led_on(by, to.head);
                    exchange.wish.replace(None);
                    body = if to.without_body { Body::Empty } else { again };
                }
            }
        }
    }

    /// Through route and filters to an answer, or to a redirect that the proxy follows by itself.
    async fn pass(&self, table: &RouteTable, followed: &mut Followed, mut body: Body) -> Pass {
        let exchange = self.exchange;
        let session = exchange.session();
        let cx = RouteContext {
            random: session.worker.random.next(),
            tls: session.connection.facts.tls,
            certificate: session.connection.has_certificate(),
            source: Some(exchange.downstream().remote.ip()),
            notes: Some(&exchange.notes),
        };
        let mut decision = table.route(&exchange.request.borrow(), &cx);
        exchange.route.replace(decision.route().cloned());
        if let Decision::NoRoute { host } = &decision {
            exchange.host.replace(Some(Arc::clone(&host.facts)));
        }
        exchange.begin_trace();
        if refuses_upgrade(&session.manager, &exchange.request.borrow(), &decision) {
            session.counts.inc(HttpStat::RqWsOnNonWsRoute);
            return Pass::Answered(self.local(upgrade_refused()), None, Origin::Local);
        }
        session.counts.inc(HttpStat::RouterRqTotal);
        if matches!(decision, Decision::Redirect { .. } | Decision::Respond { .. }) {
            session.counts.inc(HttpStat::RqDirectResponse);
        }
        // Filters have to know whether the request leaves the mesh before they add anything to it.
        let mut upstream = match &decision {
            Decision::Forward(forwarding) => find::find(&session.worker, &forwarding.cluster).await,
            _ => Err(Failure::NoCluster),
        };
        // Known to the record even if a filter answers.
        exchange.upstream.borrow_mut().cluster = upstream.as_ref().ok().map(|u| u.cluster());
        let options = &session.manager.log_options;
        if options.at_start {
            exchange.log(LogType::DownstreamStart);
        }
        if let Some(interval) = options.every {
            exchange.log_every(interval);
        }
        let none = session.manager.filters.is_empty()
            && session.manager.upgrade_filters.is_empty()
            && !session.connection.drain.has_started();
        let mut filters = match none {
            true => None,
            false => Filters::start(exchange, &decision, upstream.as_ref().ok().map(|u| u.cluster())),
        };
        if let Some(filters) = &mut filters {
            let mut passed = 0;
            loop {
                match filters.request_headers(passed, &mut body).await {
                    Ok(None) => break,
                    Ok(Some(so_far)) => passed = so_far,
                    Err(reply) => {
                        return Pass::Answered(self.local(reply), Some(Rc::clone(filters)), Origin::Local);
                    }
                }
                // A filter has said what may lead the request elsewhere: the filters behind it are those of that route.
                decision = table.route(&exchange.request.borrow(), &cx);
                upstream = Box::pin(self.rerouted(&decision)).await;
                if let Some(filters) = Rc::get_mut(filters) {
                    filters.reroute(passed, &decision, upstream.as_ref().ok().map(|u| u.cluster()));
                }
            }
            body = filters.request_body(body);
            if let Decision::Forward(forwarding) = &decision
                && exchange.cluster_sought.take()
            {
                upstream = find::find(&session.worker, &forwarding.cluster).await;
                exchange.upstream.borrow_mut().cluster = upstream.as_ref().ok().map(|u| u.cluster());
            }
        }
        let (answer, origin) = match decision {
            Decision::Forward(forwarding) => {
                let follow = |head: &ResponseHead| {
                    let policy = forwarding.forward.redirects.as_ref()?;
                    let request = exchange.request.borrow();
                    followed.follow(policy, &forwarding.route.name, table, &cx, &request, head)
                };
                match self
                    .forward(&forwarding, upstream, filters.as_deref(), body, follow)
                    .await
                {
                    Ok(answered) => answered,
                    Err(led_on) => return Pass::LedOn(led_on),
                }
            }
            other => (self.direct(&other), Origin::Local),
        };
        Pass::Answered(answer, filters, origin)
    }

    /// The cluster of another route.
    async fn rerouted(&self, decision: &Decision<'_>) -> Result<Rc<Upstream>, Failure> {
        let exchange = self.exchange;
        exchange.route.replace(decision.route().cloned());
        let upstream = match decision {
            Decision::Forward(forwarding) => {
                find::find(&exchange.session().worker, &forwarding.cluster).await
            }
            _ => Err(Failure::NoCluster),
        };
        exchange.upstream.borrow_mut().cluster = upstream.as_ref().ok().map(|u| u.cluster());
        upstream
    }

    /// Err: what to do instead of answering.
    async fn forward(
        &self,
        forwarding: &Forwarding<'_>,
        upstream: Result<Rc<Upstream>, Failure>,
        filters: Option<&Filters>,
        body: Body,
        follow: impl FnOnce(&ResponseHead) -> Option<NextRequest>,
    ) -> Result<(Answer, Origin), Box<LedOn>> {
        let exchange = self.exchange;
        if let Some(overload) = exchange.session().overload()
            && overload.acts(What::ShedForwarded, &exchange.worker().random)
        {
            exchange.session().counts.inc(HttpStat::RqOverloadLocalReply);
            return Ok((self.local(overloaded(false)), Origin::Local));
        }
        if exchange.request.borrow().upgrade.is_some() && !exchange.upgrades.replace(true) {
            let counts = &exchange.session().counts;
            counts.inc(HttpStat::CxUpgradesTotal);
            counts.inc(HttpStat::CxUpgradesActive);
        }
        let router = Router {
            exchange,
            forwarding,
            heard: self.prepared.heard,
        };
        let (mut answer, origin) = match router.forward(upstream, body).await {
            Ok(forwarded) => {
                let mut answer = match forwarded {
                    Forwarded::Answered(answer) => answer,
                    Forwarded::Redirected { answer, body } => match follow(&answer.head) {
                        Some(to) => {
                            exchange
                                .with_cluster(|counts| counts.inc(ClusterStat::InternalRedirectSucceeded));
                            let by = answer.head;
                            return Err(Box::new(LedOn { by, to, body }));
                        }
                        None => {
                            exchange.with_cluster(|counts| counts.inc(ClusterStat::InternalRedirectFailed));
                            answer
                        }
                    },
                };
                exchange.details.replace("via_upstream".into());
                if forwarding.host.answer_attempt_count {
                    let count = Decimal::from(u64::from(exchange.attempts.get()));
                    answer.head.headers.set("x-envoy-attempt-count", count);
                }
                (answer, Origin::Upstream)
            }
            Err(failure) => {
                let of_filter = filters.and_then(Filters::take_reply);
                let mut reply = of_filter.unwrap_or_else(|| failed(&failure, exchange.attempts.get() > 1));
                if !exchange.session().manager.router.suppress_envoy_headers
                    && let Some(name) = failure.told_by()
                {
                    reply.headers.append(name, "true");
                }
                if matches!(failure, Failure::NoCluster) {
                    reply.status = forwarding.forward.cluster_not_found;
                }
                (self.local(reply), Origin::Local)
            }
        };
        forwarding.edit_response(&exchange.request.borrow(), &mut answer.head, &**exchange);
        Ok((answer, origin))
    }

    /// What a route answers by itself, with its header edits: what is said of the body comes after them.
    fn direct(&self, decision: &Decision<'_>) -> Answer {
        let exchange = self.exchange;
        let tells = !exchange.session().manager.router.suppress_envoy_headers;
        let location = decision.formatted_location(&exchange.request.borrow(), &**exchange);
        decision.rewrite_request(&mut exchange.request.borrow_mut(), tells);
        let mut reply = direct(decision, location);
        exchange.details.replace(reply.details.clone());
        let mut head = ResponseHead {
            version: Version::Http11,
            status: reply.status,
            headers: reply.headers,
        };
        decision.edit_response(&exchange.request.borrow(), &mut head, &**exchange);
        reply.headers = head.headers;
        if let Decision::Respond {
            format: Some(format), ..
        } = decision
        {
            shape(exchange, format, &mut reply);
        }
        if reply.body.is_empty() {
            reply.headers.remove("content-type");
        }
        self.local(reply)
    }

    /// An answer of the proxy's own; nothing is waited for any more.
    fn local(&self, reply: LocalReply) -> Answer {
        self.exchange.answer_within(None);
        local(self.exchange, reply, self.grpc)
    }
}

/// The newest routes; asked for if they are not known.
async fn table(exchange: &Exchange) -> Result<Arc<RouteTable>, LocalReply> {
    let session = exchange.session();
    let worker = &session.worker;
    let name = match &session.manager.routes {
        RouteSource::Inline(table) => return Ok(Arc::clone(table)),
        RouteSource::Rds(name, _) => name,
        RouteSource::Scoped(scoped) => {
            let table = of_scope(
                &session.manager,
                scoped,
                &exchange.request.borrow(),
                &worker.snapshot(),
            );
            return table.ok_or_else(|| no_route("route_not_found"));
        }
    };
    if let Some(table) = worker.snapshot().route(name) {
        return Ok(Arc::clone(table));
    }
    let answer = worker.shared.demand.ask(Want::Route(name.clone())).await;
    match (worker.snapshot().route(name), answer) {
        (Some(table), _) => Ok(Arc::clone(table)),
        (None, Looked::Unanswered) => Err(failed(&Failure::Unanswered, false)),
        (None, Looked::Found | Looked::Absent) => Err(no_route("route_configuration_not_found")),
    }
}

/// Asks for the request's virtual host where it is not known. False: it is, or nobody asks.
async fn seek_host(exchange: &Exchange, table: &RouteTable, source: &Source) -> bool {
    let session = exchange.session();
    let mut filters = session.manager.filters.iter();
    if !filters.any(|filter| filter.is_on_demand()) || table.host_of(&exchange.request.borrow()).is_some() {
        return false;
    }
    let authority = exchange.request.borrow().authority.to_ascii_lowercase();
    let Ok(host) = String::from_utf8(authority) else {
        return false;
    };
    let demand = &session.worker.shared.demand;
    let patience = source.initial_fetch_timeout.unwrap_or(WARMING_TIMEOUT);
    let want = Want::VirtualHost(format!("{}/{host}", table.name));
    demand.ask_of(want, source.clone(), patience).await == Looked::Found
}

/// The routes of the scope that the request is of.
fn of_scope(
    manager: &HttpConnectionManager,
    scoped: &ScopedRoutes,
    head: &RequestHead,
    config: &Config,
) -> Option<Arc<RouteTable>> {
    let key = scoped.key(head)?;
    if let Scopes::Inline(_) = scoped.scopes {
        return scoped.inline(&key).cloned();
    }
    let scope = config.scope(&key)?;
    let waits = || manager.filters.iter().any(|filter| filter.is_on_demand());
    if scope.on_demand && !waits() {
        return None;
    }
    config.route(&scope.routes).cloned()
}

/// Only what is configured is upgraded, the route's word before the listener's.
fn refuses_upgrade(manager: &HttpConnectionManager, head: &RequestHead, decision: &Decision<'_>) -> bool {
    let wanted = match &head.upgrade {
        Some(upgrade) => String::from_utf8_lossy(upgrade).to_ascii_lowercase(),
        None if head.method.as_ref() == b"CONNECT" => "connect".to_owned(),
        None => return false,
    };
    if head.version == Version::Http2 && !manager.http2.allow_connect {
        return true;
    }
    let of_route = match decision {
        Decision::Forward(forwarding) => forwarding.forward.upgrades.get(&wanted).copied(),
        // Filters may find it a route.
        Decision::NoRoute { .. } => return false,
        _ => None,
    };
    let of_listener = || manager.upgrades.iter().any(|u| u.eq_ignore_ascii_case(&wanted));
    !of_route.unwrap_or_else(of_listener)
}
