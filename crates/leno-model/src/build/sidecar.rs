//! Sidecar.

use std::sync::Arc;

use leno_api::kinds::mesh_config::OutboundMode;
use leno_api::kinds::sidecar::SidecarSpec;
use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use super::{of_kind, origin, port};
use crate::in_force::Policies;
use crate::mesh::OutboundPolicy;
use crate::sidecar::{Egress, Imported, ImportedFrom, Sidecar};

pub(crate) fn sidecars(
    objects: &[&Arc<Object>],
    root: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Policies<Sidecar> {
    let specs = of_kind(objects, |spec| match spec {
        Spec::Sidecar(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut all: Vec<(String, Sidecar)> = Vec::new();
    for (object, spec) in specs {
        let sidecar = sidecar(object, spec);
        let holds = all.iter().find(|(namespace, other)| {
            *namespace == *object.key.namespace && other.selector == sidecar.selector
        });
        if let Some((_, holds)) = holds {
            let message = format!("{} selects the same workloads, and holds", holds.origin);
            let found = object.report(
                Code::PolicyConflict,
                Severity::Error,
                "spec.workloadSelector",
                message,
            );
            diagnostics.push(found.hint("keep one of them"));
            continue;
        }
        if *object.key.namespace == *root && sidecar.selector.is_some() {
            let message = "in the root namespace it is for that namespace's workloads only";
            let found = object.report(
                Code::NoEffect,
                Severity::Warning,
                "spec.workloadSelector",
                message,
            );
            diagnostics.push(found.hint("leave the selector out to mean all namespaces"));
        }
        all.push((object.key.namespace.to_string(), sidecar));
    }
    Policies::new(root, all)
}

fn sidecar(object: &Object, spec: &SidecarSpec) -> Sidecar {
    let selector = spec
        .workload_selector
        .as_ref()
        .map(|selector| selector.labels.clone());
    let egress = spec.egress.iter().map(|egress| Egress {
        port: egress.port.as_ref().and_then(|said| port(said.number)),
        hosts: egress.hosts.iter().filter_map(|host| imported(host)).collect(),
    });
    let egress: Vec<Egress> = egress.collect();
    let mode = spec.outbound_traffic_policy.map(|policy| policy.mode);
    Sidecar {
        origin: origin(object),
        selector: selector.filter(|labels| !labels.is_empty()),
        egress: (!egress.is_empty()).then_some(egress),
        // Istio: a policy that does not say its mode allows any.
        outbound: mode.map(|mode| match mode {
            Some(OutboundMode::RegistryOnly) => OutboundPolicy::RegistryOnly,
            Some(OutboundMode::AllowAny) | None => OutboundPolicy::AllowAny,
        }),
    }
}

/// `NAMESPACE/HOST`; validation has refused what is none.
fn imported(written: &str) -> Option<Imported> {
    let (namespace, host) = written.split_once('/')?;
    Some(Imported {
        from: match namespace {
            "*" => ImportedFrom::Anywhere,
            "." => ImportedFrom::Own,
            "~" => ImportedFrom::Nowhere,
            named => ImportedFrom::Namespace(named.to_owned()),
        },
        host: host.to_ascii_lowercase(),
    })
}
