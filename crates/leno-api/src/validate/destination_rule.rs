//! DestinationRule.

use super::{Check, names, traffic_policy};
use crate::codes::Code;
use crate::kinds::destination_rule::DestinationRuleSpec;

pub(super) fn check(check: &mut Check<'_>, spec: &DestinationRuleSpec) {
    match spec.host.strip_prefix('*') {
        Some("") => {}
        Some(suffix) => check.host("spec.host", suffix.strip_prefix('.').unwrap_or(suffix)),
        None => check.host("spec.host", &spec.host),
    }
    check.export_to("spec.exportTo", &spec.export_to, false);
    if let Some(selector) = &spec.workload_selector {
        for (name, value) in &selector.match_labels {
            if name.is_empty() || name.contains('*') || value.contains('*') {
                check.error(
                    Code::WrongValue,
                    format!("spec.workloadSelector.matchLabels.{name}"),
                    "a label is selected by its name and value, not by *",
                    "write both out",
                );
            }
        }
    }
    traffic_policy::check(check, "spec.trafficPolicy", &spec.traffic_policy);
    for (i, subset) in spec.subsets.iter().enumerate() {
        let at = format!("spec.subsets[{i}]");
        if !names::is_host(&subset.name) || subset.name.contains('.') {
            let message = format!("{:?} is no name for a subset", subset.name);
            check.error(
                Code::BadName,
                format!("{at}.name"),
                message,
                "use letters, digits and dashes",
            );
        }
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy::check(check, &format!("{at}.trafficPolicy"), policy);
        }
    }
    let subsets = spec.subsets.iter().enumerate();
    check.distinct(
        "subset",
        subsets.map(|(i, s)| (format!("spec.subsets[{i}].name"), s.name.as_str())),
    );
}
