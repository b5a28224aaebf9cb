//! Istio's Gateway.

use std::sync::Arc;

use leno_api::kinds::gateway::{GatewaySpec, Server, ServerTls, TlsMode, TlsVersion};
use leno_api::{Code, Object, Severity, Spec};

use super::{Admits, Draft};
use crate::build::{Context, of_kind, origin, port};
use crate::gateway::{
    CertificateSource, ClientCertificates, Gateway, GatewayProtocol, GatewaySelector, GatewayServer,
    GatewayTls,
};

pub(super) fn gateways<'o>(context: &mut Context<'_>, objects: &[&'o Arc<Object>]) -> Vec<Draft<'o>> {
    let specs = of_kind(objects, |spec| match spec {
        Spec::Gateway(spec) => Some(spec.as_ref()),
        _ => None,
    });
    specs
        .into_iter()
        .map(|(object, spec)| draft(context, object, spec))
        .collect()
}

fn draft<'o>(context: &mut Context<'_>, object: &'o Object, spec: &GatewaySpec) -> Draft<'o> {
    let (mut servers, mut admits) = (Vec::new(), Vec::new());
    for (i, server) in spec.servers.iter().enumerate() {
        let path = format!("spec.servers[{i}]");
        let Some(number) = port(server.port.number) else {
            continue;
        };
        let hosts = hosts(server, &object.key.namespace);
        let tls = server.tls.as_ref().and_then(tls);
        if let Some(GatewayTls {
            certificate: CertificateSource::Secret { name, .. },
            ..
        }) = &tls
        {
            expect_secret(context, object, &path, name);
        }
        let mut names: Vec<String> = hosts.iter().map(|(_, host)| host.clone()).collect();
        names.sort();
        names.dedup();
        servers.push(GatewayServer {
            name: server.port.name.clone(),
            place: object.place_of(&path).to_string(),
            port: number,
            bind: server.bind.as_ref().and_then(|bind| bind.parse().ok()),
            protocol: protocol(server, tls.is_some()),
            https_redirect: server.tls.as_ref().is_some_and(|tls| tls.https_redirect),
            tls,
            hosts: names,
            virtual_hosts: Vec::new(),
            streams: Vec::new(),
            attached_routes: 0,
        });
        admits.push(Admits::Hosts(hosts));
    }
    Draft {
        object,
        gateway: Gateway {
            origin: origin(object),
            selector: GatewaySelector::Labels(spec.selector.clone()),
            servers,
        },
        admits,
    }
}

/// `namespace/host`; `.` is the Gateway's own namespace.
fn hosts(server: &Server, own: &str) -> Vec<(Option<String>, String)> {
    let read = |written: &String| {
        let (namespace, host) = written.split_once('/').unwrap_or(("*", written));
        let namespace = match namespace {
            "*" => None,
            "." => Some(own.to_owned()),
            named => Some(named.to_owned()),
        };
        (namespace, host.to_ascii_lowercase())
    };
    server.hosts.iter().map(read).collect()
}

fn protocol(server: &Server, ended: bool) -> GatewayProtocol {
    match server.port.protocol.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => GatewayProtocol::Http,
        // Without a certificate HTTPS can only be passed on.
        "HTTPS" if ended => GatewayProtocol::Http,
        "HTTPS" | "TLS" => GatewayProtocol::Tls,
        _ => GatewayProtocol::Tcp,
    }
}

fn tls(spec: &ServerTls) -> Option<GatewayTls> {
    let clients = match spec.mode? {
        TlsMode::Simple => ClientCertificates::NotAsked,
        TlsMode::OptionalMutual => ClientCertificates::Optional,
        TlsMode::Mutual => ClientCertificates::Required,
        // The last two are refused by validation.
        TlsMode::Passthrough | TlsMode::AutoPassthrough | TlsMode::IstioMutual => return None,
    };
    let certificate = match (&spec.credential_name, &spec.server_certificate, &spec.private_key) {
        (Some(name), ..) => CertificateSource::Secret {
            namespace: None,
            name: name.clone(),
        },
        (None, Some(chain), Some(key)) => CertificateSource::Files {
            chain: chain.clone(),
            key: key.clone(),
            roots: spec.ca_certificates.clone(),
        },
        _ => return None,
    };
    Some(GatewayTls {
        clients,
        certificate,
        subject_alt_names: spec.subject_alt_names.clone(),
        only_tls13: spec.min_protocol_version == Some(TlsVersion::V1_3),
        only_tls12: matches!(
            spec.max_protocol_version,
            Some(TlsVersion::V1_0 | TlsVersion::V1_1 | TlsVersion::V1_2)
        ),
    })
}

/// The namespace is the proxy's, which is not known here: one of that name must be anywhere.
fn expect_secret(context: &mut Context<'_>, object: &Object, path: &str, name: &str) {
    let mut known = context.secrets.iter();
    if known.any(|(_, secret)| secret == name) {
        return;
    }
    let message = format!("there is no Secret {name} with a certificate");
    let hint = format!(
        "add a Secret {name} of type kubernetes.io/tls (tls.crt, tls.key) in the gateway proxy's namespace"
    );
    let path = format!("{path}.tls.credentialName");
    context.report(
        object,
        (Code::SecretNotFound, Severity::Error),
        &path,
        message,
        hint,
    );
}
