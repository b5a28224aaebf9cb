//! AuthorizationPolicy: Istio's own rules (`istioctl validate`), so that what an API server refuses is refused here.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Check;
use super::policy_target::target;
use crate::codes::Code;
use crate::kinds::authorization_policy::{
    Action, Attribute, AuthorizationPolicySpec, Condition, DRY_RUN, Operation, Rule, Source,
};

pub(super) fn check(check: &mut Check<'_>, spec: &AuthorizationPolicySpec) {
    let (single, several) = (spec.target_ref.as_ref(), &spec.target_refs);
    target(check, spec.selector.as_ref(), single, several);
    dry_run(check);
    provider(check, spec);
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && matches!(spec.action, Action::Deny | Action::Custom) {
        check.error(
            Code::Empty,
            "spec.rules",
            "without a rule this action never matches anything",
            "add an empty rule, rules: [{}], if every request is meant",
        );
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = format!("spec.rules[{i}]");
        match rule {
            Some(rule) => self::rule(check, &at, spec.action, rule),
            None => empty(check, &at, "a rule"),
        }
    }
}

fn empty(check: &mut Check<'_>, at: &str, what: &str) {
    let hint = "say something in it, or leave it out";
    check.error(Code::Empty, at, format!("{what} without anything in it"), hint);
}

fn dry_run(check: &mut Check<'_>) {
    let Some(said) = check.object.annotations.get(DRY_RUN) else {
        return;
    };
    if parse_bool(said).is_none() {
        // As in Istio the policy is enforced then: the other reading would let through.
        let message =
            format!("{DRY_RUN} is {said:?}, which is neither true nor false: the policy is enforced");
        check.warning(
            Code::WrongValue,
            "metadata.annotations",
            message,
            "use \"true\" or \"false\"",
        );
    }
}

/// As Go's `strconv.ParseBool` reads it.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn provider(check: &mut Check<'_>, spec: &AuthorizationPolicySpec) {
    let name = spec.provider.as_ref().map(|provider| provider.name.as_str());
    match (spec.action, name) {
        (Action::Custom, None | Some("")) => {
            let message = "CUSTOM needs a provider";
            check.error(Code::MissingField, "spec.provider", message, "add provider.name");
        }
        (Action::Custom, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let message = "a provider is asked with action CUSTOM only";
            let hint = "leave it out, or set action: CUSTOM";
            check.error(Code::BadCombination, "spec.provider", message, hint);
        }
    }
}

fn rule(check: &mut Check<'_>, at: &str, action: Action, rule: &Rule) {
    if rule.from.as_ref().is_some_and(Vec::is_empty) {
        empty(check, &format!("{at}.from"), "from");
    }
    if rule.to.as_ref().is_some_and(Vec::is_empty) {
        empty(check, &format!("{at}.to"), "to");
    }
    for (i, from) in rule.from.iter().flatten().enumerate() {
        let at = format!("{at}.from[{i}].source");
        match &from.source {
            Some(source) if !source.is_empty() => self::source(check, &at, action, source),
            _ => empty(check, &at, "a source"),
        }
    }
    for (i, to) in rule.to.iter().flatten().enumerate() {
        let at = format!("{at}.to[{i}].operation");
        match &to.operation {
            Some(operation) if !operation.is_empty() => self::operation(check, &at, operation),
            _ => empty(check, &at, "an operation"),
        }
    }
    for (i, condition) in rule.when.iter().enumerate() {
        self::condition(check, &format!("{at}.when[{i}]"), action, condition);
    }
    if action == Action::Deny && denies_all_of_tcp(rule) {
        let message = "on ports of TCP this rule denies everything: it says nothing that can be seen there";
        check.warning(
            Code::DeniesAllTcp,
            at,
            message,
            "add the ports that are meant to its operation",
        );
    }
}

/// Istio's warning: only what HTTP has is said.
fn denies_all_of_tcp(rule: &Rule) -> bool {
    let sources = || rule.from.iter().flatten().filter_map(|from| from.source.as_ref());
    let operations = || rule.to.iter().flatten().filter_map(|to| to.operation.as_ref());
    let of_tcp = |source: &Source| {
        let of_http = Source {
            request_principals: source.request_principals.clone(),
            not_request_principals: source.not_request_principals.clone(),
            ..Source::default()
        };
        *source != of_http
    };
    let only_from = sources().next().is_some() && operations().next().is_none() && !sources().any(of_tcp);
    let ports = |operation: &Operation| !operation.ports.is_empty() || !operation.not_ports.is_empty();
    let only_to = operations().next().is_some() && !operations().any(ports);
    only_from || only_to
}

fn source(check: &mut Check<'_>, at: &str, action: Action, source: &Source) {
    let Source {
        principals,
        not_principals,
        request_principals,
        not_request_principals,
        namespaces,
        not_namespaces,
        service_accounts,
        not_service_accounts,
        trust_domains,
        not_trust_domains,
        ip_blocks,
        not_ip_blocks,
        remote_ip_blocks,
        not_remote_ip_blocks,
    } = source;
    let lists = [
        ("principals", principals),
        ("notPrincipals", not_principals),
        ("requestPrincipals", request_principals),
        ("notRequestPrincipals", not_request_principals),
        ("namespaces", namespaces),
        ("notNamespaces", not_namespaces),
        ("serviceAccounts", service_accounts),
        ("notServiceAccounts", not_service_accounts),
        ("trustDomains", trust_domains),
        ("notTrustDomains", not_trust_domains),
        ("ipBlocks", ip_blocks),
        ("notIpBlocks", not_ip_blocks),
        ("remoteIpBlocks", remote_ip_blocks),
        ("notRemoteIpBlocks", not_remote_ip_blocks),
    ];
    for (name, list) in lists {
        no_empty(check, &format!("{at}.{name}"), list);
    }
    let of_identity = [principals, not_principals, namespaces, not_namespaces];
    let of_account = [service_accounts, not_service_accounts];
    if of_identity.iter().any(|list| !list.is_empty()) && of_account.iter().any(|list| !list.is_empty()) {
        let message = "serviceAccounts together with namespaces or principals";
        let hint = "an account says its namespace (namespace/account): keep one of them";
        check.error(Code::BadCombination, at, message, hint);
    }
    for (name, list) in [
        ("serviceAccounts", service_accounts),
        ("notServiceAccounts", not_service_accounts),
    ] {
        for (i, account) in list.iter().enumerate() {
            service_account(check, &format!("{at}.{name}[{i}]"), account);
        }
    }
    for (name, list) in &lists[10..] {
        addresses(check, &format!("{at}.{name}"), list);
    }
    if action == Action::Custom {
        for (name, _) in lists[..10].iter().filter(|(_, list)| !list.is_empty()) {
            not_with_custom(check, &format!("{at}.{name}"), name);
        }
    }
}

fn not_with_custom(check: &mut Check<'_>, at: &str, what: &str) {
    let message = format!("{what} cannot be a condition of action CUSTOM");
    let hint = "let the authorizer look at it, or add a policy with DENY";
    check.error(Code::BadCombination, at, message, hint);
}

fn service_account(check: &mut Check<'_>, at: &str, account: &str) {
    let parts: Vec<&str> = account.split('/').collect();
    if account.contains('*')
        || parts.len() > 2
        || (parts.len() == 2 && parts.iter().any(|part| part.is_empty()))
    {
        let message = format!("{account:?} is no service account");
        let hint = "use ACCOUNT or NAMESPACE/ACCOUNT, without wildcards";
        check.error(Code::WrongValue, at, message, hint);
    }
}

fn operation(check: &mut Check<'_>, at: &str, operation: &Operation) {
    let Operation {
        hosts,
        not_hosts,
        ports,
        not_ports,
        methods,
        not_methods,
        paths,
        not_paths,
    } = operation;
    let lists = [
        ("hosts", hosts),
        ("notHosts", not_hosts),
        ("methods", methods),
        ("notMethods", not_methods),
        ("paths", paths),
        ("notPaths", not_paths),
        ("ports", ports),
        ("notPorts", not_ports),
    ];
    for (name, list) in lists {
        no_empty(check, &format!("{at}.{name}"), list);
    }
    for (name, list) in &lists[4..6] {
        for (i, path) in list.iter().enumerate() {
            template(check, &format!("{at}.{name}[{i}]"), path);
        }
    }
    for (name, list) in &lists[6..] {
        self::ports(check, &format!("{at}.{name}"), list);
    }
}

/// Whether a path is a template: `{*}` stands for one segment, `{**}` for any number.
pub fn is_template(path: &str) -> bool {
    path.contains("{*}") || path.contains("{**}")
}

fn template(check: &mut Check<'_>, at: &str, path: &str) {
    if !is_template(path) {
        return;
    }
    let fault = match path.strip_prefix('/') {
        None => Some("does not begin with a slash"),
        Some(rest) => template_fault(rest),
    };
    if let Some(fault) = fault {
        let message = format!("the path template {path:?} {fault}");
        let hint = "{*} stands for one segment, {**} for any number of them and comes once, and last";
        check.error(Code::BadTemplate, at, message, hint);
    }
}

/// What Istio, or Envoy's URI templates, refuse.
fn template_fault(path: &str) -> Option<&'static str> {
    let mut open = false;
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let operator = [("{*}", false), ("{**}", true)]
            .into_iter()
            .find_map(|(operator, opens)| Some((rest.strip_prefix(operator)?, opens)));
        match operator {
            Some(_) if open => return Some("has another placeholder behind {**}"),
            Some((behind, opens)) => {
                open = opens;
                rest = behind;
            }
            None if first == '*' => return Some("has a star without braces"),
            None if matches!(first, '{' | '}') => return Some("has a named placeholder"),
            None if first.is_ascii_alphanumeric() || "/-._~%!$&'()+,;:@=".contains(first) => {
                rest = &rest[1..];
            }
            None => return Some("has a character that no path has"),
        }
    }
    None
}

fn condition(check: &mut Check<'_>, at: &str, action: Action, condition: &Condition) {
    let Condition {
        key,
        values,
        not_values,
    } = condition;
    if key.is_empty() {
        return check.error(
            Code::MissingField,
            format!("{at}.key"),
            "a condition without a key",
            "add key",
        );
    }
    if values.is_empty() && not_values.is_empty() {
        let message = format!("the condition on {key} has neither values nor notValues");
        check.error(Code::Empty, at, message, "add what it is compared with");
    }
    let attribute = match Attribute::parse(key) {
        Ok(attribute) => attribute,
        Err(message) => {
            let hint = "the keys are in Istio's reference of authorization policy conditions";
            return check.error(Code::BadConditionKey, format!("{at}.key"), message, hint);
        }
    };
    for (name, list) in [("values", values), ("notValues", not_values)] {
        let at = format!("{at}.{name}");
        no_empty(check, &at, list);
        match attribute {
            Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => {
                addresses(check, &at, list)
            }
            Attribute::DestinationPort => ports(check, &at, list),
            Attribute::SourceServiceAccount => {
                for (i, account) in list.iter().enumerate() {
                    service_account(check, &format!("{at}[{i}]"), account);
                }
            }
            _ => {}
        }
    }
    if let Attribute::Header(name) = &attribute
        && !name.starts_with(':')
    {
        check.header_name(format!("{at}.key"), name);
    }
    let of_identity = matches!(
        attribute,
        Attribute::SourceNamespace
            | Attribute::SourcePrincipal
            | Attribute::SourceServiceAccount
            | Attribute::SourceTrustDomain
    );
    if action == Action::Custom && (of_identity || attribute.needs_token()) {
        not_with_custom(check, &format!("{at}.key"), key);
    }
}

fn no_empty(check: &mut Check<'_>, at: &str, values: &[String]) {
    for (i, value) in values.iter().enumerate() {
        if value.is_empty() {
            check.error(
                Code::Empty,
                format!("{at}[{i}]"),
                "an empty text, which matches nothing",
                "leave it out",
            );
        }
    }
}

fn addresses(check: &mut Check<'_>, at: &str, values: &[String]) {
    for (i, value) in values.iter().enumerate().filter(|(_, value)| !value.is_empty()) {
        if value.parse::<IpAddr>().is_err() && value.parse::<IpNet>().is_err() {
            let message = format!("{value:?} is neither an address nor a range of them");
            check.error(
                Code::BadAddress,
                format!("{at}[{i}]"),
                message,
                "use 10.1.2.3 or 10.1.0.0/16",
            );
        }
    }
}

fn ports(check: &mut Check<'_>, at: &str, values: &[String]) {
    for (i, value) in values.iter().enumerate().filter(|(_, value)| !value.is_empty()) {
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || value.parse::<u16>().is_err() {
            check.error(
                Code::OutOfRange,
                format!("{at}[{i}]"),
                format!("{value:?} is not a port"),
                "",
            );
        }
    }
}
