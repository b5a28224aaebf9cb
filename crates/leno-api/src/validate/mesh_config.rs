//! MeshConfig.

use super::{Check, access_log, authorizer, names};
use crate::codes::Code;
use crate::kinds::mesh_config::MeshConfigSpec;
use crate::suggest::nearest;

pub(super) fn check(check: &mut Check<'_>, spec: &MeshConfigSpec) {
    let exports = [
        (
            "spec.defaultServiceExportTo",
            &spec.default_service_export_to,
            true,
        ),
        (
            "spec.defaultVirtualServiceExportTo",
            &spec.default_virtual_service_export_to,
            false,
        ),
        (
            "spec.defaultDestinationRuleExportTo",
            &spec.default_destination_rule_export_to,
            false,
        ),
    ];
    for (path, words, nobody) in exports {
        check.export_to(path, words, nobody);
    }
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
    for (at, alias) in spec.trust_domain_aliases.iter().enumerate() {
        if !names::is_host(alias) {
            check.error(
                Code::BadHost,
                format!("spec.trustDomainAliases[{at}]"),
                format!("{alias:?} is no trust domain"),
                "a trust domain is a DNS name: old.example.com",
            );
        }
    }
    if let Some(operator) = spec
        .access_log_format
        .as_deref()
        .and_then(access_log::unknown_operator)
    {
        let nearest = nearest(&operator, access_log::PLAIN_OPERATORS.iter().copied());
        let hint = nearest.map_or_else(String::new, |name| format!("did you mean %{name}%?"));
        let message = format!("%{operator}% is no command operator that a proxy can answer");
        check.error(Code::BadAccessLogFormat, "spec.accessLogFormat", message, hint);
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
    authorizer::check(check, &spec.extension_providers);
}
