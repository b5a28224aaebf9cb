//! Listeners, and all that is in them.

use leno_model::EnvoyPatch;
use leno_model::envoy_filter::{ApplyTo, Operation};
use leno_proto::{FromAny, ToAny};

use super::list::edit;
use super::{Patches, matching, merge, object, patch_routes};
use crate::pb::hcm::http_connection_manager::RouteSpecifier;
use crate::pb::hcm::{HttpConnectionManager, HttpFilter};
use crate::pb::listener::filter::ConfigType;
use crate::pb::listener::{Filter, FilterChain, Listener, ListenerFilter};

const INSIDE_HTTP: &[ApplyTo] = &[
    ApplyTo::HttpFilter,
    ApplyTo::RouteConfiguration,
    ApplyTo::VirtualHost,
    ApplyTo::HttpRoute,
];

/// The patches have been found to be for the listener.
pub(crate) fn patch(listener: &mut Listener, patches: &Patches) {
    for patch in patches.of(ApplyTo::Listener) {
        merge(listener, patch);
    }
    for patch in patches.of(ApplyTo::ListenerFilter) {
        let name = patch
            .matches
            .listener
            .as_ref()
            .map(|by| by.listener_filter.as_str());
        let name = name.filter(|name| !name.is_empty());
        let named = |filter: &ListenerFilter| name == Some(filter.name.as_str());
        let by: Option<&dyn Fn(&ListenerFilter) -> bool> = name.is_some().then_some(&named);
        edit(&mut listener.listener_filters, patch, by);
    }
    let name = listener.name.clone();
    let removed = |chain: &FilterChain| {
        let mut removing = patches
            .of(ApplyTo::FilterChain)
            .filter(|patch| patch.operation == Operation::Remove);
        removing.any(|patch| matching::chain(patch.matches.listener.as_ref(), &name, chain))
    };
    listener.filter_chains.retain(|chain| !removed(chain));
    if listener.default_filter_chain.as_ref().is_some_and(removed) {
        listener.default_filter_chain = None;
    }
    let chains = listener.filter_chains.iter_mut();
    for chain in chains.chain(listener.default_filter_chain.as_mut()) {
        patch_chain(chain, &name, patches);
    }
    let added = patches
        .of(ApplyTo::FilterChain)
        .filter(|patch| super::adds(patch.operation));
    listener
        .filter_chains
        .extend(added.filter_map(object::<FilterChain>));
}

fn patch_chain(chain: &mut FilterChain, listener: &str, patches: &Patches) {
    let meant = |chain: &FilterChain, patch: &EnvoyPatch| {
        matching::chain(patch.matches.listener.as_ref(), listener, chain)
    };
    for patch in patches.of(ApplyTo::FilterChain) {
        if meant(chain, patch) {
            merge(chain, patch);
        }
    }
    let network: Vec<&EnvoyPatch> = patches
        .of(ApplyTo::NetworkFilter)
        .filter(|patch| meant(chain, patch))
        .collect();
    for patch in &network {
        let name = matching::network_filter(patch.matches.listener.as_ref());
        let named = |filter: &Filter| name == Some(filter.name.as_str());
        let by: Option<&dyn Fn(&Filter) -> bool> = name.is_some().then_some(&named);
        edit(&mut chain.filters, patch, by);
    }
    for filter in &mut chain.filters {
        for patch in &network {
            let name = matching::network_filter(patch.matches.listener.as_ref());
            if name.is_none_or(|name| name == filter.name) && filter.config_type.is_some() {
                merge(filter, patch);
            }
        }
    }
    if !patches.any(INSIDE_HTTP) {
        return;
    }
    let http: Vec<&EnvoyPatch> = patches
        .of(ApplyTo::HttpFilter)
        .filter(|patch| meant(chain, patch))
        .collect();
    for filter in &mut chain.filters {
        patch_manager(filter, &http, patches);
    }
}

/// What is in a connection manager; other filters have no such parts.
fn patch_manager(filter: &mut Filter, http: &[&EnvoyPatch], patches: &Patches) {
    let Some(ConfigType::TypedConfig(config)) = &mut filter.config_type else {
        return;
    };
    let Ok(mut manager) = config.unpack::<HttpConnectionManager>() else {
        return;
    };
    let of_filter = |patch: &&&EnvoyPatch| {
        let name = matching::network_filter(patch.matches.listener.as_ref());
        name.is_none_or(|name| name == filter.name)
    };
    for patch in http.iter().filter(of_filter) {
        let name = matching::http_filter(patch.matches.listener.as_ref());
        let named = |filter: &HttpFilter| name == Some(filter.name.as_str());
        let by: Option<&dyn Fn(&HttpFilter) -> bool> = name.is_some().then_some(&named);
        edit(&mut manager.http_filters, patch, by);
    }
    for inner in &mut manager.http_filters {
        for patch in http.iter().filter(of_filter) {
            let name = matching::http_filter(patch.matches.listener.as_ref());
            if name.is_none_or(|name| name == inner.name) && inner.config_type.is_some() {
                merge(inner, patch);
            }
        }
    }
    if let Some(RouteSpecifier::RouteConfig(routes)) = &mut manager.route_specifier {
        patch_routes(routes, patches);
    }
    *config = manager.to_any();
}
