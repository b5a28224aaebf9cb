//! EnvoyFilter: what is made is changed before it is encoded.
//!
//! Which patches are for a resource is found out with all else that it depends on, so they are a part of its cache key;
//! where there is none the key stays what it was. Which objects within the resource they are for, and in which order they are
//! applied, is Istio's: first what encloses, then what is in it; there the patches in their order, those that merge
//! last.

mod cluster;
mod list;
mod listener;
mod matching;
mod route;

use std::sync::Arc;

use leno_model::EnvoyPatch;
use leno_model::envoy_filter::{ApplyTo, EnvoyChange, Lists, Operation, PatchContext};
use prost::Message;

use crate::naming::{ClusterName, INBOUND_PASSTHROUGH, VIRTUAL_INBOUND};
use crate::pb::cluster::Cluster;
use crate::pb::listener::Listener;
use crate::reader::Reader;
use crate::{Proxy, ProxyKind, ResourceType};

pub(crate) use listener::patch as patch_listener;
pub(crate) use route::patch as patch_routes;

/// What a resource is made from, and what is changed of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Patched<I> {
    pub(crate) input: I,
    pub(crate) patches: Patches,
}

/// What becomes of a resource by patches.
pub(crate) enum Outcome<I> {
    Unchanged(I),
    Patched(Patched<I>),
    Added(Added),
}

/// A resource that there is only because a patch adds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Added {
    pub(crate) kind: ResourceType,
    pub(crate) name: String,
    pub(crate) change: EnvoyChange,
}

/// Patches for one resource, never none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Patches {
    list: Vec<Arc<EnvoyPatch>>,
    scope: Scope,
}

/// Whose resource it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Scope {
    context: PatchContext,
    /// What others have by port, leno's proxy asks for by address: to a patch that is the same.
    on_demand: bool,
}

/// The resource as the patches for the proxy have it; None: it is removed, or there is none.
pub(crate) fn patched<I>(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    (kind, name): (ResourceType, &str),
    input: Option<I>,
) -> Option<Outcome<I>> {
    let applies: &[ApplyTo] = match kind {
        ResourceType::Listener => LISTENER,
        ResourceType::Route => ROUTES,
        ResourceType::Cluster => &[ApplyTo::Cluster],
        ResourceType::Endpoints | ResourceType::NameTable | ResourceType::Secret => {
            return input.map(Outcome::Unchanged);
        }
    };
    let all = patches(reader, proxy);
    if all.is_empty() {
        return input.map(Outcome::Unchanged);
    }
    let Some(input) = input else {
        let mut added = added(&all, proxy, kind);
        return added.find(|added| added.name == name).map(Outcome::Added);
    };
    let scope = Scope {
        context: context(proxy, kind, name),
        on_demand: proxy.on_demand,
    };
    let services = match ClusterName::parse(name) {
        Some(ClusterName::Inbound { port }) if kind == ResourceType::Cluster => {
            let served = crate::sidecar::inbound_port(reader, proxy, port);
            served.map_or(Vec::new(), |served| served.services)
        }
        _ => Vec::new(),
    };
    let hosts: Vec<&str> = services.iter().map(|service| service.host.as_str()).collect();
    let is_meant = |patch: &Arc<EnvoyPatch>| {
        applies.contains(&patch.apply_to)
            && patch.operation_is_inside(kind)
            && matching::context(patch, scope.context)
            // Of routes only inbound ones stand in a listener.
            && (kind != ResourceType::Listener
                || name == VIRTUAL_INBOUND
                || !ROUTES.contains(&patch.apply_to))
            && match kind {
                ResourceType::Cluster => matching::cluster(patch, name, &hosts),
                ResourceType::Listener => matching::listener(patch, name, scope.on_demand),
                _ => matching::routes(patch, name, scope.context),
            }
    };
    let list: Vec<Arc<EnvoyPatch>> = all.into_iter().filter(is_meant).collect();
    if list.is_empty() {
        return Some(Outcome::Unchanged(input));
    }
    let removes = |patch: &Arc<EnvoyPatch>| {
        patch.operation == Operation::Remove && matches!(patch.apply_to, ApplyTo::Listener | ApplyTo::Cluster)
    };
    if list.iter().any(removes) {
        return None;
    }
    let patches = Patches { list, scope };
    Some(Outcome::Patched(Patched { input, patches }))
}

const LISTENER: &[ApplyTo] = &[
    ApplyTo::Listener,
    ApplyTo::FilterChain,
    ApplyTo::NetworkFilter,
    ApplyTo::HttpFilter,
    ApplyTo::ListenerFilter,
    // Inbound routes stand in the listener.
    ApplyTo::RouteConfiguration,
    ApplyTo::VirtualHost,
    ApplyTo::HttpRoute,
];

const ROUTES: &[ApplyTo] = &[
    ApplyTo::RouteConfiguration,
    ApplyTo::VirtualHost,
    ApplyTo::HttpRoute,
];

/// Of a wildcard's names those that are left, and those that are added.
pub(crate) fn names(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    kind: ResourceType,
    mut names: Vec<String>,
) -> Vec<String> {
    if !matches!(kind, ResourceType::Listener | ResourceType::Cluster) {
        return names;
    }
    let all = patches(reader, proxy);
    if all.is_empty() {
        return names;
    }
    let removing: Vec<&Arc<EnvoyPatch>> = all
        .iter()
        .filter(|patch| patch.operation == Operation::Remove)
        .collect();
    if !removing.is_empty() {
        // What a cluster of an inbound port is called by its services is known where it is asked for: one that is
        // removed so is answered with nothing.
        names.retain(|name| {
            let context = context(proxy, kind, name);
            !removing.iter().any(|patch| {
                matching::context(patch, context)
                    && match (kind, patch.apply_to) {
                        (ResourceType::Cluster, ApplyTo::Cluster) => matching::cluster(patch, name, &[]),
                        (ResourceType::Listener, ApplyTo::Listener) => {
                            matching::listener(patch, name, proxy.on_demand)
                        }
                        _ => false,
                    }
            })
        });
    }
    for added in added(&all, proxy, kind) {
        if !names.contains(&added.name) {
            names.push(added.name);
        }
    }
    names
}

/// The patches for a proxy. A library in the application gets none, as in Istio.
fn patches(reader: &mut Reader<'_>, proxy: &Proxy) -> Vec<Arc<EnvoyPatch>> {
    if proxy.kind == ProxyKind::Grpc {
        return Vec::new();
    }
    reader.envoy_patches(proxy)
}

/// What is added beside all else: to a sidecar outbound, where nothing is said.
fn added<'a>(
    all: &'a [Arc<EnvoyPatch>],
    proxy: &'a Proxy,
    kind: ResourceType,
) -> impl Iterator<Item = Added> + 'a {
    let all = all.iter().filter(move |patch| {
        let fits = match kind {
            ResourceType::Listener => patch.apply_to == ApplyTo::Listener,
            ResourceType::Cluster => patch.apply_to == ApplyTo::Cluster,
            _ => false,
        };
        fits && adds(patch.operation)
            && match patch.matches.context {
                PatchContext::Any => true,
                PatchContext::Gateway => proxy.is_gateway(),
                PatchContext::SidecarInbound | PatchContext::SidecarOutbound => !proxy.is_gateway(),
                PatchContext::Waypoint => false,
            }
    });
    all.filter_map(move |patch| {
        let change = patch.change.clone()?;
        let message = change.message();
        let name = match kind {
            ResourceType::Cluster => Cluster::decode(message.as_slice()).ok()?.name,
            _ => Listener::decode(message.as_slice()).ok()?.name,
        };
        (!name.is_empty()).then_some(Added { kind, name, change })
    })
}

/// Where there is no order, what is inserted is added.
fn adds(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Add | Operation::InsertBefore | Operation::InsertAfter | Operation::InsertFirst
    )
}

fn context(proxy: &Proxy, kind: ResourceType, name: &str) -> PatchContext {
    let inbound = match kind {
        ResourceType::Cluster => {
            name == INBOUND_PASSTHROUGH
                || matches!(ClusterName::parse(name), Some(ClusterName::Inbound { .. }))
        }
        _ => name == VIRTUAL_INBOUND,
    };
    match (proxy.is_gateway(), inbound) {
        (true, _) => PatchContext::Gateway,
        (false, true) => PatchContext::SidecarInbound,
        (false, false) => PatchContext::SidecarOutbound,
    }
}

/// Says of a patch whether it is for what a resource is or has.
trait Inside {
    fn operation_is_inside(&self, kind: ResourceType) -> bool;
}

impl Inside for EnvoyPatch {
    fn operation_is_inside(&self, kind: ResourceType) -> bool {
        let whole = match kind {
            ResourceType::Listener => self.apply_to == ApplyTo::Listener,
            ResourceType::Cluster => self.apply_to == ApplyTo::Cluster,
            _ => false,
        };
        !(whole && (adds(self.operation) || self.operation == Operation::Replace))
    }
}

impl Patches {
    /// Those for one kind of object.
    fn of(&self, apply_to: ApplyTo) -> impl Iterator<Item = &EnvoyPatch> {
        let all = self.list.iter().map(AsRef::as_ref);
        all.filter(move |patch: &&EnvoyPatch| patch.apply_to == apply_to)
    }

    fn any(&self, apply_to: &[ApplyTo]) -> bool {
        self.list.iter().any(|patch| apply_to.contains(&patch.apply_to))
    }
}

pub(crate) fn patch_cluster(cluster: &mut Cluster, patches: &Patches) {
    cluster::patch(cluster, patches);
}

/// Merges, where the patch does.
fn merge<M: Message + Default>(into: &mut M, patch: &EnvoyPatch) {
    let lists = match patch.operation {
        Operation::Merge => Lists::Append,
        Operation::MergeAndReplaceList => Lists::Replace,
        _ => return,
    };
    if let Some(change) = &patch.change {
        apply(into, change, lists);
    }
}

/// Both are of one type, so what comes out is a message of it again.
fn apply<M: Message + Default>(into: &mut M, change: &EnvoyChange, lists: Lists) {
    let changed = change.apply(&into.encode_to_vec(), lists);
    if let Some(changed) = changed.and_then(|bytes| M::decode(bytes.as_slice()).ok()) {
        *into = changed;
    }
}

/// The patch as an object of its own.
fn object<M: Message + Default>(patch: &EnvoyPatch) -> Option<M> {
    M::decode(patch.change.as_ref()?.message().as_slice()).ok()
}
