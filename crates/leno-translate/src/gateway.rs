//! A gateway proxy's listeners, routes and certificates: the Gateways that it serves, together.
//!
//! As in Istio several Gateways may share a port. Of plaintext HTTP their hosts are one route configuration; with TLS
//! each server is a filter chain of its own, by the name in the client's hello. Where two exclude each other the first
//! holds, in the order of the snapshot.

mod certificate;
mod listener;

use std::collections::BTreeSet;
use std::net::IpAddr;

use leno_model::gateway::{Gateway, GatewayProtocol, GatewayServer, GatewayStream};
use leno_model::telemetry::Side;

use crate::naming;
use crate::reader::Reader;
use crate::route::{GatewayDomain, RouteInput};
use crate::tcp::shares;
use crate::{GatewayPorts, Proxy};

pub(crate) use certificate::{GatewaySecretInput, secret, secret_input};
pub(crate) use listener::{GatewayListener, listener, listener_input};

/// A server with the Gateway that it is of.
#[derive(Clone, Copy)]
struct Served<'a> {
    gateway: &'a Gateway,
    server: &'a GatewayServer,
    /// Its place in the Gateway.
    index: usize,
}

/// The servers that a proxy serves, in order.
fn served<'a>(reader: &mut Reader<'a>, proxy: &Proxy) -> Vec<Served<'a>> {
    let gateways = reader.gateways().iter();
    let own = gateways.filter(|gateway| gateway.is_served_by(&proxy.namespace, &proxy.labels));
    own.flat_map(|gateway| {
        let servers = gateway.servers.iter().enumerate();
        servers.map(move |(index, server)| Served {
            gateway,
            server,
            index,
        })
    })
    .collect()
}

/// Those of one port: of several that exclude each other, the ones that go with the first.
fn at<'a>(reader: &mut Reader<'a>, proxy: &Proxy, bind: Option<IpAddr>, port: u16) -> Vec<Served<'a>> {
    let mut servers = served(reader, proxy);
    servers.retain(|served| (served.server.bind, served.server.port) == (bind, port));
    if let Some(first) = servers.first().map(|served| served.form()) {
        servers.retain(|served| served.form() == first);
    }
    servers
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Http,
    Encrypted,
    Tcp,
}

impl<'a> Served<'a> {
    fn form(&self) -> Form {
        match (self.server.protocol, &self.server.tls) {
            (GatewayProtocol::Http, None) => Form::Http,
            (GatewayProtocol::Http, Some(_)) | (GatewayProtocol::Tls, _) => Form::Encrypted,
            (GatewayProtocol::Tcp, _) => Form::Tcp,
        }
    }

    /// Of those that the proxy sees the first.
    fn stream(&self, proxy: &Proxy) -> Option<&'a GatewayStream> {
        let mut streams = self.server.streams.iter();
        streams.find(|stream| stream.route.exported.to(&proxy.namespace))
    }

    /// Of HTTP.
    fn routes(&self) -> String {
        let GatewayServer { port, bind, .. } = self.server;
        match &self.server.tls {
            None => naming::gateway_http_routes(*bind, *port),
            Some(_) => naming::gateway_https_routes(self.gateway, &self.name(), *port),
        }
    }

    fn name(&self) -> String {
        match self.server.name.as_str() {
            "" => self.index.to_string(),
            name => name.to_owned(),
        }
    }

    /// Who asked for it, in messages: `Gateway/default/shop/https`.
    fn label(&self) -> String {
        format!("{}/{}", self.gateway.origin, self.name())
    }
}

/// A port for each, whether it has routes or not: it answers 404 then, as Istio does.
pub(crate) fn listener_names(reader: &mut Reader<'_>, proxy: &Proxy) -> Vec<String> {
    let served = served(reader, proxy);
    let names: BTreeSet<String> = served
        .iter()
        .filter(|served| served.form() != Form::Tcp || served.stream(proxy).is_some())
        .map(|served| naming::gateway_listener(served.server.bind, served.server.port))
        .collect();
    names.into_iter().collect()
}

pub(crate) fn route_input(reader: &mut Reader<'_>, proxy: &Proxy, name: &str) -> Option<RouteInput> {
    let all = served(reader, proxy);
    let named = all
        .iter()
        .filter(|served| served.server.protocol == GatewayProtocol::Http && served.routes() == name);
    let servers: Vec<Served<'_>> = named.copied().collect();
    let port = servers.first()?.server.port;
    let mut domains: Vec<GatewayDomain<'_>> = Vec::new();
    for Served { server, .. } in servers {
        for host in &server.virtual_hosts {
            let routes = host.routes.iter().map(AsRef::as_ref);
            match domains.iter_mut().find(|domain| domain.name == host.domain) {
                Some(domain) => {
                    domain.routes.extend(routes);
                    domain.require_tls |= server.https_redirect;
                }
                None => domains.push(GatewayDomain {
                    name: host.domain.clone(),
                    routes: routes.collect(),
                    require_tls: server.https_redirect,
                }),
            }
        }
        // Nobody needs a route to be sent to HTTPS.
        for host in server.hosts.iter().filter(|_| server.https_redirect) {
            if !domains.iter().any(|domain| domain.name == *host) {
                domains.push(GatewayDomain {
                    name: host.clone(),
                    routes: Vec::new(),
                    require_tls: true,
                });
            }
        }
    }
    Some(crate::route::gateway_input(reader, proxy, (name, port), domains))
}

/// The clusters that its routes name, for a proxy that does not ask for them one by one.
pub(crate) fn cluster_names(reader: &mut Reader<'_>, proxy: &Proxy) -> Vec<String> {
    let mut names = BTreeSet::from([naming::BLACK_HOLE.to_owned()]);
    if proxy.on_demand {
        return names.into_iter().collect();
    }
    let all = served(reader, proxy);
    let configurations: BTreeSet<String> = all
        .iter()
        .filter(|served| served.server.protocol == GatewayProtocol::Http)
        .map(Served::routes)
        .collect();
    for name in configurations {
        let routes = route_input(reader, proxy, &name);
        names.extend(routes.iter().flat_map(RouteInput::clusters));
    }
    for served in &all {
        let seen = |stream: &&GatewayStream| stream.route.exported.to(&proxy.namespace);
        for stream in served.server.streams.iter().filter(seen) {
            let targets = shares(reader, proxy, &stream.route, served.server.port);
            names.extend(targets.clusters().map(str::to_owned));
        }
    }
    names.extend(crate::telemetry::clusters(reader, proxy, Side::Client));
    names.into_iter().collect()
}

/// The port that is opened.
fn opened(ports: &GatewayPorts, port: u16) -> u16 {
    ports.map.get(&port).copied().unwrap_or(port)
}
