//! The server's rules on a delta stream, one by one.

use std::collections::BTreeSet;

use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use leno_proto::google::rpc::Status;
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use leno_xds::server::{Protocol, RequestError, Response, State, Stream};

use crate::mesh::Mesh;

struct Rig {
    mesh: Mesh,
    stream: Stream,
}

impl Rig {
    fn new(resources: &[(&str, &str)]) -> Self {
        let mut mesh = Mesh::default();
        for (type_url, name) in resources {
            mesh.set(type_url, name, false);
        }
        Self {
            mesh,
            stream: Stream::new(Protocol::Delta),
        }
    }

    fn ask(&mut self, request: DeltaDiscoveryRequest) -> Vec<DeltaDiscoveryResponse> {
        self.stream.on_delta(request).unwrap();
        self.push(&[])
    }

    fn push(&mut self, changed: &[(&str, &str)]) -> Vec<DeltaDiscoveryResponse> {
        let changed: BTreeSet<_> = changed
            .iter()
            .map(|(t, n)| ((*t).to_owned(), (*n).to_owned()))
            .collect();
        let responses = self.mesh.push(&mut self.stream, &changed).into_iter();
        responses
            .map(|response| match response {
                Response::Delta(response) => response,
                Response::Sotw(_) => panic!("a delta stream answers in kind"),
            })
            .collect()
    }

    fn version(&self, type_url: &str, name: &str) -> String {
        self.mesh.get(type_url, name).unwrap().version.to_string()
    }
}

fn subscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_subscribe: names.iter().map(|n| (*n).to_owned()).collect(),
        ..Default::default()
    }
}

fn unsubscribe(type_url: &str, name: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_unsubscribe: vec![name.into()],
        ..Default::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|r| r.name.as_str()).collect()
}

#[test]
fn a_first_request_without_names_means_all_listeners() {
    let mut rig = Rig::new(&[(LISTENER, "a"), (LISTENER, "b")]);
    let answer = rig.ask(subscribe(LISTENER, &[]));
    assert_eq!(names(&answer[0]), ["a", "b"]);
    assert!(rig.ask(ack(&answer[0])).is_empty());
}

#[test]
fn a_first_request_without_names_means_no_endpoints() {
    let mut rig = Rig::new(&[(CLUSTER_LOAD_ASSIGNMENT, "a")]);
    assert!(rig.ask(subscribe(CLUSTER_LOAD_ASSIGNMENT, &[])).is_empty());
}

#[test]
fn the_first_answer_to_a_wildcard_comes_even_if_empty_and_only_once() {
    let mut rig = Rig::new(&[]);
    assert_eq!(rig.ask(subscribe(LISTENER, &["*"])).len(), 1);
    assert!(rig.push(&[]).is_empty());
}

#[test]
fn a_resubscription_is_answered_even_unchanged() {
    let mut rig = Rig::new(&[(LISTENER, "a")]);
    let answer = rig.ask(subscribe(LISTENER, &["a"]));
    rig.ask(ack(&answer[0]));
    assert_eq!(names(&rig.ask(subscribe(LISTENER, &["a"]))[0]), ["a"]);
}

#[test]
fn a_name_that_does_not_exist_is_answered_as_removed_and_sent_when_it_appears() {
    let mut rig = Rig::new(&[]);
    let answer = rig.ask(subscribe(LISTENER, &["a"]));
    assert_eq!(answer[0].removed_resources, ["a"]);
    rig.mesh.set(LISTENER, "a", false);
    assert_eq!(names(&rig.push(&[(LISTENER, "a")])[0]), ["a"]);
}

#[test]
fn versions_that_the_client_came_with_are_not_sent() {
    let mut rig = Rig::new(&[(LISTENER, "a"), (LISTENER, "b")]);
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: [
            ("a".into(), rig.version(LISTENER, "a")),
            ("b".into(), "old".into()),
            ("gone".into(), "1".into()),
        ]
        .into(),
        ..subscribe(LISTENER, &["*"])
    };
    let answer = rig.ask(request);
    assert_eq!(names(&answer[0]), ["b"]);
    assert_eq!(answer[0].removed_resources, ["gone"]);
}

#[test]
fn a_client_that_has_everything_from_before_follows() {
    let mut rig = Rig::new(&[(ROUTE_CONFIGURATION, "a")]);
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: [("a".into(), rig.version(ROUTE_CONFIGURATION, "a"))].into(),
        ..subscribe(ROUTE_CONFIGURATION, &["a"])
    };
    assert_eq!(rig.ask(request), []);
    let states: Vec<State> = rig.stream.status().map(|(_, state, _)| state).collect();
    assert_eq!(states, [State::Synced]);
}

#[test]
fn a_client_with_state_is_told_apart() {
    let mut stream = Stream::new(Protocol::Delta);
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: [("a".into(), "1".into())].into(),
        ..subscribe(LISTENER, &["a"])
    };
    assert!(stream.on_delta(request.clone()).unwrap().resumed);
    assert!(!stream.on_delta(request).unwrap().resumed);
}

#[test]
fn endpoints_are_told_on_a_new_stream_even_unchanged() {
    let mut rig = Rig::new(&[(CLUSTER_LOAD_ASSIGNMENT, "a")]);
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: [("a".into(), rig.version(CLUSTER_LOAD_ASSIGNMENT, "a"))].into(),
        ..subscribe(CLUSTER_LOAD_ASSIGNMENT, &["a"])
    };
    assert_eq!(names(&rig.ask(request)[0]), ["a"]);
}

#[test]
fn endpoints_are_told_again_after_their_cluster_changed_and_no_others() {
    let mut rig = Rig::new(&[
        (CLUSTER, "a"),
        (CLUSTER, "b"),
        (CLUSTER_LOAD_ASSIGNMENT, "a"),
        (CLUSTER_LOAD_ASSIGNMENT, "b"),
    ]);
    rig.ask(subscribe(CLUSTER, &["*"]));
    rig.ask(subscribe(CLUSTER_LOAD_ASSIGNMENT, &["a", "b"]));
    rig.mesh.set(CLUSTER, "b", false);
    let pushed = rig.push(&[(CLUSTER, "b")]);
    assert_eq!(
        pushed.iter().map(|r| r.type_url.as_str()).collect::<Vec<_>>(),
        [CLUSTER, CLUSTER_LOAD_ASSIGNMENT]
    );
    assert_eq!(names(&pushed[1]), ["b"]);
}

#[test]
fn what_changes_is_sent_alone() {
    let mut rig = Rig::new(&[(LISTENER, "a"), (LISTENER, "b")]);
    rig.ask(subscribe(LISTENER, &["*"]));
    rig.mesh.set(LISTENER, "b", false);
    assert_eq!(names(&rig.push(&[(LISTENER, "a"), (LISTENER, "b")])[0]), ["b"]);
}

#[test]
fn unsubscribing_a_name_under_the_wildcard_is_answered() {
    let mut rig = Rig::new(&[(LISTENER, "a")]);
    rig.ask(subscribe(LISTENER, &["*", "a", "b"]));
    assert_eq!(names(&rig.ask(unsubscribe(LISTENER, "a"))[0]), ["a"]);
    assert_eq!(rig.ask(unsubscribe(LISTENER, "b"))[0].removed_resources, ["b"]);
}

#[test]
fn what_is_no_longer_asked_for_is_not_sent() {
    let mut rig = Rig::new(&[(LISTENER, "a"), (LISTENER, "b")]);
    rig.ask(subscribe(LISTENER, &["*", "a"]));
    assert!(rig.ask(unsubscribe(LISTENER, "*")).is_empty());
    rig.mesh.set(LISTENER, "a", false);
    rig.mesh.set(LISTENER, "b", false);
    assert_eq!(names(&rig.push(&[(LISTENER, "a"), (LISTENER, "b")])[0]), ["a"]);
}

#[test]
fn the_status_follows_the_acknowledgements() {
    let mut rig = Rig::new(&[(ROUTE_CONFIGURATION, "a"), (ROUTE_CONFIGURATION, "b")]);
    let state = |rig: &Rig| rig.stream.status().next().map(|(_, state, _)| state);
    rig.stream
        .on_delta(subscribe(ROUTE_CONFIGURATION, &["a", "b"]))
        .unwrap();
    assert_eq!(state(&rig), Some(State::NotSent));
    let sent = rig.push(&[]);
    assert_eq!(state(&rig), Some(State::Stale));
    let nack = DeltaDiscoveryRequest {
        error_detail: Some(Status {
            message: "a: no domains".into(),
            ..Default::default()
        }),
        ..ack(&sent[0])
    };
    assert!(rig.ask(nack).is_empty(), "a rejected resource is not sent again");
    assert_eq!(state(&rig), Some(State::Rejected("a: no domains".into())));

    rig.mesh.set(ROUTE_CONFIGURATION, "b", false);
    let sent = rig.push(&[(ROUTE_CONFIGURATION, "b")]);
    rig.ask(ack(&sent[0]));
    assert_eq!(
        state(&rig),
        Some(State::Rejected("a: no domains".into())),
        "another resource does not mend it"
    );

    rig.mesh.set(ROUTE_CONFIGURATION, "a", false);
    let sent = rig.push(&[(ROUTE_CONFIGURATION, "a")]);
    rig.ask(ack(&sent[0]));
    assert_eq!(state(&rig), Some(State::Synced));
}

#[test]
fn a_request_that_cannot_be_served_is_refused_by_name() {
    let mut stream = Stream::new(Protocol::Delta);
    assert_eq!(stream.on_delta(subscribe("", &["a"])), Err(RequestError::NoType));
    let request = DeltaDiscoveryRequest {
        resource_locators_subscribe: vec![Default::default()],
        ..subscribe(LISTENER, &[])
    };
    assert_eq!(
        stream.on_delta(request),
        Err(RequestError::Locators(LISTENER.into()))
    );
}
