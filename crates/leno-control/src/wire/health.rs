//! HDS, by which Envoys would check endpoints on a control plane's behalf: refused by its name.

use std::pin::Pin;

use futures_core::Stream;
use leno_proto::envoy::service::health::v3::health_discovery_service_server::HealthDiscoveryService;
use leno_proto::envoy::service::health::v3::{
    HealthCheckRequestOrEndpointHealthResponse, HealthCheckSpecifier,
};
use tonic::{Request, Response, Status, Streaming};

pub(super) struct HealthDiscovery;

fn refused() -> Status {
    Status::unimplemented(
        "HDS is not served — HealthDiscoveryService — workloads tell their health on their own stream \
         (istio.v1.HealthInformation), and clusters have health checks and outlier detection of their own",
    )
}

#[tonic::async_trait]
impl HealthDiscoveryService for HealthDiscovery {
    type StreamHealthCheckStream = Pin<Box<dyn Stream<Item = Result<HealthCheckSpecifier, Status>> + Send>>;

    async fn stream_health_check(
        &self,
        _: Request<Streaming<HealthCheckRequestOrEndpointHealthResponse>>,
    ) -> Result<Response<Self::StreamHealthCheckStream>, Status> {
        Err(refused())
    }

    async fn fetch_health_check(
        &self,
        _: Request<HealthCheckRequestOrEndpointHealthResponse>,
    ) -> Result<Response<HealthCheckSpecifier>, Status> {
        Err(refused())
    }
}
