//! Type URLs of the resources that are asked for by name.
//!
//! Those of messages inside resources (filters, transport sockets) come from the message type itself:
//! `prost::Name::type_url()`.

/// LDS.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// RDS.
pub const ROUTE_CONFIGURATION: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// SRDS.
pub const SCOPED_ROUTE_CONFIGURATION: &str =
    "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
/// VHDS.
pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
/// CDS.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// EDS.
pub const CLUSTER_LOAD_ASSIGNMENT: &str =
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// SDS.
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// RTDS.
pub const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// ECDS.
pub const TYPED_EXTENSION_CONFIG: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// NDS: Istio's table of names, sent whole.
pub const NAME_TABLE: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";
/// A workload's health, told by a discovery request that carries an error, or none. There is no such message.
pub const HEALTH_INFORMATION: &str = "type.googleapis.com/istio.v1.HealthInformation";

/// Every type of resource that has a service of its own.
pub const ALL: [&str; 10] = [
    LISTENER,
    ROUTE_CONFIGURATION,
    SCOPED_ROUTE_CONFIGURATION,
    VIRTUAL_HOST,
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    SECRET,
    RUNTIME,
    TYPED_EXTENSION_CONFIG,
    NAME_TABLE,
];

/// The usual short name of a resource type (`LDS`, `CDS`, …), for people; `None` for what has none.
pub fn abbreviation(type_url: &str) -> Option<&'static str> {
    Some(match type_url {
        LISTENER => "LDS",
        ROUTE_CONFIGURATION => "RDS",
        SCOPED_ROUTE_CONFIGURATION => "SRDS",
        VIRTUAL_HOST => "VHDS",
        CLUSTER => "CDS",
        CLUSTER_LOAD_ASSIGNMENT => "EDS",
        SECRET => "SDS",
        RUNTIME => "RTDS",
        TYPED_EXTENSION_CONFIG => "ECDS",
        NAME_TABLE => "NDS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use prost::Name;

    use super::*;
    use crate::envoy;

    #[test]
    fn each_constant_is_its_messages_type_url() {
        assert_eq!(LISTENER, envoy::config::listener::v3::Listener::type_url());
        assert_eq!(
            ROUTE_CONFIGURATION,
            envoy::config::route::v3::RouteConfiguration::type_url()
        );
        assert_eq!(
            SCOPED_ROUTE_CONFIGURATION,
            envoy::config::route::v3::ScopedRouteConfiguration::type_url()
        );
        assert_eq!(VIRTUAL_HOST, envoy::config::route::v3::VirtualHost::type_url());
        assert_eq!(CLUSTER, envoy::config::cluster::v3::Cluster::type_url());
        assert_eq!(
            CLUSTER_LOAD_ASSIGNMENT,
            envoy::config::endpoint::v3::ClusterLoadAssignment::type_url()
        );
        assert_eq!(
            SECRET,
            envoy::extensions::transport_sockets::tls::v3::Secret::type_url()
        );
        assert_eq!(RUNTIME, envoy::service::runtime::v3::Runtime::type_url());
        assert_eq!(
            TYPED_EXTENSION_CONFIG,
            envoy::config::core::v3::TypedExtensionConfig::type_url()
        );
        assert_eq!(
            NAME_TABLE,
            crate::istio::networking::nds::v1::NameTable::type_url()
        );
    }
}
