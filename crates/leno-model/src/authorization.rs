//! AuthorizationPolicy: who may do what to which workloads.

use std::sync::Arc;

pub use leno_api::kinds::authorization_policy::Attribute;
pub use leno_api::validate::authorization_policy::is_template;

use crate::in_force::{Policies, PolicyTarget, Targeted};
use crate::name::Origin;

/// All policies of the mesh.
pub type Authorization = Policies<AuthorizationPolicy>;

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

// === impl AuthorizationPolicy ===

impl Targeted for AuthorizationPolicy {
    fn target(&self) -> &PolicyTarget {
        &self.target
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl AuthorizationPolicy {
    /// The name of a rule as istiod gives it: `ns[default]-policy[allow]-rule[0]`.
    pub fn rule_name(&self, index: usize) -> String {
        format!(
            "ns[{}]-policy[{}]-rule[{index}]",
            self.origin.namespace, self.origin.name
        )
    }
}
