//! Gateways of both dialects, and which routes may attach to which of their ports.
//!
//! First all Gateways are read, without routes; then the routes of each dialect attach themselves.

mod bind;
mod hostname;
mod istio;
mod kubernetes;
mod secrets;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use leno_api::{Code, Object, Severity};

use super::Context;
use crate::gateway::{Gateway, GatewayHost, GatewayProtocol, GatewayServer};
use crate::name::Labels;
use crate::route::HttpRoute;

pub(crate) use bind::bind_virtual_services;
pub(crate) use hostname::intersection;
pub(crate) use kubernetes::Allowed;
pub(crate) use secrets::{SecretName, secrets};

/// Gateways on the way to their routes.
pub(crate) struct Gateways<'o> {
    pub(crate) drafts: Vec<Draft<'o>>,
}

pub(crate) struct Draft<'o> {
    pub(crate) object: &'o Object,
    pub(crate) gateway: Gateway,
    /// By server.
    pub(crate) admits: Vec<Admits>,
}

/// Who may attach to a server.
pub(crate) enum Admits {
    /// Istio: a host, and the namespace whose VirtualServices may use it (none: any).
    Hosts(Vec<(Option<String>, String)>),
    Routes(Allowed),
}

/// Every Gateway, without routes.
pub(crate) fn declared<'o>(context: &mut Context<'_>, objects: &[&'o Arc<Object>]) -> Gateways<'o> {
    let mut drafts = istio::gateways(context, objects);
    drafts.extend(kubernetes::gateways(context, objects));
    report_conflicts(context, &drafts);
    Gateways { drafts }
}

impl Gateways<'_> {
    pub(crate) fn finish(self) -> Vec<Arc<Gateway>> {
        let drafts = self.drafts.into_iter();
        drafts.map(|draft| Arc::new(draft.gateway)).collect()
    }
}

/// Adds routes for a domain, after those that are there.
pub(crate) fn add_routes(server: &mut GatewayServer, domain: String, routes: Vec<Arc<HttpRoute>>) {
    match server.virtual_hosts.iter_mut().find(|host| host.domain == domain) {
        Some(host) => host.routes.extend(routes),
        None => server.virtual_hosts.push(GatewayHost { domain, routes }),
    }
}

/// What a port can be taken for by one proxy only in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Http,
    Encrypted,
    Tcp,
}

fn family(server: &GatewayServer) -> Family {
    match (server.protocol, &server.tls) {
        (GatewayProtocol::Http, None) => Family::Http,
        (GatewayProtocol::Http, Some(_)) | (GatewayProtocol::Tls, _) => Family::Encrypted,
        (GatewayProtocol::Tcp, _) => Family::Tcp,
    }
}

/// Of two that exclude each other the first holds; `leno-translate` decides by the same order.
fn report_conflicts(context: &mut Context<'_>, drafts: &[Draft<'_>]) {
    type Place<'a> = (u16, Option<IpAddr>, Option<&'a Labels>);
    let mut ports: BTreeMap<Place<'_>, (Family, &Object)> = BTreeMap::new();
    let mut names: BTreeMap<(Place<'_>, &str), &Object> = BTreeMap::new();
    for draft in drafts {
        for (i, server) in draft.gateway.servers.iter().enumerate() {
            let labels = match &draft.gateway.selector {
                crate::gateway::GatewaySelector::Labels(labels) => Some(labels),
                crate::gateway::GatewaySelector::Name => None,
            };
            let place = (server.port, server.bind, labels);
            let path = match labels {
                Some(_) => format!("spec.servers[{i}]"),
                None => format!("spec.listeners[{i}]"),
            };
            let (holds, first) = *ports.entry(place).or_insert((family(server), draft.object));
            let mut taken = (holds != family(server)).then(|| {
                (
                    format!("port {} is used for another protocol", server.port),
                    first,
                )
            });
            let by_name = family(server) == Family::Encrypted && taken.is_none();
            for host in server.hosts.iter().filter(|_| by_name) {
                match names.get(&(place, host.as_str())) {
                    Some(other) => taken = Some((format!("{host} at port {} is served", server.port), other)),
                    None => drop(names.insert((place, host), draft.object)),
                }
            }
            if let Some((what, other)) = taken {
                let message = format!("{what} already, by {}, which holds", other.key);
                let hint = "use another port, or other hosts";
                context.report(
                    draft.object,
                    (Code::PortConflict, Severity::Error),
                    &path,
                    message,
                    hint,
                );
            }
        }
    }
}
