//! Gateways that serve nothing, and certificates that several of them have.

use std::collections::BTreeMap;

use leno_api::{Code, Object, Severity, Spec};

use super::Mesh;

pub(super) fn look(mesh: &mut Mesh<'_>) {
    without_routes(mesh);
    certificates(mesh);
}

fn without_routes(mesh: &mut Mesh<'_>) {
    let bound = bound(mesh);
    for object in mesh.objects.clone() {
        let (istio, hint) = match object.spec {
            Spec::Gateway(_) => (true, "name it in the gateways of a VirtualService"),
            Spec::KubernetesGateway(_) => (false, "name it in the parentRefs of a route"),
            _ => continue,
        };
        let key = (
            istio,
            object.key.namespace.to_string(),
            object.key.name.to_string(),
        );
        if !bound.contains(&key) {
            let message = "no route is bound to the Gateway: it answers every request with 404";
            mesh.warn(object, Code::GatewayWithoutRoutes, "metadata.name", message, hint);
        }
    }
}

/// The Gateways that routes name: Istio's or not, namespace, name.
fn bound(mesh: &Mesh<'_>) -> Vec<(bool, String, String)> {
    let mut bound = Vec::new();
    for object in &mesh.objects {
        let own = &*object.key.namespace;
        let parents = match &object.spec {
            Spec::VirtualService(spec) => {
                for gateway in &spec.gateways {
                    let (namespace, name) = gateway.split_once('/').unwrap_or((own, gateway));
                    bound.push((true, namespace.to_owned(), name.to_owned()));
                }
                continue;
            }
            Spec::HttpRoute(spec) => &spec.parent_refs,
            Spec::TcpRoute(spec) => &spec.parent_refs,
            _ => continue,
        };
        for parent in parents {
            let namespace = parent.namespace.as_deref().unwrap_or(own).to_owned();
            match parent.kind.as_deref() {
                None | Some("Gateway") => bound.push((false, namespace, parent.name.clone())),
                Some(_) => {}
            }
        }
    }
    bound
}

/// A browser that has a connection for a certificate uses it for every host of the certificate, and the connection
/// knows the routes of one Gateway only (https://github.com/envoyproxy/envoy/issues/6767).
fn certificates(mesh: &mut Mesh<'_>) {
    let specs = mesh.of_kind(|spec| match spec {
        Spec::Gateway(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut first: BTreeMap<(&str, i64), &Object> = BTreeMap::new();
    for (object, spec) in specs {
        for (i, server) in spec.servers.iter().enumerate() {
            let Some(name) = server.tls.as_ref().and_then(|tls| tls.credential_name.as_deref()) else {
                continue;
            };
            let other = *first.entry((name, server.port.number)).or_insert(object);
            if !std::ptr::eq(other, object) {
                let message = format!(
                    "{} has the certificate {name} at the same port: clients that use one connection for both get 404",
                    other.key
                );
                let hint = "put the servers of one certificate into one Gateway";
                let what = (Code::CertificateShared, Severity::Warning);
                let path = format!("spec.servers[{i}].tls.credentialName");
                mesh.tell(object, what, &path, message, hint);
            }
        }
    }
}
