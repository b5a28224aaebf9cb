//! How much of the control plane its peers may take: connections, streams, subscriptions.
//!
//! Who has not proved who it is takes places of a number of their own. When these are taken, whoever has been there for
//! longest gives way to the next, but not before it had the time for a handshake; until then nobody is accepted, and the
//! kernel keeps who comes. So a mesh that reconnects at once comes in one after the other, and a flood of connections
//! without certificates keeps nobody out who has one. Of those who have, each identity has bounds of its own.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leno_tls::SpiffeId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tonic::Status;

use crate::error::LIMIT_REACHED;

/// Descriptors that are not connections to the ports for proxies.
const KEPT: u64 = 256;
/// Who is refused again and again is told of so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What peers may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections to the ports for proxies, all together. A proxy has three or four.
    pub connections: usize,
    /// Of these, peers that have shown no certificate: handshakes, and who asks for a first one.
    pub strangers: usize,
    /// For so long each of them has its place.
    pub grace: Duration,
    /// Connections of one identity, which all instances of a service may have.
    pub of_identity: usize,
    /// Streams that last, of one identity.
    pub streams: usize,
    /// And of one connection.
    pub of_connection: usize,
    /// Names that a stream subscribes to.
    pub names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::with_connections(16_384)
    }
}

impl Limits {
    /// The others in proportion.
    pub fn with_connections(connections: usize) -> Self {
        Self {
            connections,
            strangers: (connections / 4).max(1),
            grace: Duration::from_secs(5),
            of_identity: (connections / 2).max(1),
            streams: connections,
            of_connection: 64,
            names: 131_072,
        }
    }

    /// As many connections as the process may have descriptors, which is made as many as it can be.
    pub(crate) fn within_descriptors(self) -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        let may = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
        let Some(may) = may else { return self };
        let room = usize::try_from(may.saturating_sub(KEPT).max(may / 2)).unwrap_or(usize::MAX);
        if room >= self.connections {
            return self;
        }
        tracing::warn!(
            "the control plane takes {room} connections, not {}: the limit of open files is {may} — raise it with ulimit -n",
            self.connections
        );
        Self {
            names: self.names,
            grace: self.grace,
            of_connection: self.of_connection,
            ..Self::with_connections(room)
        }
    }
}

/// Where connections come in.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) limits: Limits,
    taken: Mutex<Taken>,
    /// There is a place again.
    left: Notify,
    pub(crate) refused: Refused,
}

#[derive(Debug, Default)]
struct Taken {
    connections: usize,
    plaintext: usize,
    next: u64,
    /// The oldest first.
    strangers: BTreeMap<u64, Stranger>,
    identities: HashMap<String, OfIdentity>,
}

#[derive(Debug)]
struct Stranger {
    since: Instant,
    /// Dropped when it is to go.
    _end: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct OfIdentity {
    connections: usize,
    streams: usize,
}

/// A connection's place, for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    whose: Whose,
}

#[derive(Debug)]
enum Whose {
    Plaintext,
    Stranger(u64),
    Known(String),
}

/// A stream's, for as long as it lasts.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    gate: Arc<Gate>,
    identity: Option<String>,
    of_connection: Arc<AtomicUsize>,
}

/// Ends when the place is to be given up.
pub(crate) type Ended = oneshot::Receiver<()>;

enum Tried {
    In(Place, Ended),
    Full,
    Until(Instant),
}

/// What was refused, by what there was too much of.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    pub(crate) connections: Counted,
    pub(crate) strangers: Counted,
    pub(crate) streams: Counted,
    pub(crate) names: Counted,
}

#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) total: AtomicU64,
    /// When it was told last, and how many were not.
    told: Mutex<(Option<Instant>, u64)>,
}

// === impl Gate ===

impl Gate {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            taken: Mutex::default(),
            left: Notify::new(),
            refused: Refused::default(),
        })
    }

    /// A place for a peer that may prove who it is. Waits while there is none that anybody has had for long enough.
    pub(crate) async fn admit(self: &Arc<Self>, peer: SocketAddr) -> Option<(Place, Ended)> {
        loop {
            let left = self.left.notified();
            match self.try_admit(Instant::now()) {
                Tried::In(place, ended) => return Some((place, ended)),
                Tried::Full => {
                    self.refused.connections.tell(|| {
                        format!(
                            "there are {} connections already — peer {} — raise --max-connections if they are the mesh's",
                            self.limits.connections,
                            peer.ip()
                        )
                    });
                    return None;
                }
                Tried::Until(due) => {
                    tokio::select! {
                        () = left => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
            }
        }
    }

    fn try_admit(self: &Arc<Self>, now: Instant) -> Tried {
        let mut taken = self.taken();
        if taken.connections >= self.limits.connections {
            return Tried::Full;
        }
        if taken.strangers.len() >= self.limits.strangers
            && let Some(oldest) = taken.strangers.first_entry()
        {
            let due = oldest.get().since + self.limits.grace;
            if due > now {
                return Tried::Until(due);
            }
            oldest.remove();
            self.refused.strangers.tell(|| {
                format!(
                    "{} peers without a certificate wait — the oldest gives way — let only the mesh's machines reach this port",
                    self.limits.strangers
                )
            });
        }
        let (end, ended) = oneshot::channel();
        taken.next += 1;
        let number = taken.next;
        let stranger = Stranger {
            since: now,
            _end: end,
        };
        taken.strangers.insert(number, stranger);
        taken.connections += 1;
        Tried::In(self.place(Whose::Stranger(number)), ended)
    }

    /// On the port without TLS, where nobody proves anything: a share of the places.
    pub(crate) fn admit_plaintext(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let mut taken = self.taken();
        if taken.plaintext >= self.limits.strangers || taken.connections >= self.limits.connections {
            drop(taken);
            self.refused
                .connections
                .tell(|| format!("there are as many connections without TLS as there may be — peer {peer}"));
            return None;
        }
        taken.plaintext += 1;
        taken.connections += 1;
        Some(self.place(Whose::Plaintext))
    }

    fn place(self: &Arc<Self>, whose: Whose) -> Place {
        Place {
            gate: Arc::clone(self),
            whose,
        }
    }

    /// For a stream that lasts. `of_connection`: those that its connection has.
    pub(crate) fn stream(
        self: &Arc<Self>,
        of_connection: &Arc<AtomicUsize>,
        identity: Option<&SpiffeId>,
    ) -> Result<StreamPlace, Status> {
        if of_connection.fetch_add(1, Relaxed) >= self.limits.of_connection {
            of_connection.fetch_sub(1, Relaxed);
            let said = format!("its connection has {} already", self.limits.of_connection);
            return Err(self.refuse_stream(identity, &said));
        }
        let mut place = StreamPlace {
            gate: Arc::clone(self),
            identity: None,
            of_connection: Arc::clone(of_connection),
        };
        let Some(known) = identity else { return Ok(place) };
        let mut taken = self.taken();
        let of = taken.identities.entry(known.to_string()).or_default();
        if of.streams >= self.limits.streams {
            drop(taken);
            let said = format!("its identity has {} already", self.limits.streams);
            return Err(self.refuse_stream(identity, &said));
        }
        of.streams += 1;
        drop(taken);
        place.identity = Some(known.to_string());
        Ok(place)
    }

    fn refuse_stream(&self, identity: Option<&SpiffeId>, said: &str) -> Status {
        let who = identity.map_or_else(|| "a peer without a certificate".to_owned(), ToString::to_string);
        self.refused
            .streams
            .tell(|| format!("no stream more for {who}: {said}"));
        Status::resource_exhausted(format!(
            "no stream more: {said} — control plane — end those that are not needed"
        ))
    }

    /// How many connections there are, and how many of them are strangers'.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let taken = self.taken();
        (taken.connections, taken.strangers.len())
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Taken ===

impl Taken {
    fn leave(&mut self, identity: &str, change: impl FnOnce(&mut OfIdentity)) {
        if let Some(of) = self.identities.get_mut(identity) {
            change(of);
            if of.connections == 0 && of.streams == 0 {
                self.identities.remove(identity);
            }
        }
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// The peer is this one.
    pub(crate) fn prove(&mut self, identity: &SpiffeId) -> Result<(), TooMany> {
        let limits = self.gate.limits;
        let mut taken = self.gate.taken();
        let of = taken.identities.entry(identity.to_string()).or_default();
        if of.connections >= limits.of_identity {
            drop(taken);
            self.gate.refused.connections.tell(|| {
                format!(
                    "{identity} has {} connections already — raise --max-connections if they are its own",
                    limits.of_identity
                )
            });
            return Err(TooMany);
        }
        of.connections += 1;
        if let Whose::Stranger(number) = self.whose {
            taken.strangers.remove(&number);
        }
        drop(taken);
        self.whose = Whose::Known(identity.to_string());
        self.gate.left.notify_one();
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.gate.taken();
        taken.connections -= 1;
        match &self.whose {
            Whose::Plaintext => taken.plaintext -= 1,
            Whose::Stranger(number) => drop(taken.strangers.remove(number)),
            Whose::Known(identity) => taken.leave(identity, |of| of.connections -= 1),
        }
        drop(taken);
        self.gate.left.notify_one();
    }
}

/// An identity has as many connections as it may.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.of_connection.fetch_sub(1, Relaxed);
        if let Some(identity) = &self.identity {
            self.gate.taken().leave(identity, |of| of.streams -= 1);
        }
    }
}

// === impl Counted ===

impl Counted {
    /// Counts, and says it unless that was done a moment ago.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        self.total.fetch_add(1, Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            told.1 += 1;
            return;
        }
        let (_, untold) = std::mem::replace(&mut *told, (Some(Instant::now()), 0));
        let more = match untold {
            0 => String::new(),
            more => format!(" (and {more} times since this was said last)"),
        };
        tracing::warn!("warning[{LIMIT_REACHED}]: {}{more}", what());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn gate(limits: Limits) -> Arc<Gate> {
        Gate::new(limits)
    }

    fn let_in(tried: Tried) -> (Place, Ended) {
        match tried {
            Tried::In(place, ended) => (place, ended),
            Tried::Full => panic!("full"),
            Tried::Until(_) => panic!("to wait"),
        }
    }

    #[test]
    fn the_oldest_stranger_gives_way_and_not_before_its_time() {
        use oneshot::error::TryRecvError;
        let gate = gate(Limits {
            strangers: 2,
            ..Limits::default()
        });
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let (_first, mut first_ended) = let_in(gate.try_admit(now));
        let (_second, mut second_ended) = let_in(gate.try_admit(now + second));
        let due = now + gate.limits.grace;
        assert!(matches!(gate.try_admit(now + second), Tried::Until(at) if at == due));
        assert_eq!(first_ended.try_recv(), Err(TryRecvError::Empty));
        let _third = let_in(gate.try_admit(due));
        assert_eq!(first_ended.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(second_ended.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(gate.refused.strangers.total.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_mesh_that_comes_at_once_comes_in_one_after_the_other() {
        let gate = gate(Limits {
            strangers: 8,
            ..Limits::with_connections(4000)
        });
        let known = Arc::new(Mutex::new(Vec::new()));
        let mut shaking = tokio::task::JoinSet::new();
        for i in 0..2000 {
            let (mut place, ended) = gate.admit(peer()).await.unwrap();
            let known = Arc::clone(&known);
            shaking.spawn(async move {
                // A handshake takes a while.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                let id: SpiffeId = format!("spiffe://cluster.local/ns/a/sa/s{i}").parse().unwrap();
                place.prove(&id).unwrap();
                known.lock().unwrap().push((place, ended));
            });
        }
        shaking.join_all().await;
        assert_eq!(known.lock().unwrap().len(), 2000);
        assert_eq!(gate.refused.strangers.total.load(Relaxed), 0);
        assert_eq!(gate.counts(), (2000, 0));
        known.lock().unwrap().clear();
        assert_eq!(gate.counts(), (0, 0));
        assert!(gate.taken().identities.is_empty());
    }

    #[tokio::test]
    async fn connections_are_bounded_together_and_by_identity() {
        let gate = gate(Limits {
            of_identity: 1,
            ..Limits::with_connections(3)
        });
        let id =
            |name: &str| -> SpiffeId { format!("spiffe://cluster.local/ns/a/sa/{name}").parse().unwrap() };
        let mut places = Vec::new();
        for name in ["one", "two"] {
            let (mut place, _) = gate.admit(peer()).await.unwrap();
            place.prove(&id(name)).unwrap();
            places.push(place);
        }
        let (mut another, _) = gate.admit(peer()).await.unwrap();
        assert!(another.prove(&id("one")).is_err());
        assert!(gate.admit(peer()).await.is_none());
        places.remove(0);
        assert!(another.prove(&id("one")).is_ok());
        assert!(gate.admit(peer()).await.is_some());
    }

    #[test]
    fn streams_are_bounded_by_connection_and_by_identity() {
        let gate = gate(Limits {
            of_connection: 2,
            streams: 3,
            ..Limits::default()
        });
        let id: SpiffeId = "spiffe://cluster.local/ns/a/sa/b".parse().unwrap();
        let [first, second] = [Arc::default(), Arc::default()];
        let mut open = vec![
            gate.stream(&first, Some(&id)).unwrap(),
            gate.stream(&first, Some(&id)).unwrap(),
        ];
        let refused = gate.stream(&first, Some(&id)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        open.push(gate.stream(&second, Some(&id)).unwrap());
        let refused = gate.stream(&second, Some(&id)).unwrap_err();
        assert!(refused.message().contains("identity"), "{refused}");
        // Others have their own.
        let other: SpiffeId = "spiffe://cluster.local/ns/a/sa/c".parse().unwrap();
        drop(gate.stream(&second, Some(&other)).unwrap());
        open.clear();
        assert_eq!((first.load(Relaxed), second.load(Relaxed)), (0, 0));
        assert!(gate.taken().identities.is_empty());
        assert_eq!(gate.refused.streams.total.load(Relaxed), 2);
    }
}
