//! DestinationRules that contradict what the other side accepts, and subsets that nobody uses.

use std::collections::BTreeSet;

use leno_api::kinds::destination_rule::{Tls, TlsMode};
use leno_api::kinds::virtual_service::Destination;
use leno_api::{Code, Object, Severity, Spec};

use super::Mesh;
use crate::name::Host;
use crate::policy::{MtlsMode, PeerMtls};
use crate::service::{Backing, Service, TargetPort};

pub(super) fn look(mesh: &mut Mesh<'_>) {
    let used = subsets_used(mesh);
    let specs = mesh.of_kind(|spec| match spec {
        Spec::DestinationRule(spec) => Some(spec.as_ref()),
        _ => None,
    });
    for (object, spec) in specs {
        let Some(service) = mesh.service(&spec.host, &object.key.namespace) else {
            continue; // That is told already.
        };
        mtls(
            mesh,
            object,
            &spec.traffic_policy.tls,
            service,
            None,
            "spec.trafficPolicy.tls",
        );
        for (i, port) in spec.traffic_policy.port_level_settings.iter().enumerate() {
            let number = port.port.and_then(|port| u16::try_from(port.number).ok());
            let path = format!("spec.trafficPolicy.portLevelSettings[{i}].tls");
            mtls(mesh, object, &port.tls, service, number, &path);
        }
        for (i, subset) in spec.subsets.iter().enumerate() {
            if let Some(policy) = &subset.traffic_policy {
                let path = format!("spec.subsets[{i}].trafficPolicy.tls");
                mtls(mesh, object, &policy.tls, service, None, &path);
            }
            if !used.contains(&(service.host.clone(), subset.name.clone())) {
                let message = format!("no route goes to the subset {} of {}", subset.name, service.host);
                let what = (Code::SubsetNotUsed, Severity::Info);
                let hint = "route to it in a VirtualService, or remove it";
                mesh.tell(object, what, &format!("spec.subsets[{i}]"), message, hint);
            }
        }
    }
}

fn subsets_used(mesh: &Mesh<'_>) -> BTreeSet<(Host, String)> {
    let specs = mesh.of_kind(|spec| match spec {
        Spec::VirtualService(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut used = BTreeSet::new();
    for (object, spec) in specs {
        let mut note = |destination: &Destination| {
            let service = mesh.service(&destination.host, &object.key.namespace);
            if let (Some(service), Some(subset)) = (service, &destination.subset) {
                used.insert((service.host.clone(), subset.clone()));
            }
        };
        for rule in &spec.http {
            rule.route.iter().for_each(|route| note(&route.destination));
            rule.mirror.iter().for_each(&mut note);
            rule.mirrors.iter().for_each(|mirror| note(&mirror.destination));
        }
        let tcp = spec.tcp.iter().flat_map(|rule| &rule.route);
        let tls = spec.tls.iter().flat_map(|rule| &rule.route);
        tcp.chain(tls).for_each(|route| note(&route.destination));
    }
    used
}

/// How the rule has the service called must be what a workload with the labels of its selector accepts.
fn mtls(
    mesh: &mut Mesh<'_>,
    object: &Object,
    tls: &Option<Tls>,
    service: &Service,
    port: Option<u16>,
    path: &str,
) {
    let Some(tls) = tls else {
        return;
    };
    if service.backing != Backing::Workloads || service.selector.is_empty() {
        return;
    }
    let accepts = mesh.peers.of(&service.namespace, &service.selector);
    let mode = accepted(&accepts, service, port);
    let (says, wants) = match (tls.mode, mode) {
        (TlsMode::Disable, MtlsMode::Strict) => ("in plaintext", "accepts mTLS alone"),
        (TlsMode::Simple | TlsMode::Mutual, MtlsMode::Strict) => {
            ("by TLS that is not the mesh's", "accepts the mesh's mTLS alone")
        }
        (TlsMode::IstioMutual, MtlsMode::Disable) => ("by mTLS", "accepts plaintext alone"),
        _ => return,
    };
    let by = accepts
        .origin
        .map(|origin| origin.to_string())
        .unwrap_or_default();
    let message = format!("{} is called {says}, and by {by} it {wants}", service.host);
    let hint = "leave out tls, so that each side is called as it accepts; or change the PeerAuthentication";
    mesh.tell(object, (Code::MtlsConflict, Severity::Error), path, message, hint);
}

fn accepted(accepts: &PeerMtls, service: &Service, port: Option<u16>) -> MtlsMode {
    let target = port
        .and_then(|port| service.port(port))
        .and_then(|port| match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Named(_) => None,
        });
    let of_port = accepts.ports.iter().find(|(number, _)| Some(*number) == target);
    of_port.map_or(accepts.mode, |(_, mode)| *mode)
}
