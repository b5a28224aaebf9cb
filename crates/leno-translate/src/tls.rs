//! Mesh mTLS: who we are (`default`), whom we trust (`ROOTCA`), and which ALPN names say what is inside.
//!
//! Certificates and roots are named, never sent: each proxy has them from its own identity store or SDS.
//!
//! ALPN is Istio's: the client's offer tells the receiving listener, which reads it in the hello, that this is
//! mesh mTLS and whether HTTP is inside. What is *negotiated* must also be true for the codec: `h2` and `http/1.1`
//! only from clients that will speak exactly that; `istio` where the receiver is to look by itself.
//! `istio-peer-exchange` is accepted but neither offered nor selected: it promises Istio's metadata prelude in the
//! byte stream, which would be garbage to a peer that does not speak it.

use std::time::Duration;

use leno_proto::ToAny;

use crate::naming;
use crate::parts::{ads, bool_value, duration, exact, transport_socket};
use crate::pb::{core, protobuf::Any, raw_buffer, tls};

/// What a mesh client with HTTP inside offers; the listener takes any of them.
pub(crate) const MESH_HTTP: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What a mesh client with anything inside offers.
pub(crate) const MESH_TCP: &[&str] = &["istio-peer-exchange", "istio"];

/// What is inside the TLS connections of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Inside {
    /// HTTP/2 and nothing else.
    Http2,
    /// HTTP of the version that the client speaks.
    Http,
    /// Bytes; HTTP perhaps, but nobody promised.
    Tcp,
}

impl Inside {
    fn offer(self) -> &'static [&'static str] {
        match self {
            Self::Http2 => &["istio-h2", "istio", "h2"],
            Self::Http => &["istio-http/1.1", "istio"],
            Self::Tcp => &["istio"],
        }
    }
}

/// What to offer instead of [`Inside::Tcp`] once a connection is known to carry HTTP.
pub(crate) fn http_offer() -> String {
    Inside::Http.offer().join(",")
}

fn secret(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.into(),
        sds_config: Some(beside_the_workload()),
    }
}

/// Istio's `sds-grpc`: a cluster of the proxy's own bootstrap, which is the agent's socket. leno's proxy is its own
/// agent and knows the two names.
fn beside_the_workload() -> core::ConfigSource {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let agent = core::GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: "sds-grpc".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    core::ConfigSource {
        initial_fetch_timeout: duration(Duration::ZERO),
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(
            core::ApiConfigSource {
                api_type: core::api_config_source::ApiType::Grpc.into(),
                transport_api_version: core::ApiVersion::V3.into(),
                set_node_on_first_message_only: true,
                grpc_services: vec![agent],
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn names(protocols: &[&str]) -> Vec<String> {
    protocols.iter().map(|name| (*name).to_owned()).collect()
}

/// Inside the mesh both ends are ours (or an Envoy that we configure): TLS 1.3 and nothing older.
fn mesh_parameters() -> Option<tls::TlsParameters> {
    versions(tls::tls_parameters::TlsProtocol::TlSv13)
}

/// Towards the outside TLS 1.2 at least, as in Istio. The maximum is said because Envoy's own for clients is 1.2.
fn public_parameters() -> Option<tls::TlsParameters> {
    versions(tls::tls_parameters::TlsProtocol::TlSv12)
}

fn versions(minimum: tls::tls_parameters::TlsProtocol) -> Option<tls::TlsParameters> {
    Some(tls::TlsParameters {
        tls_minimum_protocol_version: minimum.into(),
        tls_maximum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv13.into(),
        ..Default::default()
    })
}

/// The mesh's own TLS towards peers that are one of `identities` (SPIFFE ids).
pub(crate) fn mesh_upstream(sni: &str, identities: &[String], inside: Inside) -> core::TransportSocket {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let sans = identities.iter().map(|identity| tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Uri.into(),
        matcher: Some(exact(identity)),
        ..Default::default()
    });
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: sans.collect(),
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..Default::default()
    };
    upstream(&tls::UpstreamTlsContext {
        sni: sni.into(),
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: mesh_parameters(),
            tls_certificate_sds_secret_configs: vec![secret("default")],
            alpn_protocols: names(inside.offer()),
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// DestinationRule's `SIMPLE` and `MUTUAL`: TLS as to a server that is not of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Public {
    pub(crate) server_name: String,
    /// Whom the other side may be; empty: who the server name says.
    pub(crate) names: Vec<String>,
    /// The other side may be anybody.
    pub(crate) unverified: bool,
    pub(crate) mutual: bool,
    pub(crate) credentials: PublicCredentials,
    pub(crate) http2: bool,
    /// leno's proxy is told to use the machine's roots, and takes files by names as its gateways read them; Envoy has
    /// no word for the roots and is given Debian's file, which in turn leno's would refuse: what comes over the wire
    /// may not name files.
    pub(crate) leno: bool,
}

/// What it is made with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PublicCredentials {
    /// The machine's roots.
    None,
    Secret {
        namespace: String,
        name: String,
    },
    Files {
        certificate: Option<(String, String)>,
        roots: Option<String>,
        revoked: Option<String>,
    },
}

/// Where Debian has them.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(crate) fn public_upstream(said: &Public) -> core::TransportSocket {
    let mut common = tls::CommonTlsContext {
        tls_params: public_parameters(),
        alpn_protocols: if said.http2 { names(&["h2"]) } else { Vec::new() },
        validation_context_type: public_validation(said),
        ..Default::default()
    };
    match &said.credentials {
        PublicCredentials::Secret { namespace, name } if said.mutual => {
            common.tls_certificate_sds_secret_configs = vec![by_ads(naming::secret(namespace, name))];
        }
        PublicCredentials::Files {
            certificate: Some((chain, key)),
            ..
        } if said.leno => {
            common.tls_certificate_sds_secret_configs = vec![by_ads(format!("file-cert:{chain}~{key}"))];
        }
        PublicCredentials::Files {
            certificate: Some((chain, key)),
            ..
        } => {
            common.tls_certificates = vec![tls::TlsCertificate {
                certificate_chain: file(chain),
                private_key: file(key),
                ..Default::default()
            }];
        }
        PublicCredentials::None | PublicCredentials::Secret { .. } | PublicCredentials::Files { .. } => {}
    }
    upstream(&tls::UpstreamTlsContext {
        sni: said.server_name.clone(),
        common_tls_context: Some(common),
        ..Default::default()
    })
}

fn public_validation(said: &Public) -> Option<tls::common_tls_context::ValidationContextType> {
    use tls::certificate_validation_context::SystemRootCerts;
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    if said.unverified {
        return None;
    }
    let mut context = tls::CertificateValidationContext {
        match_typed_subject_alt_names: expected(said),
        ..Default::default()
    };
    let by_name = match &said.credentials {
        PublicCredentials::Secret { namespace, name } => Some(naming::secret_roots(namespace, name)),
        PublicCredentials::Files {
            roots: Some(roots), ..
        } if said.leno => Some(format!("file-root:{roots}")),
        PublicCredentials::Files {
            roots: Some(roots),
            revoked,
            ..
        } => {
            context.trusted_ca = file(roots);
            context.crl = revoked.as_deref().and_then(file);
            None
        }
        PublicCredentials::Files { revoked, .. } if !said.leno => {
            context.trusted_ca = file(SYSTEM_ROOTS);
            context.crl = revoked.as_deref().and_then(file);
            None
        }
        PublicCredentials::None | PublicCredentials::Files { .. } => {
            context.system_root_certs = said.leno.then(SystemRootCerts::default);
            context.trusted_ca = file(SYSTEM_ROOTS).filter(|_| !said.leno);
            None
        }
    };
    Some(match by_name {
        None => ValidationContextType::ValidationContext(context),
        Some(name) => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(context),
                validation_context_sds_secret_config: Some(by_ads(name)),
                ..Default::default()
            })
        }
    })
}

/// Names that the user gave may be of any kind: a host, or a SPIFFE id.
fn expected(said: &Public) -> Vec<tls::SubjectAltNameMatcher> {
    use tls::subject_alt_name_matcher::SanType;
    let of = |kind: SanType, name: &str| tls::SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(exact(name)),
        ..Default::default()
    };
    if said.names.is_empty() {
        return vec![of(SanType::Dns, &said.server_name)];
    }
    let kinds = |name: &String| [SanType::Dns, SanType::Uri].map(|kind| of(kind, name));
    said.names.iter().flat_map(kinds).collect()
}

fn by_ads(name: String) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name,
        sds_config: ads(),
    }
}

fn file(path: &str) -> Option<core::DataSource> {
    Some(core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.into())),
        ..Default::default()
    })
}

/// The receiving side of mesh mTLS: a certificate of the mesh's trust domain is required.
pub(crate) fn mesh_downstream(http: bool) -> core::TransportSocket {
    use tls::common_tls_context::ValidationContextType;
    let select: &[&str] = if http {
        &["h2", "http/1.1", "istio"]
    } else {
        &["istio"]
    };
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: mesh_parameters(),
            tls_certificate_sds_secret_configs: vec![secret("default")],
            alpn_protocols: names(select),
            validation_context_type: Some(ValidationContextType::ValidationContextSdsSecretConfig(secret(
                "ROOTCA",
            ))),
            ..Default::default()
        }),
        require_client_certificate: bool_value(true),
        ..Default::default()
    };
    socket(context.to_any())
}

pub(crate) fn plaintext() -> core::TransportSocket {
    transport_socket(
        "envoy.transport_sockets.raw_buffer",
        raw_buffer::RawBuffer {}.to_any(),
    )
}

fn upstream(context: &tls::UpstreamTlsContext) -> core::TransportSocket {
    socket(context.to_any())
}

fn socket(context: Any) -> core::TransportSocket {
    transport_socket("envoy.transport_sockets.tls", context)
}
