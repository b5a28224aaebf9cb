//! AuthorizationPolicies as filters of Envoy's RBAC, with the names and shapes that istiod gives them.
//!
//! In the order AUDIT, CUSTOM, DENY, ALLOW, so that what is denied is audited too. A condition that cannot be seen (of
//! HTTP, on a connection without) makes an ALLOW rule one that never matches, and is left out of any other rule: either
//! way less is allowed, not more.

mod authorizer;
mod condition;
mod texts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use leno_model::authorization::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, InForce};
use leno_model::{Authorizer, Labels, MeshConfig, Origin};
use leno_proto::ToAny;

use crate::Proxy;
use crate::parts::string;
use crate::pb::{hcm, listener, network_rbac, protobuf, rbac, rbac_filter};
use crate::reader::Reader;

use condition::Scope;

pub(crate) const HTTP_FILTER: &str = "envoy.filters.http.rbac";
/// Where a listener's metadata says where policies are written, below `leno`.
pub(crate) const PLACES: &str = "policies";
pub(crate) const NETWORK_FILTER: &str = "envoy.filters.network.rbac";
/// Before the names of what rules note for the authorizer's filter.
pub(crate) const EXT_AUTHZ_PREFIX: &str = "istio_ext_authz_";
/// Before the names of what AUDIT rules note for the audit log.
pub(crate) const AUDITED_PREFIX: &str = "leno_audit_";

/// The policies that are in force for a proxy; without any everything is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AuthorizationInput {
    policies: InForce,
    /// The mesh's own, and its aliases.
    trust_domains: Vec<String>,
    /// Of the providers that the policies name: those that are there.
    authorizers: Vec<Authorizer>,
    /// The proxy tells people where a policy is written.
    places: bool,
    /// What AUDIT rules match is told to the control plane.
    audited: bool,
}

/// What a proxy holds requests and connections to. `gateways`: those it serves at this place.
pub(crate) fn authorization_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    labels: &Labels,
    gateways: &[&Origin],
) -> AuthorizationInput {
    let mut policies = reader.authorization(proxy, labels, gateways);
    if policies.is_empty() {
        return AuthorizationInput::default();
    }
    if !proxy.on_demand {
        // A policy that has only moved in its file is no news to Envoy.
        policies = policies
            .iter()
            .map(|policy| Arc::new(without_places(policy)))
            .collect();
    }
    let mesh = reader.mesh();
    let own = std::iter::once(&mesh.trust_domain);
    AuthorizationInput {
        authorizers: authorizers(reader, mesh, &policies),
        policies,
        trust_domains: own.chain(&mesh.trust_domain_aliases).cloned().collect(),
        places: proxy.on_demand,
        audited: proxy.audited,
    }
}

fn authorizers(reader: &mut Reader<'_>, mesh: &MeshConfig, policies: &InForce) -> Vec<Authorizer> {
    let named: BTreeSet<&str> = policies
        .iter()
        .filter_map(|policy| match &policy.action {
            AuthorizationAction::Custom { provider } => Some(provider.as_str()),
            _ => None,
        })
        .collect();
    let known = named.into_iter().filter_map(|name| mesh.authorizer(name));
    let mut is_there = |authorizer: &&Authorizer| {
        let service = reader.service(&authorizer.host);
        service.is_some_and(|service| authorizer.is_at(service) && service.port(authorizer.port).is_some())
    };
    known.filter(|one| is_there(one)).cloned().collect()
}

fn without_places(policy: &AuthorizationPolicy) -> AuthorizationPolicy {
    let nowhere: Arc<str> = Arc::from("");
    let mut policy = policy.clone();
    policy.origin.place = Arc::clone(&nowhere);
    for rule in &mut policy.rules {
        rule.place = Arc::clone(&nowhere);
    }
    policy
}

/// The rules of an action, and those that are only watched.
struct Rules<'a> {
    enforced: Option<OrderedRules>,
    shadow: Option<OrderedRules>,
    /// Whom what the latter match has asked.
    asks: Option<&'a Authorizer>,
    /// Nobody but the audit log wants to know.
    audited: bool,
}

type OrderedRules = (rbac::rbac::Action, BTreeMap<String, rbac::Policy>);

impl Rules<'_> {
    /// As istiod: that of ALLOW where nothing is watched.
    fn shadow_prefix(&self) -> String {
        if self.asks.is_some() {
            return EXT_AUTHZ_PREFIX.to_owned();
        }
        if self.audited {
            return AUDITED_PREFIX.to_owned();
        }
        match self.shadow.as_ref().map(|(action, _)| action) {
            Some(rbac::rbac::Action::Deny) => "istio_dry_run_deny_".into(),
            Some(rbac::rbac::Action::Log) => String::new(),
            Some(rbac::rbac::Action::Allow) | None => "istio_dry_run_allow_".into(),
        }
    }
}

impl AuthorizationInput {
    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    pub(crate) fn http_filters(&self) -> Vec<hcm::HttpFilter> {
        let rules = self.rules(Scope::Requests).into_iter();
        rules
            .flat_map(|rules| {
                let asks = rules.asks.map(authorizer::http_filter);
                std::iter::once(http_filter(HTTP_FILTER, rules)).chain(asks)
            })
            .collect()
    }

    /// For gRPC's libraries (gRFC A41), which refuse two filters of one name and know no templates of paths.
    pub(crate) fn grpc_filters(&self) -> Vec<hcm::HttpFilter> {
        let rules = self.rules(Scope::Calls).into_iter().enumerate();
        rules
            .map(|(i, rules)| http_filter(&format!("{HTTP_FILTER}-{i}"), rules))
            .collect()
    }

    /// Before the filter that serves a connection without looking into it.
    pub(crate) fn network_filters(&self) -> Vec<listener::Filter> {
        let filter = |rules: Rules<'_>| {
            let shadow_prefix = rules.shadow_prefix();
            let config = in_order(rules, |rules, shadow_rules| network_rbac::Rbac {
                stat_prefix: "tcp.".into(),
                shadow_rules_stat_prefix: shadow_prefix.clone(),
                rules,
                shadow_rules,
                ..Default::default()
            });
            listener::Filter {
                name: NETWORK_FILTER.into(),
                config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
            }
        };
        let rules = self.rules(Scope::Connections).into_iter();
        rules
            .flat_map(|rules| {
                let asks = rules.asks.map(authorizer::network_filter);
                std::iter::once(filter(rules)).chain(asks)
            })
            .collect()
    }

    /// Where each policy and each of its rules is written, by their names.
    pub(crate) fn places(&self) -> Option<HashMap<String, protobuf::Value>> {
        if !self.places || self.policies.is_empty() {
            return None;
        }
        let place = |policy: &AuthorizationPolicy, index, rule: Option<&AuthorizationRule>| {
            let place = rule.map_or(&policy.origin.place, |rule| &rule.place);
            (
                policy.rule_name(index),
                string(format!("{} ({place})", policy.origin)),
            )
        };
        let mut fields = HashMap::new();
        for policy in &self.policies {
            let rules = policy.rules.iter().enumerate();
            fields.extend(rules.map(|(i, rule)| place(policy, i, Some(rule))));
            if policy.rules.is_empty() {
                fields.extend([place(policy, 0, None)]);
            }
        }
        Some(fields)
    }

    fn rules(&self, scope: Scope) -> Vec<Rules<'_>> {
        let plain = |wanted: &AuthorizationAction, action| {
            let policies = self.policies.iter().filter(|policy| policy.action == *wanted);
            self.of_action(scope, action, &policies.collect::<Vec<_>>())
        };
        let mut all: Vec<Rules<'_>> = self.watched(scope).into_iter().collect();
        all.extend(plain(&AuthorizationAction::Audit, rbac::rbac::Action::Log));
        all.extend(self.custom(scope));
        all.extend(plain(&AuthorizationAction::Deny, rbac::rbac::Action::Deny));
        all.extend(plain(&AuthorizationAction::Allow, rbac::rbac::Action::Allow));
        all
    }

    /// AUDIT rules once more, under a name that no other rules of the filter write to: which one has matched.
    fn watched(&self, scope: Scope) -> Option<Rules<'_>> {
        let of = self.policies.iter();
        let mut of = of
            .filter(|policy| policy.action == AuthorizationAction::Audit && !policy.dry_run)
            .peekable();
        if !self.audited || scope == Scope::Calls {
            return None;
        }
        of.peek()?;
        let action = rbac::rbac::Action::Log;
        let named = of.flat_map(|policy| self.named(scope, action, policy));
        Some(Rules {
            enforced: None,
            shadow: Some((action, named.collect())),
            asks: None,
            audited: true,
        })
    }

    fn of_action(
        &self,
        scope: Scope,
        action: rbac::rbac::Action,
        policies: &[&Arc<AuthorizationPolicy>],
    ) -> Option<Rules<'_>> {
        let some = |dry_run: bool| {
            let mut of = policies
                .iter()
                .filter(|policy| policy.dry_run == dry_run)
                .peekable();
            of.peek()?;
            let named = of.flat_map(|policy| self.named(scope, action, policy));
            Some((action, named.collect()))
        };
        let rules = Rules {
            enforced: some(false),
            shadow: some(true),
            asks: None,
            audited: false,
        };
        (rules.enforced.is_some() || rules.shadow.is_some()).then_some(rules)
    }

    /// As istiod: what the rules match is noted, and the authorizer asked where that is; what would be asked of somebody
    /// who is not there is denied. A provider has filters of its own. One that speaks HTTP has no say about connections,
    /// and gRPC's libraries ask nobody.
    fn custom(&self, scope: Scope) -> Vec<Rules<'_>> {
        let mut providers: BTreeMap<&str, BTreeMap<String, rbac::Policy>> = BTreeMap::new();
        for policy in self.policies.iter().filter(|policy| !policy.dry_run) {
            let AuthorizationAction::Custom { provider } = &policy.action else {
                continue;
            };
            let named = self.named(scope, rbac::rbac::Action::Deny, policy).into_iter();
            let named = named.map(|(name, rule)| (format!("istio-ext-authz-{provider}-{name}"), rule));
            providers.entry(provider).or_default().extend(named);
        }
        let rules = providers.into_iter().filter_map(|(provider, policies)| {
            let found = self.authorizers.iter().find(|one| one.name == provider);
            let asks = found.filter(|_| scope != Scope::Calls);
            match asks {
                Some(authorizer) if scope == Scope::Connections && authorizer.http.is_some() => None,
                Some(_) => Some(Rules {
                    enforced: None,
                    shadow: Some((rbac::rbac::Action::Deny, policies)),
                    asks,
                    audited: false,
                }),
                None => {
                    let bad = |(name, rule)| (format!("{name}-deny-due-to-bad-CUSTOM-action"), rule);
                    Some(Rules {
                        enforced: Some((rbac::rbac::Action::Deny, policies.into_iter().map(bad).collect())),
                        shadow: None,
                        asks: None,
                        audited: false,
                    })
                }
            }
        });
        rules.collect()
    }

    /// The rules of a policy with their names.
    fn named(
        &self,
        scope: Scope,
        action: rbac::rbac::Action,
        policy: &AuthorizationPolicy,
    ) -> Vec<(String, rbac::Policy)> {
        if policy.rules.is_empty() {
            return vec![(policy.rule_name(0), never())];
        }
        let compiler = condition::Compiler {
            scope,
            action,
            namespace: &policy.origin.namespace,
            trust_domains: &self.trust_domains,
        };
        let rules = policy.rules.iter().enumerate();
        rules
            .filter_map(|(i, rule)| Some((policy.rule_name(i), compiler.rule(rule)?)))
            .collect()
    }
}

fn http_filter(name: &str, rules: Rules<'_>) -> hcm::HttpFilter {
    let shadow_prefix = rules.shadow_prefix();
    let config = in_order(rules, |rules, shadow_rules| rbac_filter::Rbac {
        shadow_rules_stat_prefix: shadow_prefix.clone(),
        rules,
        shadow_rules,
        ..Default::default()
    });
    hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// The encoded filter, with its policies in the order of their names: what a map would be written in changes from time to
/// time, and a proxy would take the same policies for others. Messages one after the other are one message to protobuf.
fn in_order<M: ToAny>(
    rules: Rules<'_>,
    message: impl Fn(Option<rbac::Rbac>, Option<rbac::Rbac>) -> M,
) -> protobuf::Any {
    let Rules { enforced, shadow, .. } = rules;
    let none = |rules: &Option<OrderedRules>| rules.as_ref().map(|(action, _)| rules_of(*action, None));
    let mut any = message(none(&enforced), none(&shadow)).to_any();
    let each = |rules: Option<OrderedRules>| {
        let rules = rules.into_iter();
        rules.flat_map(|(action, policies)| policies.into_iter().map(move |one| rules_of(action, Some(one))))
    };
    for rules in each(enforced) {
        any.value.extend(message(Some(rules), None).to_any().value);
    }
    for rules in each(shadow) {
        any.value.extend(message(None, Some(rules)).to_any().value);
    }
    any
}

fn rules_of(action: rbac::rbac::Action, policy: Option<(String, rbac::Policy)>) -> rbac::Rbac {
    rbac::Rbac {
        action: action.into(),
        policies: policy.into_iter().collect(),
        ..Default::default()
    }
}

/// Of a policy without rules.
fn never() -> rbac::Policy {
    use rbac::permission::Rule;
    use rbac::principal::Identifier;
    let any = rbac::Permission {
        rule: Some(Rule::Any(true)),
    };
    let anybody = rbac::Principal {
        identifier: Some(Identifier::Any(true)),
    };
    rbac::Policy {
        permissions: vec![rbac::Permission {
            rule: Some(Rule::NotRule(Box::new(any))),
        }],
        principals: vec![rbac::Principal {
            identifier: Some(Identifier::NotId(Box::new(anybody))),
        }],
        ..Default::default()
    }
}
