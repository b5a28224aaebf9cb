//! The delta client against a control plane that answers anything, in any order, over streams that end anywhere.
#![no_main]

use std::collections::BTreeSet;

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use leno_proto::google::protobuf::Any;
use leno_xds::{Client, Lookup};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 3] = [
    leno_proto::type_url::LISTENER,
    leno_proto::type_url::CLUSTER,
    leno_proto::type_url::CLUSTER_LOAD_ASSIGNMENT,
];

/// Names and types out of a few, so that they meet.
#[derive(Arbitrary, Debug)]
enum Step {
    Subscribe(u8, u8),
    Unsubscribe(u8, u8),
    SubscribeAll(u8),
    UnsubscribeAll(u8),
    Connected,
    Disconnected(u32),
    Flush,
    Health(bool),
    /// Type; (name, version, with a body); removed; which of the names fail.
    Response(u8, Vec<(u8, u8, bool)>, Vec<u8>, u8),
    /// The stream ends between the response and its acknowledgement.
    Late(u8, Vec<(u8, u8, bool)>),
}

fuzz_target!(|steps: Vec<Step>| {
    let mut client = Client::new(Node::default());
    for step in &steps {
        apply(&mut client, step);
        for type_url in TYPES {
            consistent(&client, type_url);
        }
    }
});

fn apply(client: &mut Client, step: &Step) {
    match step {
        Step::Subscribe(t, n) => client.subscribe(kind(*t), &name(*n)),
        Step::Unsubscribe(t, n) => {
            client.unsubscribe(kind(*t), &name(*n));
            assert_eq!(client.lookup(kind(*t), &name(*n)) == Lookup::Pending, false);
        }
        Step::SubscribeAll(t) => client.subscribe_wildcard(kind(*t)),
        Step::UnsubscribeAll(t) => drop(client.unsubscribe_wildcard(kind(*t))),
        Step::Connected => {
            let requests = client.on_connected();
            let types: BTreeSet<&str> = requests.iter().map(|r| r.type_url.as_str()).collect();
            assert_eq!(types.len(), requests.len(), "one first request a type");
            assert!(
                requests.iter().skip(1).all(|r| r.node.is_none()),
                "the node is named once"
            );
        }
        Step::Disconnected(random) => drop(client.on_disconnected(*random)),
        Step::Flush => {
            client.next_requests();
            assert!(client.next_requests().is_empty(), "nothing is said twice");
        }
        Step::Health(well) => client.set_health((!well).then(|| "does not listen".to_owned())),
        Step::Response(t, resources, removed, failing) => {
            let received = client.on_response(response(*t, resources, removed));
            let failed: Vec<(String, String)> = received
                .updates
                .iter()
                .filter(|(name, ..)| name.as_bytes().first().is_some_and(|b| b & failing & 7 != 0))
                .map(|(name, ..)| (name.clone(), "no".to_owned()))
                .collect();
            let reply = client.finish(received.ticket, &failed);
            assert_eq!(reply.is_some(), client.is_connected());
            assert!(reply.is_none_or(|r| r.error_detail.is_none() == failed.is_empty()));
        }
        Step::Late(t, resources) => {
            let received = client.on_response(response(*t, resources, &[]));
            client.on_disconnected(0);
            client.on_connected();
            assert!(
                client.finish(received.ticket, &[]).is_none(),
                "the stream is another"
            );
        }
    }
}

/// What is in force is what lookups say is there, each name once.
fn consistent(client: &Client, type_url: &str) {
    let names: Vec<String> = client
        .resources(type_url)
        .map(|(name, _)| name.to_owned())
        .collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    for n in 0..8 {
        let name = name(n);
        let there = client.lookup(type_url, &name) == Lookup::Present;
        assert_eq!(there, names.contains(&name), "{name}");
    }
}

fn response(t: u8, resources: &[(u8, u8, bool)], removed: &[u8]) -> DeltaDiscoveryResponse {
    let resources = resources.iter().map(|(n, version, body)| Resource {
        name: name(*n),
        version: version.to_string(),
        resource: body.then(Any::default),
        ..Resource::default()
    });
    DeltaDiscoveryResponse {
        type_url: kind(t).to_owned(),
        resources: resources.collect(),
        removed_resources: removed.iter().map(|n| name(*n)).collect(),
        nonce: "1".into(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn kind(t: u8) -> &'static str {
    TYPES[usize::from(t) % TYPES.len()]
}

fn name(n: u8) -> String {
    char::from(b'a' + n % 8).to_string()
}
