//! The way of a connection, and of a request on it: the same steps as in a proxy, by the same engine, on what the control
//! plane sends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use leno_api::nearest;
use leno_dns::{Lookup, NameTable};
use leno_engine::compile::http::{HttpConnectionManager, RouteSource};
use leno_engine::compile::listener::{self, FilterChain, TcpCluster, TerminalFilter, TransportProtocol};
use leno_engine::compile::route::RouteTable;
use leno_engine::compile::{NoFiles, Warnings, route};
use leno_engine::decide::listener::{ConnectionInfo, choose};
use leno_engine::decide::normalise::Normalised;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_proto::istio::networking::nds::v1::NameTable as NameTableMessage;
use leno_translate::ResourceType;

use super::answer::{Explanation, Kind, Listener as Told, Name, Request};
use super::question::{Question, rejected};
use super::target::Scheme;
use super::{routing, upstream};

/// For a name that the mesh does not answer for: an address that is nobody's (RFC 5737).
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

impl Question<'_> {
    /// Fails where the mesh does not answer, or says what cannot be.
    pub fn explain(&mut self) -> anyhow::Result<Explanation> {
        let mut explanation = Explanation {
            told_by: self.mesh.told_by(),
            from: self.from.workload.clone(),
            to: self.target.to_string(),
            ..Explanation::default()
        };
        let (name, address) = match self.resolve()? {
            Ok(found) => found,
            Err((name, why)) => {
                explanation.name = Some(name);
                return Ok(explanation.end(Kind::UnknownName, None, why));
            }
        };
        if name.addresses.is_empty() {
            explanation.notes.push(format!(
                "{} is not the mesh's: its address is what the machine's resolver says, and a service \
                 that is known by its address alone is not seen here",
                name.host
            ));
        }
        explanation.name = Some(name);
        let destination = SocketAddr::new(address, self.target.port);
        let Some((name, listener)) = self.listener(destination)? else {
            let said = format!("{} has no listener for {destination}", self.from.workload);
            return Ok(explanation.end(Kind::Refused, None, said));
        };
        let Some(chain) = self.chain(&listener, destination) else {
            let said = format!("no filter chain of {name} takes it");
            return Ok(explanation.end(Kind::Refused, None, said));
        };
        let mut told = Told {
            name,
            chain: chain.name.clone(),
            taken_as: "TCP",
            routes: None,
        };
        match &chain.terminal {
            TerminalFilter::Tcp(proxy) => {
                explanation.listener = Some(told);
                self.tcp(explanation, &proxy.clusters, destination)
            }
            TerminalFilter::DirectResponse(_) | TerminalFilter::Echo => {
                explanation.listener = Some(told);
                Ok(explanation.end(Kind::Answered, None, "the listener answers by itself"))
            }
            TerminalFilter::Http(manager) => {
                told.taken_as = "HTTP";
                if let RouteSource::Rds(routes, _) = &manager.routes {
                    told.routes = Some(routes.clone());
                }
                explanation.listener = Some(told);
                self.http(explanation, manager, destination)
            }
        }
    }

    /// The address, or what is wrong with the name.
    fn resolve(&mut self) -> anyhow::Result<Result<(Name, IpAddr), (Name, String)>> {
        let host = self.target.host.clone();
        let found = |addresses: Vec<IpAddr>| Name {
            host: host.clone(),
            addresses: addresses.iter().map(IpAddr::to_string).collect(),
            known: true,
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Ok((found(vec![address]), address)));
        }
        let message: NameTableMessage = self
            .message(ResourceType::NameTable, "name-table")?
            .unwrap_or_default();
        let table = NameTable::in_namespace(&message, &self.from.namespace);
        let unknown = |host: &str, why: &str| {
            #[expect(deprecated, reason = "Istio's older field, which every reader takes")]
            let others = message.table.values().flat_map(|info| &info.alt_hosts);
            let names = message.table.keys().chain(others).map(String::as_str);
            let near = nearest(host, names).map(|near| format!(": did you mean {near}?"));
            format!("{why}{}", near.unwrap_or_default())
        };
        let name = |known| Name {
            host: host.clone(),
            addresses: Vec::new(),
            known,
        };
        Ok(match table.lookup(&host) {
            Lookup::Addresses(addresses) => match addresses.first() {
                Some(first) => Ok((found(addresses.clone()), *first)),
                None => Err((name(false), format!("{host} has no address"))),
            },
            Lookup::Absent => Err((
                name(false),
                unknown(&host, &format!("nobody in the mesh is {host}")),
            )),
            // The search list of a workload makes it a name of the mesh, which nobody has.
            Lookup::Elsewhere if !host.contains('.') => {
                let why = format!("nobody in the mesh is {host}, as {} calls it", self.from.workload);
                Err((name(false), unknown(&host, &why)))
            }
            Lookup::Elsewhere => Ok((name(true), ELSEWHERE)),
        })
    }

    /// The listener of an original destination, as its proxy finds it.
    fn listener(&mut self, destination: SocketAddr) -> anyhow::Result<Option<(String, listener::Listener)>> {
        let (address, port) = (destination.ip(), destination.port());
        let own = match address {
            IpAddr::V4(address) => format!("{address}_{port}"),
            IpAddr::V6(address) => format!("[{address}]_{port}"),
        };
        let mut names = vec![own];
        if !self.from.on_demand {
            names.push(format!("0.0.0.0_{port}"));
        }
        names.push("virtualOutbound".into());
        for name in names {
            let Some(message) = self.message::<Listener>(ResourceType::Listener, &name)? else {
                continue;
            };
            let compiled = listener::compile(&message, &NoFiles, &mut Warnings::default());
            return Ok(Some((
                name.clone(),
                compiled.map_err(|why| rejected(&name, &why))?,
            )));
        }
        Ok(None)
    }

    fn chain<'l>(
        &self,
        listener: &'l listener::Listener,
        destination: SocketAddr,
    ) -> Option<&'l std::sync::Arc<FilterChain>> {
        let port = destination.port();
        let tls = self.target.scheme == Scheme::Tls && listener.filters.looks_for_tls(port);
        let looked = listener.filters.looks_for_http(port);
        let protocols: &[&[u8]] = match self.target.scheme {
            Scheme::Tls if tls => &[b"h2", b"http/1.1"],
            Scheme::Http if looked => &[b"http/1.1"],
            Scheme::Grpc if looked => &[b"h2c"],
            Scheme::Http | Scheme::Grpc | Scheme::Tls | Scheme::Tcp => &[],
        };
        let client = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let connection = ConnectionInfo {
            destination,
            source: client,
            direct_source: client,
            sni: tls.then_some(self.target.host.as_str()),
            transport: if tls {
                TransportProtocol::Tls
            } else {
                TransportProtocol::RawBuffer
            },
            application_protocols: protocols,
            notes: None,
        };
        choose(listener, &connection)
    }

    fn tcp(
        &mut self,
        mut explanation: Explanation,
        clusters: &[TcpCluster],
        destination: SocketAddr,
    ) -> anyhow::Result<Explanation> {
        let open = clusters.iter().any(|one| one.name != "BlackHoleCluster");
        if self.target.is_http() && open {
            let note = "the connection is passed on as bytes: no HTTP route is looked at";
            explanation.notes.push(note.into());
        }
        let total: f64 = clusters.iter().map(|one| f64::from(one.weight)).sum();
        for TcpCluster {
            name: cluster,
            weight,
            ..
        } in clusters
        {
            let share = f64::from(*weight) * 100.0 / total.max(1.0);
            let way = upstream::Way {
                cluster,
                share,
                head: None,
                destination,
            };
            explanation.targets.push(upstream::target(self, &way)?);
        }
        Ok(upstream::outcome(self, explanation))
    }

    fn http(
        &mut self,
        mut explanation: Explanation,
        manager: &HttpConnectionManager,
        destination: SocketAddr,
    ) -> anyhow::Result<Explanation> {
        if !self.target.is_http() {
            let note = "the port is HTTP: what does not speak it is answered 400";
            explanation.notes.push(note.into());
            let said = "the port takes HTTP, and this is not";
            return Ok(explanation.end(Kind::Refused, Some(400), said));
        }
        let mut head = self.target.head(&self.asked);
        head.headers.remove("x-envoy-internal");
        if !head.headers.contains("x-forwarded-proto") {
            head.headers.append("x-forwarded-proto", "http");
        }
        match manager.normalise(&mut head, destination.port()) {
            Normalised::GoesOn => {}
            Normalised::Refused => {
                let said = "the path has escaped slashes, which the listener refuses";
                return Ok(explanation.end(Kind::Refused, Some(400), said));
            }
            Normalised::Redirected => {
                let path = String::from_utf8_lossy(&head.path);
                let said = format!("redirected to {path}, without escaped slashes");
                return Ok(explanation.end(Kind::Answered, Some(307), said));
            }
        }
        explanation.request = Some(Request {
            method: self.asked.method.clone(),
            authority: String::from_utf8_lossy(&head.authority).into_owned(),
            path: String::from_utf8_lossy(&head.path).into_owned(),
            normalised: head.path != self.target.path,
            headers: self.asked.headers.clone(),
        });
        let Some(table) = self.table(manager)? else {
            let said = "the control plane has no routes for this port";
            return Ok(explanation.end(Kind::NoRoute, Some(404), said));
        };
        routing::explain(self, explanation, manager, &table, &head, destination)
    }

    fn table(&mut self, manager: &HttpConnectionManager) -> anyhow::Result<Option<RouteTable>> {
        let name = match &manager.routes {
            RouteSource::Inline(table) => return Ok(Some(RouteTable::clone(table))),
            RouteSource::Rds(name, _) => name,
            // Nobody in a mesh sends them.
            RouteSource::Scoped(_) => return Ok(None),
        };
        let Some(message) = self.message::<RouteConfiguration>(ResourceType::Route, name)? else {
            return Ok(None);
        };
        let compiled = route::compile(&message, &NoFiles, &mut Warnings::default());
        compiled.map(Some).map_err(|why| rejected(name, &why))
    }
}
