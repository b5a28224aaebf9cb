//! What a data plane tells of itself besides its node: metrics' labels, peer metadata, the secrets in use.

use std::collections::BTreeMap;

use leno_engine::decide::filter::{LocalMetadata, PeerMetadata, peer_metadata};
use leno_proto::control::Resource;
use leno_proto::envoy::config::core::v3::DataSource;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::config::core::v3::data_source::Specifier;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use leno_proto::type_url;
use leno_telemetry::record::LocalWorkload;
use leno_tls::pem::encode_certificate;
use leno_tls::{Identity, TrustBundle};
use prost::Message;

use crate::workload::WorkloadArgs;

/// Itself in the labels of metrics.
pub fn local(workload: &WorkloadArgs, principal: &str) -> LocalWorkload {
    let labels: BTreeMap<_, _> = workload.all_labels();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    LocalWorkload {
        workload: workload.base_name(),
        namespace: workload.namespace.clone(),
        app: label("app"),
        version: label("version"),
        canonical_service: label("app"),
        canonical_revision: if label("version").is_empty() {
            "latest".into()
        } else {
            label("version")
        },
        cluster: "leno".into(),
        principal: principal.to_owned(),
    }
}

/// What peers are told in headers: Istio's metadata exchange.
pub fn peer_metadata(workload: &WorkloadArgs, node: &Node) -> LocalMetadata {
    let local = local(workload, "");
    let metadata = PeerMetadata {
        workload: local.workload,
        namespace: local.namespace,
        app: local.app,
        version: local.version,
        canonical_service: local.canonical_service,
        canonical_revision: local.canonical_revision,
        cluster: local.cluster,
    };
    LocalMetadata {
        id: node.id.clone().into(),
        encoded: peer_metadata::encode(&metadata),
    }
}

/// An SDS secret with its certificates only.
pub fn certificate(name: &str, identity: &Identity) -> Resource {
    let certificate = TlsCertificate {
        certificate_chain: Some(pem(identity.chain().iter().map(|c| encode_certificate(c)))),
        ..TlsCertificate::default()
    };
    secret(
        name,
        identity.info().serial.clone(),
        secret::Type::TlsCertificate(certificate),
    )
}

/// An SDS secret with the roots that are trusted.
pub fn trust_bundle(name: &str, bundle: &TrustBundle) -> Resource {
    let context = CertificateValidationContext {
        trusted_ca: Some(pem(bundle.certificates().iter().map(|c| encode_certificate(c)))),
        ..CertificateValidationContext::default()
    };
    secret(
        name,
        bundle.fingerprint(),
        secret::Type::ValidationContext(context),
    )
}

fn pem(certificates: impl Iterator<Item = String>) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineString(certificates.collect())),
        ..DataSource::default()
    }
}

fn secret(name: &str, version: String, content: secret::Type) -> Resource {
    let secret = Secret {
        name: name.to_owned(),
        r#type: Some(content),
    };
    Resource {
        name: name.to_owned(),
        type_url: type_url::SECRET.to_owned(),
        version,
        body: secret.encode_to_vec(),
        error: String::new(),
    }
}
