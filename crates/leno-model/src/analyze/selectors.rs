//! Selectors that select no workload, where workloads are known.

use leno_api::{Code, Severity, Spec};

use super::Mesh;
use crate::name::Labels;

pub(super) fn look(mesh: &mut Mesh<'_>) {
    if mesh.snapshot.workloads.is_empty() {
        return;
    }
    for object in mesh.objects.clone() {
        let namespace = Some(&*object.key.namespace);
        let (path, labels, namespace) = match &object.spec {
            Spec::PeerAuthentication(spec) => (
                "spec.selector",
                spec.selector.as_ref().map(|by| &by.match_labels),
                namespace,
            ),
            Spec::RequestAuthentication(spec) => (
                "spec.selector",
                spec.selector.as_ref().map(|by| &by.match_labels),
                namespace,
            ),
            Spec::AuthorizationPolicy(spec) => (
                "spec.selector",
                spec.selector.as_ref().map(|by| &by.match_labels),
                namespace,
            ),
            // Gateway proxies of any namespace.
            Spec::Gateway(spec) => ("spec.selector", Some(&spec.selector), None),
            Spec::Service(spec) => ("spec.selector", Some(&spec.selector), namespace),
            _ => continue,
        };
        let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
            continue;
        };
        let selected = mesh.snapshot.workloads.values().any(|workload| {
            namespace.is_none_or(|namespace| namespace == workload.namespace) && has(&workload.labels, labels)
        });
        if !selected {
            let written: Vec<String> = labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let message = format!("no workload has the labels {}", written.join(","));
            let hint = "`leno get workloads -o yaml` shows who is there";
            mesh.tell(
                object,
                (Code::NothingSelected, Severity::Warning),
                path,
                message,
                hint,
            );
        }
    }
}

fn has(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
