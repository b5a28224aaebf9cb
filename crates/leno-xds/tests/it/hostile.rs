//! Clients that do not keep to the protocol, or keep to it and mean harm: what they cost is bounded.
//!
//! The size of a stream's state is taken by what it would print of itself.

use std::collections::BTreeSet;

use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use leno_proto::google::rpc::Status;
use leno_proto::type_url::{CLUSTER, LISTENER, ROUTE_CONFIGURATION};
use leno_xds::server::{Protocol, RequestError, Response, State, Stream};

use crate::mesh::Mesh;

fn request(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ROUTE_CONFIGURATION.into(),
        resource_names_subscribe: names.iter().map(|n| (*n).to_owned()).collect(),
        ..Default::default()
    }
}

fn push(mesh: &Mesh, stream: &mut Stream, name: &str) -> Vec<Response> {
    let changed = BTreeSet::from([(ROUTE_CONFIGURATION.to_owned(), name.to_owned())]);
    mesh.push(stream, &changed)
}

fn nonce(responses: &[Response]) -> String {
    match &responses[0] {
        Response::Delta(response) => response.nonce.clone(),
        Response::Sotw(response) => response.nonce.clone(),
    }
}

fn size(stream: &Stream) -> usize {
    format!("{stream:?}").len()
}

fn state(stream: &Stream) -> State {
    let (_, state, _) = stream.status().next().unwrap();
    state
}

/// Sizes after a hundred rounds and after ten thousand.
fn sizes(mut round: impl FnMut(usize, &mut Stream)) -> (usize, usize) {
    let mut stream = Stream::new(Protocol::Delta);
    (0..100).for_each(|number| round(number, &mut stream));
    let before = size(&stream);
    (100..10_000).for_each(|number| round(number, &mut stream));
    (before, size(&stream))
}

#[test]
fn a_client_that_never_acknowledges_costs_no_more_the_longer_it_stays() {
    let mut mesh = Mesh::default();
    let (early, late) = sizes(|number, stream| {
        if number == 0 {
            stream.on_delta(request(&["a", "b"])).unwrap();
        }
        mesh.set(ROUTE_CONFIGURATION, ["a", "b"][number % 2], false);
        assert_eq!(push(&mesh, stream, ["a", "b"][number % 2]).len(), 1);
        assert_eq!(state(stream), State::Stale);
    });
    assert!(late < 2 * early, "{early} bytes, then {late}");
}

#[test]
fn names_that_come_and_go_without_an_acknowledgement_leave_nothing_behind() {
    let mut mesh = Mesh::default();
    let (early, late) = sizes(|number, stream| {
        let name = format!("name-{number}");
        mesh.set(ROUTE_CONFIGURATION, &name, false);
        stream.on_delta(request(&[&name])).unwrap();
        assert_eq!(push(&mesh, stream, &name).len(), 1);
        let unsubscribe = DeltaDiscoveryRequest {
            resource_names_unsubscribe: vec![name.clone()],
            ..request(&[])
        };
        stream.on_delta(unsubscribe).unwrap();
        mesh.remove(ROUTE_CONFIGURATION, &name);
    });
    assert!(late < 2 * early, "{early} bytes, then {late}");
}

#[test]
fn a_client_that_rejects_everything_at_length_is_kept_and_told_in_short() {
    let mut mesh = Mesh::default();
    let (early, late) = sizes(|number, stream| {
        let name = ["a", "b", "c"][number % 3];
        if number == 0 {
            stream.on_delta(request(&["a", "b", "c"])).unwrap();
        }
        mesh.set(ROUTE_CONFIGURATION, name, false);
        let sent = push(&mesh, stream, name);
        let nack = DeltaDiscoveryRequest {
            response_nonce: nonce(&sent),
            error_detail: Some(Status {
                message: format!("{name} {number}: {}", "ä".repeat(8192)),
                ..Default::default()
            }),
            ..request(&[])
        };
        let rejected = stream.on_delta(nack).unwrap().rejected.unwrap();
        assert!(rejected.len() < 3 * 1024, "{} bytes of complaint", rejected.len());
        assert_eq!(mesh.push(stream, &BTreeSet::new()), [], "nothing is sent again");
    });
    assert!(late < 2 * early, "{early} bytes, then {late}");
}

#[test]
fn of_very_many_complaints_some_are_told_and_the_others_counted() {
    let mut mesh = Mesh::default();
    let mut stream = Stream::new(Protocol::Delta);
    for number in 0..100 {
        let name = format!("route-{number:02}");
        mesh.set(ROUTE_CONFIGURATION, &name, false);
        stream.on_delta(request(&[&name])).unwrap();
        let sent = push(&mesh, &mut stream, &name);
        let nack = DeltaDiscoveryRequest {
            response_nonce: nonce(&sent),
            error_detail: Some(Status {
                message: format!("{name}: no"),
                ..Default::default()
            }),
            ..request(&[])
        };
        stream.on_delta(nack).unwrap();
    }
    let State::Rejected(told) = state(&stream) else {
        panic!("{:?}", state(&stream));
    };
    assert!(told.starts_with("route-00: no; route-01: no; "), "{told}");
    assert!(told.ends_with("; and 92 more"), "{told}");
}

#[test]
fn old_and_invented_nonces_acknowledge_nothing_and_are_not_answered() {
    let mut mesh = Mesh::default();
    mesh.set(ROUTE_CONFIGURATION, "a", false);
    let mut stream = Stream::new(Protocol::Delta);
    stream.on_delta(request(&["a"])).unwrap();
    let first = nonce(&push(&mesh, &mut stream, "a"));
    mesh.set(ROUTE_CONFIGURATION, "a", false);
    let second = nonce(&push(&mesh, &mut stream, "a"));
    let many = ["", "0", "-1", "18446744073709551616", "nonce"].map(str::to_owned);
    for nonce in [first.clone()].into_iter().chain(many).chain([first]) {
        let stale = DeltaDiscoveryRequest {
            response_nonce: nonce,
            ..request(&[])
        };
        stream.on_delta(stale).unwrap();
        assert_eq!(mesh.push(&mut stream, &BTreeSet::new()), []);
        assert_eq!(state(&stream), State::Stale);
    }
    let answer = DeltaDiscoveryRequest {
        response_nonce: second,
        ..request(&[])
    };
    stream.on_delta(answer).unwrap();
    assert_eq!(state(&stream), State::Synced);
}

#[test]
fn types_that_a_client_invents_are_refused_beyond_a_number() {
    let mut stream = Stream::new(Protocol::StateOfTheWorld);
    let ask = |type_url: String| DiscoveryRequest {
        type_url,
        ..Default::default()
    };
    let asked = (0..1000).map(|number| stream.on_sotw(ask(format!("type.googleapis.com/t{number}"))));
    let refused: Vec<_> = asked.filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1000 - 64);
    assert!(matches!(&refused[0], RequestError::TooManyTypes(t) if t.ends_with("/t64")));
    // What it asked for before is served all the same.
    assert!(stream.on_sotw(ask("type.googleapis.com/t1".into())).is_ok());
    let mut honest = Stream::new(Protocol::StateOfTheWorld);
    assert!(honest.on_sotw(ask(LISTENER.into())).is_ok() && honest.on_sotw(ask(CLUSTER.into())).is_ok());
}
