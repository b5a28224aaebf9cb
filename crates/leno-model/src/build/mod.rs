//! From the user's objects to the model: one file for each kind.
//!
//! Everything here is a function of all objects and the services that exist. It runs when configuration or the
//! set of services changes, never for a change of endpoints.

pub(crate) mod authorization_policy;
pub(crate) mod destination_rule;
pub(crate) mod endpoint_slice;
pub(crate) mod envoy_filter;
pub(crate) mod gateway;
pub(crate) mod grant;
pub(crate) mod http_route;
pub(crate) mod ingress;
pub(crate) mod made;
pub(crate) mod mesh;
pub(crate) mod peer_authentication;
pub(crate) mod request_authentication;
pub(crate) mod service;
pub(crate) mod service_entry;
pub(crate) mod sidecar;
pub(crate) mod tcp_route;
pub(crate) mod telemetry;
pub(crate) mod traffic_policy;
pub(crate) mod virtual_service;
pub(crate) mod workload_entry;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use leno_api::kinds::authorization_policy::TargetRef;
use leno_api::kinds::peer_authentication::Selector;
use leno_api::{Code, Diagnostic, Object, ObjectKey, Severity, Spec, nearest};

use crate::in_force::PolicyTarget;
use crate::name::{Host, Origin};
use crate::policy::HostPolicies;
use crate::route::{HttpRoute, Retries, TcpRoute, WeightedBackend};
use crate::service::Service;
use crate::visibility::{ExportDefaults, Scoped};

use gateway::SecretName;
use grant::Grants;

/// Istio's default for routes that say nothing of retries.
pub(crate) const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const DEFAULT_ATTEMPTS: u32 = 2;

/// What routes may refer to, and where problems are collected.
pub(crate) struct Context<'a> {
    pub(crate) services: &'a BTreeMap<Host, Arc<Service>>,
    pub(crate) policies: HashMap<Host, Arc<HostPolicies>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Secrets with a certificate, by namespace and name.
    pub(crate) secrets: BTreeSet<SecretName>,
    pub(crate) grants: Grants,
    /// Who sees what objects say nothing of.
    pub(crate) exports: ExportDefaults,
    /// What is found has been reported already.
    pub(crate) muted: bool,
}

/// The routes of all hosts.
#[derive(Default)]
pub(crate) struct Routes {
    pub(crate) http: HashMap<Host, Scoped<Vec<Arc<HttpRoute>>>>,
    pub(crate) tcp: HashMap<Host, Scoped<Vec<Arc<TcpRoute>>>>,
}

impl Context<'_> {
    pub(crate) fn report(
        &mut self,
        object: &Object,
        (code, severity): (Code, Severity),
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if !self.muted {
            self.diagnostics
                .push(object.report(code, severity, path, message).hint(hint));
        }
    }

    /// The [full name](full_host) of a host as written in an object of a namespace.
    pub(crate) fn resolve(&self, host: &str, namespace: &str) -> Host {
        full_host(self.services, host, namespace)
    }

    /// Checks what a backend refers to; one that does not resolve is kept, marked, so that its share fails visibly.
    pub(crate) fn check_backend(&mut self, object: &Object, path: &str, backend: &mut WeightedBackend) {
        let error = Severity::Error;
        let Some(service) = self.services.get(&backend.host) else {
            backend.invalid = true;
            let message = format!("the host {} is not in the mesh", backend.host);
            let hint = self.nearest_host(&backend.host);
            return self.report(object, (Code::HostNotFound, error), path, message, hint);
        };
        let ports: Vec<u16> = service.ports.iter().map(|port| port.port).collect();
        if let Some(port) = backend.port.filter(|port| !ports.contains(port)) {
            backend.invalid = true;
            let message = format!("{} has no port {port}", backend.host);
            let hint = format!("it has {}", list(&ports));
            self.report(object, (Code::PortNotFound, error), path, message, hint);
        }
        let Some(subset) = backend.subset.clone() else {
            return;
        };
        let declared: Vec<String> = self
            .policies
            .get(&backend.host)
            .map(|policies| {
                let subsets = policies.rules.iter().flat_map(|rule| &rule.subsets);
                subsets.map(|subset| subset.name.clone()).collect()
            })
            .unwrap_or_default();
        if !declared.contains(&subset) {
            backend.invalid = true;
            let message = format!("{} has no subset {subset}", backend.host);
            let hint = match declared.is_empty() {
                true => format!("declare it in a DestinationRule with host: {}", backend.host),
                false => format!("its DestinationRule has {}", declared.join(", ")),
            };
            self.report(object, (Code::SubsetNotFound, error), path, message, hint);
        }
    }

    pub(crate) fn nearest_host(&self, host: &Host) -> String {
        let names = self.services.keys().map(Host::as_str);
        match nearest(host.as_str(), names) {
            Some(near) => format!("did you mean {near}?"),
            None => "declare it as a Service, or start a process with leno run --service".into(),
        }
    }
}

/// The full name of a host as written in an object of a namespace. `name` is a service of that namespace, as in Istio;
/// `name.namespace` and `name.namespace.svc` are understood where that service exists.
pub(crate) fn full_host(services: &BTreeMap<Host, Arc<Service>>, host: &str, namespace: &str) -> Host {
    if !host.contains('.') {
        return Host::in_cluster(host, namespace);
    }
    let full = Host::new(host);
    if services.contains_key(&full) {
        return full;
    }
    let short = host.strip_suffix(".svc").unwrap_or(host);
    match short.split_once('.') {
        Some((name, namespace)) if !namespace.contains('.') => {
            let candidate = Host::in_cluster(name, namespace);
            if services.contains_key(&candidate) {
                candidate
            } else {
                full
            }
        }
        _ => full,
    }
}

/// Objects of the same kind, namespace and name in several files: the first file holds.
pub(crate) fn without_duplicates<'o>(
    objects: impl Iterator<Item = &'o Arc<Object>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<&'o Arc<Object>> {
    let mut first: BTreeMap<&ObjectKey, &Arc<Object>> = BTreeMap::new();
    for object in objects {
        match first.get(&object.key) {
            None => {
                first.insert(&object.key, object);
            }
            Some(holds) => {
                let message = format!("{} is already given at {}", object.key, holds.place());
                let found = object.report(Code::DuplicateObject, Severity::Error, "metadata.name", message);
                diagnostics.push(found.hint("remove one of them, or give it another name"));
            }
        }
    }
    first.into_values().collect()
}

/// Objects of one kind, in the order in which ties are broken: by name, then by namespace.
pub(crate) fn of_kind<'o, S>(
    objects: &[&'o Arc<Object>],
    pick: impl Fn(&'o Spec) -> Option<&'o S>,
) -> Vec<(&'o Object, &'o S)> {
    let found = shared_of_kind(objects, pick).into_iter();
    found.map(|(object, spec)| (object.as_ref(), spec)).collect()
}

/// The same, for who keeps objects.
pub(crate) fn shared_of_kind<'o, S>(
    objects: &[&'o Arc<Object>],
    pick: impl Fn(&'o Spec) -> Option<&'o S>,
) -> Vec<(&'o Arc<Object>, &'o S)> {
    let mut found: Vec<_> = objects
        .iter()
        .copied()
        .filter_map(|object| Some((object, pick(&object.spec)?)))
        .collect();
    found.sort_by(|(a, _), (b, _)| (&a.key.name, &a.key.namespace).cmp(&(&b.key.name, &b.key.namespace)));
    found
}

/// Whom a policy of security.istio.io is for.
pub(crate) fn policy_target(
    selector: Option<&Selector>,
    single: Option<&TargetRef>,
    several: &[TargetRef],
) -> PolicyTarget {
    let gateways: Vec<String> = several
        .iter()
        .chain(single)
        .map(|target| target.name.clone())
        .collect();
    match gateways.is_empty() {
        true => PolicyTarget::Workloads(selector.map(|by| by.match_labels.clone()).unwrap_or_default()),
        false => PolicyTarget::Gateways(gateways),
    }
}

pub(crate) fn origin(object: &Object) -> Origin {
    Origin {
        kind: object.key.kind.as_str().into(),
        namespace: object.key.namespace.clone(),
        name: object.key.name.clone(),
        place: object.place().to_string().into(),
    }
}

pub(crate) fn default_retries() -> Retries {
    Retries {
        attempts: DEFAULT_ATTEMPTS,
        per_try_timeout: None,
        on: DEFAULT_RETRY_ON.into(),
        backoff: None,
        other_localities: false,
        same_endpoint: false,
    }
}

/// A port that validation has seen; what is no port becomes none.
pub(crate) fn port(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// The number of the rule at this index, as people count.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}

/// A count that validation has seen.
pub(crate) fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// Percent to parts in a million.
pub(crate) fn per_million(percent: f64) -> u32 {
    (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32
}

fn list(ports: &[u16]) -> String {
    let ports: BTreeSet<String> = ports.iter().map(u16::to_string).collect();
    ports.into_iter().collect::<Vec<_>>().join(", ")
}
