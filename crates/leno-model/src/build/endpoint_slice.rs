//! EndpointSlice: endpoints that somebody else found for a Service. Where they are is said by the slice's zone, and by
//! the labels of the Node that they are on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use leno_api::kinds::endpoint_slice::{AddressType, EndpointSliceSpec, SERVICE, SliceEndpoint};
use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use super::{of_kind, port};
use crate::name::{Host, Labels};
use crate::service::{Backing, Endpoint, Service};

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
/// The label of endpoints and callers that says their node.
const NODE: &str = "kubernetes.io/hostname";

/// Adds the endpoints to their Services.
pub(crate) fn add(
    objects: &[&Arc<Object>],
    services: &mut BTreeMap<Host, Arc<Service>>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let nodes: HashMap<&str, &Labels> = of_kind(objects, |spec| match spec {
        Spec::Node(spec) => Some(spec.as_ref()),
        _ => None,
    })
    .into_iter()
    .map(|(object, _)| (&*object.key.name, &object.labels))
    .collect();
    let slices = of_kind(objects, |spec| match spec {
        Spec::EndpointSlice(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (object, spec) in slices {
        let Some(name) = object.labels.get(SERVICE) else {
            continue;
        };
        let host = Host::in_cluster(name, &object.key.namespace);
        let Some(service) = services.get_mut(&host) else {
            let message = format!("there is no Service {name} in {}", object.key.namespace);
            let found = object.report(Code::HostNotFound, Severity::Warning, "metadata.labels", message);
            diagnostics.push(found.hint("declare it, or remove the EndpointSlice"));
            continue;
        };
        if spec.address_type == AddressType::Fqdn || service.backing != Backing::Workloads {
            continue;
        }
        let service = Arc::make_mut(service);
        let ready = |endpoint: &&SliceEndpoint| service.unready || endpoint.conditions.ready != Some(false);
        let endpoints: Vec<Endpoint> = spec
            .endpoints
            .iter()
            .filter(ready)
            .filter_map(|endpoint| self::endpoint(spec, endpoint, &nodes))
            .collect();
        for endpoint in endpoints {
            // An address may be in several slices while they are moved about.
            if !service.described.contains(&endpoint) {
                service.described.push(endpoint);
            }
        }
    }
}

/// As for Kubernetes all addresses of an endpoint are the same; the first is called.
fn endpoint(
    slice: &EndpointSliceSpec,
    said: &SliceEndpoint,
    nodes: &HashMap<&str, &Labels>,
) -> Option<Endpoint> {
    let node = said.node_name.as_deref();
    let of_node = node.and_then(|name| nodes.get(name).copied());
    let part = |label: &str| {
        of_node
            .and_then(|labels| labels.get(label))
            .map_or("", String::as_str)
    };
    let zone = said.zone.as_deref().unwrap_or_else(|| part(ZONE));
    let locality = [part(REGION), zone, part(SUBZONE)].join("/");
    let ports = slice.ports.iter();
    Some(Endpoint {
        address: said.addresses.first()?.clone(),
        ports: ports
            .filter_map(|one| Some((one.name.clone().unwrap_or_default(), port(one.port?)?)))
            .collect(),
        labels: node
            .map(|node| (NODE.to_owned(), node.to_owned()))
            .into_iter()
            .collect(),
        locality: locality.trim_end_matches('/').to_owned(),
        weight: 1,
        service_account: None,
    })
}
