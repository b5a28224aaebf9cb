//! What is spoken beside ADS: the services of single types, one question and its answer (gRPC and REST-JSON), who has
//! what (CSDS), load reports (LRS); and what is refused by its name (HDS).

mod by_type;
mod client_status;
mod fetch;
mod health;
mod load;
mod rest;

use std::sync::Arc;

use leno_proto::envoy::service::cluster::v3::cluster_discovery_service_server::ClusterDiscoveryServiceServer;
use leno_proto::envoy::service::endpoint::v3::endpoint_discovery_service_server::EndpointDiscoveryServiceServer;
use leno_proto::envoy::service::extension::v3::extension_config_discovery_service_server::ExtensionConfigDiscoveryServiceServer;
use leno_proto::envoy::service::health::v3::health_discovery_service_server::HealthDiscoveryServiceServer;
use leno_proto::envoy::service::listener::v3::listener_discovery_service_server::ListenerDiscoveryServiceServer;
use leno_proto::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingServiceServer;
use leno_proto::envoy::service::route::v3::route_discovery_service_server::RouteDiscoveryServiceServer;
use leno_proto::envoy::service::runtime::v3::runtime_discovery_service_server::RuntimeDiscoveryServiceServer;
use leno_proto::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use leno_proto::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;
use tonic::service::Routes;

use crate::ads::{Ads, AdsService};
use crate::ca::Certificates;
use by_type::ByType;
use client_status::ClientStatuses;
use fetch::Fetch;
use health::HealthDiscovery;
use load::LoadReports;

/// All of it, beside what is served already.
pub(crate) fn add(routes: Routes, ads: &Arc<Ads>, certificates: &Arc<Certificates>) -> Routes {
    let fetch = Arc::new(Fetch::new(ads.clone()));
    let by_type = ByType::new(AdsService(ads.clone()), fetch.clone());
    let statuses = ClientStatuses::new(ads.roster.clone(), certificates.clone());
    let routes = routes
        .add_service(ClusterDiscoveryServiceServer::new(by_type.clone()))
        .add_service(EndpointDiscoveryServiceServer::new(by_type.clone()))
        .add_service(ListenerDiscoveryServiceServer::new(by_type.clone()))
        .add_service(RouteDiscoveryServiceServer::new(by_type.clone()))
        .add_service(SecretDiscoveryServiceServer::new(by_type.clone()))
        .add_service(RuntimeDiscoveryServiceServer::new(by_type.clone()))
        .add_service(ExtensionConfigDiscoveryServiceServer::new(by_type))
        .add_service(ClientStatusDiscoveryServiceServer::new(statuses))
        .add_service(LoadReportingServiceServer::new(LoadReports::new(ads.clone())))
        .add_service(HealthDiscoveryServiceServer::new(HealthDiscovery));
    Routes::from(routes.into_axum_router().merge(rest::router(fetch)))
}
