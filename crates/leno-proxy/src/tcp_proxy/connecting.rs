//! How a connection gets its upstream's.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::compile::listener::{Direction, TcpCluster, TcpProxy};
use leno_engine::compile::route::HostPredicate;
use leno_engine::decide::balance::{Active, Host, PickContext};
use leno_engine::decide::limits::{Permit, Priority, Resource};
use leno_telemetry::record::DownstreamRecord;
use leno_telemetry::stats::{ClusterStat, ClusterTime};

use crate::alpn::Offer;
use crate::connect::UpstreamConnection;
use crate::counts::{Lasting, Timed};
use crate::destination::{Behalf, Purpose};
use crate::find;
use crate::io::Io;
use crate::outcome::Failure;
use crate::tcp::Ended;
use crate::tunnel;
use crate::upstream::{Picked, Taken, Upstream};
use crate::worker::Worker;

/// Why there is no connection, and the endpoint that was tried last.
#[derive(Debug)]
pub(super) struct Unconnected {
    pub(super) failure: Failure,
    pub(super) tried: Option<Arc<Endpoint>>,
}

impl From<Failure> for Unconnected {
    fn from(failure: Failure) -> Self {
        Self { failure, tried: None }
    }
}

#[derive(Debug)]
pub(super) struct Connected {
    pub(super) io: Io,
    pub(super) connection: Rc<UpstreamConnection>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) host: Host,
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

impl Connected {
    pub(super) fn count_end(&self, ended: &Ended) {
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

pub(super) async fn connect(
    worker: &Rc<Worker>,
    tcp: &TcpProxy,
    of: &Origin<'_>,
) -> Result<Connected, Unconnected> {
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
