//! Rules that are given by another VirtualService.
//!
//! One that has no hosts holds nowhere by itself: others delegate to it. It cannot delegate further, so there are no
//! chains and no cycles.

use crate::codes::Code;
use crate::kinds::virtual_service::{Delegate, VirtualServiceSpec};
use crate::validate::{Check, names};

pub(super) fn check(check: &mut Check<'_>, spec: &VirtualServiceSpec) {
    if spec.hosts.is_empty() {
        delegate(check, spec);
    }
    for (i, rule) in spec.http.iter().enumerate() {
        let Some(to) = &rule.delegate else { continue };
        let at = format!("spec.http[{i}].delegate");
        if spec.hosts.is_empty() {
            let message = "rules that are delegated to do not delegate further";
            let hint = "write the rules here; or if it is no delegate, add spec.hosts";
            check.error(Code::BadCombination, &at, message, hint);
        }
        name(check, &at, to);
    }
}

fn delegate(check: &mut Check<'_>, spec: &VirtualServiceSpec) {
    if spec.http.is_empty() {
        let message = "a VirtualService needs a host";
        let hint = "add spec.hosts; only one with http rules, for others to delegate to, has none";
        check.error(Code::Empty, "spec.hosts", message, hint);
    }
    let not_for_delegates = [
        ("spec.gateways", !spec.gateways.is_empty()),
        ("spec.tls", !spec.tls.is_empty()),
        ("spec.tcp", !spec.tcp.is_empty()),
    ];
    for (path, _) in not_for_delegates.into_iter().filter(|(_, given)| *given) {
        let message = "a VirtualService without hosts, for others to delegate to, has http rules only";
        check.error(
            Code::BadCombination,
            path,
            message,
            "leave it out, or add spec.hosts",
        );
    }
}

fn name(check: &mut Check<'_>, at: &str, to: &Delegate) {
    if !names::is_subdomain(&to.name) {
        let message = format!("{:?} is no VirtualService's name", to.name);
        check.error(
            Code::BadName,
            format!("{at}.name"),
            message,
            "name a VirtualService without hosts",
        );
    }
    if let Some(namespace) = to
        .namespace
        .as_deref()
        .filter(|namespace| !names::is_label(namespace))
    {
        let message = format!("{namespace:?} is no namespace");
        check.error(Code::BadName, format!("{at}.namespace"), message, "");
    }
}
