//! What is in force and perhaps not meant: rules that nothing reaches, ports that say no protocol, subsets that nobody
//! uses. `leno analyze` tells it; the control plane, which is asked for what is wrong, does not look for it at each
//! change.
//!
//! Istio has a list of such findings (`istioctl analyze`); which of them are which codes here is in `docs/codes.md`.

mod destination_rules;
mod gateways;
mod http_routes;
mod outdated;
mod selectors;
mod services;
mod virtual_services;

use std::collections::BTreeMap;
use std::sync::Arc;

use leno_api::{Code, Diagnostic, Object, Severity, Spec};

use crate::build;
use crate::build::peer_authentication::PeerPolicies;
use crate::name::Host;
use crate::service::Service;
use crate::snapshot::Snapshot;

/// The mesh as it was built, and what it was built from.
struct Mesh<'a> {
    objects: Vec<&'a Arc<Object>>,
    snapshot: &'a Snapshot,
    peers: PeerPolicies,
    found: Vec<Diagnostic>,
}

/// Everything that the objects say and may not be meant, beside what the snapshot's own diagnostics say.
pub fn analyze<'o>(
    objects: impl IntoIterator<Item = &'o Arc<Object>>,
    snapshot: &Snapshot,
) -> Vec<Diagnostic> {
    // Of what is wrong with these the snapshot's diagnostics tell.
    let mut known = Vec::new();
    let objects = build::without_duplicates(objects.into_iter(), &mut known);
    let (_, root) = build::mesh::mesh_config(&objects, &mut known);
    let peers = PeerPolicies::new(&objects, root, &mut known);
    let mut mesh = Mesh {
        objects,
        snapshot,
        peers,
        found: Vec::new(),
    };
    virtual_services::look(&mut mesh);
    http_routes::look(&mut mesh);
    services::look(&mut mesh);
    destination_rules::look(&mut mesh);
    gateways::look(&mut mesh);
    outdated::look(&mut mesh);
    selectors::look(&mut mesh);
    mesh.found
}

impl<'a> Mesh<'a> {
    /// Objects of a kind, by name.
    fn of_kind<S>(&self, pick: impl Fn(&'a Spec) -> Option<&'a S>) -> Vec<(&'a Object, &'a S)> {
        build::of_kind(&self.objects, pick)
    }

    fn warn(
        &mut self,
        object: &Object,
        code: Code,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.tell(object, (code, Severity::Warning), path, message, hint);
    }

    fn tell(
        &mut self,
        object: &Object,
        (code, severity): (Code, Severity),
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.found
            .push(object.report(code, severity, path, message).hint(hint));
    }

    /// The service that a host in an object of this namespace means.
    fn service(&self, host: &str, namespace: &str) -> Option<&'a Arc<Service>> {
        let services: &'a BTreeMap<Host, Arc<Service>> = &self.snapshot.services;
        services.get(&build::full_host(services, host, namespace))
    }
}
