//! The far side: which of its chains takes the connection, or why none does.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Instant, SystemTime};

use leno_engine::compile::access_log::{FormatValues, MetadataKind, Operator};
use leno_engine::compile::http::RouteSource;
use leno_engine::compile::listener::{self, FilterChain, TerminalFilter, TransportProtocol};
use leno_engine::compile::metadata::{Told, Value};
use leno_engine::compile::route::{Action, ClusterChoice};
use leno_engine::compile::{NoFiles, Warnings};
use leno_engine::decide::listener::{ConnectionInfo, Criterion, choose, misses};
use leno_engine::decide::notes::Notes;
use leno_engine::decide::rbac::{Asked, Caller, Denial, Peer};
use leno_engine::message::RequestHead;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_translate::ResourceType;

use super::answer::{Inbound, Transport};
use super::mesh::Member;
use super::question::{Question, rejected};

/// None: no sidecar of the mesh's is there, or none that is told what to take.
pub fn far(
    question: &mut Question<'_>,
    member: &Member,
    at: SocketAddr,
    (sent, head): (&Transport, Option<&RequestHead>),
) -> anyhow::Result<Option<Inbound>> {
    const NAME: &str = "virtualInbound";
    let Some(message) = question.message_of::<Listener>(member, ResourceType::Listener, NAME)? else {
        return Ok(None);
    };
    let listener = listener::compile(&message, &NoFiles, &mut Warnings::default())
        .map_err(|why| rejected(NAME, &why))?;
    let tls = sent.mode != "plaintext" && listener.filters.looks_for_tls(at.port());
    let looked = !tls && listener.filters.looks_for_http(at.port());
    let offered: Vec<&[u8]> = match (tls, sent.speaks) {
        (true, _) => sent.alpn.iter().map(String::as_bytes).collect(),
        (false, Some("HTTP/2")) if looked => vec![b"h2c"],
        (false, Some(_)) if looked => vec![b"http/1.1"],
        (false, _) => Vec::new(),
    };
    let client = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 2), 40_000));
    let connection = ConnectionInfo {
        destination: at,
        source: client,
        direct_source: client,
        sni: sent.sni.as_deref().filter(|_| tls),
        transport: if tls {
            TransportProtocol::Tls
        } else {
            TransportProtocol::RawBuffer
        },
        application_protocols: &offered,
        notes: None,
    };
    let chosen = choose(&listener, &connection);
    // What tokens say, for the policies behind.
    let notes = Notes::default();
    let values = Placed(listener.told.as_deref());
    let caller = Caller {
        request: head,
        ignores_parameters: false,
        remote: client,
        peer: Peer {
            address: client.ip(),
            source: client,
            destination: at,
            server_name: connection.sni,
            tls,
            uris: std::slice::from_ref(&question.from.principal),
            names: &[],
            subject: "",
        },
        notes: Some(&notes),
        values: &values,
    };
    let denied = chosen.and_then(|chain| denial(chain, &caller, &notes));
    let asked = match (&denied, chosen) {
        (None, Some(chain)) => asked(chain, &caller),
        _ => Vec::new(),
    };
    let by = asked.iter().flat_map(|asked| {
        let place = asked.place.clone();
        std::iter::once(asked.policy.clone()).chain(place)
    });
    Ok(Some(Inbound {
        workload: member.workload.clone(),
        mode: mode(&listener, at.port()),
        chain: chosen.map(|chain| chain.name.clone()),
        application: chosen.and_then(|chain| application(&chain.terminal)),
        refused: match &denied {
            Some(denied) => Some(denied.said.to_owned()),
            None => chosen.is_none().then(|| refusal(&listener, &connection)),
        },
        status: denied.as_ref().map(|denied| denied.status),
        because: denied.map_or_else(|| by.collect(), |denied| denied.because),
        asks: asked.iter().map(|asked| asked.provider.clone()).collect(),
    }))
}

/// Knows where the policies of a listener are written.
struct Placed<'l>(Option<&'l Told>);

impl FormatValues for Placed<'_> {
    fn write(&self, _operator: &Operator, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        if let (MetadataKind::Listener, Some(told)) = (kind, self.0) {
            told.read(namespace, read);
        }
    }
}

/// What a policy says against it.
struct Denied {
    status: u16,
    said: &'static str,
    because: Vec<String>,
}

impl Denied {
    fn new(status: u16, (said, because): (&'static str, Vec<String>)) -> Self {
        Self {
            status,
            said,
            because,
        }
    }
}

/// Of a request the first of its filters that denies, of a connection the first of the chain's.
fn denial(chain: &FilterChain, caller: &Caller<'_>, notes: &Notes) -> Option<Denied> {
    let by_policy = |denial: Denial| Denied::new(403, denial.lines());
    let connection = Caller {
        request: None,
        notes: None,
        ..*caller
    };
    let refused = chain.network.iter().find_map(|filter| filter.denies(&connection));
    if let Some(refused) = refused {
        return Some(by_policy(refused));
    }
    let TerminalFilter::Http(manager) = &chain.terminal else {
        return None;
    };
    manager.filters.iter().find_map(|filter| {
        let now = (Instant::now(), SystemTime::now());
        let head = caller.request?;
        let token = filter.refuses_token(None, head, now, notes, caller.values);
        let token = token.map(|refusal| Denied::new(refusal.status, refusal.lines()));
        token.or_else(|| filter.denies(None, caller).map(by_policy))
    })
}

/// By which policies authorizers are asked: of a connection, and of the request on it.
fn asked(chain: &FilterChain, caller: &Caller<'_>) -> Vec<Asked> {
    let connection = Caller {
        request: None,
        ..*caller
    };
    let mut asked: Vec<Asked> = chain
        .network
        .iter()
        .filter_map(|filter| filter.asks(&connection))
        .collect();
    if let TerminalFilter::Http(manager) = &chain.terminal {
        asked.extend(
            manager
                .filters
                .iter()
                .filter_map(|filter| filter.asks(None, caller)),
        );
    }
    asked
}

/// By what the port's chains take; None: it has none.
fn mode(listener: &listener::Listener, port: u16) -> Option<&'static str> {
    let chains = || listener.chains.iter();
    let of_port = || chains().filter(|chain| chain.matches.destination_port == Some(port));
    let mesh = of_port().any(|chain| chain.tls.is_some());
    let plain = of_port().any(|chain| chain.tls.is_none());
    match (mesh, plain) {
        (true, true) => Some("PERMISSIVE"),
        (true, false) => Some("STRICT"),
        (false, true) => Some("DISABLE"),
        (false, false) => None,
    }
}

fn refusal(listener: &listener::Listener, connection: &ConnectionInfo<'_>) -> String {
    let port = connection.destination.port();
    let raw = connection.transport == TransportProtocol::RawBuffer;
    if let (Some(origin), true) = (listener.strict.get(&port), raw) {
        return format!("port {port} takes mutual TLS only, and this is plaintext: STRICT by {origin}");
    }
    let missed = misses(listener, connection);
    let of_port = missed
        .iter()
        .filter(|(_, why)| *why != Some(Criterion::DestinationPort))
        .filter(|(chain, _)| chain.matches.destination_port == Some(port))
        .count();
    match of_port {
        0 => format!("the workload does not listen on port {port}"),
        _ if raw => format!("port {port} takes mutual TLS only, and this is plaintext: STRICT"),
        _ => format!("port {port} does not take this TLS"),
    }
}

/// Where the sidecar sends it on to.
fn application(terminal: &TerminalFilter) -> Option<String> {
    let cluster = match terminal {
        TerminalFilter::DirectResponse(_) | TerminalFilter::Echo => return None,
        TerminalFilter::Tcp(proxy) => proxy.clusters.first()?.name.clone(),
        TerminalFilter::Http(manager) => {
            let RouteSource::Inline(table) = &manager.routes else {
                return None;
            };
            let route = table.hosts.first()?.routes.first()?;
            match &route.action {
                Action::Forward(forward) => match &forward.cluster {
                    ClusterChoice::One(name) => name.clone(),
                    ClusterChoice::Header(_) | ClusterChoice::Weighted { .. } => return None,
                },
                Action::Redirect(_) | Action::Respond { .. } => return None,
            }
        }
    };
    let port = cluster.strip_prefix("inbound|")?.strip_suffix("||")?;
    Some(format!("port {port} of the workload itself"))
}
