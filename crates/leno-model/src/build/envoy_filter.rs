//! EnvoyFilter: objects to patches by namespace. Their values have become messages when they were read.

use std::sync::Arc;

use leno_api::kinds::envoy_filter::{ConfigPatch, EnvoyFilterSpec, FilterMatch, ObjectMatch};
use leno_api::validate::envoy_filter::present_name;
use leno_api::{Object, Spec};
use regex::Regex;

use super::{of_kind, origin};
use crate::envoy_filter::{EnvoyFilter, EnvoyFilters, EnvoyPatch, VersionPattern};
use crate::in_force::PolicyTarget;

pub(crate) fn envoy_filters(objects: &[&Arc<Object>], root: &str) -> EnvoyFilters {
    let specs = of_kind(objects, |spec| match spec {
        Spec::EnvoyFilter(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let filters = specs.into_iter().map(|(object, spec)| {
        let patches = spec.config_patches.iter();
        let filter = EnvoyFilter {
            origin: origin(object),
            target: target(spec),
            priority: i32::try_from(spec.priority).unwrap_or_default(),
            patches: patches.filter_map(patch).map(Arc::new).collect(),
        };
        (object.key.namespace.to_string(), filter)
    });
    EnvoyFilters::new(root, filters)
}

fn target(spec: &EnvoyFilterSpec) -> PolicyTarget {
    if spec.target_refs.is_empty() {
        let selector = spec.workload_selector.as_ref();
        return PolicyTarget::Workloads(selector.map(|by| by.labels.clone()).unwrap_or_default());
    }
    PolicyTarget::Gateways(
        spec.target_refs
            .iter()
            .map(|target| target.name.clone())
            .collect(),
    )
}

/// Validation has refused what is none.
fn patch(said: &ConfigPatch) -> Option<EnvoyPatch> {
    let patch = said.patch.as_ref()?;
    let mut matches = said.r#match.clone();
    let version = matches
        .proxy
        .as_mut()
        .map(|proxy| std::mem::take(&mut proxy.proxy_version))
        .filter(|pattern| !pattern.is_empty());
    let version = match version {
        Some(pattern) => Some(VersionPattern(Regex::new(&pattern).ok()?)),
        None => None,
    };
    rename(&mut matches);
    Some(EnvoyPatch {
        apply_to: said.apply_to?,
        operation: patch.operation?,
        matches,
        version,
        change: patch.change.clone(),
    })
}

fn rename(matches: &mut ObjectMatch) {
    let Some(listener) = &mut matches.listener else {
        return;
    };
    listener.listener_filter = present_name(&listener.listener_filter).to_owned();
    let chain = listener.filter_chain.as_mut();
    if let Some(FilterMatch { name, sub_filter }) = chain.and_then(|chain| chain.filter.as_mut()) {
        *name = present_name(name).to_owned();
        if let Some(inner) = sub_filter {
            inner.name = present_name(&inner.name).to_owned();
        }
    }
}
