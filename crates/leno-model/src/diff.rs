//! What differs between two snapshots, and sharing what does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::delta::{Delta, Key};
use crate::in_force::Policies;
use crate::name::{Host, WorkloadId};
use crate::service::Service;
use crate::snapshot::Snapshot;

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
    services(&old.services, &new.services, &mut changed);
    different(&old.endpoints, &new.endpoints, Arc::ptr_eq, |host| {
        changed.insert(Key::Endpoints(host.clone()))
    });
    different(
        &old.http_routes,
        &new.http_routes,
        |a, b| all_same(a, b),
        |host| changed.insert(Key::Routes(host.clone())),
    );
    different(
        &old.tcp_routes,
        &new.tcp_routes,
        |a, b| all_same(a, b),
        |host| changed.insert(Key::Routes(host.clone())),
    );
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
    different(&old.policies, &new.policies, Arc::ptr_eq, |host| {
        changed.insert(Key::Policy(host.clone()))
    });
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
    let mut list = false;
    for (host, service) in new {
        match old.get(host) {
            Some(before) if Arc::ptr_eq(before, service) => continue,
            Some(before) => list |= found_by(before) != found_by(service),
            None => list = true,
        }
        changed.insert(Key::Service(host.clone()));
    }
    for host in old.keys().filter(|host| !new.contains_key(*host)) {
        list = true;
        changed.insert(Key::Service(host.clone()));
    }
    if list {
        changed.insert(Key::ServiceList);
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
        share_list(routes, old.http_routes.get(host));
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
        share_list(routes, old.tcp_routes.get(host));
    }
}

fn share<T: PartialEq>(new: &mut Arc<T>, old: Option<&Arc<T>>) {
    if let Some(old) = old.filter(|old| !Arc::ptr_eq(old, new) && **old == *new) {
        *new = old.clone();
    }
}

fn share_list<T: PartialEq>(new: &mut [Arc<T>], old: Option<&Vec<Arc<T>>>) {
    for part in new {
        share(
            part,
            old.and_then(|old| old.iter().find(|candidate| **candidate == *part)),
        );
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
