use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use leno_proto::google::protobuf;
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT};

use super::*;

fn client() -> StateClient {
    let mut client = StateClient::new(Node {
        id: "edge-1".into(),
        ..Default::default()
    });
    client.subscribe(CLUSTER, WILDCARD);
    client
}

fn any(type_url: &str, body: &impl Message) -> Any {
    Any {
        type_url: type_url.into(),
        value: body.encode_to_vec(),
    }
}

fn cluster(name: &str) -> Any {
    let cluster = Cluster {
        name: name.into(),
        ..Default::default()
    };
    any(CLUSTER, &cluster)
}

fn assignment(name: &str) -> Any {
    let assignment = ClusterLoadAssignment {
        cluster_name: name.into(),
        ..Default::default()
    };
    any(CLUSTER_LOAD_ASSIGNMENT, &assignment)
}

fn response(version: &str, resources: Vec<Any>) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.into(),
        nonce: format!("n{version}"),
        type_url: resources.first().map_or(CLUSTER, |any| &any.type_url).to_owned(),
        resources,
        ..Default::default()
    }
}

fn names(received: &Received) -> Vec<&str> {
    received.updates.iter().map(|(name, ..)| name.as_str()).collect()
}

#[test]
fn all_of_a_type_is_asked_for_by_no_name_and_named_ones_by_all_their_names_each_time() {
    let mut client = client();
    let first = client.on_connected();
    assert_eq!(first.len(), 1);
    assert!(first[0].resource_names.is_empty());
    assert!(first[0].node.is_some());
    client.subscribe(CLUSTER_LOAD_ASSIGNMENT, "a");
    client.subscribe(CLUSTER_LOAD_ASSIGNMENT, "b");
    assert_eq!(client.next_requests()[0].resource_names, ["a", "b"]);
    client.subscribe(CLUSTER_LOAD_ASSIGNMENT, "c");
    client.unsubscribe(CLUSTER_LOAD_ASSIGNMENT, "a");
    let next = client.next_requests();
    assert_eq!(next[0].resource_names, ["b", "c"]);
    assert!(next[0].node.is_none());
    assert!(client.next_requests().is_empty());
}

#[test]
fn an_acknowledgement_says_the_version_and_a_rejection_the_last_good_one() {
    let mut client = client();
    client.on_connected();
    let received = client.on_response(response("1", vec![cluster("a")]));
    let ack = client.finish(received.ticket, &[]).unwrap();
    assert_eq!(
        (ack.version_info.as_str(), ack.response_nonce.as_str()),
        ("1", "n1")
    );
    assert!(ack.error_detail.is_none());
    let received = client.on_response(response("2", vec![cluster("a"), cluster("b")]));
    let nack = client
        .finish(received.ticket, &[("b".into(), "name: bad".into())])
        .unwrap();
    assert_eq!(
        (nack.version_info.as_str(), nack.response_nonce.as_str()),
        ("1", "n2")
    );
    assert_eq!(nack.error_detail.unwrap().message, "b: name: bad");
    assert_eq!(client.lookup(CLUSTER, "a"), Lookup::Present);
}

#[test]
fn a_cluster_that_is_not_in_the_next_response_is_gone_and_endpoints_are_not() {
    let mut client = client();
    client.subscribe(CLUSTER_LOAD_ASSIGNMENT, "a");
    client.subscribe(CLUSTER_LOAD_ASSIGNMENT, "b");
    client.on_connected();
    for resources in [
        vec![cluster("a"), cluster("b")],
        vec![assignment("a"), assignment("b")],
    ] {
        let received = client.on_response(response("1", resources));
        client.finish(received.ticket, &[]);
    }
    let received = client.on_response(response("2", vec![cluster("b")]));
    assert_eq!(received.removed, ["a"]);
    client.finish(received.ticket, &[]);
    let received = client.on_response(response("2", vec![assignment("b")]));
    assert!(received.removed.is_empty());
    client.finish(received.ticket, &[]);
    assert_eq!(client.lookup(CLUSTER_LOAD_ASSIGNMENT, "a"), Lookup::Present);
}

#[test]
fn what_cannot_be_read_rejects_the_response_and_removes_nothing() {
    let mut client = client();
    client.on_connected();
    let received = client.on_response(response("1", vec![cluster("a")]));
    client.finish(received.ticket, &[]);
    let received = client.on_response(response("2", vec![cluster(""), cluster("b")]));
    assert_eq!(names(&received), ["b"]);
    assert!(received.removed.is_empty());
    let nack = client.finish(received.ticket, &[]).unwrap();
    assert_eq!(nack.error_detail.unwrap().message, "resources[0]: it has no name");
}

#[test]
fn a_new_stream_begins_with_the_versions_in_force_and_without_nonces() {
    let mut client = client();
    client.on_connected();
    let received = client.on_response(response("7", vec![cluster("a")]));
    client.on_disconnected(0);
    let again = client.on_connected();
    assert_eq!(again[0].version_info, "");
    // What came on the old stream is in force, and not acknowledged on the new one.
    assert!(client.finish(received.ticket, &[]).is_none());
    client.on_disconnected(0);
    let again = client.on_connected();
    assert_eq!(
        (again[0].version_info.as_str(), again[0].response_nonce.as_str()),
        ("7", "")
    );
    assert!(again[0].node.is_some());
}

#[test]
fn a_heartbeat_renews_a_lease_and_brings_nothing() {
    let mut client = client();
    client.on_connected();
    let wrapped = |body| Resource {
        name: "a".into(),
        version: "1".into(),
        ttl: Some(protobuf::Duration { seconds: 3, nanos: 0 }),
        resource: body,
        ..Default::default()
    };
    let mut first = response("1", vec![any(RESOURCE, &wrapped(Some(cluster("a"))))]);
    first.type_url = CLUSTER.into();
    let received = client.on_response(first);
    assert_eq!(names(&received), ["a"]);
    assert_eq!(received.leases, [("a".to_owned(), Some(Duration::from_secs(3)))]);
    client.finish(received.ticket, &[]);
    let mut heartbeat = response("1", vec![any(RESOURCE, &wrapped(None))]);
    heartbeat.type_url = CLUSTER.into();
    let received = client.on_response(heartbeat);
    assert!(received.updates.is_empty() && received.removed.is_empty());
    assert_eq!(received.leases.len(), 1);
    client.finish(received.ticket, &[]);
    client.expire(CLUSTER, "a");
    assert_eq!(client.lookup(CLUSTER, "a"), Lookup::Unsubscribed);
}

#[test]
fn what_an_earlier_process_had_is_gone_if_the_first_response_does_not_say_it() {
    let mut client = client();
    client.restore(CLUSTER, "a", "7");
    client.restore(CLUSTER, "b", "7");
    client.restore(CLUSTER_LOAD_ASSIGNMENT, "nobody asked", "7");
    let first = client.on_connected();
    assert_eq!((first.len(), first[0].version_info.as_str()), (1, ""));
    assert_eq!(client.lookup(CLUSTER, "a"), Lookup::Present);
    let received = client.on_response(response("8", vec![cluster("b")]));
    assert_eq!(
        (names(&received), received.removed.as_slice()),
        (vec!["b"], ["a".to_owned()].as_slice())
    );
    client.finish(received.ticket, &[]);
    assert_eq!(client.lookup(CLUSTER, "a"), Lookup::Unsubscribed);
}
