//! A call of a row, answered step by step as leno's proxy does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leno_engine::compile::cluster::Discovery;
use leno_engine::compile::endpoint::Assignment;
use leno_engine::compile::http::RouteSource;
use leno_engine::compile::listener::{TcpProxy, TerminalFilter, TransportProtocol};
use leno_engine::compile::{self, NoFiles, Rejection, Warnings};
use leno_engine::decide::balance::{Balancer, PickContext};
use leno_engine::decide::hash::hash_by;
use leno_engine::decide::listener::{ConnectionInfo, choose};
use leno_engine::decide::route::{Decision, RouteContext};
use leno_engine::message::{Headers, RequestHead, Version};
use leno_model::{Change, Protocol, Snapshot, VipTable, Workload, WorkloadId, WorkloadPort, World as Model};
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_proto::istio::networking::nds::v1::NameTable;
use leno_translate::{Cache, GatewayPorts, Proxy, ProxyKind, ResourceType, answer as ask};
use prost::Message;

use super::{Row, facts};

/// A service of HTTP with endpoints in three places, one of bytes, and who calls them.
const MESH: &str = include_str!("mesh.yaml");

pub(super) struct World(Arc<Snapshot>);

impl World {
    pub(super) fn new(objects: &str) -> Self {
        let text = format!("{MESH}{objects}");
        let read = leno_api::read("rows.yaml", text.as_bytes());
        let errors: Vec<_> = read.diagnostics.iter().filter(|d| d.is_error()).collect();
        assert!(errors.is_empty(), "{objects}: {errors:#?}");
        let file = Change::File {
            file: "rows.yaml".into(),
            objects: read.objects,
        };
        let workloads = [
            ("client", "client", 1, "eu/a/1"),
            ("reviews-1", "reviews", 2, "eu/a/1"),
            ("reviews-2", "reviews", 3, "eu/b/1"),
            ("reviews-3", "reviews", 4, "us/a/1"),
            ("reviews-4", "reviews", 5, "asia/a/1"),
            ("db-1", "db", 6, "eu/a/1"),
            ("db-2", "db", 7, "us/a/1"),
            ("noded", "noded", 8, "/a"),
        ];
        let registered = workloads.map(|one| {
            let mut workload = workload(one);
            if workload.name == "noded" {
                workload
                    .labels
                    .insert("kubernetes.io/hostname".into(), "n1".into());
            }
            Change::Workload(workload)
        });
        let mut world = Model::new(VipTable::default());
        let changes = std::iter::once(file).chain(registered);
        Self(world.apply(changes, Duration::from_secs(1_000_000)).snapshot)
    }

    pub(super) fn proxy(&self, row: &Row) -> Proxy {
        let gateway = row.from == "gateway";
        let workload = (!gateway).then(|| WorkloadId(format!("{}.default", row.from).into()));
        let labels = workload.as_ref().and_then(|id| self.0.workloads.get(id));
        let labels = labels.map(|workload| workload.labels.clone()).unwrap_or_default();
        Proxy {
            id: format!(
                "sidecar~127.0.0.1~{0}.default~default.svc.cluster.local",
                row.from
            ),
            namespace: "default".into(),
            labels: match gateway {
                false => labels,
                true => [
                    ("topology.kubernetes.io/region", "us"),
                    ("topology.kubernetes.io/zone", "a"),
                    ("istio", "ingressgateway"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            },
            service_account: "default".into(),
            workload,
            on_demand: row.proxy == "leno",
            metadata: Default::default(),
            audited: false,
            kind: match gateway {
                false => ProxyKind::Sidecar,
                true => ProxyKind::Gateway(GatewayPorts {
                    proven: true,
                    ..GatewayPorts::default()
                }),
            },
        }
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.0
    }

    pub(super) fn get<M: Message + Default>(
        &self,
        proxy: &Proxy,
        kind: ResourceType,
        name: &str,
    ) -> Option<M> {
        let answer = ask(&mut Cache::default(), &self.0, proxy, kind, name);
        Some(M::decode(answer.resource?.body.clone()).unwrap())
    }
}

fn workload((name, app, last, locality): (&str, &str, u8, &str)) -> Workload {
    Workload {
        id: WorkloadId(format!("{name}.default").into()),
        name: name.into(),
        namespace: "default".into(),
        service_account: app.into(),
        labels: [("app", app), ("version", name.rsplit('-').next().unwrap())]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        addresses: vec![IpAddr::from([127, 0, 1, last])],
        ports: vec![WorkloadPort {
            port: 9080,
            name: String::new(),
            protocol: Protocol::Detect,
        }],
        service: None,
        healthy: true,
        mesh_tls: true,
        http2_upgrade: true,
        locality: locality.into(),
        weight: 1,
    }
}

/// Where a connection leads.
enum Way {
    Nowhere(&'static str),
    Bytes(Box<TcpProxy>),
    Http(Box<RouteConfiguration>),
}

/// All that can be said of the row's call.
pub(super) fn answer(world: &World, row: &Row) -> BTreeMap<String, String> {
    let proxy = world.proxy(row);
    let mut said = BTreeMap::new();
    let (cluster, picks) = match way(world, row, &proxy) {
        Way::Nowhere(why) => return [("reached".to_owned(), why.to_owned())].into(),
        Way::Bytes(tcp) => {
            facts::of_tcp(&tcp, &mut said);
            let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let hash = tcp.hash_of(source, None);
            (tcp.clusters[0].name.clone(), vec![hash; CALLS])
        }
        Way::Http(routes) => requests(row, &routes, &mut said),
    };
    said.insert("cluster".into(), cluster.clone());
    let Some(message) = world.get::<Cluster>(&proxy, ResourceType::Cluster, &cluster) else {
        said.insert("reached".into(), "no cluster".into());
        return said;
    };
    let is_leno = row.proxy == "leno";
    // Envoy's version may name files.
    if !is_leno {
        facts::of_message(&message, &mut said);
        return said;
    }
    let compiled = compiled(compile::cluster::compile(
        &message,
        &NoFiles,
        &mut Warnings::default(),
    ));
    facts::of_cluster(&compiled, &mut said);
    let assignment = match &compiled.discovery {
        Discovery::Eds(name, _) => {
            let message: ClusterLoadAssignment = world.get(&proxy, ResourceType::Endpoints, name).unwrap();
            let made = compile::endpoint::compile(&message, &NoFiles, &mut Warnings::default());
            Arc::new(self::compiled(made))
        }
        Discovery::Static(given)
        | Discovery::StrictDns {
            assignment: given, ..
        }
        | Discovery::LogicalDns {
            assignment: given, ..
        } => given.clone(),
        _ => return said,
    };
    said.insert("priorities".into(), priorities(&assignment));
    let mut balancer = Balancer::new(&compiled, assignment, None, 7);
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    for (random, hash) in randoms().zip(&picks) {
        let context = PickContext {
            random,
            hash: *hash,
            ..PickContext::default()
        };
        if let Ok(host) = balancer.pick(&context) {
            *reached.entry(host.endpoint.address.to_string()).or_default() += 1;
        }
    }
    said.insert("endpoints".into(), reached.len().to_string());
    let total = picks.len();
    // To the nearest tenth: chance has its way below that.
    let shares = reached
        .iter()
        .map(|(address, count)| format!("{address} {}%", (count * 10 + total / 2) / total * 10));
    said.insert("shares".into(), shares.collect::<Vec<_>>().join(", "));
    said
}

const CALLS: usize = 2000;

/// The cluster of the row's requests, and their hashes.
fn requests(
    row: &Row,
    routes: &RouteConfiguration,
    said: &mut BTreeMap<String, String>,
) -> (String, Vec<Option<u64>>) {
    let table = compiled(compile::route::compile(
        routes,
        &NoFiles,
        &mut Warnings::default(),
    ));
    let head = head(row);
    let (mut clusters, mut hashes) = (BTreeSet::new(), Vec::new());
    for random in randoms().take(CALLS) {
        let Decision::Forward(to) = table.route(&head, &RouteContext::new(random, false)) else {
            panic!("{}: not forwarded", row.field);
        };
        clusters.insert(to.cluster.to_string());
        let source = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let hashed = hash_by(&to.forward.hash, &head, source, None, random);
        if let Some(cookie) = hashed.set_cookie {
            let cookie = String::from_utf8_lossy(&cookie).into_owned();
            let (_, attributes) = cookie.split_once(';').unwrap_or_default();
            said.insert("cookie".into(), attributes.trim().into());
        }
        hashes.push(hashed.hash);
    }
    (clusters.into_iter().next().unwrap(), hashes)
}

fn randoms() -> impl Iterator<Item = u64> {
    let states = std::iter::successors(Some(7u64), |state| {
        Some(state.wrapping_add(0x9e37_79b9_7f4a_7c15))
    });
    states.map(|state| {
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn priorities(assignment: &Assignment) -> String {
    let levels = assignment.priorities.iter().enumerate();
    let endpoints = levels.flat_map(|(priority, localities)| {
        let all = localities.iter().flat_map(|locality| &locality.endpoints);
        all.map(move |endpoint| format!("{}={priority}", endpoint.address))
    });
    endpoints.collect::<Vec<_>>().join(" ")
}

fn way(world: &World, row: &Row, proxy: &Proxy) -> Way {
    if row.from == "gateway" {
        let name = "http.80";
        let routes = world.get(proxy, ResourceType::Route, name);
        return routes.map_or(Way::Nowhere("no route"), |routes| Way::Http(Box::new(routes)));
    }
    let (scheme, rest) = row.to.split_once("://").unwrap();
    let (host, port) = rest.split('/').next().unwrap().rsplit_once(':').unwrap();
    let Some(address) = resolve(world, proxy, host) else {
        return Way::Nowhere("no name");
    };
    if !proxy.on_demand {
        // Envoy has its listeners by a wildcard; the clusters are the same.
        let routes = world.get(proxy, ResourceType::Route, port);
        return routes.map_or(Way::Nowhere("no route"), |routes| Way::Http(Box::new(routes)));
    }
    let name = format!("{address}_{port}");
    let Some(listener) = world.get::<Listener>(proxy, ResourceType::Listener, &name) else {
        return Way::Nowhere("no listener");
    };
    let listener = compiled(compile::listener::compile(
        &listener,
        &NoFiles,
        &mut Warnings::default(),
    ));
    let looks_like: &[&[u8]] = match scheme == "http" && listener.filters.http_inspector {
        true => &[b"http/1.1"],
        false => &[],
    };
    let client = SocketAddr::from(([127, 0, 0, 1], 40_000));
    let connection = ConnectionInfo {
        notes: None,
        destination: SocketAddr::new(address, port.parse().unwrap()),
        source: client,
        direct_source: client,
        sni: None,
        transport: TransportProtocol::RawBuffer,
        application_protocols: looks_like,
    };
    match choose(&listener, &connection).map(|chain| &chain.terminal) {
        None => Way::Nowhere("refused"),
        Some(TerminalFilter::Tcp(tcp)) => Way::Bytes(Box::new(TcpProxy::clone(tcp))),
        Some(TerminalFilter::Http(manager)) => {
            let RouteSource::Rds(name, _) = &manager.routes else {
                panic!("outbound routes come by RDS");
            };
            Way::Http(Box::new(world.get(proxy, ResourceType::Route, name).unwrap()))
        }
        Some(other) => panic!("{other:?}"),
    }
}

#[allow(deprecated)]
fn resolve(world: &World, proxy: &Proxy, host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let table: NameTable = world.get(proxy, ResourceType::NameTable, "name-table")?;
    let mut entries = table.table.iter();
    let (_, info) =
        entries.find(|(name, info)| *name == host || info.alt_hosts.iter().any(|alt| alt == host))?;
    info.ips.first()?.parse().ok()
}

fn head(row: &Row) -> RequestHead {
    let mut headers = Headers::default();
    for (name, value) in &row.headers {
        headers.append(name, value);
    }
    let rest = row.to.split_once("://").unwrap().1;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    RequestHead {
        version: Version::Http11,
        method: "GET".into(),
        scheme: "http".into(),
        authority: Bytes::copy_from_slice(authority.as_bytes()),
        path: Bytes::from(format!("/{path}")),
        headers,
        upgrade: None,
    }
}

/// What translation makes, the engine takes.
fn compiled<T>(result: Result<T, Rejection>) -> T {
    result.unwrap_or_else(|rejection| panic!("the engine rejects it: {rejection}"))
}
