//! One rule: its conditions as permissions (what is asked for) and principals (who asks).

use std::net::IpAddr;

use leno_model::authorization::{Attribute, AuthorizationCondition, AuthorizationRule, Subject, is_template};
use leno_proto::ToAny;

use super::texts::{self, text, text_after};
use crate::claims::{self, either, metadata, one_of, value};
use crate::parts::{cidr, regex};
use crate::pb::{core, matcher, rbac, route, uri_template};
use rbac::permission::Rule;
use rbac::principal::Identifier;

/// What the rules see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Requests,
    /// Of a gRPC library's own.
    Calls,
    Connections,
}

pub(super) struct Compiler<'a> {
    pub(super) scope: Scope,
    pub(super) action: rbac::rbac::Action,
    /// Of the policy.
    pub(super) namespace: &'a str,
    pub(super) trust_domains: &'a [String],
}

/// A condition on something that cannot be seen here.
struct Unseen;

impl Compiler<'_> {
    /// None: the rule never matches, and is left out.
    pub(super) fn rule(&self, rule: &AuthorizationRule) -> Option<rbac::Policy> {
        let of_permission = |condition: &&AuthorizationCondition| is_permission(&condition.subject);
        let (asked, asking): (Vec<_>, Vec<_>) = rule.when.iter().partition(of_permission);
        let with = |alternatives: &[Vec<AuthorizationCondition>], when: &[&AuthorizationCondition]| {
            let each =
                |own: &Vec<AuthorizationCondition>| own.iter().chain(when.iter().copied()).cloned().collect();
            match alternatives {
                [] => vec![when.iter().copied().cloned().collect()],
                several => several
                    .iter()
                    .map(each)
                    .collect::<Vec<Vec<AuthorizationCondition>>>(),
            }
        };
        let permissions = with(&rule.operations, &asked).into_iter().map(|all| {
            let mut rules = Vec::new();
            for condition in all {
                self.permission(&condition, &mut rules)?;
            }
            if rules.is_empty() {
                rules.push(permission(Rule::Any(true)));
            }
            Ok(permission(Rule::AndRules(rbac::permission::Set { rules })))
        });
        let permissions: Result<Vec<_>, Unseen> = permissions.collect();
        let principals = with(&rule.sources, &asking).into_iter().map(|all| {
            let mut ids = Vec::new();
            for condition in all {
                self.principal(&condition, &mut ids)?;
            }
            if ids.is_empty() {
                ids.push(principal(Identifier::Any(true)));
            }
            Ok(principal(Identifier::AndIds(rbac::principal::Set { ids })))
        });
        let principals: Result<Vec<_>, Unseen> = principals.collect();
        Some(rbac::Policy {
            permissions: permissions.ok()?,
            principals: principals.ok()?,
            ..Default::default()
        })
    }

    /// Whether a condition counts here; in an ALLOW rule one that cannot be seen ends the rule.
    fn sees(&self, subject: &Subject) -> Result<bool, Unseen> {
        let of_http = match subject {
            Subject::Host | Subject::Method | Subject::Path => true,
            Subject::Attribute(attribute) => attribute.is_of_http(),
        };
        match (of_http && self.scope == Scope::Connections, self.action) {
            (true, rbac::rbac::Action::Allow) => Err(Unseen),
            (true, _) => Ok(false),
            (false, _) => Ok(true),
        }
    }

    fn permission(
        &self,
        condition: &AuthorizationCondition,
        into: &mut Vec<rbac::Permission>,
    ) -> Result<(), Unseen> {
        if !self.sees(&condition.subject)? {
            return Ok(());
        }
        into.extend(self.permission_of(&condition.subject, &condition.values));
        let not = self.permission_of(&condition.subject, &condition.not_values);
        into.extend(not.map(|not| permission(Rule::NotRule(Box::new(not)))));
        Ok(())
    }

    fn principal(
        &self,
        condition: &AuthorizationCondition,
        into: &mut Vec<rbac::Principal>,
    ) -> Result<(), Unseen> {
        let Subject::Attribute(attribute) = &condition.subject else {
            return Ok(());
        };
        if !self.sees(&condition.subject)? {
            return Ok(());
        }
        // gRPC's libraries verify no tokens: what a DENY rule says of one counts as met there.
        let denies = self.action == rbac::rbac::Action::Deny;
        let counts_as_met = denies && attribute.needs_token() && self.scope == Scope::Calls;
        if !counts_as_met {
            into.extend(self.principal_of(attribute, &condition.values));
        }
        let not = self.principal_of(attribute, &condition.not_values);
        into.extend(not.map(|not| principal(Identifier::NotId(Box::new(not)))));
        Ok(())
    }

    /// One of the values; None: there are none.
    fn principal_of(&self, attribute: &Attribute, values: &[String]) -> Option<rbac::Principal> {
        if values.is_empty() {
            return None;
        }
        let authenticated = |name: matcher::StringMatcher| {
            principal(Identifier::Authenticated(rbac::principal::Authenticated {
                principal_name: Some(name),
            }))
        };
        let each = |make: &dyn Fn(&str) -> Option<rbac::Principal>| {
            let ids: Vec<_> = values.iter().filter_map(|value| make(value)).collect();
            Some(principal(Identifier::OrIds(rbac::principal::Set { ids })))
        };
        match attribute {
            Attribute::SourcePrincipal => {
                let known = texts::with_aliases(values, self.trust_domains);
                let ids = known
                    .iter()
                    .map(|value| authenticated(text_after("spiffe://", value)));
                Some(principal(Identifier::OrIds(rbac::principal::Set {
                    ids: ids.collect(),
                })))
            }
            Attribute::SourceNamespace => each(&|value| Some(authenticated(texts::namespace(value)))),
            Attribute::SourceServiceAccount => {
                each(&|value| Some(authenticated(texts::service_account(self.namespace, value))))
            }
            Attribute::SourceTrustDomain => {
                let known = texts::domains(values, self.trust_domains);
                let ids = known
                    .iter()
                    .map(|value| authenticated(texts::trust_domain(value)));
                Some(principal(Identifier::OrIds(rbac::principal::Set {
                    ids: ids.collect(),
                })))
            }
            Attribute::SourceIp => each(&|value| Some(principal(Identifier::DirectRemoteIp(range(value)?)))),
            Attribute::RemoteIp => each(&|value| Some(principal(Identifier::RemoteIp(range(value)?)))),
            Attribute::Header(name) => {
                each(&|value| Some(principal(Identifier::Header(header(name, text_or_any(value))))))
            }
            Attribute::RequestPrincipal => {
                let mut ids: Vec<_> = values.iter().map(|value| request_principal(value)).collect();
                match ids.len() {
                    1 => ids.pop(),
                    _ => Some(principal(Identifier::OrIds(rbac::principal::Set { ids }))),
                }
            }
            Attribute::Audiences => Some(claim(&["aud".to_owned()], &texts_of(values))),
            Attribute::Presenter => Some(claim(&["azp".to_owned()], &texts_of(values))),
            Attribute::Claim(path) => Some(claim(path, &texts_of(values))),
            // Of what is asked for.
            Attribute::DestinationIp
            | Attribute::DestinationPort
            | Attribute::ServerName
            | Attribute::Metadata { .. } => None,
        }
    }

    /// One of the values; None: there are none.
    fn permission_of(&self, subject: &Subject, values: &[String]) -> Option<rbac::Permission> {
        if values.is_empty() {
            return None;
        }
        if let Subject::Attribute(Attribute::Metadata { filter, field }) = subject {
            let values: Vec<matcher::ValueMatcher> = values.iter().map(|value| noted(value)).collect();
            let metadata = metadata(filter, std::slice::from_ref(field), either(values));
            return Some(by_note(metadata));
        }
        let one = |value: &String| {
            Some(match subject {
                Subject::Host => {
                    let text = text_or_any(value).map(|text| matcher::StringMatcher {
                        ignore_case: true,
                        ..text
                    });
                    Rule::Header(header(":authority", text))
                }
                Subject::Method => Rule::Header(header(":method", text_or_any(value))),
                Subject::Path if is_template(value) && self.scope == Scope::Calls => {
                    Rule::UrlPath(matcher::PathMatcher {
                        rule: Some(matcher::path_matcher::Rule::Path(texts::template(value))),
                    })
                }
                Subject::Path if is_template(value) => Rule::UriTemplate(template(value)),
                Subject::Path => Rule::UrlPath(matcher::PathMatcher {
                    rule: Some(matcher::path_matcher::Rule::Path(text(value))),
                }),
                Subject::Attribute(Attribute::DestinationPort) => Rule::DestinationPort(value.parse().ok()?),
                Subject::Attribute(Attribute::DestinationIp) => Rule::DestinationIp(range(value)?),
                Subject::Attribute(Attribute::ServerName) => Rule::RequestedServerName(text(value)),
                Subject::Attribute(_) => return None,
            })
        };
        let rules: Vec<_> = values.iter().filter_map(one).map(permission).collect();
        Some(permission(Rule::OrRules(rbac::permission::Set { rules })))
    }
}

fn is_permission(subject: &Subject) -> bool {
    match subject {
        Subject::Host | Subject::Method | Subject::Path => true,
        Subject::Attribute(attribute) => matches!(
            attribute,
            Attribute::DestinationIp
                | Attribute::DestinationPort
                | Attribute::ServerName
                | Attribute::Metadata { .. }
        ),
    }
}

fn permission(rule: Rule) -> rbac::Permission {
    rbac::Permission { rule: Some(rule) }
}

fn principal(identifier: Identifier) -> rbac::Principal {
    rbac::Principal {
        identifier: Some(identifier),
    }
}

/// Validation has seen that it is one.
fn range(value: &str) -> Option<core::CidrRange> {
    let (address, length) = match value.split_once('/') {
        Some((address, length)) => (address.parse::<IpAddr>().ok()?, length.parse().ok()?),
        None => {
            let address: IpAddr = value.parse().ok()?;
            (address, if address.is_ipv4() { 32 } else { 128 })
        }
    };
    Some(cidr(&address.to_string(), length))
}

/// None: whatever is there.
fn text_or_any(value: &str) -> Option<matcher::StringMatcher> {
    (value != "*").then(|| text(value))
}

fn header(name: &str, value: Option<matcher::StringMatcher>) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier;
    route::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(match value {
            Some(value) => HeaderMatchSpecifier::StringMatch(value),
            None => HeaderMatchSpecifier::PresentMatch(true),
        }),
        ..Default::default()
    }
}

fn template(path: &str) -> core::TypedExtensionConfig {
    let config = uri_template::UriTemplateMatchConfig {
        path_template: path.replace("{**}", "**").replace("{*}", "*"),
    };
    core::TypedExtensionConfig {
        name: "uri-template".into(),
        typed_config: Some(config.to_any()),
    }
}

fn texts_of(values: &[String]) -> matcher::ValueMatcher {
    either(values.iter().map(|each| value(text(each))).collect())
}

/// `[a]`: a list with it.
fn noted(written: &str) -> matcher::ValueMatcher {
    match written
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
    {
        Some(item) => one_of(value(text(item))),
        None => value(text(written)),
    }
}

fn claim(path: &[String], values: &matcher::ValueMatcher) -> rbac::Principal {
    by_token(claims::claim(path, values))
}

#[expect(
    deprecated,
    reason = "as istiod writes it; what is in its place is newer than many proxies"
)]
fn by_token(metadata: matcher::MetadataMatcher) -> rbac::Principal {
    principal(Identifier::Metadata(metadata))
}

#[expect(
    deprecated,
    reason = "as istiod writes it; what is in its place is newer than many proxies"
)]
fn by_note(metadata: matcher::MetadataMatcher) -> rbac::Permission {
    permission(Rule::Metadata(metadata))
}

/// `issuer/subject`, of which either end may be a star.
fn request_principal(written: &str) -> rbac::Principal {
    let anything = || matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::SafeRegex(regex(".+"))),
        ..Default::default()
    };
    let whole = written.rsplit_once('/');
    let exact = |text: &str| crate::parts::exact(text);
    let (issuer, subject) = match (written, whole) {
        ("*", _) => (anything(), anything()),
        (_, Some((issuer, subject))) if written.starts_with('*') => (text(issuer), exact(subject)),
        (_, None) if written.starts_with('*') => (anything(), text(written)),
        (_, Some((issuer, subject))) if written.ends_with('*') => (exact(issuer), text(subject)),
        (_, None) if written.ends_with('*') => (text(written), anything()),
        (_, Some((issuer, subject))) => (exact(issuer), exact(subject)),
        (_, None) => (exact(written), exact("")),
    };
    let is = |name: &str, is: matcher::StringMatcher| {
        let path = [claims::PAYLOAD.to_owned(), name.to_owned()];
        by_token(metadata(claims::JWT, &path, value(is)))
    };
    principal(Identifier::AndIds(rbac::principal::Set {
        ids: vec![is("iss", issuer), is("sub", subject)],
    }))
}
