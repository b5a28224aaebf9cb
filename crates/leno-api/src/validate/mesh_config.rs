//! MeshConfig.

use super::{Check, authorizer, locality, names, telemetry_provider};
use crate::codes::Code;
use crate::kinds::mesh_config::MeshConfigSpec;

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
    if let Some(format) = &spec.access_log_format {
        telemetry_provider::operators(check, "spec.accessLogFormat", format);
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
    if let Some(setting) = &spec.locality_lb_setting {
        locality::check(check, "spec.localityLbSetting", setting);
    }
    authorizer::check(check, &spec.extension_providers);
    telemetry_provider::check(check, spec);
}
