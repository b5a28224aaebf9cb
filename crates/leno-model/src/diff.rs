//! What differs between two snapshots, and sharing what does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::delta::{Delta, Key};
use crate::in_force::Policies;
use crate::name::{Host, WorkloadId};
use crate::policy::HostPolicies;
use crate::service::Service;
use crate::snapshot::Snapshot;
use crate::visibility::{Exported, Scoped};

/// Every key that differs, after making `new` share with `old` whatever is equal.
pub(crate) fn diff(old: &Snapshot, new: &mut Snapshot) -> Delta {
    share_parts(old, new);
    let mut changed = BTreeSet::new();
    if old.mesh != new.mesh {
        changed.insert(Key::Mesh);
    }
    policies(
        &old.authorization,
        &new.authorization,
        Key::Authorization,
        &mut changed,
    );
    policies(
        &old.authentication,
        &new.authentication,
        Key::Authentication,
        &mut changed,
    );
    policies(
        &old.envoy_filters,
        &new.envoy_filters,
        Key::EnvoyFilters,
        &mut changed,
    );
    policies(&old.telemetries, &new.telemetries, Key::Telemetry, &mut changed);
    sidecars(old, new, &mut changed);
    services(&old.services, &new.services, &mut changed);
    different(&old.endpoints, &new.endpoints, Arc::ptr_eq, |host| {
        changed.insert(Key::Endpoints(host.clone()))
    });
    routes(&old.http_routes, &new.http_routes, &mut changed);
    routes(&old.tcp_routes, &new.tcp_routes, &mut changed);
    if old.gateways.len() != new.gateways.len() || !all_same(&old.gateways, &new.gateways) {
        changed.insert(Key::Gateways);
    }
    let secret = |key: &(String, String)| Key::Secret(key.0.clone(), key.1.clone());
    for (key, value) in &new.secrets {
        if !old
            .secrets
            .get(key)
            .is_some_and(|before| Arc::ptr_eq(before, value))
        {
            changed.insert(secret(key));
        }
    }
    let gone = old.secrets.keys().filter(|key| !new.secrets.contains_key(*key));
    changed.extend(gone.map(secret));
    let mut rules = BTreeSet::new();
    different(&old.policies, &new.policies, Arc::ptr_eq, |host| {
        rules.insert(host.clone())
    });
    for host in rules {
        let of = |all: &HashMap<Host, Arc<HostPolicies>>| all.get(&host).cloned().unwrap_or_default();
        destination_rules(&host, (&of(&old.policies), &of(&new.policies)), &mut changed);
    }
    let mut modes: BTreeSet<WorkloadId> = BTreeSet::new();
    different(&old.mtls, &new.mtls, Arc::ptr_eq, |id| modes.insert(id.clone()));
    // Whether a caller uses mTLS depends on what the called workload accepts.
    for (host, endpoints) in &new.endpoints {
        if endpoints.iter().any(|workload| modes.contains(&workload.id)) {
            changed.insert(Key::Endpoints(host.clone()));
        }
    }
    changed.extend(modes.into_iter().map(Key::Workload));
    for (id, workload) in &new.workloads {
        if !old
            .workloads
            .get(id)
            .is_some_and(|before| Arc::ptr_eq(before, workload))
        {
            changed.insert(Key::Workload(id.clone()));
        }
    }
    let gone = old.workloads.keys().filter(|id| !new.workloads.contains_key(*id));
    changed.extend(gone.cloned().map(Key::Workload));
    Delta { changed }
}

/// Of another root namespace the policies are for other workloads: both namespaces' have changed then.
fn policies<P: PartialEq>(
    old: &Policies<P>,
    new: &Policies<P>,
    key: impl Fn(String) -> Key,
    changed: &mut BTreeSet<Key>,
) {
    let key = |namespace: &str| key(namespace.to_owned());
    if old.root != new.root {
        changed.extend([key(&old.root), key(&new.root)]);
    }
    for (namespace, policies) in &new.namespaces {
        if old.namespaces.get(namespace) != Some(policies) {
            changed.insert(key(namespace));
        }
    }
    let gone = old
        .namespaces
        .keys()
        .filter(|namespace| !new.namespaces.contains_key(*namespace));
    changed.extend(gone.map(|namespace| key(namespace)));
}

fn services(
    old: &BTreeMap<Host, Arc<Service>>,
    new: &BTreeMap<Host, Arc<Service>>,
    changed: &mut BTreeSet<Key>,
) {
    for (host, service) in new {
        let before = old.get(host);
        match before {
            Some(before) if Arc::ptr_eq(before, service) => continue,
            Some(before) if found_by(before) == found_by(service) && before.exported == service.exported => {}
            Some(before) => {
                lists(before, changed);
                lists(service, changed);
            }
            None => lists(service, changed),
        }
        changed.insert(Key::Service(host.clone()));
    }
    for (host, service) in old.iter().filter(|(host, _)| !new.contains_key(*host)) {
        lists(service, changed);
        changed.insert(Key::Service(host.clone()));
    }
}

/// Who is told that a service has come or gone.
fn lists(service: &Service, changed: &mut BTreeSet<Key>) {
    if service.exported == Exported::Everywhere {
        changed.insert(Key::ServiceList);
        return;
    }
    let own: Arc<str> = service.namespace.as_str().into();
    let named = service.exported.named().cloned().chain([own]);
    changed.extend(named.map(Key::ServiceListOf));
    changed.insert(Key::Exported(service.host.clone()));
}

/// Those of the root namespace are for every namespace.
fn sidecars(old: &Snapshot, new: &Snapshot, changed: &mut BTreeSet<Key>) {
    policies(&old.sidecars, &new.sidecars, Key::Sidecar, changed);
    let root = &new.sidecars.root;
    let for_all = old.sidecars.namespaces.get(root) != new.sidecars.namespaces.get(root);
    if for_all || old.sidecars.root != *root {
        let workloads = new.workloads.values().map(|workload| &workload.namespace);
        let all = workloads.chain(new.services.values().map(|service| &service.namespace));
        let all: BTreeSet<&String> = all.collect();
        changed.extend(all.into_iter().cloned().map(Key::Sidecar));
    }
    let same = |a: &BTreeSet<Host>, b: &BTreeSet<Host>| a == b;
    different(&old.led_to, &new.led_to, same, |host| {
        changed.insert(Key::LedTo(host.clone()))
    });
}

/// Whom it concerns that the rules for a host are others. A namespace that is named from now on, or no longer, depends on
/// something else.
fn destination_rules(host: &Host, (old, new): (&HostPolicies, &HostPolicies), changed: &mut BTreeSet<Key>) {
    let same = |namespace: &str| old.seen_by(namespace).eq(new.seen_by(namespace));
    // No namespace has this name.
    if !same("") {
        changed.insert(Key::Policy(host.clone()));
    }
    let (was, is): (BTreeSet<_>, BTreeSet<_>) = (old.named().collect(), new.named().collect());
    for namespace in was.union(&is) {
        if was.contains(namespace) != is.contains(namespace) || !same(namespace) {
            changed.insert(Key::PolicyOf(host.clone(), Arc::clone(namespace)));
        }
    }
}

fn routes<R>(
    old: &HashMap<Host, Scoped<Vec<Arc<R>>>>,
    new: &HashMap<Host, Scoped<Vec<Arc<R>>>>,
    changed: &mut BTreeSet<Key>,
) {
    let gone = old.keys().filter(|host| !new.contains_key(*host));
    for host in new.keys().chain(gone) {
        let same = |a: &Vec<Arc<R>>, b: &Vec<Arc<R>>| all_same(a, b);
        let nothing = Vec::new();
        let (others, namespaces) = Scoped::differing(old.get(host), new.get(host), &nothing, same);
        if others {
            changed.insert(Key::Routes(host.clone()));
        }
        let own = namespaces.into_iter();
        changed.extend(own.map(|namespace| Key::RoutesOf(host.clone(), namespace)));
    }
}

/// By what a connection is known to be for the service: a search over all of them depends on it.
fn found_by(service: &Service) -> (&[IpAddr], &[IpNet], bool) {
    (&service.vips, &service.addresses, service.is_anywhere())
}

fn share_parts(old: &Snapshot, new: &mut Snapshot) {
    if old.mesh == new.mesh {
        new.mesh = old.mesh.clone();
    }
    share(&mut new.authorization, Some(&old.authorization));
    share(&mut new.authentication, Some(&old.authentication));
    share(&mut new.envoy_filters, Some(&old.envoy_filters));
    share(&mut new.telemetries, Some(&old.telemetries));
    share(&mut new.sidecars, Some(&old.sidecars));
    for (host, service) in &mut new.services {
        share(service, old.services.get(host));
    }
    for (host, endpoints) in &mut new.endpoints {
        share(endpoints, old.endpoints.get(host));
    }
    for (host, policy) in &mut new.policies {
        share(policy, old.policies.get(host));
    }
    for (id, mtls) in &mut new.mtls {
        share(mtls, old.mtls.get(id));
    }
    for (host, routes) in &mut new.http_routes {
        share_scoped(routes, old.http_routes.get(host));
    }
    for gateway in &mut new.gateways {
        share(
            gateway,
            old.gateways.iter().find(|before| before.origin == gateway.origin),
        );
    }
    for (name, secret) in &mut new.secrets {
        share(secret, old.secrets.get(name));
    }
    for (host, routes) in &mut new.tcp_routes {
        share_scoped(routes, old.tcp_routes.get(host));
    }
}

fn share<T: PartialEq>(new: &mut Arc<T>, old: Option<&Arc<T>>) {
    if let Some(old) = old.filter(|old| !Arc::ptr_eq(old, new) && **old == *new) {
        *new = old.clone();
    }
}

/// Whatever namespace had it before.
fn share_scoped<T: PartialEq>(new: &mut Scoped<Vec<Arc<T>>>, old: Option<&Scoped<Vec<Arc<T>>>>) {
    let Some(old) = old else { return };
    for part in new.all_mut().flatten() {
        share(part, old.all().flatten().find(|candidate| **candidate == *part));
    }
}

fn all_same<T>(old: &[Arc<T>], new: &[Arc<T>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| Arc::ptr_eq(a, b))
}

fn different<K: Hash + Eq, V, R>(
    old: &HashMap<K, V>,
    new: &HashMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
    mut found: impl FnMut(&K) -> R,
) {
    for (key, value) in new {
        if !old.get(key).is_some_and(|before| same(before, value)) {
            found(key);
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        found(key);
    }
}
