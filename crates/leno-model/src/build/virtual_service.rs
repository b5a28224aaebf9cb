//! VirtualService: rules in the order in which they are written.
//!
//! In the mesh Istio does not merge: of several VirtualServices for one host that a namespace sees one holds there. An
//! exact host goes before a wildcard, a longer wildcard before a shorter one; then one that only its own namespace sees
//! before one that is exported by name, and that before one for everybody; then the first by name.

mod delegate;
mod rule;
mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use leno_api::kinds::virtual_service::VirtualServiceSpec;
use leno_api::{Code, Object, Severity, Spec};

use super::gateway::{Gateways, bind_virtual_services};
use super::{Context, Routes, of_kind, origin};
use crate::name::Host;
use crate::route::{HttpRoute, HttpRule, TcpRoute};
use crate::visibility::{Exported, Scoped};

pub(crate) use delegate::Delegates;
pub(super) use delegate::{Written, written_rules};
pub(super) use rule::http_rule;
pub(super) use stream::stream_backends;

/// A VirtualService that may hold for a host.
struct Candidate {
    /// Which of all.
    index: usize,
    /// Where its host is written.
    path: String,
    /// More characters are more specific; an exact host is the most specific.
    rank: usize,
    precedence: u8,
}

/// What a VirtualService says for the mesh, in the model's form.
struct Compiled {
    http: Option<Arc<HttpRoute>>,
    tcp: Vec<Arc<TcpRoute>>,
}

/// Adds what VirtualServices say, for hosts that no HTTPRoute speaks for.
pub(crate) fn add_routes(
    context: &mut Context<'_>,
    objects: &[&Arc<Object>],
    routes: &mut Routes,
    gateways: &mut Gateways<'_>,
) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::VirtualService(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let (delegates, mut specs): (Vec<_>, Vec<_>) =
        specs.into_iter().partition(|(_, spec)| spec.hosts.is_empty());
    let delegates = Delegates::new(context, delegates);
    let bound = specs.clone();
    specs.retain(|(_, spec)| in_mesh(&spec.gateways));
    let exported: Vec<Exported> = specs
        .iter()
        .map(|(object, spec)| context.exported(object, spec))
        .collect();
    let holding = holding(context, &specs, &exported);
    let mut hosts_of: BTreeMap<usize, Vec<Host>> = BTreeMap::new();
    for (host, scoped) in &holding {
        for index in scoped.all().copied().flatten().collect::<BTreeSet<_>>() {
            hosts_of.entry(index).or_default().push(host.clone());
        }
    }
    let mut compiled = Vec::new();
    for (i, (object, spec)) in specs.iter().enumerate() {
        let hosts = hosts_of.remove(&i).unwrap_or_default();
        let rules = written_rules(context, object, spec, &delegates);
        let made = compile(context, (object, spec, &exported[i]), &rules, hosts);
        if made.http.is_some() {
            report_dialects(context, object, &made, &routes.http);
        }
        compiled.push(made);
    }
    for (host, scoped) in holding {
        let of = |index: &Option<usize>| index.and_then(|index: usize| compiled.get(index));
        let http = scoped.map(|index| {
            of(index)
                .and_then(|made| made.http.clone())
                .into_iter()
                .collect::<Vec<_>>()
        });
        let tcp = scoped.map(|index| of(index).map(|made| made.tcp.clone()).unwrap_or_default());
        if tcp.all().any(|list| !list.is_empty()) {
            routes.tcp.insert(host.clone(), tcp);
        }
        if http.all().any(|list| !list.is_empty()) {
            routes.http.entry(host).or_insert(http);
        }
    }
    bind_virtual_services(context, &bound, &delegates, gateways);
}

/// Which VirtualService holds for each service of the mesh, by namespace. Those that never can are reported.
fn holding(
    context: &mut Context<'_>,
    specs: &[(&Object, &VirtualServiceSpec)],
    exported: &[Exported],
) -> BTreeMap<Host, Scoped<Option<usize>>> {
    let mut candidates: BTreeMap<Host, Vec<Candidate>> = BTreeMap::new();
    for (index, (object, spec)) in specs.iter().enumerate() {
        for (h, written) in spec.hosts.iter().enumerate() {
            let path = format!("spec.hosts[{h}]");
            let rank = match written.starts_with('*') {
                true => written.len(),
                false => usize::MAX,
            };
            for host in matching_hosts(context, object, &path, written) {
                candidates.entry(host).or_default().push(Candidate {
                    index,
                    path: path.clone(),
                    rank,
                    precedence: exported[index].precedence(&object.key.namespace),
                });
            }
        }
    }
    let mut holding = BTreeMap::new();
    for (host, mut candidates) in candidates {
        // Stable: by name among equals.
        candidates.sort_by_key(|candidate| (std::cmp::Reverse(candidate.rank), candidate.precedence));
        report_conflicts(context, specs, exported, &host, &candidates);
        let first = |sees: &dyn Fn(&Exported) -> bool| {
            let mut seen = candidates
                .iter()
                .filter(|candidate| sees(&exported[candidate.index]));
            seen.next().map(|candidate| candidate.index)
        };
        let elsewhere = first(&|exported| *exported == Exported::Everywhere);
        let named: BTreeSet<&Arc<str>> = candidates
            .iter()
            .flat_map(|candidate| exported[candidate.index].named())
            .collect();
        let own = named.into_iter().map(|namespace| {
            let holds = first(&|exported| exported.to(namespace));
            (Arc::clone(namespace), holds)
        });
        let own = own.filter(|(_, holds)| *holds != elsewhere).collect();
        holding.insert(host, Scoped::new(elsewhere, own));
    }
    holding
}

/// Two that are equal in all but the name, for the same namespaces: the second is in vain.
fn report_conflicts(
    context: &mut Context<'_>,
    specs: &[(&Object, &VirtualServiceSpec)],
    exported: &[Exported],
    host: &Host,
    candidates: &[Candidate],
) {
    for (i, candidate) in candidates.iter().enumerate() {
        let equal = candidates[..i].iter().find(|before| {
            let (one, other) = (&exported[before.index], &exported[candidate.index]);
            let overlap = match (one, other) {
                (Exported::To(one), Exported::To(other)) => !one.is_disjoint(other),
                (one, other) => one == other,
            };
            before.index != candidate.index
                && (before.rank, before.precedence) == (candidate.rank, candidate.precedence)
                && overlap
        });
        if let Some(holds) = equal {
            let message = format!(
                "{host} has routes by {} already, which hold",
                specs[holds.index].0.key
            );
            let hint = "put the rules of one host into one VirtualService";
            let conflict = (Code::RouteConflict, Severity::Error);
            context.report(specs[candidate.index].0, conflict, &candidate.path, message, hint);
        }
    }
}

fn matching_hosts(context: &mut Context<'_>, object: &Object, path: &str, written: &str) -> Vec<Host> {
    if let Some(suffix) = written.strip_prefix('*') {
        let suffix = suffix.to_ascii_lowercase();
        return context
            .services
            .keys()
            .filter(|host| host.as_str().ends_with(&suffix))
            .cloned()
            .collect();
    }
    let host = context.resolve(written, &object.key.namespace);
    if context.services.contains_key(&host) {
        return vec![host];
    }
    let message = format!("the host {host} is not in the mesh; its routes wait for it");
    let hint = context.nearest_host(&host);
    context.report(
        object,
        (Code::HostNotFound, Severity::Warning),
        path,
        message,
        hint,
    );
    Vec::new()
}

fn compile(
    context: &mut Context<'_>,
    (object, spec, exported): (&Object, &VirtualServiceSpec, &Exported),
    written: &[Written<'_>],
    hosts: Vec<Host>,
) -> Compiled {
    let rules: Vec<HttpRule> = written
        .iter()
        .filter_map(|rule| http_rule(context, rule, &in_mesh))
        .collect();
    let http = (!rules.is_empty()).then(|| {
        Arc::new(HttpRoute {
            origin: origin(object),
            exported: exported.clone(),
            hosts: hosts.clone(),
            ports: Vec::new(),
            rules,
        })
    });
    let tcp = stream::routes(context, (object, spec, exported), &hosts);
    Compiled { http, tcp }
}

fn report_dialects(
    context: &mut Context<'_>,
    object: &Object,
    made: &Compiled,
    held: &HashMap<Host, Scoped<Vec<Arc<HttpRoute>>>>,
) {
    let hosts = made.http.iter().flat_map(|route| &route.hosts);
    for host in hosts.filter(|host| held.contains_key(*host)) {
        let message = format!("an HTTPRoute speaks for {host} and holds");
        let hint = "keep the routes of one host in one dialect";
        let conflict = (Code::DialectConflict, Severity::Error);
        context.report(object, conflict, "spec.hosts", message, hint);
    }
}

/// Whether rules with these `gateways` hold for sidecars.
pub(super) fn in_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh")
}

impl Context<'_> {
    /// Who sees a VirtualService.
    pub(super) fn exported(&self, object: &Object, spec: &VirtualServiceSpec) -> Exported {
        let default = &self.exports.virtual_services;
        Exported::read(&spec.export_to, &object.key.namespace, default)
    }
}
