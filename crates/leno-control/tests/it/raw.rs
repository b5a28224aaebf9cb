//! A delta stream on which anything can be said, and nothing is by itself.

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use leno_proto::google::rpc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::rig::PATIENCE;

pub(crate) struct Raw {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Raw {
    /// The first request: of the node, for these names of a type.
    pub(crate) async fn connect(channel: Channel, node: Node, type_url: &str, names: &[&str]) -> Self {
        let (requests, outgoing) = mpsc::channel(256);
        let first = DeltaDiscoveryRequest {
            node: Some(node),
            ..request(type_url, names)
        };
        requests.send(first).await.unwrap();
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        Self { requests, responses }
    }

    /// Whether the stream still takes it.
    pub(crate) async fn send(&self, request: DeltaDiscoveryRequest) -> bool {
        self.requests.send(request).await.is_ok()
    }

    pub(crate) async fn ask(&self, type_url: &str, names: &[&str]) {
        assert!(self.send(request(type_url, names)).await, "the stream has ended");
    }

    pub(crate) async fn receive(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let received = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        let received = received.unwrap_or_else(|_| panic!("nothing is said any more"))?;
        received.ok_or_else(|| Status::cancelled("the stream has ended"))
    }

    /// Everything up to the answer to a question that is asked now, whose name does not exist.
    pub(crate) async fn receive_all(&mut self, type_url: &str, missing: &str) -> Vec<DeltaDiscoveryResponse> {
        self.ask(type_url, &[missing]).await;
        let mut all = Vec::new();
        loop {
            let response = self.receive().await.unwrap();
            if response.removed_resources.iter().any(|name| name == missing) {
                return all;
            }
            all.push(response);
        }
    }

    pub(crate) async fn reject(&self, response: &DeltaDiscoveryResponse, message: &str) {
        let nack = DeltaDiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: Some(rpc::Status {
                code: 3,
                message: message.to_owned(),
                details: Vec::new(),
            }),
            ..request(&response.type_url, &[])
        };
        assert!(self.send(nack).await, "the stream has ended");
    }
}

pub(crate) fn request(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names_subscribe: names.iter().map(|n| (*n).to_owned()).collect(),
        ..Default::default()
    }
}
