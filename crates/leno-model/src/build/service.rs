//! Services: declared by objects, or by workloads that name a service nobody declared.

use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::kinds::service::{
    InternalTrafficPolicy, ServicePort as ApiPort, ServiceSpec, ServiceType, TrafficDistribution, Transport,
};
use leno_api::quantity::IntOrString;
use leno_api::{Object, Spec};

use super::made::Made;
use super::{origin, port, shared_of_kind};
use crate::name::{Host, Labels, Origin};
use crate::service::{Backing, Distribution, Endpoint, Protocol, Service, ServicePort, TargetPort};
use crate::visibility::{ExportDefaults, Exported};
use crate::workload::Workload;

/// Ports whose protocol lets the server speak first; detection by reading would only delay them.
/// (Istio's list: SMTP, DNS, MySQL, MongoDB.)
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

/// Istio's, on a Service: namespaces with commas between them.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

pub(crate) fn declared(
    objects: &[&Arc<Object>],
    exports: &ExportDefaults,
    made: &mut Made,
) -> BTreeMap<Host, Arc<Service>> {
    let specs = shared_of_kind(objects, |spec| match spec {
        Spec::Service(spec) => Some(spec.as_ref()),
        _ => None,
    });
    specs
        .into_iter()
        .map(|(object, spec)| {
            let host = Host::in_cluster(&object.key.name, &object.key.namespace);
            let service = made.service(&host, object, || service(object, spec, host.clone(), exports));
            (host, service)
        })
        .collect()
}

fn service(object: &Object, spec: &ServiceSpec, host: Host, exports: &ExportDefaults) -> Service {
    let external = spec.kind == Some(ServiceType::ExternalName);
    let backing = match &spec.external_name {
        Some(name) if external => Backing::Dns {
            endpoints: vec![named(name)],
            one: false,
        },
        _ => Backing::Workloads,
    };
    let said = object.annotations.get(EXPORT_TO).map(String::as_str);
    let said = said.unwrap_or_default().split(',').map(str::trim);
    let said: Vec<String> = said.filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Service {
        exported: Exported::read(&said, &object.key.namespace, &exports.services),
        host,
        name: object.key.name.to_string(),
        namespace: object.key.namespace.to_string(),
        ports: spec.ports.iter().filter_map(service_port).collect(),
        selector: match external {
            false => spec.selector.clone(),
            true => Labels::new(),
        },
        vips: Vec::new(),
        addresses: Vec::new(),
        backing,
        described: Vec::new(),
        distribution: spec.traffic_distribution.map(|said| match said {
            TrafficDistribution::PreferClose | TrafficDistribution::PreferSameZone => Distribution::SameZone,
            TrafficDistribution::PreferSameNode => Distribution::SameNode,
        }),
        same_node: spec.internal_traffic_policy == Some(InternalTrafficPolicy::Local),
        unready: spec.publish_not_ready_addresses == Some(true),
        sticky: spec.client_ip_affinity(),
        external,
        subject_alt_names: Vec::new(),
        undeclared: false,
        origin: origin(object),
    }
}

/// What a name resolves to.
pub(crate) fn named(name: &str) -> Endpoint {
    Endpoint {
        address: name.to_owned(),
        ports: Vec::new(),
        labels: Labels::new(),
        locality: String::new(),
        weight: 1,
        service_account: None,
    }
}

fn service_port(spec: &ApiPort) -> Option<ServicePort> {
    let number = port(spec.port)?;
    let target = match &spec.target_port {
        None => TargetPort::Number(number),
        Some(IntOrString::Int(target)) => TargetPort::Number(port(*target)?),
        Some(IntOrString::Text(name)) => TargetPort::Named(name.clone()),
    };
    let protocol = match spec.protocol {
        Some(Transport::Udp) => Protocol::Udp,
        _ => protocol(number, &spec.name, spec.app_protocol.as_deref()),
    };
    Some(ServicePort {
        port: number,
        name: spec.name.clone(),
        protocol,
        target,
    })
}

/// Istio's rule: `appProtocol` decides if it is there, else the port's name up to the first dash, else detection.
pub(crate) fn protocol(number: u16, name: &str, app_protocol: Option<&str>) -> Protocol {
    let word = match app_protocol {
        Some(word) => word,
        None if name.starts_with("grpc-web") => "grpc-web",
        None => name.split('-').next().unwrap_or_default(),
    };
    match word.to_ascii_lowercase().as_str() {
        "http" | "grpc-web" | "kubernetes.io/ws" => Protocol::Http,
        "http2" | "kubernetes.io/h2c" => Protocol::Http2,
        "grpc" => Protocol::Grpc,
        "https" | "tls" | "kubernetes.io/wss" => Protocol::Tls,
        "tcp" => Protocol::Tcp,
        "mysql" | "redis" | "mongo" => Protocol::Opaque,
        "udp" => Protocol::Udp,
        _ if SERVER_FIRST.contains(&number) => Protocol::Opaque,
        _ => Protocol::Detect,
    }
}

/// The service that workloads declare by naming it: their ports, and everyone with its `app` label.
/// None: no workload names it.
pub(crate) fn undeclared<'w>(
    name: &str,
    namespace: &str,
    workloads: impl Iterator<Item = &'w Arc<Workload>>,
) -> Option<Service> {
    let mut ports: BTreeMap<u16, ServicePort> = BTreeMap::new();
    let mut any = false;
    for workload in workloads.filter(|workload| workload.service.as_deref() == Some(name)) {
        any = true;
        for declared in &workload.ports {
            ports.entry(declared.port).or_insert_with(|| ServicePort {
                port: declared.port,
                name: if declared.name.is_empty() {
                    format!("port-{}", declared.port)
                } else {
                    declared.name.clone()
                },
                protocol: declared.protocol,
                target: TargetPort::Number(declared.port),
            });
        }
    }
    any.then(|| Service {
        host: Host::in_cluster(name, namespace),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        ports: ports.into_values().collect(),
        selector: Labels::from([("app".to_owned(), name.to_owned())]),
        vips: Vec::new(),
        addresses: Vec::new(),
        backing: Backing::Workloads,
        described: Vec::new(),
        distribution: None,
        same_node: false,
        unready: false,
        sticky: false,
        external: false,
        subject_alt_names: Vec::new(),
        exported: Exported::Everywhere,
        undeclared: true,
        origin: Origin {
            kind: "Workload".into(),
            namespace: namespace.into(),
            name: name.into(),
            place: "registration".into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_by_app_protocol_then_name_then_detection() {
        assert_eq!(protocol(80, "http-web", None), Protocol::Http);
        assert_eq!(protocol(80, "http-web", Some("tcp")), Protocol::Tcp);
        assert_eq!(protocol(80, "grpc", None), Protocol::Grpc);
        assert_eq!(protocol(80, "grpc-web-x", None), Protocol::Http);
        assert_eq!(protocol(80, "web", None), Protocol::Detect);
        assert_eq!(protocol(80, "web", Some("kubernetes.io/h2c")), Protocol::Http2);
        assert_eq!(protocol(80, "httpish", None), Protocol::Detect);
        assert_eq!(protocol(3306, "", None), Protocol::Opaque);
        assert_eq!(protocol(6379, "redis", None), Protocol::Opaque);
        assert_eq!(protocol(443, "HTTPS", None), Protocol::Tls);
    }
}
