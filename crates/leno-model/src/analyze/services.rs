//! Ports of services that say no protocol, and services that disagree about a port of the same workloads.

use leno_api::kinds::service::Transport;
use leno_api::{Code, Severity, Spec};

use super::Mesh;
use crate::service::{Protocol, Service, ServicePort, TargetPort};

pub(super) fn look(mesh: &mut Mesh<'_>) {
    unnamed(mesh);
    disagreeing(mesh);
    tcp_anywhere(mesh);
}

fn unnamed(mesh: &mut Mesh<'_>) {
    let specs = mesh.of_kind(|spec| match spec {
        Spec::Service(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (object, spec) in specs {
        for (i, port) in spec.ports.iter().enumerate() {
            let service = mesh.service(&object.key.name, &object.key.namespace);
            let number = u16::try_from(port.port).unwrap_or_default();
            let detected = service
                .and_then(|service| service.port(number))
                .is_some_and(|port| port.protocol == Protocol::Detect);
            // A protocol that is detected because that was asked for is said.
            if !detected || port.app_protocol.is_some() || port.protocol == Some(Transport::Udp) {
                continue;
            }
            let message = match port.name.as_str() {
                "" => {
                    format!("port {number} does not say its protocol, so it is detected for each connection")
                }
                name => format!(
                    "the name {name} of port {number} does not say its protocol, so it is detected for each connection"
                ),
            };
            let hint = "set appProtocol, or begin the name with it: http-…, grpc-…, tcp-…";
            let path = format!("spec.ports[{i}]");
            mesh.warn(object, Code::PortWithoutProtocol, &path, message, hint);
        }
    }
}

/// Two services whose selectors can select the same workload must say the same of its ports.
fn disagreeing(mesh: &mut Mesh<'_>) {
    let specs = mesh.of_kind(|spec| match spec {
        Spec::Service(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (at, (object, _)) in specs.iter().enumerate() {
        let Some(service) = mesh.service(&object.key.name, &object.key.namespace) else {
            continue;
        };
        for (earlier, _) in &specs[..at] {
            let Some(other) = mesh.service(&earlier.key.name, &earlier.key.namespace) else {
                continue;
            };
            if let Some((one, two)) = disagreement(other, service) {
                let message = format!(
                    "{} says {} of a port of which {} says {}, and both select the same workloads",
                    service.name,
                    word(two.protocol),
                    other.name,
                    word(one.protocol)
                );
                let i = service
                    .ports
                    .iter()
                    .position(|port| port == two)
                    .unwrap_or_default();
                let hint = "give the port one protocol, by appProtocol or the beginning of its name";
                mesh.warn(
                    object,
                    Code::PortsDisagree,
                    &format!("spec.ports[{i}]"),
                    message,
                    hint,
                );
            }
        }
    }
}

fn disagreement<'s>(one: &'s Service, two: &'s Service) -> Option<(&'s ServicePort, &'s ServicePort)> {
    let overlap = one.namespace == two.namespace
        && !one.selector.is_empty()
        && !two.selector.is_empty()
        && one
            .selector
            .iter()
            .all(|(key, value)| two.selector.get(key).is_none_or(|other| other == value))
        // Labels that neither shares need not be of one workload.
        && (one.selector.iter().all(|pair| two.selector.get(pair.0) == Some(pair.1))
            || two.selector.iter().all(|pair| one.selector.get(pair.0) == Some(pair.1)));
    if !overlap {
        return None;
    }
    let pairs = one
        .ports
        .iter()
        .flat_map(|a| two.ports.iter().map(move |b| (a, b)));
    let mut same = pairs.filter(|(a, b)| match (&a.target, &b.target) {
        (TargetPort::Number(a), TargetPort::Number(b)) => a == b,
        (TargetPort::Named(a), TargetPort::Named(b)) => a == b,
        _ => false,
    });
    let udp = |port: &ServicePort| port.protocol == Protocol::Udp;
    same.find(|(a, b)| a.protocol != b.protocol && udp(a) == udp(b))
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Http2 => "HTTP/2",
        Protocol::Grpc => "gRPC",
        Protocol::Tcp => "TCP",
        Protocol::Tls => "TLS",
        Protocol::Opaque => "a protocol of bytes",
        Protocol::Udp => "UDP",
        Protocol::Detect => "nothing",
    }
}

/// Whatever goes to the port of a ServiceEntry without addresses, whose endpoints the caller finds out, is taken for it.
fn tcp_anywhere(mesh: &mut Mesh<'_>) {
    let specs = mesh.of_kind(|spec| match spec {
        Spec::ServiceEntry(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (object, spec) in specs {
        let service = spec
            .hosts
            .first()
            .and_then(|host| mesh.service(host, &object.key.namespace));
        let Some(service) = service.filter(|service| service.is_anywhere()) else {
            continue;
        };
        let bytes = |port: &&ServicePort| matches!(port.protocol, Protocol::Tcp | Protocol::Opaque);
        if let Some(port) = service.ports.iter().find(bytes) {
            let message = format!(
                "{} has no addresses: any connection to port {} is taken for one to it",
                service.host, port.port
            );
            let hint = "give it addresses, or a resolution other than NONE";
            let what = (Code::AddressesNeeded, Severity::Warning);
            mesh.tell(object, what, "spec.ports", message, hint);
        }
    }
}
