//! `tcp_proxy`: one upstream connection for one downstream connection.

mod first_words;
mod outcome;
mod record;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::compile::listener::{Direction, TcpCluster, TcpProxy};
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::route::HostPredicate;
use leno_engine::decide::balance::{Active, Host, PickContext};
use leno_engine::decide::limits::{Permit, Priority, Resource};
use leno_telemetry::record::DownstreamRecord;
use leno_telemetry::stats::{ClusterStat, ClusterTime, TcpStat};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use self::first_words::first_words;
use self::outcome::{Outcome, flags, judge};
use self::record::{log, record_of, report, upstream_record};
use crate::alpn::Offer;
use crate::connect::UpstreamConnection;
use crate::connection::{Connection, Serving};
use crate::counts::{Lasting, Timed};
use crate::destination::{Behalf, Purpose};
use crate::drain::CutBy;
use crate::ending::{Ending, Lifetime};
use crate::find;
use crate::guard;
use crate::idle::{Limits, Watch};
use crate::io::Io;
use crate::outcome::Failure;
use crate::tcp::{self, Ended, Scratch, Why};
use crate::tunnel;
use crate::upstream::{Picked, Taken, Upstream};
use crate::worker::Worker;

/// An upstream connection that was made before the client said anything, and how it began.
#[derive(Debug)]
pub(crate) struct Early {
    connected: Result<Connected, Unconnected>,
    /// What the server said first.
    greeting: Bytes,
}

/// Why there is no connection, and the endpoint that was tried last.
#[derive(Debug)]
struct Unconnected {
    failure: Failure,
    tried: Option<Arc<Endpoint>>,
}

impl From<Failure> for Unconnected {
    fn from(failure: Failure) -> Self {
        Self { failure, tried: None }
    }
}

#[derive(Debug)]
struct Connected {
    io: Io,
    connection: Rc<UpstreamConnection>,
    cluster: Arc<Cluster>,
    host: Host,
    _active: (Active, Held),
    /// A connection's, or that of a request which carries it.
    _permit: Permit,
}

/// A connection's, or a request's place in the statistics, and its place at its endpoint where there are so many only.
#[derive(Debug)]
struct Held(
    Lasting<ClusterStat>,
    Option<Timed<ClusterStat>>,
    #[expect(dead_code)] Option<Box<Taken>>,
);

/// The upstream connection of a client that has not spoken yet.
#[derive(Debug, Default)]
pub(crate) struct Race(RefCell<Option<Connected>>);

impl Race {
    /// Connects as [`serve`] would, and comes back when the server has spoken, or cannot be reached.
    pub(crate) async fn await_server(&self, worker: &Rc<Worker>, tcp: &TcpProxy, of: &Origin<'_>) -> Early {
        match connect(worker, tcp, of).await {
            Ok(connected) => self.0.replace(Some(connected)),
            Err(failure) => {
                return Early {
                    connected: Err(failure),
                    greeting: Bytes::new(),
                };
            }
        };
        let mut greeting = BytesMut::with_capacity(4096);
        // Its end, or an error, comes again with the next read.
        let read = poll_fn(|cx| match &mut *self.0.borrow_mut() {
            Some(connected) => poll_read_buf(Pin::new(&mut connected.io), cx, &mut greeting),
            None => Poll::Pending,
        })
        .await;
        tracing::trace!(?read, "the server spoke first");
        Early {
            connected: self.0.take().ok_or(Failure::NoHealthyUpstream.into()),
            greeting: greeting.freeze(),
        }
    }

    /// The client has spoken first after all: the connection, if it was made in the meantime.
    pub(crate) fn won_by_client(&self) -> Option<Early> {
        self.0.take().map(|connected| Early {
            connected: Ok(connected),
            greeting: Bytes::new(),
        })
    }
}

/// One read, appended.
fn poll_read_buf(io: Pin<&mut Io>, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<()>> {
    let mut space = [0; 4096];
    let mut buf = ReadBuf::new(&mut space);
    ready!(io.poll_read(cx, &mut buf))?;
    into.extend_from_slice(buf.filled());
    Poll::Ready(Ok(()))
}

/// A connection and its upstream's.
struct Relay {
    worker: Rc<Worker>,
    downstream: Rc<Connection>,
    tcp: Arc<TcpProxy>,
    io: Io,
    connected: Connected,
    /// Of few connections.
    early: Option<Box<EarlyWords>>,
    start: (SystemTime, Instant),
}

/// What was said before there was a connection on both sides.
struct EarlyWords {
    /// By the server.
    greeting: Bytes,
    /// By the client.
    said: Bytes,
}

/// Connects a connection to its upstream; what it gives back serves it to its end.
pub(crate) async fn open(
    worker: Rc<Worker>,
    downstream: Connection,
    tcp: &Arc<TcpProxy>,
    io: Io,
    early: Option<Early>,
) -> Option<Serving> {
    let start = (SystemTime::now(), Instant::now());
    worker.tcp_counts(&tcp.stat_prefix).inc(TcpStat::CxTotal);
    if tcp.log_options.at_start {
        let nothing = Outcome::default();
        log(
            &worker,
            &downstream,
            tcp,
            start,
            None,
            &nothing,
            LogType::TcpConnectionStart,
        );
    }
    let mut io = io;
    let said = match tcp.after_data {
        None => Bytes::new(),
        Some(most) => match first_words(&worker, &downstream, tcp, &mut io, most).await {
            Ok(said) => said,
            Err(why) => {
                let failure = Unconnected::from(Failure::NoHealthyUpstream);
                report(&worker, &downstream.record, tcp, start, Err(&failure), &why);
                return None;
            }
        },
    };
    let tlvs = tcp
        .tlvs
        .as_deref()
        .map(|tlvs| tlvs.merged(downstream.tlvs(), &*downstream.record));
    let (connected, greeting) = match early {
        Some(early) => (early.connected, early.greeting),
        None => {
            let of = Origin {
                server_name: downstream.record.sni.as_deref(),
                record: Some(&downstream.record),
                behalf: match &tlvs {
                    None => downstream.behalf(),
                    Some(tlvs) => Behalf {
                        tlvs,
                        ..downstream.behalf()
                    },
                },
                original: downstream
                    .noted_destination()
                    .or(downstream.original_destination()),
                direction: downstream.record.direction,
            };
            (connect(&worker, tcp, &of).await, Bytes::new())
        }
    };
    match connected {
        Ok(connected) => Some(
            Relay {
                worker,
                downstream: Rc::new(downstream),
                tcp: Arc::clone(tcp),
                io,
                connected,
                early: EarlyWords::new(greeting, said),
                start,
            }
            .run(),
        ),
        Err(unconnected) => {
            let failure = &unconnected.failure;
            tracing::debug!(destination = %downstream.destination, ?failure, "no upstream");
            let why = Outcome {
                received: said.len() as u64,
                sent: 0,
                flags: flags(failure, tcp.tunnel.is_some()),
                details: failure.details(),
                reset: false,
            };
            report(&worker, &downstream.record, tcp, start, Err(&unconnected), &why);
            None
        }
    }
}

impl EarlyWords {
    fn new(greeting: Bytes, said: Bytes) -> Option<Box<Self>> {
        match greeting.is_empty() && said.is_empty() {
            true => None,
            false => Some(Box::new(Self { greeting, said })),
        }
    }
}

impl Connected {
    fn count_end(&self, ended: &Ended) {
        let Held(active, length, ..) = &self._active.1;
        // Of a stream the connection is the pool's.
        if length.is_none() {
            return;
        }
        let meter = active.counts().meter();
        meter.received(ended.sent);
        meter.sent(ended.received);
        meter.set_busy(true);
        meter.ended(ended.is_by_upstream());
    }
}

impl Relay {
    /// One block, not an `async fn`: that would keep what it is given twice.
    fn run(mut self) -> Serving {
        Box::pin(async move {
            let record = &self.downstream.record;
            self.worker
                .reporter
                .opened(record, &upstream_record(&self.connected));
            if self.tcp.log_options.when_connected {
                self.log(&Outcome::default(), LogType::TcpUpstreamConnected);
            }
            let scratch = self.scratch();
            let ending = self.worker.ending(&self.downstream.drain, self.lifetime());
            let ended = match self.early.is_some() || self.tcp.log_options.every.is_some() {
                // Apart: other connections have no room for it.
                true => Box::pin(self.speak_and_copy(&scratch, &ending)).await,
                false => {
                    let idle = self.watch(&ending);
                    let upstream = &mut self.connected.io;
                    tcp::copy_both(&mut self.io, upstream, idle.as_deref(), &scratch, &ending).await
                }
            };
            let cut_by = match ending.cut_by() {
                None if ending.is_upstream_out() => Some("upstream_unhealthy"),
                None if ending.is_forbidden() => Some(CutBy::Policy.details()),
                by => by.map(CutBy::details),
            };
            let record = match cut_by {
                Some(by) if by == CutBy::Policy.details() => self.denied(),
                _ => Rc::clone(&self.downstream.record),
            };
            self.end(&ended, cut_by, &record);
        })
    }

    /// Passes on what was said early, and copies to the end; a line for the log every so often.
    async fn speak_and_copy(&mut self, scratch: &Scratch, ending: &Ending) -> Ended {
        let before = match self.early.take() {
            None => (0, 0),
            Some(early) => match self.speak(&early).await {
                Ok(()) => (early.said.len() as u64, early.greeting.len() as u64),
                Err(why) => {
                    return Ended {
                        received: early.said.len() as u64,
                        sent: early.greeting.len() as u64,
                        why,
                    };
                }
            },
        };
        let watch = self.watch(ending);
        let ended = self.copy(before, watch.as_deref(), scratch, ending).await;
        Ended {
            received: before.0 + ended.received,
            sent: before.1 + ended.sent,
            ..ended
        }
    }

    async fn speak(&mut self, early: &EarlyWords) -> Result<(), Why> {
        let greeted = self.io.write_all(&early.greeting).await;
        greeted.map_err(Why::Downstream)?;
        let said = self.connected.io.write_all(&early.said).await;
        said.map_err(Why::Upstream)
    }

    /// Copies to the end. `before`: bytes that have passed already, from the client and to it.
    async fn copy(
        &mut self,
        before: (u64, u64),
        watch: Option<&Watch>,
        scratch: &Scratch,
        ending: &Ending,
    ) -> Ended {
        let Connected {
            io: upstream,
            cluster,
            host,
            connection,
            ..
        } = &mut self.connected;
        let copying = tcp::copy_both(&mut self.io, upstream, watch, scratch, ending);
        let (Some(every), Some(watch)) = (self.tcp.log_options.every, watch) else {
            return copying.await;
        };
        let mut copying = pin!(copying);
        loop {
            tokio::select! {
                biased;
                ended = copying.as_mut() => return ended,
                () = tokio::time::sleep(every) => {}
            }
            let (received, sent) = watch.passed();
            let so_far = Outcome {
                received: before.0 + received,
                sent: before.1 + sent,
                ..Outcome::default()
            };
            log(
                &self.worker,
                &self.downstream,
                &self.tcp,
                self.start,
                Some(record_of(cluster, host, connection)),
                &so_far,
                LogType::TcpPeriodic,
            );
        }
    }

    fn log(&self, so_far: &Outcome, log_type: LogType) {
        let upstream = upstream_record(&self.connected);
        let (worker, downstream) = (&self.worker, &self.downstream);
        log(
            worker,
            downstream,
            &self.tcp,
            self.start,
            Some(upstream),
            so_far,
            log_type,
        );
    }

    /// Listed with the worker, whose sweep finds it when nothing has moved for too long. None: nobody asks.
    fn watch(&self, ending: &Ending) -> Option<Rc<Watch>> {
        let limits = Limits {
            idle: self.tcp.idle_timeout,
            ..Limits::default()
        };
        if limits.idle.is_none() && self.tcp.log_options.every.is_none() {
            return None;
        }
        let watch = Rc::new(Watch::new(self.start.1, limits));
        ending.streams.add(&watch);
        Some(watch)
    }

    fn scratch(&self) -> Scratch {
        let scratch = self.worker.scratch.at_most(self.downstream.buffer_limit);
        scratch.at_most(self.connected.cluster.buffer_limit)
    }

    fn lifetime(&self) -> Lifetime {
        let longest = self.tcp.longest(self.worker.random.next());
        Lifetime {
            idle: None,
            most: longest.map(|most| Box::new((most, Duration::ZERO))),
            patient: true,
            upstream: match self.connected.cluster.closes_unwell {
                true => self.connected.host.health().cloned(),
                false => None,
            },
            guard: Some(Rc::new(guard::Chain::new(&self.worker, &self.downstream))),
            shown: self.downstream.record.tls.clone(),
        }
    }

    /// What is known of the connection, with the policy that ends it.
    fn denied(&self) -> Rc<DownstreamRecord> {
        let mut record = Rc::clone(&self.downstream.record);
        if let Some(denial) = guard::denial(&self.worker, &self.downstream) {
            tracing::info!(destination = %self.downstream.destination, %denial, "closed: not allowed any more");
            let notes = record.notes.clone().unwrap_or_default();
            denial.note(&notes);
            Rc::make_mut(&mut record).notes = Some(notes);
        }
        record
    }

    fn end(&self, ended: &Ended, cut_by: Option<&'static str>, record: &DownstreamRecord) {
        if let Why::Downstream(error) | Why::Upstream(error) = &ended.why {
            tracing::debug!(destination = %self.downstream.destination, %error, "connection failed");
        }
        self.connected.count_end(ended);
        let (flags, details) = judge(&ended.why, cut_by);
        let outcome = Outcome {
            reset: matches!(&ended.why, Why::Downstream(error) if error.kind() == std::io::ErrorKind::ConnectionReset),
            received: ended.received,
            sent: ended.sent,
            flags,
            details,
        };
        let connected = Ok(&self.connected);
        report(&self.worker, record, &self.tcp, self.start, connected, &outcome);
    }
}

/// Who wants to be connected, and where to.
pub(crate) struct Origin<'c> {
    pub(crate) server_name: Option<&'c str>,
    /// None: the client has not said anything yet.
    pub(crate) record: Option<&'c DownstreamRecord>,
    pub(crate) behalf: Behalf<'c>,
    /// None: here.
    pub(crate) original: Option<SocketAddr>,
    pub(crate) direction: Direction,
}

async fn connect(worker: &Rc<Worker>, tcp: &TcpProxy, of: &Origin<'_>) -> Result<Connected, Unconnected> {
    let chosen = choose(tcp, worker.random.next());
    let (name, metadata) = match (of.server_name.filter(|_| tcp.by_server_name), chosen) {
        (Some(asked), _) => (asked, &tcp.metadata),
        (None, Some(chosen)) => (chosen.name.as_str(), &chosen.metadata),
        (None, None) => return Err(Failure::NoCluster.into()),
    };
    let upstream = match tcp.on_demand.as_deref() {
        None => find::find(worker, name).await?,
        Some((source, patience)) => find::find_at(worker, name, source, *patience).await?,
    };
    let tunnel = tcp.tunnel.as_deref().zip(of.record);
    let (resource, overflow) = match tunnel {
        None => (Resource::Connection, ClusterStat::CxOverflow),
        Some(_) => (Resource::Request, ClusterStat::RqPendingOverflow),
    };
    let authority = match (&tcp.forward, of.server_name.filter(|name| !name.is_empty())) {
        (Some(forward), Some(name)) if upstream.is_by_host() => {
            let authority = format!("{name}:{}", forward.port).into_bytes();
            // What does not resolve is not there when it is picked.
            let _ = Box::pin(upstream.resolve(&authority, &forward.cache)).await;
            Some(authority)
        }
        _ => None,
    };
    let to = upstream.cluster().original_dst.toward(of.original);
    let mut previous = Vec::new();
    let mut last = Unconnected::from(Failure::NoHealthyUpstream);
    for made in 0..tcp.max_connect_attempts.max(1) {
        let again = made.checked_sub(1);
        if let Some(pause) = again.and_then(|made| tcp.pause(made, worker.random.next())) {
            tokio::time::sleep(pause).await;
        }
        let Picked { upstream, host } = upstream.pick(&PickContext {
            random: worker.random.next(),
            hash: tcp.hash_of(of.behalf.addresses.source.ip(), of.behalf.notes),
            metadata: Some(metadata),
            previous: &previous,
            omit: &[HostPredicate::Previous],
            attempts: if previous.is_empty() { 0 } else { 3 },
            leave_priorities: None,
            authority: authority.as_deref(),
            original_destination: to,
            place: None,
            wish: None,
            wishes: None,
            notes: None,
        })?;
        let Some(permit) = upstream.acquire(resource, Priority::Default) else {
            upstream.counts.inc(overflow);
            return Err(Failure::Overflow.into());
        };
        let active = host.start();
        let (lasting, made) = match tunnel {
            None => connect_to(worker, &upstream, &host, of).await?,
            Some((tunnel, client)) => {
                let lasting = Lasting::begin(&upstream.counts, ClusterStat::RqActive, None);
                let opening = tunnel::open(worker, &upstream, &host, tunnel, client, of.behalf);
                (
                    Held(lasting, None, None),
                    patiently(tcp.idle_timeout, opening).await,
                )
            }
        };
        match made {
            Ok((io, connection)) => {
                upstream.report_reached(&host);
                host.state.load.issue();
                return Ok(Connected {
                    io,
                    connection,
                    cluster: upstream.cluster(),
                    host,
                    _active: (active, lasting),
                    _permit: permit,
                });
            }
            Err(failure) => {
                if tunnel.is_none() {
                    upstream.count_unconnected(&failure);
                }
                upstream.report_failure(&host, &failure);
                previous.push(host.endpoint.address.clone());
                last = Unconnected {
                    failure,
                    tried: Some(host.endpoint),
                };
            }
        }
    }
    upstream.counts.inc(ClusterStat::CxConnectAttemptsExceeded);
    Err(last)
}

/// The answer to a request for a tunnel has no time-out of its own.
async fn patiently(most: Option<Duration>, opening: impl Future<Output = Made>) -> Made {
    match most {
        None => Box::pin(opening).await,
        Some(most) => match tokio::time::timeout(most, Box::pin(opening)).await {
            Ok(made) => made,
            Err(_) => Err(Failure::ConnectTimeout),
        },
    }
}

type Made = Result<(Io, Rc<UpstreamConnection>), Failure>;

/// A connection of its own, and its place in the statistics.
async fn connect_to(
    worker: &Worker,
    upstream: &Upstream,
    host: &Host,
    of: &Origin<'_>,
) -> Result<(Held, Made), Failure> {
    let purpose = Purpose {
        authority: None,
        offer: Offer::Tcp,
        inbound: of.direction == Direction::Inbound,
        behalf: Some(of.behalf),
    };
    let to = upstream.destination(host, &purpose)?;
    let seat = Box::pin(upstream.take_seat(&to.address)).await;
    let (lasting, length) = upstream.count_connection();
    let made = crate::connect::connect(worker.connector().counting(&upstream.counts), &to).await;
    if made.is_ok() {
        upstream.counts.inc(ClusterStat::RqTotal);
        upstream
            .counts
            .took(ClusterTime::CxConnect, length.began.elapsed());
    }
    Ok((Held(lasting, Some(length), seat.map(Box::new)), made))
}

fn choose(tcp: &TcpProxy, random: u64) -> Option<&TcpCluster> {
    let total: u64 = tcp.clusters.iter().map(|one| u64::from(one.weight)).sum();
    let mut point = random % total.max(1);
    let mut clusters = tcp.clusters.iter();
    let chosen = clusters.find(|one| match point.checked_sub(u64::from(one.weight)) {
        Some(rest) => {
            point = rest;
            false
        }
        None => true,
    });
    chosen.or(tcp.clusters.first())
}
