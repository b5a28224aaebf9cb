//! TLS at a gateway: which certificate is shown, whom it trusts, and what of it the control plane tells whom.

use leno_model::gateway::{CertificateSource, ClientCertificates, GatewaySecret, GatewayTls};
use leno_proto::ToAny;

use super::served;
use crate::naming;
use crate::parts::{ads, bool_value, exact};
use crate::pb::core::data_source::Specifier;
use crate::pb::{core, tls};
use crate::reader::Reader;
use crate::{GatewayPorts, Proxy};

/// Where a proxy has a certificate from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Certificate {
    /// Names for SDS: the certificate's and the roots'.
    Named(String, String),
    /// Envoy opens files by itself.
    Files {
        chain: String,
        key: String,
        roots: Option<String>,
    },
}

/// leno's proxy takes files by names as well, and reads them again when they change.
pub(super) fn named(proxy: &Proxy, said: &GatewayTls) -> Certificate {
    match &said.certificate {
        CertificateSource::Secret { namespace, name } => {
            let namespace = namespace.as_deref().unwrap_or(&proxy.namespace);
            Certificate::Named(
                naming::secret(namespace, name),
                naming::secret_roots(namespace, name),
            )
        }
        CertificateSource::Files { chain, key, roots } if proxy.on_demand => Certificate::Named(
            format!("file-cert:{chain}~{key}"),
            format!("file-root:{}", roots.as_deref().unwrap_or_default()),
        ),
        CertificateSource::Files { chain, key, roots } => Certificate::Files {
            chain: chain.clone(),
            key: key.clone(),
            roots: roots.clone(),
        },
    }
}

pub(super) fn socket(said: &GatewayTls, certificate: &Certificate, http: bool) -> core::TransportSocket {
    let offers: &[&str] = if http { &["h2", "http/1.1"] } else { &[] };
    let mut common = tls::CommonTlsContext {
        tls_params: Some(parameters(said)),
        alpn_protocols: offers.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    match certificate {
        Certificate::Named(name, _) => {
            common.tls_certificate_sds_secret_configs = vec![by_ads(name)];
        }
        Certificate::Files { chain, key, .. } => {
            common.tls_certificates = vec![tls::TlsCertificate {
                certificate_chain: file(chain),
                private_key: file(key),
                ..Default::default()
            }];
        }
    }
    if said.clients != ClientCertificates::NotAsked {
        common.validation_context_type = Some(validation(said, certificate));
    }
    let required = said.clients == ClientCertificates::Required;
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: bool_value(required),
        ..Default::default()
    };
    crate::parts::transport_socket("envoy.transport_sockets.tls", context.to_any())
}

/// TLS 1.2 at least, as in Istio.
fn parameters(said: &GatewayTls) -> tls::TlsParameters {
    use tls::tls_parameters::TlsProtocol::{TlSv12, TlSv13};
    let least = if said.only_tls13 { TlSv13 } else { TlSv12 };
    let most = if said.only_tls12 && !said.only_tls13 {
        TlSv12
    } else {
        TlSv13
    };
    tls::TlsParameters {
        tls_minimum_protocol_version: least.into(),
        tls_maximum_protocol_version: most.into(),
        ..Default::default()
    }
}

fn validation(
    said: &GatewayTls,
    certificate: &Certificate,
) -> tls::common_tls_context::ValidationContextType {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let sans = said.subject_alt_names.iter().flat_map(|name| {
        use tls::subject_alt_name_matcher::SanType;
        [SanType::Dns, SanType::Uri].map(|kind| tls::SubjectAltNameMatcher {
            san_type: kind.into(),
            matcher: Some(exact(name)),
            ..Default::default()
        })
    });
    let mut context = tls::CertificateValidationContext {
        match_typed_subject_alt_names: sans.collect(),
        ..Default::default()
    };
    match certificate {
        Certificate::Named(_, roots) => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(context),
                validation_context_sds_secret_config: Some(by_ads(roots)),
                ..Default::default()
            })
        }
        Certificate::Files { roots, .. } => {
            context.trusted_ca = roots.as_deref().and_then(file);
            ValidationContextType::ValidationContext(context)
        }
    }
}

fn by_ads(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.into(),
        sds_config: ads(),
    }
}

fn file(path: &str) -> Option<core::DataSource> {
    Some(core::DataSource {
        specifier: Some(Specifier::Filename(path.into())),
        ..Default::default()
    })
}

/// A secret, and which of its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GatewaySecretInput {
    name: String,
    secret: GatewaySecret,
    roots: bool,
}

/// Only for who has proved who it is, and serves a Gateway that names the secret, or calls a host whose
/// DestinationRule does.
pub(crate) fn secret_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    ports: &GatewayPorts,
    name: &str,
) -> Option<GatewaySecretInput> {
    let (namespace, short, roots) = naming::parse_secret(name).filter(|_| ports.proven)?;
    let named = served(reader, proxy).into_iter().any(|served| {
        let tls = served.server.tls.as_ref();
        tls.is_some_and(|tls| match self::named(proxy, tls) {
            Certificate::Named(certificate, trusted) => certificate == name || trusted == name,
            Certificate::Files { .. } => false,
        })
    });
    let named = named || (namespace == proxy.namespace && !reader.policies_with(proxy, short).is_empty());
    let secret = reader.secret(namespace, short).filter(|_| named)?;
    if if roots {
        secret.roots.is_none()
    } else {
        secret.chain.is_empty()
    } {
        return None;
    }
    Some(GatewaySecretInput {
        name: name.into(),
        secret: secret.clone(),
        roots,
    })
}

pub(crate) fn secret(input: &GatewaySecretInput) -> tls::Secret {
    use tls::secret::Type;
    let inline = |pem: &[u8]| {
        Some(core::DataSource {
            specifier: Some(Specifier::InlineBytes(pem.to_vec())),
            ..Default::default()
        })
    };
    let content = if input.roots {
        Type::ValidationContext(tls::CertificateValidationContext {
            trusted_ca: input.secret.roots.as_deref().and_then(inline),
            ..Default::default()
        })
    } else {
        Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: inline(&input.secret.chain),
            private_key: inline(&input.secret.key),
            ..Default::default()
        })
    };
    tls::Secret {
        name: input.name.clone(),
        r#type: Some(content),
    }
}
