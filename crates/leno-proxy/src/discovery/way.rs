//! The way to the mesh's control plane as a cluster: for what workers send there, beside discovery.

use std::net::SocketAddr;

use leno_proto::ToAny;
use leno_proto::envoy::config::cluster::v3 as cluster;
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::config::endpoint::v3 as endpoint;
use leno_proto::envoy::extensions::transport_sockets::tls::v3 as tls;
use leno_proto::envoy::extensions::upstreams::http::v3 as http;
use leno_proto::envoy::r#type::matcher::v3 as matcher;
use leno_proto::google::protobuf;
use leno_tls::{ROOT_CA, WORKLOAD_CERTIFICATE};
use prost::Message;

use super::compile::{SystemTrust, compile};
use super::stream::Via;
use crate::control_plane::CONTROL_PLANE_NAME;
use crate::resources::{Compiled, Kind, Name};

/// As in the bootstraps that Istio makes for Envoy.
const NAME: &str = "xds-grpc";
const CONNECT_SECONDS: i64 = 5;

/// None: it is no mesh's.
pub(super) fn to_control_plane(via: &Via) -> Option<(Name, Compiled)> {
    let Via::Mesh(control) = via else { return None };
    let body = message(control.address()).encode_to_vec();
    match compile(Kind::Cluster, &body, &SystemTrust) {
        Ok(compiled) => Some(((Kind::Cluster, NAME.to_owned()), compiled)),
        Err(why) => {
            tracing::error!(%why, "what policies deny is not told to the control plane");
            None
        }
    }
}

/// HTTP/2 over mutual TLS; the control plane is known by its name, as on the stream of discovery.
fn message(address: SocketAddr) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    use http::http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
    };
    let options = http::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Default::default())),
        })),
        ..Default::default()
    };
    cluster::Cluster {
        name: NAME.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        connect_timeout: Some(protobuf::Duration {
            seconds: CONNECT_SECONDS,
            nanos: 0,
        }),
        load_assignment: Some(endpoints(address)),
        typed_extension_protocol_options: [(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            options.to_any(),
        )]
        .into(),
        transport_socket: Some(core::TransportSocket {
            name: "envoy.transport_sockets.tls".into(),
            config_type: Some(core::transport_socket::ConfigType::TypedConfig(
                context().to_any(),
            )),
        }),
        ..Default::default()
    }
}

fn endpoints(address: SocketAddr) -> endpoint::ClusterLoadAssignment {
    use core::socket_address::PortSpecifier;
    use endpoint::lb_endpoint::HostIdentifier;
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..Default::default()
        })),
    };
    let only = endpoint::LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address),
            ..Default::default()
        })),
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: NAME.into(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![only],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn context() -> tls::UpstreamTlsContext {
    use matcher::string_matcher::MatchPattern;
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    use tls::tls_parameters::TlsProtocol;
    let secret = |name: &str| tls::SdsSecretConfig {
        name: name.into(),
        ..Default::default()
    };
    let name = tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Dns.into(),
        matcher: Some(matcher::StringMatcher {
            match_pattern: Some(MatchPattern::Exact(CONTROL_PLANE_NAME.into())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: vec![name],
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret(ROOT_CA)),
        ..Default::default()
    };
    tls::UpstreamTlsContext {
        sni: CONTROL_PLANE_NAME.into(),
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(tls::TlsParameters {
                tls_minimum_protocol_version: TlsProtocol::TlSv13.into(),
                tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
                ..Default::default()
            }),
            tls_certificate_sds_secret_configs: vec![secret(WORKLOAD_CERTIFICATE)],
            alpn_protocols: vec!["h2".into()],
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
