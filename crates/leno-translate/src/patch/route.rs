//! Route configurations, their virtual hosts and routes.

use leno_model::envoy_filter::{ApplyTo, Operation};

use super::list::edit;
use super::{Patches, matching, merge, object};
use crate::pb::route::{RouteConfiguration, VirtualHost};

/// Whether the configuration as a whole is meant is looked at here again: one in a listener has a name of its own.
pub(crate) fn patch(routes: &mut RouteConfiguration, patches: &Patches) {
    let context = patches.scope.context;
    let name = routes.name.clone();
    let meant = |patch: &&leno_model::EnvoyPatch| matching::routes(patch, &name, context);
    for patch in patches.of(ApplyTo::RouteConfiguration).filter(meant) {
        merge(routes, patch);
    }
    let hosts: Vec<_> = patches.of(ApplyTo::VirtualHost).filter(meant).collect();
    let removes = |host: &VirtualHost| {
        let mut removing = hosts.iter().filter(|patch| patch.operation == Operation::Remove);
        removing.any(|patch| matching::virtual_host(patch, host))
    };
    routes.virtual_hosts.retain(|host| !removes(host));
    for host in &mut routes.virtual_hosts {
        for patch in &hosts {
            if !matching::virtual_host(patch, host) {
                continue;
            }
            merge(host, patch);
            if patch.operation == Operation::Replace
                && let Some(new) = object(patch)
            {
                *host = new;
            }
        }
        patch_host(host, &name, patches);
    }
    let added = hosts.iter().filter(|patch| super::adds(patch.operation));
    routes
        .virtual_hosts
        .extend(added.filter_map(|patch| object::<VirtualHost>(patch)));
}

fn patch_host(host: &mut VirtualHost, routes: &str, patches: &Patches) {
    let context = patches.scope.context;
    let all = patches.of(ApplyTo::HttpRoute);
    let patches: Vec<_> = all
        .filter(|patch| matching::routes(patch, routes, context) && matching::virtual_host(patch, host))
        .collect();
    for patch in &patches {
        for route in &mut host.routes {
            if matching::route(patch, route) {
                merge(route, patch);
            }
        }
    }
    for patch in &patches {
        let named = |route: &crate::pb::route::Route| matching::route(patch, route);
        match patch.operation {
            Operation::Remove => host.routes.retain(|route| !named(route)),
            Operation::Replace => {}
            // As in Istio: the first, but only where the route that it names is there.
            Operation::InsertFirst if matching::names_route(patch) && !host.routes.iter().any(named) => {}
            _ => {
                let by: Option<&dyn Fn(&crate::pb::route::Route) -> bool> =
                    matching::names_route(patch).then_some(&named);
                edit(&mut host.routes, patch, by);
            }
        }
    }
}
