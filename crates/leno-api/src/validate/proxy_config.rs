//! ProxyConfig.

use super::{Check, policy_target};
use crate::codes::Code;
use crate::kinds::proxy_config::ProxyConfigSpec;

pub(super) fn check(check: &mut Check<'_>, spec: &ProxyConfigSpec) {
    if let Some(selector) = &spec.selector {
        policy_target::labels(check, "spec.selector.matchLabels", &selector.match_labels);
    }
    let fields = [
        (
            "concurrency",
            spec.concurrency.is_some(),
            "--concurrency of leno run and leno proxy",
        ),
        (
            "environmentVariables",
            !spec.environment_variables.is_empty(),
            "the environment of leno run and leno agent",
        ),
    ];
    for (field, given, instead) in fields {
        if given {
            let message = format!("{field} is without effect: leno's proxies are set where they are started");
            check.warning(
                Code::Ignored,
                format!("spec.{field}"),
                message,
                format!("use {instead}"),
            );
        }
    }
    if let Some(concurrency) = spec.concurrency {
        check.range("spec.concurrency", concurrency, 0..=i64::from(i32::MAX));
    }
    for name in spec.environment_variables.keys() {
        if name.is_empty() || name.contains('=') {
            let path = format!("spec.environmentVariables.{name}");
            check.error(
                Code::WrongValue,
                path,
                format!("{name:?} is no variable's name"),
                "",
            );
        }
    }
}
