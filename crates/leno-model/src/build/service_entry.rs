//! ServiceEntry: services that no Service declares, mostly outside of the mesh.
//!
//! Each host is a service of its own. A host that is declared already keeps its first declaration: Services before
//! entries, entries by name. With `resolution: NONE` the caller resolves by itself and is known by what it says; with
//! any other the mesh answers for the name, so that a connection's address tells which host is meant.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use leno_api::kinds::service_entry::{EntryEndpoint, EntryPort, Location, Resolution, ServiceEntrySpec};
use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use super::made::Made;
use super::service::{named, protocol};
use super::{count, origin, port, shared_of_kind};
use crate::name::Host;
use crate::service::{Backing, Endpoint, Service, ServicePort, TargetPort};
use crate::visibility::{ExportDefaults, Exported};

pub(crate) fn add(
    objects: &[&Arc<Object>],
    exports: &ExportDefaults,
    services: &mut BTreeMap<Host, Arc<Service>>,
    made: &mut Made,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let specs = shared_of_kind(objects, |spec| match spec {
        Spec::ServiceEntry(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (object, spec) in specs {
        for (i, written) in spec.hosts.iter().enumerate() {
            let host = Host::new(written);
            if let Some(holds) = services.get(&host) {
                let message = format!(
                    "{host} is already declared by {}, which holds — {}",
                    holds.origin, holds.origin.place
                );
                let path = format!("spec.hosts[{i}]");
                let found = object.report(Code::HostConflict, Severity::Error, &path, message);
                diagnostics.push(found.hint("declare each host once"));
                continue;
            }
            let service = made.service(&host, object, || service(object, spec, host.clone(), exports));
            services.insert(host, service);
        }
    }
}

fn service(object: &Object, spec: &ServiceEntrySpec, host: Host, exports: &ExportDefaults) -> Service {
    let addresses: Vec<IpNet> = spec.addresses.iter().filter_map(|text| network(text)).collect();
    let selector = spec.workload_selector.as_ref();
    Service {
        name: host.to_string(),
        namespace: object.key.namespace.to_string(),
        ports: spec.ports.iter().filter_map(service_port).collect(),
        selector: selector
            .map(|selector| selector.labels.clone())
            .unwrap_or_default(),
        // A single address can be the answer to the name; of a block none is.
        vips: addresses
            .iter()
            .filter(|net| net.prefix_len() == net.max_prefix_len())
            .map(IpNet::addr)
            .collect(),
        addresses,
        backing: backing(spec, &host),
        described: Vec::new(),
        distribution: None,
        same_node: false,
        unready: false,
        sticky: false,
        external: spec.location == Location::MeshExternal,
        subject_alt_names: spec.subject_alt_names.clone(),
        exported: Exported::read(&spec.export_to, &object.key.namespace, &exports.services),
        undeclared: false,
        origin: origin(object),
        host,
    }
}

fn network(text: &str) -> Option<IpNet> {
    let single = || Some(IpNet::from(text.parse::<IpAddr>().ok()?));
    text.parse::<IpNet>().ok().map(|net| net.trunc()).or_else(single)
}

fn service_port(spec: &EntryPort) -> Option<ServicePort> {
    let number = port(spec.number)?;
    let target = match spec.target_port {
        None => number,
        Some(target) => port(target)?,
    };
    Some(ServicePort {
        port: number,
        name: spec.name.clone(),
        protocol: protocol(number, &spec.name, spec.protocol.as_deref()),
        target: TargetPort::Number(target),
    })
}

fn backing(spec: &ServiceEntrySpec, host: &Host) -> Backing {
    let by_name = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if spec.workload_selector.is_some() && !by_name {
        return Backing::Workloads;
    }
    let written = || spec.endpoints.iter().filter_map(endpoint);
    let by_names = || {
        let endpoints: Vec<Endpoint> = written().collect();
        // Nothing said: the host's own name.
        if endpoints.is_empty() && spec.workload_selector.is_none() {
            vec![named(host.as_str())]
        } else {
            endpoints
        }
    };
    match spec.resolution {
        Resolution::Static => Backing::Fixed(written().collect()),
        Resolution::Dns => Backing::Dns {
            endpoints: by_names(),
            one: false,
        },
        Resolution::DnsRoundRobin => Backing::Dns {
            endpoints: by_names(),
            one: true,
        },
        // The last is refused by validation.
        Resolution::None | Resolution::DynamicDns => Backing::Caller,
    }
}

/// None: it has no address.
pub(crate) fn endpoint(spec: &EntryEndpoint) -> Option<Endpoint> {
    let ports = spec.ports.iter();
    let network = spec.network.iter().filter(|network| !network.is_empty());
    let network = network.map(|network| (NETWORK.to_owned(), network.clone()));
    Some(Endpoint {
        address: spec.address.clone().filter(|address| !address.is_empty())?,
        ports: ports
            .filter_map(|(name, number)| Some((name.clone(), port(*number)?)))
            .collect(),
        labels: spec.labels.clone().into_iter().chain(network).collect(),
        locality: spec.locality.clone().unwrap_or_default(),
        weight: spec.weight.map_or(1, count),
        service_account: spec.service_account.clone(),
    })
}

/// Istio's label for the network that an endpoint is in.
const NETWORK: &str = "topology.istio.io/network";
