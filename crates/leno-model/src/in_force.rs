//! Policies of security.istio.io by the namespace they are of, and which of them are in force for whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name::{Labels, Origin};

/// All policies of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies<P> {
    /// Policies of this namespace are for all of them.
    pub root: String,
    /// Each namespace's in the order of their names.
    pub namespaces: BTreeMap<String, Arc<Vec<Arc<P>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PolicyTarget {
    /// Workloads with these labels; without any: all.
    Workloads(Labels),
    /// Gateways of the policy's namespace, by their names.
    Gateways(Vec<String>),
}

/// A policy, and whom it is for.
pub trait Targeted {
    fn target(&self) -> &PolicyTarget;
    fn origin(&self) -> &Origin;

    fn selects(&self, labels: &Labels) -> bool {
        let PolicyTarget::Workloads(selector) = self.target() else {
            return false;
        };
        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

// === impl Policies ===

impl<P> Default for Policies<P> {
    fn default() -> Self {
        Self {
            root: String::new(),
            namespaces: BTreeMap::new(),
        }
    }
}

impl<P> Policies<P> {
    /// Each with its namespace, in the order of their names there.
    pub(crate) fn new(root: &str, policies: impl IntoIterator<Item = (String, P)>) -> Self {
        let mut namespaces: BTreeMap<String, Vec<Arc<P>>> = BTreeMap::new();
        for (namespace, policy) in policies {
            namespaces.entry(namespace).or_default().push(Arc::new(policy));
        }
        Self {
            root: root.to_owned(),
            namespaces: namespaces
                .into_iter()
                .map(|(namespace, policies)| (namespace, Arc::new(policies)))
                .collect(),
        }
    }

    /// Every policy of every namespace.
    pub fn all(&self) -> impl Iterator<Item = &Arc<P>> {
        self.namespaces.values().flat_map(|policies| policies.iter())
    }

    fn of(&self, namespace: &str) -> &[Arc<P>] {
        self.namespaces
            .get(namespace)
            .map_or(&[], |policies| policies.as_slice())
    }
}

impl<P: Targeted> Policies<P> {
    /// What is in force for a workload of this namespace with these labels: in the order root namespace, own
    /// namespace, and there by name.
    pub fn for_workload(&self, namespace: &str, labels: &Labels) -> Vec<Arc<P>> {
        let own = if namespace == self.root {
            &[]
        } else {
            self.of(namespace)
        };
        let all = self.of(&self.root).iter().chain(own);
        all.filter(|policy| policy.selects(labels)).cloned().collect()
    }

    /// Whether a policy of the namespace is for Gateways.
    pub fn targets_gateways(&self, namespace: &str) -> bool {
        let mut policies = self.of(namespace).iter();
        policies.any(|policy| matches!(policy.target(), PolicyTarget::Gateways(_)))
    }

    /// What is in force for a gateway proxy where it serves the Gateways of these origins.
    pub fn for_gateway(&self, namespace: &str, labels: &Labels, gateways: &[&Origin]) -> Vec<Arc<P>> {
        let mut found = self.for_workload(namespace, labels);
        let mut namespaces: Vec<&str> = gateways.iter().map(|gateway| &*gateway.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            let targeting = self.of(namespace).iter().filter(|policy| {
                let PolicyTarget::Gateways(names) = policy.target() else {
                    return false;
                };
                let is_meant = |gateway: &&Origin| {
                    gateway.namespace == policy.origin().namespace
                        && names.iter().any(|name| *name == *gateway.name)
                };
                gateways.iter().any(is_meant)
            });
            found.extend(targeting.cloned());
        }
        found
    }
}
