//! The single writer: changes in, the next snapshot and what differs out.
//!
//! Two ways. A change of configuration, or of which services exist, builds everything anew from the objects and then
//! shares with the snapshot before whatever came out equal: dear, simple, and never out of step. A change of
//! workloads that leaves the services as they are (instances come, go, become healthy) touches only the endpoints of
//! the services of its namespace.
//!
//! Pure: time is passed in, the table of addresses is handed over at the start and asked for after each change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use leno_api::{Code, Diagnostic, Kind, Object, ObjectKey, Place, Severity};

use crate::authentication::{Authentication, KeyNews, KeySource, Keys};
use crate::build::grant::Grants;
use crate::build::made::Made;
use crate::build::peer_authentication::PeerPolicies;
use crate::build::{self, Context, Routes};
use crate::delta::{Delta, Key};
use crate::diff::diff;
use crate::name::{Host, WorkloadId};
use crate::policy::PeerMtls;
use crate::route::{HttpAction, WeightedBackend};
use crate::selection::{Selection, selects};
use crate::service::{Backing, Service};
use crate::snapshot::Snapshot;
use crate::trust::Trust;
use crate::vip::VipTable;
use crate::workload::Workload;

/// What may happen to the mesh.
#[derive(Clone, Debug)]
pub enum Change {
    /// All objects of a source file, in place of those it had; none: the file is gone.
    File {
        file: Arc<str>,
        objects: Vec<Object>,
    },
    /// An instance registered, or something about it changed.
    Workload(Workload),
    WorkloadGone(WorkloadId),
    /// What is known of an issuer's keys; none: it is not fetched any more.
    Keys(KeySource, Option<KeyNews>),
    /// The certificate authority's roots, or what it has taken back, are others.
    Trust(Trust),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub snapshot: Arc<Snapshot>,
    pub delta: Delta,
    /// Everything wrong with the mesh as a whole as of now, not only what is new.
    pub diagnostics: Vec<Diagnostic>,
    /// The table of addresses must be written down before the snapshot is served.
    pub vips_changed: bool,
}

#[derive(Debug, Default)]
pub struct World {
    files: BTreeMap<Arc<str>, Vec<Arc<Object>>>,
    vips: VipTable,
    peers: PeerPolicies,
    selection: Selection,
    made: Made,
    config_diagnostics: Vec<Diagnostic>,
    workload_diagnostics: BTreeMap<WorkloadId, Diagnostic>,
    keys: BTreeMap<KeySource, KeyNews>,
    snapshot: Arc<Snapshot>,
}

impl World {
    /// Begins with the addresses that were given in former lives.
    pub fn new(vips: VipTable) -> Self {
        Self {
            vips,
            ..Self::default()
        }
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    pub fn vips(&self) -> &VipTable {
        &self.vips
    }

    /// Applies changes together; `now` counts from 1970.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>, now: Duration) -> Outcome {
        let mut configuration = false;
        let mut touched: BTreeMap<WorkloadId, Option<Arc<Workload>>> = BTreeMap::new();
        let mut workloads: BTreeMap<WorkloadId, Option<Arc<Workload>>> = BTreeMap::new();
        let mut trust = None;
        for change in changes {
            let (id, workload) = match change {
                Change::File { file, objects } => {
                    configuration |= self.set_file(file, objects);
                    continue;
                }
                Change::Workload(workload) => (workload.id.clone(), Some(Arc::new(workload))),
                Change::WorkloadGone(id) => (id, None),
                Change::Keys(source, Some(news)) => {
                    self.keys.insert(source, news);
                    continue;
                }
                Change::Keys(source, None) => {
                    self.keys.remove(&source);
                    continue;
                }
                Change::Trust(newest) => {
                    trust = Some(newest);
                    continue;
                }
            };
            workloads.insert(id, workload);
        }
        for (id, workload) in workloads {
            let before = self.snapshot.workloads.get(&id);
            if before.map(AsRef::as_ref) != workload.as_deref() {
                touched.insert(id, workload);
            }
        }
        let (mut delta, vips_changed) = match (configuration, touched.is_empty()) {
            (false, true) => (Delta::default(), false),
            (false, false) if !self.services_depend_on(&touched) => (self.change_endpoints(touched), false),
            _ => {
                let vips = self.vips.clone();
                (self.rebuild(touched, now), vips != self.vips)
            }
        };
        if let Some(trust) = trust.filter(|trust| *trust != *self.snapshot.trust) {
            let mut next = Snapshot::clone(&self.snapshot);
            next.trust = Arc::new(trust);
            self.publish(next);
            delta.changed.insert(Key::Trust);
        }
        delta.changed.extend(self.change_keys());
        let own = self.workload_diagnostics.values().cloned();
        let keys = keys_not_fetched(&self.snapshot.authentication, &self.keys);
        Outcome {
            snapshot: self.snapshot.clone(),
            delta,
            diagnostics: self
                .config_diagnostics
                .iter()
                .cloned()
                .chain(own)
                .chain(keys)
                .collect(),
            vips_changed,
        }
    }

    /// True if the file now says something else.
    fn set_file(&mut self, file: Arc<str>, objects: Vec<Object>) -> bool {
        if objects.is_empty() {
            return self.files.remove(&file).is_some();
        }
        let before = self.files.get(&file).map_or(&[][..], Vec::as_slice);
        let known: HashMap<&ObjectKey, &Arc<Object>> =
            before.iter().map(|object| (&object.key, object)).collect();
        let objects: Vec<Arc<Object>> = objects
            .into_iter()
            .map(|object| match known.get(&object.key) {
                Some(same) if ***same == object => Arc::clone(same),
                _ => Arc::new(object),
            })
            .collect();
        let same =
            before.len() == objects.len() && before.iter().zip(&objects).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.files.insert(file, objects);
        }
        !same
    }

    // === the short way ===

    /// Whether a service that nobody declared appears, goes or has other ports by this change.
    fn services_depend_on(&self, touched: &BTreeMap<WorkloadId, Option<Arc<Workload>>>) -> bool {
        let mut named: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (id, after) in touched {
            let before = self.snapshot.workloads.get(id);
            for workload in before.into_iter().chain(after) {
                if let Some(service) = &workload.service {
                    named.insert((service, &workload.namespace));
                }
            }
        }
        named.into_iter().any(|(name, namespace)| {
            let host = Host::in_cluster(name, namespace);
            let before = self.snapshot.services.get(&host);
            if before.is_some_and(|service| !service.undeclared) {
                return false;
            }
            let mut workloads: BTreeMap<&WorkloadId, &Arc<Workload>> = self
                .snapshot
                .endpoints(&host)
                .iter()
                .map(|workload| (&workload.id, workload))
                .collect();
            for (id, after) in touched {
                workloads.remove(id);
                if let Some(workload) = after.as_ref().filter(|workload| workload.namespace == namespace) {
                    workloads.insert(id, workload);
                }
            }
            let after = build::service::undeclared(name, namespace, workloads.into_values());
            before.map(|service| &service.ports) != after.as_ref().map(|service| &service.ports)
        })
    }

    fn change_endpoints(&mut self, touched: BTreeMap<WorkloadId, Option<Arc<Workload>>>) -> Delta {
        let mut next = Snapshot::clone(&self.snapshot);
        let mut changed = BTreeSet::new();
        for (id, after) in touched {
            let before = next.workloads.get(&id).cloned();
            let hosts = |workload: &Option<Arc<Workload>>| {
                workload
                    .as_ref()
                    .map(|w| self.selection.hosts(&next.services, w))
                    .unwrap_or_default()
            };
            let is = hosts(&after);
            for host in hosts(&before).union(&is) {
                let mut endpoints = next
                    .endpoints
                    .get(host)
                    .map(|list| list.to_vec())
                    .unwrap_or_default();
                match (
                    endpoints.binary_search_by(|workload| workload.id.cmp(&id)),
                    after.clone().filter(|_| is.contains(host)),
                ) {
                    (Ok(at), Some(workload)) => endpoints[at] = workload,
                    (Ok(at), None) => drop(endpoints.remove(at)),
                    (Err(at), Some(workload)) => endpoints.insert(at, workload),
                    (Err(_), None) => {}
                }
                match endpoints.is_empty() {
                    true => next.endpoints.remove(host),
                    false => next.endpoints.insert(host.clone(), Arc::new(endpoints)),
                };
                changed.insert(Key::Endpoints(host.clone()));
            }
            self.set_workload(&mut next, &id, after);
            changed.insert(Key::Workload(id));
        }
        self.publish(next);
        Delta { changed }
    }

    fn set_workload(&mut self, next: &mut Snapshot, id: &WorkloadId, workload: Option<Arc<Workload>>) {
        self.workload_diagnostics.remove(id);
        let Some(workload) = workload else {
            next.workloads.remove(id);
            next.mtls.remove(id);
            return;
        };
        if let Some(found) = not_selected(&next.services, &workload) {
            self.workload_diagnostics.insert(id.clone(), found);
        }
        let mtls = self.peers.effective(&workload);
        if next.mtls.get(id).map(AsRef::as_ref) != Some(&mtls) {
            next.mtls.insert(id.clone(), Arc::new(mtls));
        }
        next.workloads.insert(id.clone(), workload);
    }

    /// The fetched keys that have come, changed or gone.
    fn change_keys(&mut self) -> Vec<Key> {
        let news = self.keys.iter();
        let now: BTreeMap<KeySource, Arc<str>> = news
            .filter_map(|(source, news)| Some((source.clone(), news.keys.clone()?)))
            .collect();
        if *self.snapshot.keys == now {
            return Vec::new();
        }
        let before = Arc::clone(&self.snapshot.keys);
        let sources: BTreeSet<&KeySource> = before.keys().chain(now.keys()).collect();
        let differ = sources
            .into_iter()
            .filter(|source| before.get(source) != now.get(source));
        let changed = differ.cloned().map(Key::Keys).collect();
        let mut next = Snapshot::clone(&self.snapshot);
        next.keys = Arc::new(now);
        self.publish(next);
        changed
    }

    // === the long way ===

    fn rebuild(&mut self, touched: BTreeMap<WorkloadId, Option<Arc<Workload>>>, now: Duration) -> Delta {
        let mut next = Snapshot {
            version: self.snapshot.version,
            trust: self.snapshot.trust.clone(),
            ..Snapshot::default()
        };
        next.workloads = self.snapshot.workloads.clone();
        for (id, workload) in touched {
            match workload {
                Some(workload) => next.workloads.insert(id, workload),
                None => next.workloads.remove(&id),
            };
        }
        let mut diagnostics = Vec::new();
        let files = std::mem::take(&mut self.files);
        let objects = build::without_duplicates(files.values().flatten(), &mut diagnostics);

        let (mesh, root) = build::mesh::mesh_config(&objects, &mut diagnostics);
        self.peers = PeerPolicies::new(&objects, root.clone(), &mut diagnostics);
        next.authorization = Arc::new(build::authorization_policy::authorization(
            &objects,
            &root,
            &mesh,
            &mut diagnostics,
        ));
        next.authentication = Arc::new(build::request_authentication::authentication(&objects, &root));
        next.telemetries = Arc::new(build::telemetry::telemetries(
            &objects,
            &root,
            &mesh,
            &mut diagnostics,
        ));
        next.envoy_filters = Arc::new(build::envoy_filter::envoy_filters(&objects, &root));
        next.keys = Arc::clone(&self.snapshot.keys);
        next.sidecars = Arc::new(build::sidecar::sidecars(&objects, &root, &mut diagnostics));
        next.mesh = Arc::new(mesh);
        let mut made = std::mem::take(&mut self.made);
        let exports = &next.mesh.exports;
        next.services = build::service::declared(&objects, exports, &mut made);
        build::service_entry::add(&objects, exports, &mut next.services, &mut made, &mut diagnostics);
        add_undeclared(&mut next);
        self.assign_vips(&mut next, now, &mut diagnostics);
        made.remember(&next.services);
        self.made = made;
        build::endpoint_slice::add(&objects, &mut next.services, &mut diagnostics);
        build::workload_entry::add(&objects, &mut next.services, &mut diagnostics);

        let services = std::mem::take(&mut next.services);
        next.secrets = build::gateway::secrets(&objects);
        let mut context = Context {
            services: &services,
            policies: HashMap::new(),
            diagnostics,
            secrets: next
                .secrets
                .iter()
                .filter(|(_, secret)| !secret.chain.is_empty())
                .map(|(name, _)| name.clone())
                .collect(),
            grants: Grants::new(&objects),
            exports: next.mesh.exports.clone(),
            muted: false,
        };
        build::mesh::check_authorizers(&mut context, &objects);
        build::telemetry::check_providers(&mut context, &objects, &next.mesh);
        context.policies = build::destination_rule::policies(&mut context, &objects, &root);
        let mut routes = Routes::default();
        let mut gateways = build::gateway::declared(&mut context, &objects);
        build::http_route::add_routes(&mut context, &objects, &mut routes, &mut gateways);
        build::tcp_route::add_routes(&mut context, &objects, &mut gateways);
        build::virtual_service::add_routes(&mut context, &objects, &mut routes, &mut gateways);
        build::ingress::add_gateways(&mut context, &objects, &mut gateways);
        next.gateways = gateways.finish();
        let Context {
            policies,
            diagnostics,
            ..
        } = context;
        (next.http_routes, next.tcp_routes, next.policies) = (routes.http, routes.tcp, policies);
        next.services = services;
        if next.sidecars.all().next().is_some() {
            next.led_to = led_to(&next);
        }

        self.index(&mut next);
        self.files = files;
        self.config_diagnostics = diagnostics;
        let delta = diff(&self.snapshot, &mut next);
        if !delta.is_empty() {
            self.publish(next);
        }
        delta
    }

    fn assign_vips(&mut self, next: &mut Snapshot, now: Duration, diagnostics: &mut Vec<Diagnostic>) {
        let of_mesh = |service: &Arc<Service>| has_virtual_address(service);
        let gone: Vec<Host> = self
            .vips
            .live()
            .filter(|host| !next.services.get(host).is_some_and(of_mesh))
            .collect();
        for host in gone {
            self.vips.release(&host, now);
        }
        for (host, service) in &mut next.services {
            next.fixed
                .extend(service.addresses.iter().map(|net| (*net, host.clone())));
            if !has_virtual_address(service) {
                continue;
            }
            match self.vips.assign(host, now) {
                Some(vips) => {
                    next.vips.extend(vips.map(|vip| (vip, host.clone())));
                    if service.vips != vips {
                        Arc::make_mut(service).vips = vips.into();
                    }
                }
                None => {
                    let place = Place::whole_file(&service.origin.place);
                    let message = format!("no virtual address is left for {host}");
                    let found = Diagnostic::new(Code::AddressesExhausted, Severity::Error, place, message);
                    diagnostics.push(found.hint("remove services that are not used"));
                }
            }
        }
        next.fixed.sort_by(|(a, one), (b, other)| {
            let narrow = |net: &IpNet| std::cmp::Reverse(net.prefix_len());
            (narrow(a), a, one).cmp(&(narrow(b), b, other))
        });
    }

    /// Endpoints, modes, and what the short way needs to know.
    fn index(&mut self, next: &mut Snapshot) {
        self.selection = Selection::new(&next.services);
        let mut endpoints: HashMap<Host, Vec<Arc<Workload>>> = HashMap::new();
        for workload in next.workloads.values() {
            for host in self.selection.hosts(&next.services, workload) {
                endpoints.entry(host).or_default().push(workload.clone());
            }
        }
        next.endpoints = endpoints
            .into_iter()
            .map(|(host, list)| (host, Arc::new(list)))
            .collect();
        self.workload_diagnostics.clear();
        let mut modes: HashMap<WorkloadId, Arc<PeerMtls>> = HashMap::new();
        for (id, workload) in &next.workloads {
            modes.insert(id.clone(), Arc::new(self.peers.effective(workload)));
            if let Some(found) = not_selected(&next.services, workload) {
                self.workload_diagnostics.insert(id.clone(), found);
            }
        }
        next.mtls = modes;
    }

    fn publish(&mut self, mut next: Snapshot) {
        next.version = self.snapshot.version + 1;
        self.snapshot = Arc::new(next);
    }
}

/// Not where the caller is to find out the address by itself, or the object says it.
fn has_virtual_address(service: &Service) -> bool {
    service.addresses.is_empty() && service.backing != Backing::Caller
}

/// By the service that is led to, the hosts whose routes lead there.
fn led_to(snapshot: &Snapshot) -> HashMap<Host, BTreeSet<Host>> {
    let mut led_to: HashMap<Host, BTreeSet<Host>> = HashMap::new();
    let mut add = |from: &Host, backend: &WeightedBackend| {
        if backend.host != *from {
            led_to
                .entry(backend.host.clone())
                .or_default()
                .insert(from.clone());
        }
    };
    for (host, scoped) in &snapshot.http_routes {
        for rule in scoped.all().flatten().flat_map(|route| &route.rules) {
            rule.mirror.iter().for_each(|mirror| add(host, &mirror.backend));
            if let HttpAction::Forward(backends) = &rule.action {
                backends.iter().for_each(|backend| add(host, backend));
            }
        }
    }
    for (host, scoped) in &snapshot.tcp_routes {
        let backends = scoped.all().flatten().flat_map(|route| &route.backends);
        backends.for_each(|backend| add(host, backend));
    }
    led_to
}

/// Services that workloads name and no object declares.
fn add_undeclared(next: &mut Snapshot) {
    let mut named: BTreeMap<(String, String), Vec<&Arc<Workload>>> = BTreeMap::new();
    for workload in next.workloads.values() {
        if let Some(service) = &workload.service {
            named
                .entry((service.clone(), workload.namespace.clone()))
                .or_default()
                .push(workload);
        }
    }
    for ((name, namespace), workloads) in named {
        if let Some(service) = build::service::undeclared(&name, &namespace, workloads.into_iter()) {
            next.services
                .entry(service.host.clone())
                .or_insert_with(|| Arc::new(service));
        }
    }
}

/// Issuers whose keys cannot be fetched now, one for each rule.
fn keys_not_fetched(
    authentication: &Authentication,
    known: &BTreeMap<KeySource, KeyNews>,
) -> Vec<Diagnostic> {
    let rules = authentication
        .all()
        .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)));
    let found = rules.filter_map(|(policy, rule)| {
        let Keys::Fetched(source, _) = &rule.keys else {
            return None;
        };
        let news = known.get(source)?;
        let trouble = news.trouble.as_ref()?;
        let holds = match news.keys {
            Some(_) => "the last good ones hold",
            None => "no token of the issuer is taken",
        };
        let message = format!(
            "the keys of {} cannot be fetched: {trouble}; {holds}",
            rule.issuer
        );
        let key = ObjectKey {
            kind: Kind::RequestAuthentication,
            namespace: policy.origin.namespace.clone(),
            name: policy.origin.name.clone(),
        };
        let place = Place::whole_file(&rule.place);
        let found = Diagnostic::new(Code::KeysNotFetched, Severity::Warning, place, message).object(key);
        Some(found.hint(format!(
            "see that {source} answers with a JSON Web Key Set: try curl on the control plane's machine"
        )))
    });
    found.collect()
}

/// A workload that says it belongs to a service which does not select it would wait for calls in vain.
fn not_selected(services: &BTreeMap<Host, Arc<Service>>, workload: &Workload) -> Option<Diagnostic> {
    let name = workload.service.as_deref()?;
    let service: &Service = services.get(&Host::in_cluster(name, &workload.namespace))?;
    if selects(service, workload) {
        return None;
    }
    let labels = |labels: &crate::name::Labels| {
        labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let place = Place::whole_file(&service.origin.place);
    let (selector, own) = (labels(&service.selector), labels(&workload.labels));
    let message = format!(
        "{} says it is {name}, whose selector {selector} does not match {own}",
        workload.id
    );
    let found = Diagnostic::new(Code::NotSelected, Severity::Warning, place, message);
    Some(found.hint("start it with the labels of the selector: --label KEY=VALUE"))
}
