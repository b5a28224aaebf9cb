//! MeshConfig.

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::mesh_config::MeshConfigSpec;

pub(super) fn check(check: &mut Check<'_>, spec: &MeshConfigSpec) {
    if let Some(domain) = &spec.trust_domain
        && !names::is_host(domain)
    {
        let message = format!("{domain:?} is no trust domain");
        check.error(
            Code::BadHost,
            "spec.trustDomain",
            message,
            "a trust domain is a DNS name: cluster.local",
        );
    }
    if let Some(namespace) = &spec.root_namespace
        && !names::is_label(namespace)
    {
        check.error(
            Code::BadName,
            "spec.rootNamespace",
            format!("{namespace:?} is no namespace"),
            "",
        );
    }
}
