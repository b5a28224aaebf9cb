//! Which services a workload stands behind, without asking every service.
//!
//! A service is found by one label of its selector: of the two thousand workloads of a mesh, and its thousand
//! services, only those are compared that have it in common.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::name::Host;
use crate::service::Service;
use crate::workload::Workload;

#[derive(Debug, Default)]
pub(crate) struct Selection {
    by_label: HashMap<(String, String), Vec<Candidate>>,
}

#[derive(Debug)]
struct Candidate {
    namespace: String,
    host: Host,
}

/// Whether a workload stands behind a service.
pub(crate) fn selects(service: &Service, workload: &Workload) -> bool {
    if service.namespace != workload.namespace {
        return false;
    }
    if by_name(service) {
        return workload.service.as_deref() == Some(service.name.as_str());
    }
    service
        .selector
        .iter()
        .all(|(key, value)| workload.labels.get(key) == Some(value))
}

/// A service without selector of its own has the workloads that name it.
fn by_name(service: &Service) -> bool {
    service.undeclared || service.selector.is_empty()
}

impl Selection {
    pub(crate) fn new(services: &BTreeMap<Host, Arc<Service>>) -> Self {
        let mut by_label: HashMap<(String, String), Vec<Candidate>> = HashMap::new();
        for (host, service) in services.iter().filter(|(_, service)| !by_name(service)) {
            if let Some((key, value)) = service.selector.first_key_value() {
                let candidate = Candidate {
                    namespace: service.namespace.clone(),
                    host: host.clone(),
                };
                by_label
                    .entry((key.clone(), value.clone()))
                    .or_default()
                    .push(candidate);
            }
        }
        Self { by_label }
    }

    /// The hosts of all services that a workload stands behind.
    pub(crate) fn hosts(
        &self,
        services: &BTreeMap<Host, Arc<Service>>,
        workload: &Workload,
    ) -> BTreeSet<Host> {
        let labels = workload
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()));
        let labelled = labels.filter_map(|label| self.by_label.get(&label)).flatten();
        let labelled = labelled.filter(|candidate| candidate.namespace == workload.namespace);
        let named = workload
            .service
            .iter()
            .map(|name| Host::in_cluster(name, &workload.namespace));
        labelled
            .map(|candidate| candidate.host.clone())
            .chain(named)
            .filter(|host| {
                services
                    .get(host)
                    .is_some_and(|service| selects(service, workload))
            })
            .collect()
    }
}
