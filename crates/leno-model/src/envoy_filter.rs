//! EnvoyFilter: changes to what proxies are given.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex::Regex;

pub use leno_api::kinds::envoy_filter::{
    ApplyTo, ClusterMatch, FilterChainMatch, ListenerMatch, ObjectMatch, Operation, PatchContext,
    RouteAction, RouteConfigurationMatch, RouteMatch, VirtualHostMatch,
};
pub use leno_api::validate::envoy_filter::present_name;
pub use leno_api::{Change as EnvoyChange, Lists};

use crate::in_force::{Policies, PolicyTarget, Targeted};
use crate::name::{Labels, Origin};

/// All of the mesh.
pub type EnvoyFilters = Policies<EnvoyFilter>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvoyFilter {
    pub origin: Origin,
    pub target: PolicyTarget,
    /// The lowest comes first.
    pub priority: i32,
    pub patches: Vec<Arc<EnvoyPatch>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvoyPatch {
    pub apply_to: ApplyTo,
    pub operation: Operation,
    /// Of the filters' names those that they have now.
    pub matches: ObjectMatch,
    pub version: Option<VersionPattern>,
    /// None: there is nothing to say, as with REMOVE.
    pub change: Option<EnvoyChange>,
}

/// What a proxy's `ISTIO_VERSION` has to look like.
#[derive(Clone, Debug)]
pub struct VersionPattern(pub(crate) Regex);

impl EnvoyFilters {
    /// The patches for a proxy, in the order in which they are applied: by priority, the root namespace's first, by name.
    /// `gateways`: those of its own namespace that it serves.
    pub fn for_proxy(
        &self,
        (namespace, labels): (&str, &Labels),
        metadata: &BTreeMap<String, String>,
        gateways: &[&Origin],
    ) -> Vec<Arc<EnvoyPatch>> {
        let mut filters = self.for_gateway(namespace, labels, gateways);
        filters.sort_by_key(|filter| filter.priority);
        let patches = filters.iter().flat_map(|filter| &filter.patches);
        patches.filter(|patch| patch.is_for(metadata)).cloned().collect()
    }
}

impl EnvoyPatch {
    fn is_for(&self, metadata: &BTreeMap<String, String>) -> bool {
        let version = self.version.as_ref().is_none_or(|pattern| {
            metadata
                .get("ISTIO_VERSION")
                .is_some_and(|version| pattern.0.is_match(version))
        });
        let Some(proxy) = &self.matches.proxy else {
            return version;
        };
        let has = |(key, value): (&String, &String)| metadata.get(key) == Some(value);
        version && proxy.metadata.iter().all(has)
    }
}

impl Targeted for EnvoyFilter {
    fn target(&self) -> &PolicyTarget {
        &self.target
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl PartialEq for VersionPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for VersionPattern {}

impl Hash for VersionPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}
