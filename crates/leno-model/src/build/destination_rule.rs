//! DestinationRule: how a host is called, and its subsets.
//!
//! Precedence and merging as in Istio: what a subset says replaces what the host says, whole section by section;
//! settings of a port stand for themselves and inherit nothing. Several rules for one host in one namespace that are
//! exported to the same are parts of one rule: subsets add up, the first traffic policy holds. Of the rules of a
//! namespace those for the most specific name hold; rules that select their callers stand apart from those for
//! everybody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use leno_api::kinds::destination_rule::{self as api, DestinationRuleSpec, PortPolicy};
use leno_api::{Code, Object, Severity, Spec};

use super::traffic_policy::traffic_policy;
use super::{Context, of_kind, origin};
use crate::name::{Host, Labels};
use crate::policy::{HostPolicies, ServicePolicy, Subset};
use crate::visibility::Exported;

type Rule<'o> = (&'o Object, &'o DestinationRuleSpec);

pub(crate) fn policies(
    context: &mut Context<'_>,
    objects: &[&Arc<Object>],
    root: &str,
) -> HashMap<Host, Arc<HostPolicies>> {
    let specs = of_kind(objects, |spec| match spec {
        Spec::DestinationRule(spec) => Some(spec.as_ref()),
        _ => None,
    });
    // By namespace, the name as written in full, whom they select and whom they are exported to.
    let mut said: BTreeMap<(&str, Host, Option<&Labels>, Exported), Vec<Rule<'_>>> = BTreeMap::new();
    for (object, spec) in specs {
        let namespace = &*object.key.namespace;
        let host = match spec.host.starts_with('*') {
            true => Host::new(&spec.host),
            false => context.resolve(&spec.host, namespace),
        };
        check_host(context, object, &host);
        let selector = spec.workload_selector.as_ref().map(|by| &by.match_labels);
        let own = &object.key.namespace;
        let exported = Exported::read(&spec.export_to, own, &context.exports.destination_rules);
        said.entry((namespace, host, selector, exported))
            .or_default()
            .push((object, spec));
    }
    let mut merged: BTreeMap<(&str, Host), Vec<ServicePolicy>> = BTreeMap::new();
    for ((namespace, host, selector, exported), rules) in said {
        let policy = merge_rules(context, &host, (selector, exported), &rules);
        merged.entry((namespace, host)).or_default().push(policy);
    }
    let namespaces: BTreeSet<&str> = merged.keys().map(|(namespace, _)| *namespace).collect();
    let exact = merged
        .keys()
        .map(|(_, host)| host)
        .filter(|host| !is_wildcard(host));
    let hosts: BTreeSet<Host> = exact.chain(context.services.keys()).cloned().collect();
    let mut policies = HashMap::new();
    for host in hosts {
        let mut rules: Vec<ServicePolicy> = Vec::new();
        for namespace in &namespaces {
            let of_host = most_specific(&merged, namespace, &host).into_iter().flatten();
            rules.extend(of_host.cloned().map(|rule| ServicePolicy {
                host: host.clone(),
                ..rule
            }));
        }
        if rules.is_empty() {
            continue;
        }
        rules.sort_by(|one, other| {
            let key = |rule: &ServicePolicy| (rule.selector.is_none(), rule.origin.name.clone());
            key(one).cmp(&key(other))
        });
        let home = context
            .services
            .get(&host)
            .map(|service| service.namespace.clone());
        let all = HostPolicies {
            home,
            root: root.into(),
            rules,
        };
        policies.insert(host, Arc::new(all));
    }
    policies
}

fn is_wildcard(host: &Host) -> bool {
    host.as_str().starts_with('*')
}

/// Those for the name itself, else for the longest suffix of it.
fn most_specific<'m>(
    merged: &'m BTreeMap<(&'m str, Host), Vec<ServicePolicy>>,
    namespace: &'m str,
    host: &Host,
) -> Option<&'m Vec<ServicePolicy>> {
    if let Some(rules) = merged.get(&(namespace, host.clone())) {
        return Some(rules);
    }
    let patterns = merged.iter().filter(|((of, pattern), _)| {
        let suffix = pattern.as_str().strip_prefix('*');
        *of == namespace && suffix.is_some_and(|suffix| host.as_str().ends_with(suffix))
    });
    patterns
        .max_by_key(|((_, pattern), _)| pattern.as_str().len())
        .map(|(_, rules)| rules)
}

fn check_host(context: &mut Context<'_>, object: &Object, host: &Host) {
    let suffix = host.as_str().strip_prefix('*');
    let known = match suffix {
        None => context.services.contains_key(host),
        Some(suffix) => context
            .services
            .keys()
            .any(|known| known.as_str().ends_with(suffix)),
    };
    if !known {
        let (message, hint) = match suffix {
            None => (
                format!("the host {host} is not in the mesh"),
                context.nearest_host(host),
            ),
            Some(_) => (
                format!("no host of the mesh is one of {host}"),
                "the suffix is that of full names: *.default.svc.cluster.local".to_owned(),
            ),
        };
        context.report(
            object,
            (Code::HostNotFound, Severity::Warning),
            "spec.host",
            message,
            hint,
        );
    }
}

fn merge_rules(
    context: &mut Context<'_>,
    host: &Host,
    (selector, exported): (Option<&Labels>, Exported),
    rules: &[Rule<'_>],
) -> ServicePolicy {
    let (first, base) = rules[0];
    let none = api::TrafficPolicy::default();
    let policy = rules
        .iter()
        .map(|(_, spec)| &spec.traffic_policy)
        .find(|policy| **policy != none);
    let policy = policy.unwrap_or(&base.traffic_policy);
    let mut subsets: Vec<Subset> = Vec::new();
    for (object, spec) in rules {
        let conflict = |context: &mut Context<'_>, path: &str, what: &str| {
            let message = format!("{what} for {host} is already said by {}, which holds", first.key);
            context.report(
                object,
                (Code::PolicyConflict, Severity::Warning),
                path,
                message,
                "keep one of them",
            );
        };
        if spec.traffic_policy != none && !std::ptr::eq(&spec.traffic_policy, policy) {
            conflict(context, "spec.trafficPolicy", "the traffic policy");
        }
        for (i, subset) in spec.subsets.iter().enumerate() {
            if subsets.iter().any(|known| known.name == subset.name) {
                conflict(
                    context,
                    &format!("spec.subsets[{i}].name"),
                    &format!("the subset {}", subset.name),
                );
                continue;
            }
            let merged = match &subset.traffic_policy {
                Some(over) => overlay(policy, over),
                None => policy.clone(),
            };
            subsets.push(Subset {
                name: subset.name.clone(),
                labels: subset.labels.clone(),
                policy: traffic_policy(&merged),
            });
        }
    }
    ServicePolicy {
        origin: origin(first),
        host: host.clone(),
        selector: selector.cloned(),
        exported,
        policy: traffic_policy(policy),
        subsets,
    }
}

/// A subset's policy over its host's.
fn overlay(base: &api::TrafficPolicy, over: &api::TrafficPolicy) -> api::TrafficPolicy {
    let mut merged = base.clone();
    merged.load_balancer = over.load_balancer.clone().or(merged.load_balancer);
    merged.connection_pool = over.connection_pool.clone().or(merged.connection_pool);
    merged.outlier_detection = over.outlier_detection.clone().or(merged.outlier_detection);
    merged.tls = over.tls.clone().or(merged.tls);
    merged.tunnel = over.tunnel.clone().or(merged.tunnel);
    merged.proxy_protocol = over.proxy_protocol.or(merged.proxy_protocol);
    merged.retry_budget = over.retry_budget.or(merged.retry_budget);
    for setting in &mut merged.port_level_settings {
        setting.load_balancer = over.load_balancer.clone().or(setting.load_balancer.take());
        setting.connection_pool = over.connection_pool.clone().or(setting.connection_pool.take());
        setting.outlier_detection = over
            .outlier_detection
            .clone()
            .or(setting.outlier_detection.take());
        setting.tls = over.tls.clone().or(setting.tls.take());
    }
    let replaced = |setting: &PortPolicy| {
        over.port_level_settings
            .iter()
            .any(|own| own.port == setting.port)
    };
    merged.port_level_settings.retain(|setting| !replaced(setting));
    merged
        .port_level_settings
        .extend(over.port_level_settings.iter().cloned());
    merged
}
