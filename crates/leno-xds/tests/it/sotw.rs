//! The server's rules on a state-of-the-world stream, one by one.

use std::collections::BTreeSet;

use leno_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use leno_xds::server::{Protocol, Response, State, Stream};

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
            stream: Stream::new(Protocol::StateOfTheWorld),
        }
    }

    fn ask(&mut self, type_url: &str, names: &[&str], nonce: &str) -> Vec<DiscoveryResponse> {
        let request = DiscoveryRequest {
            type_url: type_url.into(),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            response_nonce: nonce.into(),
            ..Default::default()
        };
        self.stream.on_sotw(request).unwrap();
        self.push(&[])
    }

    fn push(&mut self, changed: &[(&str, &str)]) -> Vec<DiscoveryResponse> {
        let changed: BTreeSet<_> = changed
            .iter()
            .map(|(t, n)| ((*t).to_owned(), (*n).to_owned()))
            .collect();
        let responses = self.mesh.push(&mut self.stream, &changed).into_iter();
        responses
            .map(|response| match response {
                Response::Sotw(response) => response,
                Response::Delta(_) => panic!("a state-of-the-world stream answers in kind"),
            })
            .collect()
    }
}

/// Test bodies begin with the resource's name.
fn names(response: &DiscoveryResponse) -> Vec<String> {
    let bodies = response.resources.iter();
    bodies
        .map(|body| String::from_utf8_lossy(&body.value))
        .filter_map(|text| text.split(' ').next().map(str::to_owned))
        .collect()
}

#[test]
fn a_change_of_a_cluster_sends_all_of_them() {
    let mut rig = Rig::new(&[(CLUSTER, "a"), (CLUSTER, "b")]);
    assert_eq!(names(&rig.ask(CLUSTER, &[], "")[0]), ["a", "b"]);
    rig.mesh.set(CLUSTER, "b", false);
    assert_eq!(names(&rig.push(&[(CLUSTER, "b")])[0]), ["a", "b"]);
}

#[test]
fn a_removed_cluster_is_left_out() {
    let mut rig = Rig::new(&[(CLUSTER, "a"), (CLUSTER, "b")]);
    rig.ask(CLUSTER, &[], "");
    rig.mesh.remove(CLUSTER, "a");
    assert_eq!(names(&rig.push(&[(CLUSTER, "a")])[0]), ["b"]);
}

#[test]
fn a_listener_that_does_not_exist_is_answered_by_its_absence() {
    let mut rig = Rig::new(&[(LISTENER, "a")]);
    assert_eq!(names(&rig.ask(LISTENER, &["a", "none"], "")[0]), ["a"]);
    let mut rig = Rig::new(&[]);
    assert!(names(&rig.ask(LISTENER, &["none"], "")[0]).is_empty());
}

#[test]
fn a_change_of_a_route_sends_it_alone() {
    let mut rig = Rig::new(&[(ROUTE_CONFIGURATION, "a"), (ROUTE_CONFIGURATION, "b")]);
    rig.ask(ROUTE_CONFIGURATION, &["a", "b"], "");
    rig.mesh.set(ROUTE_CONFIGURATION, "b", false);
    assert_eq!(names(&rig.push(&[(ROUTE_CONFIGURATION, "b")])[0]), ["b"]);
}

#[test]
fn an_added_name_is_answered_and_an_acknowledgement_is_not() {
    let mut rig = Rig::new(&[(CLUSTER_LOAD_ASSIGNMENT, "a"), (CLUSTER_LOAD_ASSIGNMENT, "b")]);
    let first = rig.ask(CLUSTER_LOAD_ASSIGNMENT, &["a"], "");
    assert!(
        rig.ask(CLUSTER_LOAD_ASSIGNMENT, &["a"], &first[0].nonce)
            .is_empty()
    );
    let second = rig.ask(CLUSTER_LOAD_ASSIGNMENT, &["a", "b"], &first[0].nonce);
    assert_eq!(names(&second[0]), ["b"]);
}

#[test]
fn a_stale_request_means_nothing_until_it_is_said_again() {
    let mut rig = Rig::new(&[(CLUSTER_LOAD_ASSIGNMENT, "a"), (CLUSTER_LOAD_ASSIGNMENT, "b")]);
    let first = rig.ask(CLUSTER_LOAD_ASSIGNMENT, &["a"], "");
    rig.mesh.set(CLUSTER_LOAD_ASSIGNMENT, "a", false);
    let second = rig.push(&[(CLUSTER_LOAD_ASSIGNMENT, "a")]);
    assert!(
        rig.ask(CLUSTER_LOAD_ASSIGNMENT, &["a", "b"], &first[0].nonce)
            .is_empty()
    );
    let third = rig.ask(CLUSTER_LOAD_ASSIGNMENT, &["a", "b"], &second[0].nonce);
    assert_eq!(names(&third[0]), ["b"]);
}

#[test]
fn no_names_means_all_only_until_names_were_given() {
    let mut rig = Rig::new(&[(CLUSTER, "a"), (CLUSTER, "b")]);
    let first = rig.ask(CLUSTER, &["a"], "");
    assert_eq!(names(&first[0]), ["a"]);
    assert!(rig.ask(CLUSTER, &[], &first[0].nonce).is_empty());
    assert!(rig.push(&[(CLUSTER, "b")]).is_empty());
}

#[test]
fn a_client_that_forgot_a_name_gets_it_again_when_it_asks_again() {
    let mut rig = Rig::new(&[(ROUTE_CONFIGURATION, "a"), (ROUTE_CONFIGURATION, "b")]);
    let first = rig.ask(ROUTE_CONFIGURATION, &["a", "b"], "");
    rig.ask(ROUTE_CONFIGURATION, &["a"], &first[0].nonce);
    assert_eq!(
        names(&rig.ask(ROUTE_CONFIGURATION, &["a", "b"], &first[0].nonce)[0]),
        ["b"]
    );
}

#[test]
fn what_is_said_of_an_older_response_counts_though_its_names_do_not() {
    let mut rig = Rig::new(&[(ROUTE_CONFIGURATION, "alpha"), (ROUTE_CONFIGURATION, "beta")]);
    let first = rig.ask(ROUTE_CONFIGURATION, &["alpha", "beta"], "");
    rig.mesh.set(ROUTE_CONFIGURATION, "beta", false);
    let second = rig.push(&[(ROUTE_CONFIGURATION, "beta")]);
    // The client answers one after the other, the first when the second is on its way already.
    rig.ask(ROUTE_CONFIGURATION, &["alpha", "beta"], &first[0].nonce);
    rig.ask(ROUTE_CONFIGURATION, &["alpha", "beta"], &second[0].nonce);
    let states: Vec<State> = rig.stream.status().map(|(_, state, _)| state).collect();
    assert_eq!(states, [State::Synced]);
}
