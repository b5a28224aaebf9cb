//! A new connection: where it was going, which listener and filter chain serve it, TLS, and off it goes.

pub(crate) mod counted;
mod spoken;
mod told;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use leno_engine::compile::listener::{Direction, FilterChain, Listener, TerminalFilter, TransportProtocol};
use leno_engine::compile::proxy_protocol::{ProxyProtocol, Tlv};
use leno_engine::decide::filter::{ConnectionFacts, OwnLimits};
use leno_engine::decide::listener::{ConnectionInfo, choose};
use leno_engine::decide::network::{Admission, Ask};
use leno_engine::decide::notes::{self, Notes};
use leno_engine::decide::places::Place;
use leno_engine::decide::proxy_protocol::Addresses;
use leno_engine::flags::{Flag, Flags};
use leno_telemetry::record::{DownstreamRecord, Named, TlsFacts};
use leno_telemetry::stats::{Counts, ListenerStat, ListenerTime};
use tokio::io::AsyncWriteExt;

use crate::admission;
use crate::connection::{Connection, Seldom, Serving};
use crate::counts::{Lasting, Timed};
use crate::destination::Behalf;
use crate::drain::Drain;
use crate::grpc_call;
use crate::http;
use crate::inbox::Within;
use crate::inspect::{self, Found, Wanted};
use crate::introduction::{self, IntroductionError};
use crate::io::Io;
use crate::load::Counted;
use crate::lookup::{Answer, Want};
use crate::original_dst::{WasGoing, original_destination};
use crate::peer_certificates::PeerCertificates;
use crate::prefixed::Prefixed;
use crate::socket::{ListenSocket, Listening, NOWHERE};
use crate::state::ListenerState;
use crate::stream::Stream;
use crate::tcp_proxy;
use crate::tls::TlsError;
use crate::tls_counts;
use crate::worker::{Snapshot, Worker};

/// Finds out what a new connection is. None: it was refused, or has gone.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    stream: Stream,
    remote: SocketAddr,
    socket: Arc<ListenSocket>,
    counted: Counted,
) -> Option<Serving> {
    let going = match stream.tcp().map(|stream| original_destination(stream, &socket)) {
        None => WasGoing {
            to: NOWHERE,
            come: NOWHERE,
            told: false,
        },
        Some(Ok(Some(going))) => going,
        Some(Ok(None)) => {
            tracing::warn!(%remote, listener = socket.listener, "refused: it goes to the proxy itself");
            return None;
        }
        Some(Err(error)) => {
            tracing::debug!(%remote, %error, "original destination");
            return None;
        }
    };
    let named = match &socket.socket {
        Listening::Tcp(_) => None,
        // Who connects has no name: as in Envoy it is the socket's.
        Listening::Unix(_, path) => Some(Arc::new(Named {
            local: Arc::clone(path),
            remote: Arc::clone(path),
            direct: Arc::clone(path),
        })),
    };
    let arrival = Arrival {
        worker,
        direct: remote,
        remote,
        destination: going.to,
        direct_local: going.come,
        told: going.told,
        named,
        tlvs: None,
        notes: None,
        counted: Some(counted),
    };
    let listener = arrival.listener(&socket.listener).await?;
    let places = admission::admit(&arrival.worker, &listener.listener)?;
    arrival.establish(stream, &listener, places).await
}

/// Takes on a connection of the proxy's own to one of its internal listeners.
pub(crate) async fn accept_within(worker: Rc<Worker>, within: Within) -> Option<Serving> {
    let listener = Arc::clone(worker.snapshot().listener(&within.listener)?);
    let reads = listener.listener.filters.original_dst;
    let notes = (!within.notes.is_empty()).then(|| Rc::new(Notes::told(within.notes)));
    let noted = |key| notes.as_ref().and_then(|notes| notes.address(key));
    let passed = |key, said: Option<SocketAddr>| noted(key).or(said).filter(|_| reads);
    let local = passed(notes::LOCAL, within.passed.local);
    let remote = passed(notes::REMOTE, within.passed.remote);
    let text = |address: Option<SocketAddr>, otherwise: &str| match address {
        Some(address) => Arc::from(address.to_string()),
        None => Arc::from(otherwise),
    };
    let arrival = Arrival {
        worker,
        direct: NOWHERE,
        remote: remote.unwrap_or(NOWHERE),
        destination: local.unwrap_or(NOWHERE),
        direct_local: local.unwrap_or(NOWHERE),
        told: local.is_some(),
        named: Some(Arc::new(Named {
            local: text(local, &format!("envoy://{}/{}", within.listener, within.id)),
            remote: text(remote, UNNAMED),
            direct: UNNAMED.into(),
        })),
        tlvs: None,
        notes,
        counted: None,
    };
    arrival
        .establish(Stream::Within(within.stream), &listener, Vec::new())
        .await
}

/// Who connects to a listener of the proxy's own, in Envoy's words.
const UNNAMED: &str = "envoy://internal_client_address/";

/// A connection before it has a chain.
struct Arrival {
    worker: Rc<Worker>,
    /// The connection's own other end.
    direct: SocketAddr,
    /// Whose connection it is: [`Self::direct`], unless the PROXY protocol says otherwise, as of `destination`.
    remote: SocketAddr,
    destination: SocketAddr,
    /// The socket's own address, whatever was told of where it was going.
    direct_local: SocketAddr,
    /// Somebody has told the destination.
    told: bool,
    /// Of a connection without addresses of the network.
    named: Option<Arc<Named>>,
    /// Of its PROXY protocol. None: it came without.
    tlvs: Option<Vec<Tlv>>,
    /// What it was told by the listener that it comes from.
    notes: Option<Rc<Notes>>,
    /// As one of its worker's load.
    counted: Option<Counted>,
}

impl Arrival {
    /// The listener that serves this destination: the socket's own, or the one that it hands redirected
    /// connections to (`use_original_dst`). What the control plane has not told is asked for.
    async fn listener(&self, name: &str) -> Option<Arc<ListenerState>> {
        let snapshot = self.worker.snapshot();
        let own = Arc::clone(snapshot.listener(name)?);
        if !own.listener.use_original_dst {
            return Some(own);
        }
        if let Some(handed) = self.handed(&snapshot, &own) {
            return Some(handed);
        }
        // What a workload takes is told by its listener as a whole; only where it goes is found out on demand.
        if own.listener.direction == Direction::Inbound {
            return Some(own);
        }
        match self
            .worker
            .shared
            .demand
            .ask(Want::Listener(self.destination))
            .await
        {
            Answer::Found => {
                let snapshot = self.worker.snapshot();
                Some(self.handed(&snapshot, &own).unwrap_or(own))
            }
            Answer::Absent if !self.fails_closed(&own) => Some(own),
            answer => {
                self.refuse(&own.listener, answer);
                None
            }
        }
    }

    fn handed(&self, snapshot: &Snapshot, own: &Arc<ListenerState>) -> Option<Arc<ListenerState>> {
        let found = snapshot.listener_for(self.destination)?;
        (!Arc::ptr_eq(found, own)).then(|| Arc::clone(found))
    }

    /// Mesh addresses never pass as traffic that the mesh does not know.
    fn fails_closed(&self, own: &ListenerState) -> bool {
        let destination = self.destination.ip();
        own.listener.direction == Direction::Outbound
            && self
                .worker
                .shared
                .fail_closed
                .iter()
                .any(|(net, bits)| within(*net, *bits, destination))
    }

    fn refuse(&self, listener: &Listener, answer: Answer) {
        let (flag, details) = match answer {
            Answer::Unanswered => (Flag::NoClusterFound, "on_demand_unanswered"),
            Answer::Found | Answer::Absent => (Flag::NoRouteFound, "no_such_service"),
        };
        tracing::warn!(remote = %self.remote, destination = %self.destination, details, "connection refused");
        let record = self.record(listener, &Found::raw(), None, None);
        self.worker
            .reporter
            .refused(&record, flag, details, &listener.access_log);
    }

    async fn establish(
        mut self,
        mut stream: Stream,
        state: &Arc<ListenerState>,
        places: Vec<Place>,
    ) -> Option<Serving> {
        let listener = &state.listener;
        let counts = self.worker.listener_counts(&listener.stat_name);
        counts.inc(ListenerStat::CxTotal);
        let active = Lasting::begin(&counts, ListenerStat::CxActive, Some(ListenerStat::CxDestroy));
        let length = Timed::begin(&counts, ListenerTime::CxLength);
        let mut prefix = BytesMut::new();
        if let Some(protocol) = &listener.filters.proxy_protocol {
            Box::pin(self.introduced(&mut stream, &mut prefix, protocol, listener)).await?;
        }
        let wanted = Wanted::of(&listener.filters, self.destination.port());
        let (found, early) = match wanted.any() {
            false => (Found::raw(), None),
            true => {
                let pre = Lasting::begin(&counts, ListenerStat::PreCxActive, None);
                let inspected = Box::pin(self.inspect(&mut stream, &mut prefix, wanted, state)).await?;
                drop(pre);
                counted::inspected(wanted, &inspected.0, &*self.worker);
                inspected
            }
        };
        let found = match found.transport {
            TransportProtocol::Tls if listener.filters.ja3 || listener.filters.ja4 => Found {
                fingerprints: inspect::fingerprints(&listener.filters, &prefix),
                ..found
            },
            _ => found,
        };
        let (Some(chain), Some(drain)) = self.chain(state, &found) else {
            counts.inc(ListenerStat::NoFilterChainMatch);
            self.unmatched(listener, &found);
            return None;
        };
        let found = match &chain.tls {
            Some(tls) if !wanted.tls && !tls.common.alpn.is_empty() => {
                let protocols = Box::pin(self.protocols(&mut stream, &mut prefix, &chain)).await?;
                Found { protocols, ..found }
            }
            _ => found,
        };
        let plain = Prefixed::new(prefix.freeze(), stream);
        let (mut io, mut connection) = self
            .secure(plain, listener, &chain, drain, &found, &counts)
            .await?;
        connection.active = Some((active, length));
        connection.hold(places);
        if !chain.network.is_empty() {
            Box::pin(self.admit(&chain, &mut connection)).await?;
        }
        match &chain.terminal {
            TerminalFilter::Http(manager) => {
                let manager = Arc::clone(manager);
                Some(http::serve(self.worker, connection, manager, io, listener))
            }
            // Apart: another connection has no room for it.
            TerminalFilter::Tcp(tcp) => {
                Box::pin(tcp_proxy::open(self.worker, connection, tcp, io, early)).await
            }
            TerminalFilter::DirectResponse(bytes) => {
                let bytes = bytes.clone();
                Some(Box::pin(async move {
                    let _connection = connection;
                    if io.write_all(&bytes).await.is_ok() {
                        let _ = io.shutdown().await;
                    }
                }))
            }
            TerminalFilter::Echo => Some(Box::pin(echo(io, connection))),
        }
    }

    fn behalf(&self) -> Behalf<'_> {
        Behalf {
            addresses: Addresses {
                source: self.remote,
                destination: self.destination,
            },
            // Of no request yet.
            id: 0,
            tlvs: self.tlvs.as_deref().unwrap_or_default(),
            notes: self.notes.as_deref(),
        }
    }

    /// Learns from the PROXY protocol whose connection it is. None: it is over.
    async fn introduced(
        &mut self,
        stream: &mut Stream,
        prefix: &mut BytesMut,
        protocol: &ProxyProtocol,
        listener: &Listener,
    ) -> Option<()> {
        let reading = introduction::read(stream, prefix, protocol, inspect::patience(&listener.filters));
        let read = reading.await;
        counted::introduced(&read, &*self.worker);
        match read {
            Ok(header) => {
                if let Some(header) = header
                    && let Some(addresses) = header.addresses
                {
                    self.named = None;
                    self.remote = addresses.source;
                    self.destination = addresses.destination;
                    self.told = true;
                    let mut tlvs = header.tlvs;
                    if !protocol.rules.is_empty() {
                        protocol.note(&tlvs, self.notes.get_or_insert_default());
                        tlvs.retain(|tlv| protocol.passed.has(tlv.kind));
                    }
                    self.tlvs = Some(tlvs);
                }
                Some(())
            }
            Err(IntroductionError::Late) if listener.filters.continue_on_timeout => Some(()),
            Err(error) => {
                tracing::debug!(remote = %self.remote, %error, "closed: no PROXY protocol");
                let counts = self.worker.listener_counts(&listener.stat_name);
                counts.inc(match error {
                    IntroductionError::Late => ListenerStat::PreCxTimeout,
                    IntroductionError::Malformed(_) => ListenerStat::ListenerFilterError,
                    IntroductionError::Gone | IntroductionError::Read(_) => {
                        ListenerStat::ListenerFilterRemoteClose
                    }
                });
                let record = self.record(listener, &Found::raw(), None, None);
                self.worker.reporter.turned_away(
                    &record,
                    error.details(),
                    Flags::default(),
                    &listener.access_log,
                );
                None
            }
        }
    }

    /// Asks the network filters; what one of them refuses ends here.
    async fn admit(&self, chain: &FilterChain, connection: &mut Connection) -> Option<()> {
        let config = self.worker.snapshot();
        for filter in &chain.network {
            let filter = config.network_filter(filter).unwrap_or(filter);
            let admission = filter.admit(
                &connection.without_request(),
                std::time::Instant::now(),
                &*self.worker,
            );
            let admission = match admission {
                Admission::Asks(ask) => {
                    let answer = Box::pin(self.ask(ask)).await;
                    filter.answered(&connection.without_request(), answer, &*self.worker)
                }
                at_once => at_once,
            };
            match admission {
                Admission::Admitted => {}
                // Nobody is asked twice.
                Admission::Asks(_) => return None,
                Admission::Holding(place) => connection.hold(vec![place]),
                Admission::Refused {
                    details,
                    flags,
                    denial,
                    delay,
                } => {
                    tracing::debug!(remote = %self.remote, details, ?denial, "connection refused by a filter");
                    if let Some(denial) = denial {
                        let notes = connection.record.notes.clone().unwrap_or_default();
                        denial.note(&notes);
                        Rc::make_mut(&mut connection.record).notes = Some(notes);
                    }
                    let logs = match &chain.terminal {
                        TerminalFilter::Tcp(tcp) => tcp.access_log.as_slice(),
                        _ => &[],
                    };
                    self.worker
                        .reporter
                        .turned_away(&connection.record, &details, flags, logs);
                    if let Some(delay) = delay {
                        tokio::time::sleep(delay).await;
                    }
                    return None;
                }
            }
        }
        Some(())
    }

    async fn ask(&self, ask: Ask) -> Result<Bytes, String> {
        let Ask {
            service,
            path,
            message,
            patience,
        } = ask;
        let answer = grpc_call::call(&self.worker, &service, path, &message, patience).await;
        answer.map_err(|failed| failed.to_string())
    }

    fn chain(&self, state: &ListenerState, found: &Found) -> (Option<Arc<FilterChain>>, Option<Arc<Drain>>) {
        let protocols: Vec<&[u8]> = found.protocols.iter().map(Vec::as_slice).collect();
        let info = ConnectionInfo {
            destination: self.destination,
            source: self.remote,
            direct_source: self.direct,
            sni: found.sni.as_deref(),
            transport: found.transport,
            application_protocols: &protocols,
            notes: self.notes.as_deref(),
        };
        let chain = choose(&state.listener, &info);
        let drain = chain.and_then(|chain| state.drain_of(chain));
        (chain.cloned(), drain.cloned())
    }

    /// TLS where the chain has it, and what is known of the connection then.
    async fn secure(
        &mut self,
        plain: Prefixed,
        listener: &Listener,
        chain: &Arc<FilterChain>,
        drain: Arc<Drain>,
        found: &Found,
        counts: &Counts<ListenerStat>,
    ) -> Option<(Io, Connection)> {
        let mut client_cert = PeerCertificates::default();
        let mut handshake = None;
        let (io, peer, local_principal) = match &chain.tls {
            None => (Io::Plain(plain), None, None),
            Some(tls) => {
                let contexts = &self.worker.tls;
                let overload = self.worker.shared.overload.as_deref();
                let overload = overload.filter(|_| !listener.bypasses_overload);
                let timeout = chain.handshake_timeout;
                let timeout = overload.map_or(timeout, |overload| overload.handshake_timeout(timeout));
                let accepting = contexts.accept(tls, &found.protocols, Io::Plain(plain), timeout);
                match Box::pin(accepting).await {
                    Ok(accepted) => {
                        if let TerminalFilter::Http(manager) = &chain.terminal {
                            client_cert = PeerCertificates::new(manager, accepted.certificates());
                        }
                        let (shown, resumed) = (accepted.is_shown(), accepted.peer.resumed);
                        tls_counts::shaken(counts, &accepted.handshake, shown, resumed);
                        handshake = Some(accepted.handshake as Arc<dyn TlsFacts>);
                        let peer = Some(Box::new(accepted.peer));
                        (Io::Tls(accepted.stream), peer, accepted.local_principal)
                    }
                    Err(error) => {
                        match &error {
                            TlsError::Handshake(failure) => tls_counts::failed(counts, failure),
                            TlsError::Timeout(_) => counts.inc(ListenerStat::CxTransportSocketConnectTimeout),
                            TlsError::Config(_) | TlsError::Unsupported(_) => {}
                        }
                        self.handshake_failed(listener, found, &error);
                        return None;
                    }
                }
            }
        };
        let of_proxy = match &chain.terminal {
            TerminalFilter::Tcp(tcp) => tcp.notes(),
            _ => false,
        };
        if of_proxy || chain.network.iter().any(|filter| filter.notes()) {
            self.notes.get_or_insert_default();
        }
        let record = DownstreamRecord {
            tls: handshake,
            chain: Some(Arc::clone(chain)),
            ..self.record(listener, found, peer.as_deref(), local_principal)
        };
        let seldom = Seldom {
            client_cert,
            places: Vec::new(),
            tlvs: self.tlvs.take(),
        };
        let connection = Connection {
            facts: ConnectionFacts {
                tls: peer.is_some(),
                peer_principal: record.peer_principal.as_deref().map(str::to_owned),
                inbound: listener.direction == Direction::Inbound,
                limits: OwnLimits::default(),
            },
            record: Rc::new(record),
            destination: self.destination,
            told: self.told,
            buffer_limit: listener.buffer_limit,
            peer,
            drain,
            bypasses_overload: listener.bypasses_overload,
            active: None,
            _counted: self.counted.take(),
            seldom: (!seldom.is_empty()).then(|| Box::new(seldom)),
        };
        Some((io, connection))
    }
}

/// What comes goes back, until it ends.
async fn echo(io: Io, connection: Connection) {
    let _connection = connection;
    let (mut from, mut to) = tokio::io::split(io);
    if tokio::io::copy(&mut from, &mut to).await.is_ok() {
        let _ = to.shutdown().await;
    }
}

/// Whether an address is in a network of this many leading bits.
fn within(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let ((network, width), (address, other)) = (number(network), number(address));
    let shift = 128 - u32::from(bits.min(128));
    width == other && (network ^ address).checked_shr(shift).unwrap_or(0) == 0
}
