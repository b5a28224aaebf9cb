//! AuthorizationPolicy: who may do what to which workloads.

use std::collections::BTreeMap;
use std::sync::Arc;

pub use leno_api::kinds::authorization_policy::Attribute;
pub use leno_api::validate::authorization_policy::is_template;

use crate::name::{Labels, Origin};

/// All policies of the mesh, by the namespace they are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    /// Policies of this namespace are for all of them.
    pub root: String,
    /// Each namespace's in the order of their names.
    pub namespaces: BTreeMap<String, Arc<Vec<Arc<AuthorizationPolicy>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizationPolicy {
    pub origin: Origin,
    pub target: PolicyTarget,
    pub action: AuthorizationAction,
    /// It is only watched.
    pub dry_run: bool,
    /// None is there: nothing ever matches. One without any condition: everything does.
    pub rules: Vec<AuthorizationRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PolicyTarget {
    /// Workloads with these labels; without any: all.
    Workloads(Labels),
    /// Gateways of the policy's namespace, by their names.
    Gateways(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthorizationAction {
    Allow,
    Deny,
    Audit,
    Custom { provider: String },
}

/// Matches where one of the sources, one of the operations and all conditions do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AuthorizationRule {
    /// Each a set of conditions that must all hold; empty: anybody.
    pub sources: Vec<Vec<AuthorizationCondition>>,
    /// Empty: anything.
    pub operations: Vec<Vec<AuthorizationCondition>>,
    pub when: Vec<AuthorizationCondition>,
    /// Where the rule is written.
    pub place: Arc<str>,
}

/// One of the values, if there are any, and none of the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizationCondition {
    pub subject: Subject,
    pub values: Vec<String>,
    pub not_values: Vec<String>,
}

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Attribute(Attribute),
    Host,
    Method,
    Path,
}

/// Those that are in force for a workload, in the order root namespace, own namespace, and there by name.
pub type InForce = Vec<Arc<AuthorizationPolicy>>;

// === impl Authorization ===

impl Authorization {
    /// What is in force for a workload of this namespace with these labels.
    pub fn for_workload(&self, namespace: &str, labels: &Labels) -> InForce {
        self.in_force(namespace, |policy| policy.selects(labels))
    }

    /// What is in force for a gateway proxy where it serves the Gateway of this origin.
    pub fn for_gateway(&self, namespace: &str, labels: &Labels, gateways: &[&Origin]) -> InForce {
        let mut found = self.in_force(namespace, |policy| policy.selects(labels));
        let mut namespaces: Vec<&str> = gateways.iter().map(|gateway| &*gateway.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            let targeting = self.of(namespace).iter().filter(|policy| {
                let PolicyTarget::Gateways(names) = &policy.target else {
                    return false;
                };
                let is_meant = |gateway: &&Origin| {
                    gateway.namespace == policy.origin.namespace
                        && names.iter().any(|name| *name == *gateway.name)
                };
                gateways.iter().any(is_meant)
            });
            found.extend(targeting.cloned());
        }
        found
    }

    fn in_force(&self, namespace: &str, holds: impl Fn(&AuthorizationPolicy) -> bool) -> InForce {
        let own = if namespace == self.root {
            &[]
        } else {
            self.of(namespace)
        };
        let all = self.of(&self.root).iter().chain(own);
        all.filter(|policy| holds(policy)).cloned().collect()
    }

    fn of(&self, namespace: &str) -> &[Arc<AuthorizationPolicy>] {
        self.namespaces
            .get(namespace)
            .map_or(&[], |policies| policies.as_slice())
    }
}

impl AuthorizationPolicy {
    fn selects(&self, labels: &Labels) -> bool {
        let PolicyTarget::Workloads(selector) = &self.target else {
            return false;
        };
        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The name of a rule as istiod gives it: `ns[default]-policy[allow]-rule[0]`.
    pub fn rule_name(&self, index: usize) -> String {
        format!(
            "ns[{}]-policy[{}]-rule[{index}]",
            self.origin.namespace, self.origin.name
        )
    }
}
