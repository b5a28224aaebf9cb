//! The discovery services of single types. Each of their streams is a stream of ADS on which one type is asked for.

use std::sync::Arc;

use leno_proto::envoy::service::cluster::v3::cluster_discovery_service_server::ClusterDiscoveryService;
use leno_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use leno_proto::envoy::service::endpoint::v3::endpoint_discovery_service_server::EndpointDiscoveryService;
use leno_proto::envoy::service::extension::v3::extension_config_discovery_service_server::ExtensionConfigDiscoveryService;
use leno_proto::envoy::service::listener::v3::listener_discovery_service_server::ListenerDiscoveryService;
use leno_proto::envoy::service::route::v3::route_discovery_service_server::RouteDiscoveryService;
use leno_proto::envoy::service::runtime::v3::runtime_discovery_service_server::RuntimeDiscoveryService;
use leno_proto::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService;
use leno_proto::type_url;
use tonic::{Request, Response, Status, Streaming};

use super::fetch::Fetch;
use crate::ads::{AdsService, Responses};
use crate::listener::Peer;

#[derive(Clone)]
pub(super) struct ByType {
    ads: AdsService,
    fetch: Arc<Fetch>,
}

impl ByType {
    pub(super) fn new(ads: AdsService, fetch: Arc<Fetch>) -> Self {
        Self { ads, fetch }
    }
}

macro_rules! service {
    ($service:ident, $type_url:expr, $whole:ident: $whole_stream:ident, $delta:ident: $delta_stream:ident, $once:ident) => {
        #[tonic::async_trait]
        impl $service for ByType {
            type $whole_stream = Responses<DiscoveryResponse>;
            type $delta_stream = Responses<DeltaDiscoveryResponse>;

            async fn $whole(
                &self,
                request: Request<Streaming<DiscoveryRequest>>,
            ) -> Result<Response<Self::$whole_stream>, Status> {
                self.ads.state_of_the_world(request)
            }

            async fn $delta(
                &self,
                request: Request<Streaming<DeltaDiscoveryRequest>>,
            ) -> Result<Response<Self::$delta_stream>, Status> {
                self.ads.delta(request)
            }

            async fn $once(
                &self,
                request: Request<DiscoveryRequest>,
            ) -> Result<Response<DiscoveryResponse>, Status> {
                let peer = request.extensions().get::<Peer>().cloned();
                let answer = self
                    .fetch
                    .answer(peer.as_ref(), $type_url, request.into_inner())?;
                Ok(Response::new(answer))
            }
        }
    };
}

service!(ClusterDiscoveryService, type_url::CLUSTER,
    stream_clusters: StreamClustersStream, delta_clusters: DeltaClustersStream, fetch_clusters);
service!(EndpointDiscoveryService, type_url::CLUSTER_LOAD_ASSIGNMENT,
    stream_endpoints: StreamEndpointsStream, delta_endpoints: DeltaEndpointsStream, fetch_endpoints);
service!(ListenerDiscoveryService, type_url::LISTENER,
    stream_listeners: StreamListenersStream, delta_listeners: DeltaListenersStream, fetch_listeners);
service!(RouteDiscoveryService, type_url::ROUTE_CONFIGURATION,
    stream_routes: StreamRoutesStream, delta_routes: DeltaRoutesStream, fetch_routes);
service!(SecretDiscoveryService, type_url::SECRET,
    stream_secrets: StreamSecretsStream, delta_secrets: DeltaSecretsStream, fetch_secrets);
service!(RuntimeDiscoveryService, type_url::RUNTIME,
    stream_runtime: StreamRuntimeStream, delta_runtime: DeltaRuntimeStream, fetch_runtime);
service!(ExtensionConfigDiscoveryService, type_url::TYPED_EXTENSION_CONFIG,
    stream_extension_configs: StreamExtensionConfigsStream,
    delta_extension_configs: DeltaExtensionConfigsStream, fetch_extension_configs);
