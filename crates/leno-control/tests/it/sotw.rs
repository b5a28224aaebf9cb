//! State of the world, as Envoy asks for it: everything by wildcard, endpoints and routes by the names these give.

use std::collections::{BTreeMap, BTreeSet};

use leno_proto::FromAny;
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use leno_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::rig::{PATIENCE, Proxy, Rig, node};

/// A client that is not leno's: it knows the protocol and nothing else.
struct Plain {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    names: BTreeMap<String, Vec<String>>,
}

impl Plain {
    async fn connect(rig: &Rig, node: Node) -> Self {
        let (requests, outgoing) = mpsc::channel(64);
        // The server answers the stream with its first message.
        let first = DiscoveryRequest {
            node: Some(node),
            type_url: CLUSTER.to_owned(),
            ..Default::default()
        };
        requests.send(first).await.unwrap();
        let responses = AggregatedDiscoveryServiceClient::new(rig.plaintext().await)
            .stream_aggregated_resources(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
            names: BTreeMap::new(),
        }
    }

    async fn ask(&mut self, type_url: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        self.names.insert(type_url.to_owned(), names.clone());
        let request = DiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names: names,
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next response of this type; all that come are acknowledged.
    async fn next(&mut self, type_url: &str) -> DiscoveryResponse {
        loop {
            let response = tokio::time::timeout(PATIENCE, self.responses.message()).await;
            let response = response.unwrap_or_else(|_| panic!("no more of {type_url}"));
            let response = response.unwrap().unwrap();
            let ack = DiscoveryRequest {
                type_url: response.type_url.clone(),
                version_info: response.version_info.clone(),
                response_nonce: response.nonce.clone(),
                resource_names: self.names.get(&response.type_url).cloned().unwrap_or_default(),
                ..Default::default()
            };
            self.requests.send(ack).await.unwrap();
            if response.type_url == type_url {
                return response;
            }
        }
    }
}

fn clusters(response: &DiscoveryResponse) -> BTreeSet<String> {
    let each = response.resources.iter();
    each.map(|any| any.unpack::<Cluster>().unwrap().name).collect()
}

/// Envoy: no LENO metadata, so that nothing is on demand.
fn envoy(name: &str) -> Node {
    let mut node = node(name, "client", None);
    if let Some(metadata) = &mut node.metadata {
        metadata.fields.remove("LENO");
    }
    node
}

fn service(name: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 9080}}]
"
    )
}

fn outbound(name: &str) -> String {
    format!("outbound|9080||{name}.default.svc.cluster.local")
}

#[tokio::test]
async fn a_plain_client_gets_the_mesh_by_wildcards() {
    let rig = Rig::start(&[("reviews.yaml", &service("reviews"))]).await;
    let _reviews = Proxy::connect(
        rig.plaintext().await,
        node("reviews-1", "reviews", Some(9080)),
        &[],
    )
    .await;
    let mut plain = Plain::connect(&rig, envoy("client-1")).await;
    let first = clusters(&plain.next(CLUSTER).await);
    for name in [&outbound("reviews"), "PassthroughCluster", "BlackHoleCluster"] {
        assert!(first.contains(name), "{name} is not in {first:?}");
    }

    plain.ask(LISTENER, &[]).await;
    let listeners = plain.next(LISTENER).await;
    let names: Vec<String> = listeners
        .resources
        .iter()
        .map(|any| any.unpack::<Listener>().unwrap().name)
        .collect();
    for name in ["virtualOutbound", "virtualInbound"] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }

    let name = outbound("reviews");
    plain.ask(CLUSTER_LOAD_ASSIGNMENT, &[&name]).await;
    assert_eq!(plain.next(CLUSTER_LOAD_ASSIGNMENT).await.resources.len(), 1);

    // Another service: all clusters again, with it. One fewer: all, without it.
    rig.write("ratings.yaml", &service("ratings"));
    let more = loop {
        let now = clusters(&plain.next(CLUSTER).await);
        if now != first {
            break now;
        }
    };
    assert_eq!(
        more.difference(&first).collect::<Vec<_>>(),
        [&outbound("ratings")]
    );
    rig.remove("ratings.yaml");
    assert_eq!(clusters(&plain.next(CLUSTER).await), first);
}
