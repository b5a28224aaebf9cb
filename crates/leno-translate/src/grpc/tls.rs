//! Mesh mTLS by certificate providers (A29): the bootstrap's `default` reads the files that `leno agent` keeps
//! fresh. TLS parameters must not be said; the library has its own.

use leno_proto::ToAny;

use crate::parts::{bool_value, exact, transport_socket};
use crate::pb::{core, tls};

/// The instance of a bootstrap's `certificate_providers`.
const PROVIDER: &str = "default";

/// Towards peers that are one of `identities` (SPIFFE ids).
pub(super) fn client(identities: &[String]) -> core::TransportSocket {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    // The typed form, which replaces this field in Envoy, is not read by gRPC.
    #[expect(deprecated)]
    let validation = tls::CertificateValidationContext {
        match_subject_alt_names: identities.iter().map(exact).collect(),
        ..roots()
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(validation),
        ..Default::default()
    };
    let context = tls::UpstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
            ..certificate()
        }),
        ..Default::default()
    };
    transport_socket("envoy.transport_sockets.tls", context.to_any())
}

/// A client must show a certificate of the mesh.
pub(super) fn server() -> core::TransportSocket {
    use tls::common_tls_context::ValidationContextType;
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            validation_context_type: Some(ValidationContextType::ValidationContext(roots())),
            ..certificate()
        }),
        require_client_certificate: bool_value(true),
        ..Default::default()
    };
    transport_socket("envoy.transport_sockets.tls", context.to_any())
}

fn certificate() -> tls::CommonTlsContext {
    tls::CommonTlsContext {
        tls_certificate_provider_instance: Some(instance("default")),
        ..Default::default()
    }
}

fn roots() -> tls::CertificateValidationContext {
    tls::CertificateValidationContext {
        ca_certificate_provider_instance: Some(instance("ROOTCA")),
        ..Default::default()
    }
}

fn instance(certificate: &str) -> tls::CertificateProviderPluginInstance {
    tls::CertificateProviderPluginInstance {
        instance_name: PROVIDER.into(),
        certificate_name: certificate.into(),
    }
}
