//! Runs the engine's HTTP filters: the one executor of their effects.
//!
//! Requests pass the filters in order, responses in reverse. A filter is never borrowed across an await, because the
//! request's body may be on its way through the same filters while the response's head is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use leno_engine::compile::cluster::{Cluster, Discovery};
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::route::Route;
use leno_engine::decide::filter::{Context, Effect, EffectResult, HttpFilter, Rules, Step};
use leno_engine::decide::route::Decision;
use leno_engine::message::{LocalReply, RequestHead, ResponseHead};
use smallvec::SmallVec;

use crate::codec::{Body, Frame, Source};
use crate::lookup::Want;
use crate::outcome::{Failure, StreamError};
use crate::record::Exchange;
use crate::{call, find, grpc_call, key_set, reply};

/// One request's filters: those that have something to do for it, at least one.
pub(crate) struct Filters {
    active: RefCell<Active>,
    exchange: Rc<Exchange>,
    cluster: Routed,
    see_bodies: bool,
    /// Whose filters they are, where the session's manager has been replaced.
    successor: Option<Arc<HttpConnectionManager>>,
    /// An answer that a filter gave while the body was passing.
    reply: RefCell<Option<LocalReply>>,
}

type Active = SmallVec<[Running; 4]>;

struct Running {
    /// Its place in the manager's list.
    at: usize,
    filter: Box<dyn HttpFilter>,
}

/// What a filter came to at the request's headers.
enum Settled {
    Goes,
    /// It wants the body first, up to so many bytes.
    Holds(usize),
    /// It wants the headers once more.
    Again,
}

/// Which cluster the request was routed to.
enum Routed {
    Known(Arc<Cluster>),
    Unknown(String),
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

// === impl Filters ===

impl Filters {
    /// `cluster`: the decision's, where it is known. None: no filter has something to do for this request.
    pub(crate) fn start(
        exchange: &Rc<Exchange>,
        decision: &Decision<'_>,
        cluster: Option<Arc<Cluster>>,
    ) -> Option<Rc<Self>> {
        let successor = exchange.session().successor();
        let active = started(exchange, successor.as_ref(), decision, 0);
        if active.is_empty() {
            return None;
        }
        Some(Rc::new(Self {
            see_bodies: active.iter().any(|running| running.filter.sees_bodies()),
            active: RefCell::new(active),
            exchange: Rc::clone(exchange),
            cluster: Routed::by(decision, cluster),
            successor,
            reply: RefCell::default(),
        }))
    }

    /// The same for the filters behind the first `passed`, whose request has another route now.
    pub(crate) fn reroute(&mut self, passed: usize, decision: &Decision<'_>, cluster: Option<Arc<Cluster>>) {
        let active = self.active.get_mut();
        active.truncate(passed);
        let next = active.last().map_or(0, |running| running.at + 1);
        active.extend(started(&self.exchange, self.successor.as_ref(), decision, next));
        self.see_bodies = active.iter().any(|running| running.filter.sees_bodies());
        self.cluster = Routed::by(decision, cluster);
    }

    fn len(&self) -> usize {
        self.active.borrow().len()
    }

    /// From the filter number `from` on. `Some(passed)`: after so many of them the request may have another route. Err: a
    /// filter answers instead of the upstream.
    pub(crate) async fn request_headers(
        &self,
        from: usize,
        body: &mut Body,
    ) -> Result<Option<usize>, LocalReply> {
        for index in from..self.len() {
            loop {
                let end = body.is_end();
                let step = self.beside(index, None, |filter, cx| {
                    filter.on_request_headers(cx, &mut self.exchange.request.borrow_mut(), end)
                });
                match self.settle(index, step).await? {
                    Settled::Again => continue,
                    Settled::Goes => {}
                    Settled::Holds(limit) => {
                        let holding = self.hold(index, std::mem::take(body), limit, Direction::Request);
                        let again;
                        (*body, again) = Box::pin(holding).await?;
                        if again {
                            continue;
                        }
                    }
                }
                break;
            }
            if self.exchange.reroutes.take() {
                return Ok(Some(index + 1));
            }
        }
        Ok(None)
    }

    /// Err: a filter answers in place of what the upstream said.
    pub(crate) async fn response_headers(
        &self,
        head: &mut ResponseHead,
        body: &mut Body,
    ) -> Result<(), LocalReply> {
        for index in (0..self.len()).rev() {
            let end = body.is_end();
            let step = self.with(index, |f, cx| f.on_response_headers(cx, head, end));
            if let Settled::Holds(limit) = self.settle(index, step).await? {
                let holding = self.hold(index, std::mem::take(body), limit, Direction::Response);
                (*body, _) = Box::pin(holding).await?;
            }
        }
        Ok(())
    }

    /// The body as the filters let it through.
    pub(crate) fn request_body(self: &Rc<Self>, body: Body) -> Body {
        self.body(body, Direction::Request)
    }

    pub(crate) fn response_body(self: &Rc<Self>, body: Body) -> Body {
        self.body(body, Direction::Response)
    }

    /// What a filter answered while the request's body was passing.
    pub(crate) fn take_reply(&self) -> Option<LocalReply> {
        self.reply.take()
    }

    fn body(self: &Rc<Self>, body: Body, direction: Direction) -> Body {
        if !self.see_bodies || body.is_end() {
            return body;
        }
        Body::Stream(Box::new(FilteredBody {
            filters: Rc::clone(self),
            body,
            direction,
            held: Vec::new(),
            waiting: None,
        }))
    }

    fn with<T>(
        &self,
        index: usize,
        run: impl FnOnce(&mut dyn HttpFilter, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let request = self.exchange.request.borrow();
        self.beside(index, Some(&request), run)
    }

    fn beside<T>(
        &self,
        index: usize,
        request: Option<&RequestHead>,
        run: impl FnOnce(&mut dyn HttpFilter, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let exchange = &self.exchange;
        let connection = &exchange.session().connection;
        let mut flags = exchange.flags.get();
        let mut peer = exchange.peer.borrow_mut();
        let upstream_principal = exchange.upstream_principal();
        let route = exchange.route.borrow();
        let endpoint = exchange.upstream.borrow().endpoint.clone();
        let mut cx = Context {
            clock: Instant::now,
            time: SystemTime::now,
            random: exchange.worker().random.next(),
            flags: &mut flags,
            peer: &mut peer,
            peers: &mut exchange.worker().peers.borrow_mut(),
            local: &exchange.worker().shared.local_metadata,
            connection: &connection.facts,
            caller: connection.caller(),
            remote: exchange.downstream().remote,
            route_limits: route.as_deref().and_then(Route::limits),
            ignores_parameters: route
                .as_deref()
                .is_some_and(|route| route.matches.ignore_parameters),
            request,
            notes: &exchange.notes,
            values: &**exchange,
            upstream_principal: upstream_principal.as_deref(),
            wish: &mut exchange.wish.borrow_mut(),
            endpoint: endpoint.as_ref().map(|endpoint| &endpoint.address),
            routed: route.is_some(),
            cluster: match &self.cluster {
                Routed::Known(cluster) => Some(&cluster.name),
                Routed::Unknown(name) => Some(name),
                Routed::Nowhere => None,
            },
            upstream: match &self.cluster {
                Routed::Known(cluster) => Some(cluster),
                Routed::Unknown(_) | Routed::Nowhere => None,
            },
            by_host: match &self.cluster {
                Routed::Known(cluster) => matches!(cluster.discovery, Discovery::DynamicForward(_)),
                Routed::Unknown(_) | Routed::Nowhere => false,
            },
            // What cannot be found is nobody of the mesh.
            external: match &self.cluster {
                Routed::Known(cluster) => cluster.external,
                Routed::Unknown(_) | Routed::Nowhere => true,
            },
            process: &**exchange.worker(),
            tally: &**exchange,
            reroutes: &exchange.reroutes,
        };
        let mut active = self.active.borrow_mut();
        let result = active
            .get_mut(index)
            .map(|running| run(running.filter.as_mut(), &mut cx));
        exchange.flags.set(flags);
        result
    }

    /// Performs effects until the filter continues or answers.
    async fn settle(&self, index: usize, mut step: Option<Step>) -> Result<Settled, LocalReply> {
        loop {
            match step {
                None | Some(Step::Continue) => return Ok(Settled::Goes),
                Some(Step::Reply(reply)) => return Err(reply),
                Some(Step::Buffer(limit)) => return Ok(Settled::Holds(limit)),
                Some(Step::Again) => return Ok(Settled::Again),
                Some(Step::Effect(effect)) => {
                    // Apart: what few requests ask for is large, and none of the others is to have room for it.
                    let result = Box::pin(perform(Rc::clone(&self.exchange), effect)).await;
                    step = self.with(index, |f, cx| f.on_effect(cx, result));
                }
            }
        }
    }

    /// Reads the body for one filter until it continues, or (true) wants the headers once more.
    async fn hold(
        &self,
        index: usize,
        mut body: Body,
        limit: usize,
        direction: Direction,
    ) -> Result<(Body, bool), LocalReply> {
        let mut held = VecDeque::new();
        let mut size = 0;
        let again = loop {
            let (mut frame, end) = match body.frame().await {
                Some(Ok(frame)) => (Some(frame), body.is_end()),
                // What has not come to its end is not passed on to be found out by others: nobody has let it through.
                Some(Err(error)) if direction == Direction::Request => return Err(broken(error)),
                Some(Err(error)) => {
                    held.push_back(Err(error));
                    break false;
                }
                // The end came by itself.
                None => (None, true),
            };
            let step = match &mut frame {
                Some(frame) => self.with(index, |f, cx| step(f, cx, direction, frame, end)),
                None => {
                    let mut nothing = Frame::Data(Bytes::new());
                    self.with(index, |f, cx| step(f, cx, direction, &mut nothing, end))
                }
            };
            if let Some(Frame::Data(data)) = &frame {
                size += data.len();
            }
            held.extend(frame.map(Ok));
            match self.settle(index, step).await? {
                Settled::Goes => break false,
                Settled::Again => break true,
                Settled::Holds(_) if size > limit => return Err(too_large()),
                Settled::Holds(_) if end => break false,
                Settled::Holds(_) => {}
            }
        };
        Ok((Body::Stream(Box::new(HeldBody { held, rest: body })), again))
    }
}

// === impl Routed ===

impl Routed {
    /// `cluster`: the decision's, where it is known.
    fn by(decision: &Decision<'_>, cluster: Option<Arc<Cluster>>) -> Self {
        match (cluster, decision) {
            (Some(cluster), _) => Self::Known(cluster),
            (None, Decision::Forward(forwarding)) => Self::Unknown(forwarding.cluster.to_string()),
            (None, _) => Self::Nowhere,
        }
    }
}

/// The filters from this place of the list on that have something to do.
fn started(
    exchange: &Rc<Exchange>,
    successor: Option<&Arc<HttpConnectionManager>>,
    decision: &Decision<'_>,
    from: usize,
) -> Active {
    let head = exchange.request.borrow();
    let manager = successor.unwrap_or(&exchange.session().manager);
    let filters = manager.filters_of(&head).iter().enumerate();
    filters
        .skip(from)
        .filter(|(_, filter)| filter.factory.wants(&head))
        .filter_map(|(at, filter)| {
            let levels = decision.filter_levels(&filter.name);
            let filter = match &filter.discovered {
                None => filter.start_at(&levels),
                Some(discovered) => {
                    let config = exchange.worker().snapshot();
                    let found = config.extension(&filter.name).map(Arc::as_ref);
                    filter.start_discovered(discovered, found, &head, &levels)
                }
            };
            Some(Running { at, filter: filter? })
        })
        .collect()
}

fn step(
    filter: &mut dyn HttpFilter,
    cx: &mut Context<'_>,
    direction: Direction,
    frame: &mut Frame,
    end: bool,
) -> Step {
    match (direction, frame) {
        (Direction::Request, Frame::Data(data)) => filter.on_request_data(cx, data, end),
        (Direction::Request, Frame::Trailers(trailers)) => filter.on_request_trailers(cx, trailers),
        (Direction::Response, Frame::Data(data)) => filter.on_response_data(cx, data, end),
        (Direction::Response, Frame::Trailers(trailers)) => filter.on_response_trailers(cx, trailers),
    }
}

/// What filters may ask of the proxy.
async fn perform(exchange: Rc<Exchange>, effect: Effect) -> EffectResult {
    let worker = exchange.worker();
    match effect {
        Effect::Sleep(time) => {
            tokio::time::sleep(time).await;
            EffectResult::Slept
        }
        Effect::Call {
            cluster,
            request,
            body,
            timeout,
        } => EffectResult::Called(call::by_cluster(worker, &cluster, *request, body, timeout).await),
        Effect::Ask {
            service,
            path,
            message,
            patience,
        } => {
            let answer = grpc_call::call(worker, &service, path, &message, patience).await;
            EffectResult::Asked(answer.map_err(|failed| failed.to_string()))
        }
        Effect::Resolve {
            cluster,
            authority,
            by,
        } => {
            EffectResult::Resolved(match find::find(worker, &cluster).await {
                Ok(upstream) => match by {
                    Rules::These(cache) => upstream.resolve(&authority, &cache).await,
                    Rules::Own(patience) => upstream.resolve_within(&authority, patience).await,
                },
                // Whose cluster has gone finds out when it is sent.
                Err(_) => Ok(()),
            })
        }
        Effect::Discover {
            cluster,
            source,
            timeout,
        } => {
            let demand = &worker.shared.demand;
            demand.ask_of(Want::Cluster(cluster), source, timeout).await;
            exchange.cluster_sought.set(true);
            EffectResult::Discovered
        }
        Effect::Fetch(remote) => {
            key_set::fetch(worker, &remote).await;
            EffectResult::Fetched
        }
    }
}

/// Of a request whose body breaks off while a filter waits for it.
fn broken(error: StreamError) -> LocalReply {
    reply::failed(&Failure::Stream(error), false)
}

fn too_large() -> LocalReply {
    LocalReply {
        status: 413,
        headers: Default::default(),
        body: Bytes::from_static(b"Payload Too Large"),
        details: "request_payload_too_large".into(),
        flags: Default::default(),
        grpc_status: None,
    }
}

/// A body passing the filters. Per frame the filters run at once; only an effect is waited for.
struct FilteredBody {
    filters: Rc<Filters>,
    body: Body,
    direction: Direction,
    /// Data that a filter holds back, and how many bytes it may.
    held: Vec<Bytes>,
    waiting: Option<(usize, Frame, Performing)>,
}

type Performing = Pin<Box<dyn Future<Output = EffectResult>>>;

enum Passed {
    Through(Frame),
    Held,
    Waiting,
}

impl FilteredBody {
    /// Runs the filters from the `at`-th in this direction's order.
    fn pass(&mut self, at: usize, mut frame: Frame, mut first: Option<Step>) -> Result<Passed, StreamError> {
        let count = self.filters.len();
        let end = self.body.is_end();
        for position in at..count {
            let index = match self.direction {
                Direction::Request => position,
                Direction::Response => count - 1 - position,
            };
            let direction = self.direction;
            let taken = first.take();
            let next = taken.or_else(|| {
                self.filters
                    .with(index, |f, cx| step(f, cx, direction, &mut frame, end))
            });
            match next {
                None | Some(Step::Continue | Step::Again) => {}
                Some(Step::Reply(reply)) => {
                    self.filters.reply.replace(Some(reply));
                    return Err(StreamError::Aborted);
                }
                Some(Step::Buffer(limit)) => {
                    if let Frame::Data(data) = frame {
                        self.held.push(data);
                    }
                    let size: usize = self.held.iter().map(Bytes::len).sum();
                    return if size > limit {
                        Err(StreamError::TooLarge(limit))
                    } else {
                        Ok(Passed::Held)
                    };
                }
                Some(Step::Effect(effect)) => {
                    let performing: Performing = Box::pin(perform(Rc::clone(&self.filters.exchange), effect));
                    self.waiting = Some((position, frame, performing));
                    return Ok(Passed::Waiting);
                }
            }
        }
        if !self.held.is_empty()
            && let Frame::Data(data) = &mut frame
        {
            let mut whole = std::mem::take(&mut self.held);
            whole.push(std::mem::take(data));
            *data = whole.concat().into();
        }
        Ok(Passed::Through(frame))
    }
}

impl Source for FilteredBody {
    fn poll_frame(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            let passed = if let Some((_, _, performing)) = &mut self.waiting {
                let result = ready!(performing.as_mut().poll(cx));
                let Some((position, frame, _)) = self.waiting.take() else {
                    continue;
                };
                let index = match self.direction {
                    Direction::Request => position,
                    Direction::Response => self.filters.len() - 1 - position,
                };
                let resumed = self.filters.with(index, |f, cx| f.on_effect(cx, result));
                self.pass(position, frame, resumed)
            } else {
                match ready!(self.body.poll_frame(cx)) {
                    None if self.held.is_empty() => return Poll::Ready(None),
                    // The end came while a filter still held data back: it had its chance.
                    None => {
                        return Poll::Ready(Some(Ok(Frame::Data(
                            std::mem::take(&mut self.held).concat().into(),
                        ))));
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(frame)) => self.pass(0, frame, None),
                }
            };
            match passed {
                Ok(Passed::Through(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Passed::Held | Passed::Waiting) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn is_end(&self) -> bool {
        self.waiting.is_none() && self.held.is_empty() && self.body.is_end()
    }
}

impl std::fmt::Debug for FilteredBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilteredBody")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A body whose beginning has been read already.
#[derive(Debug)]
struct HeldBody {
    held: VecDeque<Result<Frame, StreamError>>,
    rest: Body,
}

impl Source for HeldBody {
    fn poll_frame(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        match self.held.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.rest.poll_frame(cx),
        }
    }

    fn is_end(&self) -> bool {
        self.held.is_empty() && self.rest.is_end()
    }
}
