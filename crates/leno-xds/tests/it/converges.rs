//! Whatever is asked, changed, delayed and cut: in the end the client has what it asked for, nothing that it
//! acknowledged was sent again unasked, and a rejected resource is not sent over and over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use leno_proto::type_url::{LISTENER, ROUTE_CONFIGURATION};
use leno_xds::server::{Protocol, Response, State, Stream};
use leno_xds::{Client, Lookup};
use proptest::prelude::*;

use crate::mesh::{BAD, Mesh};

const TYPES: [&str; 2] = [LISTENER, ROUTE_CONFIGURATION];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Set {
        kind: usize,
        name: usize,
        bad: bool,
    },
    Remove {
        kind: usize,
        name: usize,
    },
    Subscribe {
        kind: usize,
        name: usize,
    },
    Unsubscribe {
        kind: usize,
        name: usize,
    },
    Wildcard {
        kind: usize,
        on: bool,
    },
    /// The client's owner sends what is due.
    Flush,
    Up,
    Down,
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = 0..TYPES.len();
    let name = 0..NAMES.len();
    prop_oneof![
        3 => (kind.clone(), name.clone(), prop::bool::weighted(0.2))
            .prop_map(|(kind, name, bad)| Step::Set { kind, name, bad }),
        1 => (kind.clone(), name.clone()).prop_map(|(kind, name)| Step::Remove { kind, name }),
        3 => (kind.clone(), name.clone()).prop_map(|(kind, name)| Step::Subscribe { kind, name }),
        2 => (kind.clone(), name).prop_map(|(kind, name)| Step::Unsubscribe { kind, name }),
        1 => (kind, any::<bool>()).prop_map(|(kind, on)| Step::Wildcard { kind, on }),
        3 => Just(Step::Flush),
        5 => Just(Step::Up),
        5 => Just(Step::Down),
        1 => Just(Step::Cut),
    ]
}

/// Both ends, and what is on its way between them.
struct Wire {
    mesh: Mesh,
    client: Client,
    server: Stream,
    up: VecDeque<DeltaDiscoveryRequest>,
    down: VecDeque<DeltaDiscoveryResponse>,
    /// How often the server may send one version of a resource on this stream.
    asked: BTreeMap<(String, String), usize>,
    initial: BTreeMap<(String, String), String>,
    sent: BTreeMap<(String, String, String), usize>,
}

impl Wire {
    fn new() -> Self {
        let mut wire = Self {
            mesh: Mesh::default(),
            client: Client::new(Node::default()),
            server: Stream::new(Protocol::Delta),
            up: VecDeque::new(),
            down: VecDeque::new(),
            asked: BTreeMap::new(),
            initial: BTreeMap::new(),
            sent: BTreeMap::new(),
        };
        wire.connect();
        wire
    }

    fn connect(&mut self) {
        self.server = Stream::new(Protocol::Delta);
        self.up = self.client.on_connected().into();
        self.down.clear();
        self.asked.clear();
        self.sent.clear();
        self.initial = TYPES
            .iter()
            .flat_map(|t| {
                self.client
                    .resources(t)
                    .map(|(n, v)| (((*t).to_owned(), n.to_owned()), v.to_owned()))
            })
            .collect();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Set { kind, name, bad } => {
                self.mesh.set(TYPES[kind], NAMES[name], bad);
                self.push(Some((TYPES[kind], NAMES[name])));
            }
            Step::Remove { kind, name } => {
                self.mesh.remove(TYPES[kind], NAMES[name]);
                self.push(Some((TYPES[kind], NAMES[name])));
            }
            Step::Subscribe { kind, name } => self.client.subscribe(TYPES[kind], NAMES[name]),
            Step::Unsubscribe { kind, name } => self.client.unsubscribe(TYPES[kind], NAMES[name]),
            Step::Wildcard { kind, on: true } => self.client.subscribe_wildcard(TYPES[kind]),
            Step::Wildcard { kind, on: false } => {
                self.client.unsubscribe_wildcard(TYPES[kind]);
            }
            Step::Flush => self.up.extend(self.client.next_requests()),
            Step::Up => self.deliver_up(),
            Step::Down => self.deliver_down(),
            Step::Cut => {
                self.client.on_disconnected(0);
                self.connect();
            }
        }
    }

    fn deliver_up(&mut self) {
        let Some(request) = self.up.pop_front() else {
            return;
        };
        let first = !self.server.types().contains(&request.type_url);
        let named = request.resource_names_subscribe.iter();
        for name in named
            .chain(&request.resource_names_unsubscribe)
            .filter(|_| !first)
        {
            let asked = self.asked.entry((request.type_url.clone(), name.clone()));
            *asked.or_default() += 1;
        }
        self.server.on_delta(request).unwrap();
        self.push(None);
    }

    fn push(&mut self, changed: Option<(&str, &str)>) {
        let changed: BTreeSet<_> = changed
            .map(|(t, n)| (t.to_owned(), n.to_owned()))
            .into_iter()
            .collect();
        for response in self.mesh.push(&mut self.server, &changed) {
            let Response::Delta(response) = response else {
                panic!("a delta stream answers in kind");
            };
            self.count(&response);
            self.down.push_back(response);
        }
    }

    /// Fails if this repeats what the client has been sent on this stream, or came with, and did not ask again.
    fn count(&mut self, response: &DeltaDiscoveryResponse) {
        for resource in &response.resources {
            let key = (response.type_url.clone(), resource.name.clone());
            let came_with_it = self.initial.get(&key) == Some(&resource.version);
            let asked = |name: &str| {
                let key = (response.type_url.clone(), name.to_owned());
                self.asked.get(&key).copied().unwrap_or_default()
            };
            let allowed = usize::from(!came_with_it) + asked(&resource.name) + asked("*");
            let sent = self
                .sent
                .entry((key.0, key.1, resource.version.clone()))
                .or_default();
            *sent += 1;
            assert!(
                *sent <= allowed,
                "{} sent {sent} times, {allowed} allowed",
                resource.name
            );
        }
    }

    fn deliver_down(&mut self) {
        let Some(response) = self.down.pop_front() else {
            return;
        };
        let received = self.client.on_response(response);
        let errors: Vec<_> = received
            .updates
            .iter()
            .filter(|(_, _, body)| body.value == BAD)
            .map(|(name, _, _)| (name.clone(), "bad".to_owned()))
            .collect();
        self.up.extend(self.client.finish(received.ticket, &errors));
    }

    /// Lets everything arrive. That it ends is part of the test.
    fn drain(&mut self) {
        for _ in 0..1000 {
            self.up.extend(self.client.next_requests());
            if self.up.is_empty() && self.down.is_empty() {
                return;
            }
            self.deliver_up();
            self.deliver_down();
        }
        panic!("client and server never fall silent");
    }

    fn check(&self, wildcard: [bool; 2], named: &BTreeSet<(usize, usize)>) {
        for (kind, type_url) in TYPES.iter().enumerate() {
            let kept: BTreeMap<_, _> = self.client.resources(type_url).collect();
            for (at, name) in NAMES.iter().enumerate() {
                let by_name = named.contains(&(kind, at));
                let resource = self.mesh.get(type_url, name);
                match resource {
                    Some(r) if (by_name || wildcard[kind]) && r.body != BAD => {
                        assert_eq!(kept.get(name), Some(&&*r.version), "{type_url} {name}");
                    }
                    Some(_) if by_name || wildcard[kind] => {
                        assert!(matches!(self.state(type_url), State::Rejected(_)));
                    }
                    _ => assert_eq!(kept.get(name), None, "{type_url} {name}"),
                }
                if resource.is_none() && by_name {
                    assert_eq!(self.client.lookup(type_url, name), Lookup::Absent);
                }
                assert!(!self.client.pending(type_url, name), "{type_url} {name}");
            }
        }
    }

    fn state(&self, type_url: &str) -> State {
        self.server
            .status()
            .find(|(t, _, _)| *t == type_url)
            .map_or(State::NotSent, |(_, state, _)| state)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_client_has_what_it_asked_for(steps in prop::collection::vec(step(), 0..80)) {
        let mut wire = Wire::new();
        let mut wildcard = [false; 2];
        let mut named = BTreeSet::new();
        for step in steps {
            match step {
                Step::Wildcard { kind, on } => wildcard[kind] = on,
                Step::Subscribe { kind, name } => { named.insert((kind, name)); }
                Step::Unsubscribe { kind, name } => { named.remove(&(kind, name)); }
                _ => {}
            }
            wire.step(step);
        }
        wire.drain();
        wire.check(wildcard, &named);
        // Silent means silent: nothing is sent until something changes.
        wire.push(None);
        prop_assert!(wire.down.is_empty());
    }
}
