//! Client and server over bytes: frames cut anywhere, requests that cross, readers that stall, connections that are
//! lost in the middle of a message, and reconnects to another replica that may be behind, by the same process (with
//! what it has) or by one that knows nothing. In the end the client has what it asked for; nothing that it
//! acknowledged was sent again unasked; nothing older than what it has on a stream was applied; and what waited for a
//! slow reader was bounded all the time.

use std::collections::{BTreeMap, BTreeSet};

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use leno_proto::google::protobuf::Any;
use leno_proto::type_url::{CLUSTER, LISTENER};
use leno_xds::server::{Protocol, Resource, Response, State, Stream};
use leno_xds::{Client, Lookup, StateClient, WILDCARD};
use prost::Message;

use crate::accounts::{Accounts, Body, Key, NAMES, TYPES, key};
use crate::bytes::{Pipe, Random, with_seeds};
use crate::mesh::Mesh;

const STEPS: usize = 250;
/// The server says nothing more while this much waits for the reader.
const WINDOW: usize = 600;
/// More than all of the mesh, said at once.
const BATCH: usize = 4096;

/// What happened to the configuration, in the order in which it happened.
#[derive(Clone, Copy, Debug)]
struct Change {
    key: Key,
    /// None: it is gone.
    set: Option<(u64, bool)>,
}

enum Asker {
    Delta(Client),
    State(StateClient),
}

/// What a response brought.
struct Received {
    updates: Vec<(Key, Body)>,
    removed: Vec<Key>,
}

struct World {
    random: Random,
    protocol: Protocol,
    /// Contents come back, so that a version may be sent twice, rightly.
    repeats: bool,
    log: Vec<Change>,
    replicas: [(Mesh, usize); 2],
    connected: usize,
    asker: Asker,
    named: BTreeSet<Key>,
    wildcards: BTreeSet<&'static str>,
    /// Given up on this stream: of the state of the world a server cannot tell that it is asked for anew.
    parted: BTreeSet<Key>,
    /// What the client has in force.
    in_force: BTreeMap<Key, u64>,
    /// The newest of each that came on this stream.
    newest: BTreeMap<Key, u64>,
    server: Stream,
    requests: Vec<Vec<u8>>,
    dirty: BTreeSet<(String, String)>,
    up: Pipe,
    down: Pipe,
    /// Steps for which the reader does not read.
    stalled: usize,
    accounts: Accounts,
}

fn body(any: &Any) -> Body {
    Body::decode(any.value.as_slice()).unwrap()
}

// === impl Asker ===

impl Asker {
    fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Delta => Self::Delta(Client::new(Node::default())),
            Protocol::StateOfTheWorld => Self::State(StateClient::new(Node::default())),
        }
    }

    fn subscribe(&mut self, (type_url, name): Key) {
        match self {
            Self::Delta(client) if name == WILDCARD => client.subscribe_wildcard(type_url),
            Self::Delta(client) => client.subscribe(type_url, name),
            Self::State(client) => client.subscribe(type_url, name),
        }
    }

    fn unsubscribe(&mut self, (type_url, name): Key) {
        match self {
            Self::Delta(client) if name == WILDCARD => drop(client.unsubscribe_wildcard(type_url)),
            Self::Delta(client) => client.unsubscribe(type_url, name),
            Self::State(client) => client.unsubscribe(type_url, name),
        }
    }

    fn lookup(&self, (type_url, name): Key) -> Lookup {
        match self {
            Self::Delta(client) => client.lookup(type_url, name),
            Self::State(client) => client.lookup(type_url, name),
        }
    }

    fn connected(&mut self, up: &mut Pipe) {
        match self {
            Self::Delta(client) => client.on_connected().iter().for_each(|r| up.send(r)),
            Self::State(client) => client.on_connected().iter().for_each(|r| up.send(r)),
        }
    }

    fn disconnected(&mut self) {
        match self {
            Self::Delta(client) => drop(client.on_disconnected(0)),
            Self::State(client) => drop(client.on_disconnected(0)),
        }
    }

    fn flush(&mut self, up: &mut Pipe) {
        match self {
            Self::Delta(client) => client.next_requests().iter().for_each(|r| up.send(r)),
            Self::State(client) => client.next_requests().iter().for_each(|r| up.send(r)),
        }
    }

    /// Takes what is good, rejects what is bad, and answers.
    fn receive(&mut self, message: &[u8], up: &mut Pipe) -> Received {
        let received = match self {
            Self::Delta(client) => client.on_response(DeltaDiscoveryResponse::decode(message).unwrap()),
            Self::State(client) => client.on_response(DiscoveryResponse::decode(message).unwrap()),
        };
        let type_url = received.type_url;
        let bodies = received
            .updates
            .iter()
            .map(|(name, _, any)| (key(&type_url, name), body(any)));
        let updates: Vec<(Key, Body)> = bodies.collect();
        let removed = received.removed.iter().map(|name| key(&type_url, name)).collect();
        let bad = updates.iter().filter(|(_, body)| body.bad);
        let errors: Vec<_> = bad
            .map(|((_, name), _)| ((*name).to_owned(), "no".to_owned()))
            .collect();
        match self {
            Self::Delta(client) => client
                .finish(received.ticket, &errors)
                .iter()
                .for_each(|r| up.send(r)),
            Self::State(client) => client
                .finish(received.ticket, &errors)
                .iter()
                .for_each(|r| up.send(r)),
        }
        Received { updates, removed }
    }
}

// === impl World ===

impl World {
    fn new(protocol: Protocol, seed: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            protocol,
            repeats: false,
            log: Vec::new(),
            replicas: Default::default(),
            connected: 0,
            asker: Asker::new(protocol),
            named: BTreeSet::new(),
            wildcards: BTreeSet::new(),
            parted: BTreeSet::new(),
            in_force: BTreeMap::new(),
            newest: BTreeMap::new(),
            server: Stream::new(protocol),
            requests: Vec::new(),
            dirty: BTreeSet::new(),
            up: Pipe::default(),
            down: Pipe::default(),
            stalled: 0,
            accounts: Accounts::default(),
        };
        world.repeats = world.random.once_in(3);
        if protocol == Protocol::StateOfTheWorld {
            // There a wildcard that was one stays one: nothing asks for nothing.
            for type_url in [CLUSTER, LISTENER] {
                if world.random.once_in(2) {
                    world.wildcards.insert(type_url);
                    world.asker.subscribe((type_url, WILDCARD));
                }
            }
        }
        world.connect();
        world
    }

    fn step(&mut self) {
        let key = (TYPES[self.random.below(4)], NAMES[self.random.below(4)]);
        match self.random.below(24) {
            0..4 => self.change(key),
            4..6 => {
                let (replica, entries) = (self.random.below(2), 1 + self.random.below(4));
                self.catch_up(replica, entries);
            }
            6..9 => self.subscribe(key),
            9..11 => self.unsubscribe(key),
            11 => self.wildcard(key.0),
            12..15 => self.asker.flush(&mut self.up),
            15..18 => {
                let bytes = self.random.below(300);
                self.deliver_up(bytes);
            }
            18..22 => match self.stalled {
                0 => {
                    let bytes = self.random.below(400);
                    self.deliver_down(bytes);
                }
                steps => self.stalled = steps - 1,
            },
            22 => self.stalled = self.random.below(10),
            _ => self.cut(),
        }
        assert!(
            self.down.on_the_way() <= WINDOW + BATCH,
            "a reader that stalls is sent {} bytes",
            self.down.on_the_way()
        );
    }

    // === the configuration ===

    fn change(&mut self, key: Key) {
        let number = match self.repeats {
            true => self.random.below(3) as u64,
            false => 1 + self.log.len() as u64,
        };
        let bad = self.random.once_in(6);
        let set = (!self.random.once_in(4)).then_some((number, bad));
        self.log.push(Change { key, set });
    }

    fn catch_up(&mut self, replica: usize, entries: usize) {
        let (mesh, seen) = &mut self.replicas[replica];
        let new: Vec<Change> = self.log.iter().skip(*seen).take(entries).copied().collect();
        *seen += new.len();
        for Change {
            key: (kind, name),
            set,
        } in new
        {
            match set {
                None => mesh.remove(kind, name),
                Some((number, bad)) => {
                    let body = Body {
                        name: name.to_owned(),
                        number,
                        bad,
                    };
                    let resource = Resource {
                        name: name.into(),
                        version: format!("{number} {bad}").into(),
                        body: body.encode_to_vec().into(),
                    };
                    mesh.resources.insert((kind.into(), name.into()), resource.into());
                }
            }
            if replica == self.connected {
                self.dirty.insert((kind.to_owned(), name.to_owned()));
            }
        }
        self.serve();
    }

    // === the client ===

    fn subscribe(&mut self, key: Key) {
        if !self.parted.contains(&key) {
            self.named.insert(key);
            self.asker.subscribe(key);
        }
    }

    fn unsubscribe(&mut self, key: Key) {
        if self.named.remove(&key) {
            self.asker.unsubscribe(key);
            self.forget_unwanted();
            if self.protocol == Protocol::StateOfTheWorld {
                self.parted.insert(key);
            }
        }
    }

    fn wildcard(&mut self, kind: &'static str) {
        if self.protocol == Protocol::StateOfTheWorld {
            return;
        }
        match self.wildcards.remove(kind) {
            true => self.asker.unsubscribe((kind, WILDCARD)),
            false => {
                self.wildcards.insert(kind);
                self.asker.subscribe((kind, WILDCARD));
            }
        }
        self.forget_unwanted();
    }

    fn wants(&self, key: Key) -> bool {
        self.named.contains(&key) || self.wildcards.contains(key.0)
    }

    fn forget_unwanted(&mut self) {
        let gone: Vec<Key> = self
            .in_force
            .keys()
            .filter(|k| !self.wants(**k))
            .copied()
            .collect();
        for key in gone {
            self.in_force.remove(&key);
            self.newest.remove(&key);
        }
    }

    fn deliver_down(&mut self, bytes: usize) {
        for message in self.down.deliver(bytes) {
            let received = self.asker.receive(&message, &mut self.up);
            for (key, body) in received.updates {
                let newest = self.newest.entry(key).or_default();
                assert!(
                    self.repeats || body.number >= *newest,
                    "{key:?}: {} applied after {newest}",
                    body.number
                );
                *newest = body.number;
                if !body.bad {
                    self.in_force.insert(key, body.number);
                }
            }
            for key in received.removed {
                self.in_force.remove(&key);
            }
        }
        self.serve();
    }

    /// The connection is lost, whatever is on it, and another is made: to either replica, by this process or the next.
    fn cut(&mut self) {
        self.asker.disconnected();
        self.connected = self.random.below(2);
        if self.random.once_in(3) {
            self.asker = Asker::new(self.protocol);
            self.in_force.clear();
            let wildcards = self.wildcards.iter().map(|kind| (*kind, WILDCARD));
            for key in self.named.iter().copied().chain(wildcards) {
                self.asker.subscribe(key);
            }
        }
        self.connect();
    }

    fn connect(&mut self) {
        (self.up, self.down) = Default::default();
        self.server = Stream::new(self.protocol);
        self.requests.clear();
        self.dirty.clear();
        self.newest.clear();
        self.parted.clear();
        self.accounts = Accounts::default();
        if self.protocol == Protocol::Delta {
            self.accounts.initial.clone_from(&self.in_force);
        }
        self.asker.connected(&mut self.up);
    }

    // === the server ===

    fn deliver_up(&mut self, bytes: usize) {
        self.requests.extend(self.up.deliver(bytes));
        self.serve();
    }

    /// As the control plane does it: while the reader is slow, neither are requests read nor is anything made.
    fn serve(&mut self) {
        while self.down.on_the_way() <= WINDOW {
            self.push();
            if self.requests.is_empty() || self.down.on_the_way() > WINDOW {
                return;
            }
            let message = self.requests.remove(0);
            self.hear(&message);
        }
    }

    fn hear(&mut self, message: &[u8]) {
        let (kind, asked) = match self.protocol {
            Protocol::Delta => {
                let request = DeltaDiscoveryRequest::decode(message).unwrap();
                let kind = key(&request.type_url, WILDCARD).0;
                let mut asked = request.resource_names_subscribe.clone();
                asked.extend(request.resource_names_unsubscribe.clone());
                if !self.server.types().contains(&request.type_url) {
                    asked.clear();
                }
                self.server.on_delta(request).unwrap();
                (kind, asked)
            }
            Protocol::StateOfTheWorld => {
                let request = DiscoveryRequest::decode(message).unwrap();
                let kind = key(&request.type_url, WILDCARD).0;
                let asked = self.accounts.newly_asked(kind, &request);
                self.server.on_sotw(request).unwrap();
                (kind, asked)
            }
        };
        for name in asked {
            *self.accounts.asked.entry(key(kind, &name)).or_default() += 1;
            self.accounts.whole.entry(kind).or_default().1 = true;
        }
    }

    fn push(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        let mesh = &self.replicas[self.connected].0;
        for response in mesh.push(&mut self.server, &dirty) {
            match response {
                Response::Delta(response) => {
                    let kind = key(&response.type_url, WILDCARD).0;
                    let any = response.resources.iter().filter_map(|r| r.resource.as_ref());
                    self.accounts.count(kind, any.map(body), self.repeats);
                    for name in &response.removed_resources {
                        self.accounts.initial.remove(&key(kind, name));
                    }
                    self.down.send(&response);
                }
                Response::Sotw(response) => {
                    let kind = key(&response.type_url, WILDCARD).0;
                    self.accounts.nonces.insert(kind, response.nonce.clone());
                    let bodies: Vec<Body> = response.resources.iter().map(body).collect();
                    match kind {
                        CLUSTER | LISTENER => self.accounts.count_whole(kind, bodies),
                        _ => self.accounts.count(kind, bodies.into_iter(), self.repeats),
                    }
                    self.down.send(&response);
                }
            }
        }
    }

    // === the end ===

    /// Everybody knows everything, and everything arrives. That it ends is part of the test.
    fn settle(&mut self) {
        for replica in [0, 1] {
            self.catch_up(replica, usize::MAX);
        }
        for _ in 0..1000 {
            self.asker.flush(&mut self.up);
            if self.up.is_empty() && self.down.is_empty() && self.requests.is_empty() {
                return;
            }
            self.deliver_up(usize::MAX);
            self.deliver_down(usize::MAX);
        }
        panic!("client and server never fall silent");
    }

    fn check(&mut self) {
        for key in TYPES.into_iter().flat_map(|kind| NAMES.map(|name| (kind, name))) {
            let mesh = &self.replicas[self.connected].0;
            let there = mesh
                .get(key.0, key.1)
                .map(|r| Body::decode(r.body.clone()).unwrap());
            // Of these the state of the world has no way to say that there is none.
            let unsaid = self.protocol == Protocol::StateOfTheWorld && !matches!(key.0, CLUSTER | LISTENER);
            let in_force = self.in_force.get(&key).copied();
            match there {
                _ if !self.wants(key) => assert_eq!(in_force, None, "{key:?} is not wanted"),
                Some(body) if !body.bad => assert_eq!(in_force, Some(body.number), "{key:?}"),
                Some(_) => assert!(matches!(self.state(key.0), State::Rejected(_)), "{key:?}"),
                None if unsaid => continue,
                None => assert_eq!(in_force, None, "{key:?} is gone"),
            }
            assert_ne!(self.asker.lookup(key), Lookup::Pending, "{key:?}");
        }
        self.push();
        assert!(self.down.is_empty(), "something is said though nothing happened");
    }

    fn state(&self, kind: &str) -> State {
        let mut states = self.server.status();
        let of_kind = states.find(|(t, _, _)| *t == kind);
        of_kind.map_or(State::NotSent, |(_, state, _)| state)
    }
}

fn run(protocol: Protocol, seed: u64) {
    let mut world = World::new(protocol, seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    world.check();
}

#[test]
fn delta_converges_over_streams_that_are_cut_at_any_byte() {
    with_seeds(
        "delta_converges_over_streams_that_are_cut_at_any_byte",
        3000,
        |seed| {
            run(Protocol::Delta, seed);
        },
    );
}

#[test]
fn the_state_of_the_world_converges_over_streams_that_are_cut_at_any_byte() {
    let name = "the_state_of_the_world_converges_over_streams_that_are_cut_at_any_byte";
    with_seeds(name, 3000, |seed| run(Protocol::StateOfTheWorld, seed));
}
