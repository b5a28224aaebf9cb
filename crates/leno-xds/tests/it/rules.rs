//! What a server says, and when, where both protocols are to do the same or each has its own way (DESIGN, §5). Rules
//! of one protocol alone are in `delta` and `sotw`.

use std::collections::BTreeSet;

use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use leno_proto::google::rpc::Status;
use leno_proto::type_url::{
    CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, NAME_TABLE, ROUTE_CONFIGURATION, SECRET, VIRTUAL_HOST,
};
use leno_xds::push_order;
use leno_xds::server::{Protocol, Response, Stream};

use crate::mesh::Mesh;

const BOTH: [Protocol; 2] = [Protocol::Delta, Protocol::StateOfTheWorld];

struct Rig {
    mesh: Mesh,
    stream: Stream,
    protocol: Protocol,
    nonces: std::collections::BTreeMap<String, String>,
}

impl Rig {
    fn new(protocol: Protocol, resources: &[(&str, &str)]) -> Self {
        let mut mesh = Mesh::default();
        for (type_url, name) in resources {
            mesh.set(type_url, name, false);
        }
        Self {
            mesh,
            stream: Stream::new(protocol),
            protocol,
            nonces: Default::default(),
        }
    }

    /// Everything that is said: type and names, in the order in which it is.
    fn said(&mut self, changed: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
        let changed: BTreeSet<_> = changed
            .iter()
            .map(|(t, n)| ((*t).to_owned(), (*n).to_owned()))
            .collect();
        let responses = self.mesh.push(&mut self.stream, &changed);
        let said = responses.into_iter().map(|response| match response {
            Response::Delta(response) => {
                self.nonces.insert(response.type_url.clone(), response.nonce);
                let names = response.resources.into_iter().map(|r| r.name);
                (response.type_url, names.collect())
            }
            Response::Sotw(response) => {
                self.nonces.insert(response.type_url.clone(), response.nonce);
                // Test bodies begin with the resource's name.
                let text = |any: &leno_proto::google::protobuf::Any| {
                    String::from_utf8_lossy(&any.value)
                        .split(' ')
                        .next()
                        .map(str::to_owned)
                };
                let names = response.resources.iter().filter_map(text).collect();
                (response.type_url, names)
            }
        });
        said.collect()
    }

    fn ask(&mut self, type_url: &str, names: &[&str]) -> Vec<(String, Vec<String>)> {
        self.request(type_url, names, None);
        self.said(&[])
    }

    /// A request that answers what was said last of the type.
    fn request(&mut self, type_url: &str, names: &[&str], error: Option<&str>) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let nonce = self.nonces.get(type_url).cloned().unwrap_or_default();
        let error_detail = error.map(|message| Status {
            message: message.to_owned(),
            ..Default::default()
        });
        match self.protocol {
            Protocol::Delta => self.stream.on_delta(DeltaDiscoveryRequest {
                type_url: type_url.to_owned(),
                resource_names_subscribe: names,
                response_nonce: nonce,
                error_detail,
                ..Default::default()
            }),
            Protocol::StateOfTheWorld => self.stream.on_sotw(DiscoveryRequest {
                type_url: type_url.to_owned(),
                resource_names: names,
                response_nonce: nonce,
                error_detail,
                ..Default::default()
            }),
        }
        .unwrap();
    }
}

fn types(said: &[(String, Vec<String>)]) -> Vec<&str> {
    said.iter().map(|(type_url, _)| type_url.as_str()).collect()
}

#[test]
fn the_first_answer_to_a_wildcard_comes_even_if_there_is_nothing() {
    for protocol in BOTH {
        for type_url in [LISTENER, CLUSTER, NAME_TABLE] {
            let mut rig = Rig::new(protocol, &[]);
            assert_eq!(rig.ask(type_url, &[]), [(type_url.to_owned(), Vec::new())]);
            assert_eq!(rig.said(&[]), []);
        }
    }
}

#[test]
fn an_acknowledgement_and_a_rejection_are_not_answered() {
    for protocol in BOTH {
        for error in [None, Some("a: no")] {
            let mut rig = Rig::new(protocol, &[(CLUSTER, "a"), (ROUTE_CONFIGURATION, "a")]);
            rig.ask(CLUSTER, &["a"]);
            rig.ask(ROUTE_CONFIGURATION, &["a"]);
            for type_url in [CLUSTER, ROUTE_CONFIGURATION] {
                let names: &[&str] = match protocol {
                    Protocol::Delta => &[],
                    Protocol::StateOfTheWorld => &["a"],
                };
                rig.request(type_url, names, error);
                assert_eq!(rig.said(&[]), [], "{protocol:?} {error:?}");
            }
        }
    }
}

#[test]
fn what_is_looked_at_again_and_has_not_changed_is_not_said() {
    for protocol in BOTH {
        let all = [(CLUSTER, "a"), (LISTENER, "a"), (ROUTE_CONFIGURATION, "a")];
        let mut rig = Rig::new(protocol, &all);
        for (type_url, name) in all {
            rig.ask(type_url, &[name]);
        }
        assert_eq!(rig.said(&all), [], "{protocol:?}");
    }
}

#[test]
fn a_name_that_is_not_asked_for_is_not_said() {
    for protocol in BOTH {
        let mut rig = Rig::new(protocol, &[(ROUTE_CONFIGURATION, "a")]);
        rig.ask(ROUTE_CONFIGURATION, &["a"]);
        rig.mesh.set(ROUTE_CONFIGURATION, "b", false);
        assert_eq!(rig.said(&[(ROUTE_CONFIGURATION, "b")]), [], "{protocol:?}");
    }
}

#[test]
fn endpoints_are_said_again_after_their_cluster_changed_in_either_protocol() {
    for protocol in BOTH {
        let all = [CLUSTER, CLUSTER_LOAD_ASSIGNMENT];
        let both: Vec<_> = all.iter().flat_map(|t| [(*t, "a"), (*t, "b")]).collect();
        let mut rig = Rig::new(protocol, &both);
        rig.ask(CLUSTER, &[]);
        rig.ask(CLUSTER_LOAD_ASSIGNMENT, &["a", "b"]);
        rig.mesh.set(CLUSTER, "b", false);
        let said = rig.said(&[(CLUSTER, "b")]);
        assert_eq!(types(&said), all, "{protocol:?}");
        assert_eq!(said[1].1, ["b"], "{protocol:?}");
        assert_eq!(rig.said(&[]), [], "and once");
    }
}

#[test]
fn endpoints_are_said_on_every_new_stream_in_either_protocol() {
    for protocol in BOTH {
        let mut rig = Rig::new(protocol, &[(CLUSTER_LOAD_ASSIGNMENT, "a")]);
        for _ in 0..2 {
            rig.stream = Stream::new(protocol);
            rig.nonces.clear();
            let said = rig.ask(CLUSTER_LOAD_ASSIGNMENT, &["a"]);
            assert_eq!(said, [(CLUSTER_LOAD_ASSIGNMENT.to_owned(), vec!["a".to_owned()])]);
        }
    }
}

#[test]
fn what_is_missing_is_named_in_the_state_of_the_world_too_where_that_says_all() {
    let mut rig = Rig::new(Protocol::StateOfTheWorld, &[(LISTENER, "a")]);
    rig.request(LISTENER, &["a", "none"], None);
    let responses = rig.mesh.push(&mut rig.stream, &BTreeSet::new());
    // Gone things are said after those that are there.
    let named = responses.iter().flat_map(|response| match response {
        Response::Sotw(response) => response.resource_errors.clone(),
        Response::Delta(_) => Vec::new(),
    });
    let named: Vec<String> = named.filter_map(|e| Some(e.resource_name?.name)).collect();
    assert_eq!(named, ["none"]);
}

#[test]
fn what_is_referred_to_is_said_before_what_refers_to_it() {
    let order = [
        CLUSTER,
        CLUSTER_LOAD_ASSIGNMENT,
        LISTENER,
        ROUTE_CONFIGURATION,
        VIRTUAL_HOST,
        SECRET,
    ];
    let places: Vec<u8> = order.iter().map(|t| push_order(t)).collect();
    assert!(places.is_sorted(), "{places:?}");
    for protocol in BOTH {
        let types_of_names = &order[..4];
        let resources: Vec<_> = types_of_names.iter().map(|t| (*t, "a")).collect();
        let mut rig = Rig::new(protocol, &resources);
        for type_url in types_of_names.iter().rev() {
            rig.request(type_url, &["a"], None);
        }
        assert_eq!(types(&rig.said(&[])), types_of_names, "{protocol:?}");
    }
}

#[test]
fn nothing_has_a_time_to_live_so_that_no_heartbeat_is_due() {
    let mut rig = Rig::new(Protocol::Delta, &[(LISTENER, "a")]);
    rig.request(LISTENER, &["a"], None);
    let responses = rig.mesh.push(&mut rig.stream, &BTreeSet::new());
    let Response::Delta(response) = &responses[0] else {
        panic!("a delta stream answers in kind");
    };
    assert!(response.resources.iter().all(|resource| resource.ttl.is_none()));
}
