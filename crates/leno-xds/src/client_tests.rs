use leno_proto::envoy::service::discovery::v3::Resource;
use leno_proto::type_url::{CLUSTER, HEALTH_INFORMATION, LISTENER};

use super::*;

fn client() -> Client {
    Client::new(Node {
        id: "sidecar~127.0.0.2~a.default~default.svc.cluster.local".into(),
        ..Default::default()
    })
}

fn response(
    type_url: &str,
    nonce: &str,
    resources: &[(&str, &str)],
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: type_url.into(),
        nonce: nonce.into(),
        resources: resources
            .iter()
            .map(|(name, version)| Resource {
                name: (*name).into(),
                version: (*version).into(),
                resource: Some(Any::default()),
                ..Default::default()
            })
            .collect(),
        removed_resources: removed.iter().map(|n| (*n).to_owned()).collect(),
        ..Default::default()
    }
}

#[test]
fn the_node_goes_with_the_first_message_of_each_stream_only() {
    let mut client = client();
    assert!(client.on_connected().is_empty());
    client.subscribe_wildcard(LISTENER);
    assert!(client.next_requests()[0].node.is_some());
    client.subscribe(CLUSTER, "a");
    assert!(client.next_requests()[0].node.is_none());
    client.on_disconnected(0);
    let again = client.on_connected();
    assert_eq!(
        again.iter().map(|r| r.node.is_some()).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn subscriptions_go_out_together_and_nothing_goes_out_before_there_is_a_stream() {
    let mut client = client();
    client.subscribe(CLUSTER, "a");
    assert!(client.next_requests().is_empty());
    client.on_connected();
    client.subscribe(CLUSTER, "b");
    client.subscribe(CLUSTER, "c");
    client.unsubscribe(CLUSTER, "a");
    let requests = client.next_requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].resource_names_subscribe, ["b", "c"]);
    assert_eq!(requests[0].resource_names_unsubscribe, ["a"]);
    assert!(requests[0].response_nonce.is_empty());
    assert!(client.next_requests().is_empty());
}

#[test]
fn a_reconnect_names_the_versions_in_force() {
    let mut client = client();
    client.subscribe(CLUSTER, "a");
    client.subscribe(CLUSTER, "b");
    client.on_connected();
    let got = client.on_response(response(CLUSTER, "1", &[("a", "7")], &[]));
    client.finish(got.ticket, &[]);
    client.on_disconnected(0);
    let first = client.on_connected().remove(0);
    assert_eq!(first.resource_names_subscribe, ["a", "b"]);
    assert_eq!(first.initial_resource_versions, [("a".into(), "7".into())].into());
}

#[test]
fn a_rejection_names_each_bad_resource_and_keeps_its_last_good() {
    let mut client = client();
    client.subscribe_wildcard(CLUSTER);
    client.on_connected();
    let got = client.on_response(response(CLUSTER, "1", &[("a", "1"), ("b", "1")], &[]));
    client.finish(got.ticket, &[]);
    let got = client.on_response(response(CLUSTER, "2", &[("a", "2"), ("b", "2"), ("c", "2")], &[]));
    let errors = [
        ("a".into(), "lb_policy: unknown".into()),
        ("c".into(), "name: empty".into()),
    ];
    let nack = client.finish(got.ticket, &errors).unwrap();
    assert_eq!(nack.response_nonce, "2");
    assert_eq!(
        nack.error_detail.unwrap().message,
        "a: lb_policy: unknown; c: name: empty"
    );
    assert_eq!(
        client.resources(CLUSTER).collect::<Vec<_>>(),
        [("a", "1"), ("b", "2")]
    );
}

#[test]
fn a_name_that_is_not_there_is_known_to_be_absent_until_it_appears() {
    let mut client = client();
    client.subscribe(LISTENER, "10.0.0.1_80");
    client.on_connected();
    assert!(client.pending(LISTENER, "10.0.0.1_80"));
    let got = client.on_response(response(LISTENER, "1", &[], &["10.0.0.1_80"]));
    assert_eq!(got.removed, ["10.0.0.1_80"]);
    client.finish(got.ticket, &[]);
    assert_eq!(client.lookup(LISTENER, "10.0.0.1_80"), Lookup::Absent);
    let got = client.on_response(response(LISTENER, "2", &[("10.0.0.1_80", "1")], &[]));
    client.finish(got.ticket, &[]);
    assert_eq!(client.lookup(LISTENER, "10.0.0.1_80"), Lookup::Present);
}

#[test]
fn what_crossed_an_unsubscription_is_dropped() {
    let mut client = client();
    client.subscribe(CLUSTER, "a");
    client.on_connected();
    client.unsubscribe(CLUSTER, "a");
    let got = client.on_response(response(CLUSTER, "1", &[("a", "1")], &["a"]));
    assert!(got.updates.is_empty() && got.removed.is_empty());
    assert!(client.finish(got.ticket, &[]).is_some());
    assert_eq!(client.lookup(CLUSTER, "a"), Lookup::Unsubscribed);
}

#[test]
fn taking_the_wildcard_back_forgets_what_only_it_kept() {
    let mut client = client();
    client.subscribe_wildcard(CLUSTER);
    client.subscribe(CLUSTER, "a");
    client.on_connected();
    let got = client.on_response(response(CLUSTER, "1", &[("a", "1"), ("b", "1")], &[]));
    client.finish(got.ticket, &[]);
    assert_eq!(client.unsubscribe_wildcard(CLUSTER), ["b"]);
    assert_eq!(client.next_requests()[0].resource_names_unsubscribe, ["*"]);
    assert_eq!(client.lookup(CLUSTER, "a"), Lookup::Present);
}

#[test]
fn a_response_of_a_stream_that_ended_counts_but_is_not_acknowledged() {
    let mut client = client();
    client.subscribe(CLUSTER, "a");
    client.on_connected();
    let got = client.on_response(response(CLUSTER, "1", &[("a", "1")], &[]));
    client.on_disconnected(0);
    client.on_connected();
    assert!(client.finish(got.ticket, &[]).is_none());
    assert_eq!(client.lookup(CLUSTER, "a"), Lookup::Present);
}

#[test]
fn health_is_told_when_it_changes_and_on_every_stream() {
    let mut client = client();
    client.set_health(Some("9080 does not listen".into()));
    let first = client.on_connected().remove(0);
    assert_eq!(first.type_url, HEALTH_INFORMATION);
    assert!(first.node.is_some());
    assert_eq!(first.error_detail.unwrap().message, "9080 does not listen");
    client.set_health(None);
    client.set_health(None);
    let told = client.next_requests();
    assert_eq!(told.len(), 1);
    assert!(told[0].error_detail.is_none());
    assert!(client.next_requests().is_empty());
    client.on_disconnected(0);
    assert!(client.on_connected()[0].error_detail.is_none());
}

#[test]
fn versions_of_an_earlier_process_go_with_the_first_request() {
    let mut client = client();
    client.subscribe_wildcard(CLUSTER);
    client.restore(CLUSTER, "a", "7");
    client.restore(LISTENER, "nobody asked", "7");
    let first = client.on_connected();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].initial_resource_versions["a"], "7");
    let got = client.on_response(response(CLUSTER, "1", &[], &["a"]));
    assert_eq!(got.removed, ["a"]);
    client.finish(got.ticket, &[]);
    assert_eq!(client.lookup(CLUSTER, "a"), Lookup::Unsubscribed);
}
