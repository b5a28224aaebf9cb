//! AuthorizationPolicy: objects to policies by namespace.

use std::sync::Arc;

use leno_api::kinds::authorization_policy::{
    Action, Attribute, AuthorizationPolicySpec, DRY_RUN, Operation, Rule, Source,
};
use leno_api::validate::authorization_policy::parse_bool;
use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use super::{of_kind, origin, policy_target};
use crate::authorization::{
    Authorization, AuthorizationAction, AuthorizationCondition, AuthorizationPolicy, AuthorizationRule,
    Subject,
};
use crate::mesh::{MeshConfig, PathNormalization};

pub(crate) fn authorization(
    objects: &[&Arc<Object>],
    root: &str,
    mesh: &MeshConfig,
    diagnostics: &mut Vec<Diagnostic>,
) -> Authorization {
    let specs = of_kind(objects, |spec| match spec {
        Spec::AuthorizationPolicy(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut policies = Vec::new();
    for (object, spec) in specs {
        let policy = policy(object, spec);
        diagnostics.extend(other_spellings(object, spec, mesh.paths));
        if let AuthorizationAction::Custom { provider } = &policy.action
            && mesh.authorizer(provider).is_none()
        {
            let message = format!("the mesh has no provider {provider}: what the rules match is denied");
            let found = object.report(
                Code::ProviderNotFound,
                Severity::Warning,
                "spec.provider.name",
                message,
            );
            let known: Vec<&str> = mesh.authorizers.iter().map(|one| one.name.as_str()).collect();
            diagnostics.push(found.hint(match known.as_slice() {
                [] => "MeshConfig's extensionProviders name them: it has none".to_owned(),
                known => format!("MeshConfig's extensionProviders has {}", known.join(", ")),
            }));
        }
        policies.push((object.key.namespace.to_string(), policy));
    }
    Authorization::new(root, policies)
}

/// Says so where a path that a policy forbids has spellings that it does not.
fn other_spellings(
    object: &Object,
    spec: &AuthorizationPolicySpec,
    paths: PathNormalization,
) -> Option<Diagnostic> {
    let spellings = match paths {
        PathNormalization::None => "/./, //, %2F and escaped letters",
        PathNormalization::Base => "// and %2F",
        PathNormalization::MergeSlashes => "%2F",
        PathNormalization::DecodeAndMergeSlashes => return None,
    };
    let rules = spec.rules.iter().flatten().enumerate();
    let mut operations = rules.flat_map(|(rule, of)| {
        let to = of.iter().flat_map(|rule| rule.to.iter().flatten()).enumerate();
        to.filter_map(move |(to, of)| Some((rule, to, of.operation.as_ref()?)))
    });
    operations.find_map(|(rule, to, operation)| {
        // To allow all but a path is to deny it.
        let (field, forbidden) = match spec.action {
            Action::Deny | Action::Custom => ("paths", &operation.paths),
            Action::Allow => ("notPaths", &operation.not_paths),
            Action::Audit => return None,
        };
        let path = forbidden.iter().find(|path| !matches!(path.as_str(), "*" | "/*"))?;
        let path_of = format!("spec.rules[{rule}].to[{to}].operation.{field}");
        let message = format!("{path} may be spelled with {spellings}, which is another path to this policy");
        let found = object.report(Code::OtherSpellings, Severity::Warning, &path_of, message);
        Some(found.hint(
            "set pathNormalization.normalization: DECODE_AND_MERGE_SLASHES in the MeshConfig, or ALLOW the paths that are wanted",
        ))
    })
}

fn policy(object: &Object, spec: &AuthorizationPolicySpec) -> AuthorizationPolicy {
    let rules = spec.rules.iter().flatten().enumerate();
    AuthorizationPolicy {
        origin: origin(object),
        target: policy_target(
            spec.selector.as_ref(),
            spec.target_ref.as_ref(),
            &spec.target_refs,
        ),
        action: match spec.action {
            Action::Allow => AuthorizationAction::Allow,
            Action::Deny => AuthorizationAction::Deny,
            Action::Audit => AuthorizationAction::Audit,
            Action::Custom => AuthorizationAction::Custom {
                provider: spec
                    .provider
                    .as_ref()
                    .map(|provider| provider.name.clone())
                    .unwrap_or_default(),
            },
        },
        dry_run: object
            .annotations
            .get(DRY_RUN)
            .is_some_and(|said| parse_bool(said) == Some(true)),
        // Validation has refused what is no rule.
        rules: rules
            .filter_map(|(i, rule)| Some(self::rule(object, i, rule.as_ref()?)))
            .collect(),
    }
}

fn rule(object: &Object, index: usize, rule: &Rule) -> AuthorizationRule {
    let sources = rule.from.iter().flatten().filter_map(|from| from.source.as_ref());
    let operations = rule.to.iter().flatten().filter_map(|to| to.operation.as_ref());
    let when = rule.when.iter().filter_map(|condition| {
        let subject = Subject::Attribute(Attribute::parse(&condition.key).ok()?);
        self::condition(subject, &condition.values, &condition.not_values)
    });
    AuthorizationRule {
        sources: sources.map(source).collect(),
        operations: operations.map(operation).collect(),
        when: when.collect(),
        place: object
            .place_of(&format!("spec.rules[{index}]"))
            .to_string()
            .into(),
    }
}

fn condition(subject: Subject, values: &[String], not_values: &[String]) -> Option<AuthorizationCondition> {
    (!values.is_empty() || !not_values.is_empty()).then(|| AuthorizationCondition {
        subject,
        values: values.to_vec(),
        not_values: not_values.to_vec(),
    })
}

fn source(source: &Source) -> Vec<AuthorizationCondition> {
    let s = source;
    let conditions = [
        (
            Attribute::SourceServiceAccount,
            &s.service_accounts,
            &s.not_service_accounts,
        ),
        (
            Attribute::SourceTrustDomain,
            &s.trust_domains,
            &s.not_trust_domains,
        ),
        (Attribute::SourcePrincipal, &s.principals, &s.not_principals),
        (
            Attribute::RequestPrincipal,
            &s.request_principals,
            &s.not_request_principals,
        ),
        (Attribute::SourceNamespace, &s.namespaces, &s.not_namespaces),
        (Attribute::RemoteIp, &s.remote_ip_blocks, &s.not_remote_ip_blocks),
        (Attribute::SourceIp, &s.ip_blocks, &s.not_ip_blocks),
    ];
    let conditions = conditions.into_iter();
    conditions
        .filter_map(|(attribute, values, not)| condition(Subject::Attribute(attribute), values, not))
        .collect()
}

fn operation(operation: &Operation) -> Vec<AuthorizationCondition> {
    let o = operation;
    let conditions = [
        (Subject::Host, &o.hosts, &o.not_hosts),
        (Subject::Method, &o.methods, &o.not_methods),
        (Subject::Path, &o.paths, &o.not_paths),
        (
            Subject::Attribute(Attribute::DestinationPort),
            &o.ports,
            &o.not_ports,
        ),
    ];
    let conditions = conditions.into_iter();
    conditions
        .filter_map(|(subject, values, not)| condition(subject, values, not))
        .collect()
}
