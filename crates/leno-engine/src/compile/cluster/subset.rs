//! Subsets of a cluster's endpoints, by their metadata: `lb_subset_config` and the policy of the same meaning.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::metadata::{self, Fields};
use crate::compile::pb::cluster::LoadBalancingPolicy;
use crate::compile::pb::cluster::cluster as older;
use crate::compile::pb::lb::subset as pb;

/// Envoy docs: "Load balancer subsets".
#[derive(Clone, Debug, PartialEq)]
pub struct SubsetConfig {
    /// Where no subset is asked for, or what is asked for does not exist.
    pub fallback: Fallback,
    pub default_subset: Fields,
    pub selectors: Vec<Selector>,
    /// Localities are weighted inside of subsets too.
    pub locality_weight_aware: bool,
    /// A locality weighs in a subset by the share of its endpoints that are in it.
    pub scale_locality_weight: bool,
    /// Any endpoint, where the fallback has none.
    pub panic_mode_any: bool,
    /// An endpoint whose value is a list is in the subsets of all of its values.
    pub list_as_any: bool,
}

/// Endpoints that have values for all of these keys form a subset for each combination of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    pub keys: BTreeSet<String>,
    /// None: the cluster's.
    pub fallback: Option<Fallback>,
    /// Each combination is one endpoint's: the first that has it.
    pub single_host: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    None,
    Any,
    Default,
    /// The subset by these keys alone.
    Keys(BTreeSet<String>),
}

/// None: no selectors, no subsets.
pub(super) fn older(
    at: &At<'_>,
    message: &older::LbSubsetConfig,
) -> Result<Option<Arc<SubsetConfig>>, Rejection> {
    let older::LbSubsetConfig {
        fallback_policy,
        default_subset,
        subset_selectors,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
    } = message;
    let selectors = subset_selectors.iter().map(|selector| {
        let older::lb_subset_config::LbSubsetSelector {
            keys,
            single_host_per_subset,
            fallback_policy,
            fallback_keys_subset,
        } = selector;
        pb::subset::LbSubsetSelector {
            keys: keys.clone(),
            single_host_per_subset: *single_host_per_subset,
            fallback_policy: *fallback_policy,
            fallback_keys_subset: fallback_keys_subset.clone(),
        }
    });
    let same = pb::Subset {
        fallback_policy: *fallback_policy,
        default_subset: default_subset.clone(),
        subset_selectors: selectors.collect(),
        allow_redundant_keys: false,
        locality_weight_aware: *locality_weight_aware,
        scale_locality_weight: *scale_locality_weight,
        panic_mode_any: *panic_mode_any,
        list_as_any: *list_as_any,
        metadata_fallback_policy: *metadata_fallback_policy,
        subset_lb_policy: None,
    };
    let (config, _) = subsets(at, &same)?;
    Ok((!config.selectors.is_empty()).then(|| Arc::new(config)))
}

/// And the policy inside of subsets, which the older form has elsewhere.
pub(super) fn subsets<'a>(
    at: &At<'_>,
    message: &'a pb::Subset,
) -> Result<(SubsetConfig, &'a Option<LoadBalancingPolicy>), Rejection> {
    use pb::subset::{LbSubsetFallbackPolicy as Policy, LbSubsetMetadataFallbackPolicy as List};
    let pb::Subset {
        fallback_policy,
        default_subset,
        subset_selectors,
        allow_redundant_keys,
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
        subset_lb_policy,
    } = message;
    refuse!(at; allow_redundant_keys);
    match at.choice("metadata_fallback_policy", *metadata_fallback_policy)? {
        List::MetadataNoFallback => {}
        List::FallbackList => {
            return Err(at
                .field("metadata_fallback_policy")
                .reject("FALLBACK_LIST is not supported"));
        }
    }
    let config = SubsetConfig {
        fallback: match at.choice("fallback_policy", *fallback_policy)? {
            Policy::NoFallback => Fallback::None,
            Policy::AnyEndpoint => Fallback::Any,
            Policy::DefaultSubset => Fallback::Default,
        },
        default_subset: default_subset.as_ref().map(metadata::fields).unwrap_or_default(),
        selectors: at.each("subset_selectors", subset_selectors, selector)?,
        locality_weight_aware: *locality_weight_aware,
        scale_locality_weight: *scale_locality_weight,
        panic_mode_any: *panic_mode_any,
        list_as_any: *list_as_any,
    };
    Ok((config, subset_lb_policy))
}

fn selector(at: &At<'_>, message: &pb::subset::LbSubsetSelector) -> Result<Selector, Rejection> {
    use pb::subset::lb_subset_selector::LbSubsetSelectorFallbackPolicy as Policy;
    let pb::subset::LbSubsetSelector {
        keys,
        single_host_per_subset,
        fallback_policy,
        fallback_keys_subset,
    } = message;
    let keys: BTreeSet<String> = keys.iter().cloned().collect();
    let fewer: BTreeSet<String> = fallback_keys_subset.iter().cloned().collect();
    let policy: Policy = at.choice("fallback_policy", *fallback_policy)?;
    if policy != Policy::KeysSubset && !fewer.is_empty() {
        return Err(at
            .field("fallback_keys_subset")
            .reject("goes with the fallback_policy KEYS_SUBSET alone"));
    }
    if policy == Policy::KeysSubset && (fewer.is_empty() || !fewer.is_subset(&keys) || fewer == keys) {
        return Err(at
            .field("fallback_keys_subset")
            .reject("some of the selector's keys, but not all"));
    }
    if *single_host_per_subset && keys.len() != 1 {
        return Err(at.field("single_host_per_subset").reject("needs exactly one key"));
    }
    Ok(Selector {
        fallback: match policy {
            Policy::NotDefined => None,
            Policy::NoFallback => Some(Fallback::None),
            Policy::AnyEndpoint => Some(Fallback::Any),
            Policy::DefaultSubset => Some(Fallback::Default),
            Policy::KeysSubset => Some(Fallback::Keys(fewer)),
        },
        keys,
        single_host: *single_host_per_subset,
    })
}
