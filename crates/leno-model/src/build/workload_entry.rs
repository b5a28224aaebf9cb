//! WorkloadEntry: an endpoint of the Services and ServiceEntries of its namespace whose selector matches its labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::kinds::service_entry::EntryEndpoint;
use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use super::of_kind;
use super::service_entry::endpoint;
use crate::name::Host;
use crate::service::{Backing, Endpoint, Service};

/// Adds the entries to the services that select them.
pub(crate) fn add(
    objects: &[&Arc<Object>],
    services: &mut BTreeMap<Host, Arc<Service>>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let specs = of_kind(objects, |spec| match spec {
        Spec::WorkloadEntry(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (object, spec) in specs {
        let Some(described) = endpoint(spec) else { continue };
        let selecting = services
            .values_mut()
            .filter(|service| selects(service, object, spec));
        for service in selecting {
            if !can_have(service, &described) {
                let message = format!(
                    "{} selects it, but what stands behind that has an address, not a name to be resolved",
                    service.origin
                );
                let found = object.report(Code::NotSelected, Severity::Warning, "spec.address", message);
                diagnostics.push(
                    found.hint("give an IP address, or select it by a ServiceEntry of resolution: DNS"),
                );
                continue;
            }
            Arc::make_mut(service).described.push(described.clone());
        }
    }
}

/// The labels are those of the entry, and of the object as Istio adds them.
fn selects(service: &Service, object: &Object, spec: &EntryEndpoint) -> bool {
    let has = |(name, value): (&String, &String)| {
        spec.labels.get(name).or_else(|| object.labels.get(name)) == Some(value)
    };
    *service.namespace == *object.key.namespace
        && !service.selector.is_empty()
        && service.selector.iter().all(has)
}

fn can_have(service: &Service, endpoint: &Endpoint) -> bool {
    let address = endpoint.address.as_str();
    match service.backing {
        Backing::Dns { .. } => !address.starts_with("unix://"),
        Backing::Workloads | Backing::Fixed(_) | Backing::Caller => {
            address.starts_with("unix://") || address.parse::<std::net::IpAddr>().is_ok()
        }
    }
}
