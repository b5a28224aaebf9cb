//! Mesh-wide settings.

use std::sync::Arc;

use leno_api::kinds::mesh_config::{
    H2UpgradePolicy, LogEncoding, MeshConfigSpec, Normalization, OutboundMode,
};
use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use super::of_kind;
use crate::mesh::{MeshConfig, OutboundPolicy, PathNormalization};

/// Istio's name for the namespace of mesh-wide policies.
const ROOT_NAMESPACE: &str = "istio-system";

/// The settings, and the root namespace.
pub(crate) fn mesh_config(
    objects: &[&Arc<Object>],
    diagnostics: &mut Vec<Diagnostic>,
) -> (MeshConfig, String) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::MeshConfig(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut specs = specs.into_iter();
    let Some((first, spec)) = specs.next() else {
        return (MeshConfig::default(), ROOT_NAMESPACE.into());
    };
    for (object, _) in specs {
        let message = format!("a second MeshConfig; {} holds", first.place());
        let found = object.report(Code::PolicyConflict, Severity::Error, "", message);
        diagnostics.push(found.hint("keep one of them"));
    }
    let root = spec
        .root_namespace
        .clone()
        .unwrap_or_else(|| ROOT_NAMESPACE.into());
    (settings(spec), root)
}

fn settings(spec: &MeshConfigSpec) -> MeshConfig {
    let default = MeshConfig::default();
    MeshConfig {
        trust_domain: spec.trust_domain.clone().unwrap_or(default.trust_domain),
        trust_domain_aliases: spec.trust_domain_aliases.clone(),
        outbound: match spec.outbound_traffic_policy.map(|policy| policy.mode) {
            Some(OutboundMode::RegistryOnly) => OutboundPolicy::RegistryOnly,
            Some(OutboundMode::AllowAny) | None => OutboundPolicy::AllowAny,
        },
        access_log_file: spec.access_log_file.clone().filter(|file| !file.is_empty()),
        access_log_format: spec.access_log_format.clone().filter(|format| !format.is_empty()),
        access_log_json: spec.access_log_encoding == Some(LogEncoding::Json),
        auto_mtls: spec.enable_auto_mtls.unwrap_or(default.auto_mtls),
        http2_upgrade: match spec.h2_upgrade_policy {
            Some(H2UpgradePolicy::DoNotUpgrade) => false,
            Some(H2UpgradePolicy::Upgrade) => true,
            None => default.http2_upgrade,
        },
        paths: match spec.path_normalization.unwrap_or_default().normalization {
            Normalization::None => PathNormalization::None,
            Normalization::Default | Normalization::Base => PathNormalization::Base,
            Normalization::MergeSlashes => PathNormalization::MergeSlashes,
            Normalization::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
        },
    }
}
