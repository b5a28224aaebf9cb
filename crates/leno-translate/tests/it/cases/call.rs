//! One call, answered step by step as leno's proxy does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::http::{HttpConnectionManager, RouteSource};
use leno_engine::compile::listener::{TerminalFilter, TransportProtocol};
use leno_engine::compile::route::{HostPredicate, MirrorCluster, RouteTable};
use leno_engine::compile::{self, NoFiles, Rejection, Warnings};
use leno_engine::decide::listener::{ConnectionInfo, choose};
use leno_engine::decide::route::{Decision, Forwarding, RouteContext};
use leno_engine::decide::timeout::Heard;
use leno_engine::message::{Headers, RequestHead, ResponseHead, Version};
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_proto::istio::networking::nds::v1::NameTable;
use leno_proto_text::Schema;
use leno_testkit::case::{Call, Told};
use leno_translate::{Proxy, ProxyKind, ResourceType};

use super::Seen;
use super::filters::Passing;
use super::mesh::Mesh;

/// How many calls make the shares.
const CALLS: u32 = 2000;

/// Where a call's connection leads.
enum Reached {
    /// Nowhere: why.
    Nowhere(&'static str),
    Tcp(String),
    Http(Box<(HttpConnectionManager, RouteTable)>),
}

/// What becomes of the call, in percent, and what workload and caller are told.
pub(super) fn answer(
    mesh: &Mesh,
    call: &Call,
    schema: &Schema,
    seen: &mut Seen,
) -> (BTreeMap<String, f64>, Told) {
    let proxy = mesh.proxy(&call.from);
    let mut told = Told::default();
    let served = match connect(mesh, call, &proxy, schema, seen) {
        Reached::Nowhere(why) => return (BTreeMap::from([(why.into(), 100.0)]), told),
        Reached::Tcp(cluster) => {
            let cluster = behind(mesh, &proxy, cluster, schema, seen);
            return (BTreeMap::from([(cluster, 100.0)]), told);
        }
        Reached::Http(served) => served,
    };
    let (manager, table) = &*served;
    let calls = if call.shares.is_empty() { 1 } else { CALLS };
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for random in randoms().take(calls as usize) {
        let what = decide(manager, table, call, random, &mut told);
        *counts.entry(what).or_default() += 1;
    }
    let mut shares = BTreeMap::new();
    for (what, count) in counts {
        let what = match what.strip_prefix(FORWARDED) {
            Some(cluster) => behind(mesh, &proxy, cluster.into(), schema, seen),
            None => what,
        };
        *shares.entry(what).or_insert(0.0) += f64::from(count) * 100.0 / f64::from(calls);
    }
    (shares, told)
}

/// SplitMix64: the same numbers in every run.
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

/// The name, the address, the listener and its chain.
fn connect(mesh: &Mesh, call: &Call, proxy: &Proxy, schema: &Schema, seen: &mut Seen) -> Reached {
    let (host, port) = call.host_and_port();
    let edge = matches!(proxy.kind, ProxyKind::Gateway(_)).then_some(Ipv4Addr::UNSPECIFIED.into());
    let Some(address) = call.at.or(edge).or_else(|| resolve(mesh, proxy, host)) else {
        return Reached::Nowhere("no name");
    };
    let destination = SocketAddr::new(address, port);
    let Some(listener) = mesh.get::<Listener>(proxy, ResourceType::Listener, &format!("{address}_{port}"))
    else {
        return Reached::Nowhere("no listener");
    };
    let listener = compiled(compile::listener::compile(
        &listener,
        &NoFiles,
        &mut Warnings::default(),
    ));
    let looks_like: &[&[u8]] = if call.scheme() == "http" {
        &[b"http/1.1"]
    } else {
        &[]
    };
    let client = SocketAddr::from(([127, 0, 0, 1], 40_000));
    let connection = ConnectionInfo {
        notes: None,
        destination,
        source: client,
        direct_source: client,
        sni: call.is_encrypted().then_some(host),
        transport: match call.is_encrypted() {
            true => TransportProtocol::Tls,
            false => TransportProtocol::RawBuffer,
        },
        application_protocols: if listener.filters.http_inspector {
            looks_like
        } else {
            &[]
        },
    };
    match choose(&listener, &connection).map(|chain| chain.terminal.clone()) {
        None => Reached::Nowhere("refused"),
        Some(other @ (TerminalFilter::DirectResponse(_) | TerminalFilter::Echo)) => panic!("{other:?}"),
        Some(TerminalFilter::Tcp(proxy)) => Reached::Tcp(proxy.clusters[0].name.clone()),
        Some(TerminalFilter::Http(manager)) => {
            let RouteSource::Rds(name, _) = manager.routes.clone() else {
                panic!("outbound routes come by RDS");
            };
            let routes = mesh
                .get::<RouteConfiguration>(proxy, ResourceType::Route, &name)
                .unwrap();
            note(seen, "routes", &name, || schema.to_json(&routes).unwrap());
            let table = compile::route::compile(&routes, &NoFiles, &mut Warnings::default());
            Reached::Http(Box::new((
                HttpConnectionManager::clone(&manager),
                compiled(table),
            )))
        }
    }
}

/// Before the cluster that a request is forwarded to.
const FORWARDED: &str = "to ";

fn decide(
    manager: &HttpConnectionManager,
    table: &RouteTable,
    call: &Call,
    random: u64,
    told: &mut Told,
) -> String {
    let cx = RouteContext::new(random, call.scheme() == "https");
    let mut head = head(call);
    let decision = table.route(&head, &cx);
    let mut passing = Passing::start(manager, &decision, random);
    if let Some(reply) = passing.request(&mut head) {
        let mut answer = answered(reply.status);
        for (name, value) in reply.headers.iter() {
            answer.headers.append(name, value);
        }
        passing.response(&mut answer);
        told.answer = text(&answer.headers);
        return reply.status.to_string();
    }
    match decision {
        Decision::Forward(to) => {
            told.route = forwarded(&to, &head);
            to.edit_request(&mut head, &NoValues, true);
            told.path = String::from_utf8_lossy(&head.path).into();
            told.host = String::from_utf8_lossy(&head.authority).into();
            told.headers = text(&head.headers);
            let mut answer = answered(200);
            to.edit_response(&head, &mut answer, &NoValues);
            passing.response(&mut answer);
            told.answer = text(&answer.headers);
            format!("{FORWARDED}{}", to.cluster)
        }
        Decision::Redirect { location, code, .. } => {
            format!("{code} {}", String::from_utf8_lossy(&location))
        }
        Decision::Respond { status, body, .. } => format!("{status} {}", String::from_utf8_lossy(body))
            .trim_end()
            .into(),
        Decision::NoRoute { .. } | Decision::NoHost => "404".into(),
    }
}

/// How long, how often, and to whom else.
fn forwarded(to: &Forwarding<'_>, head: &RequestHead) -> BTreeMap<String, String> {
    let timeouts = to.timeouts(head, Heard::No);
    let time = |time: Option<Duration>| time.map_or("none".into(), |time| format!("{time:?}"));
    let retry = to.forward.retry.as_deref();
    let other = |other: bool| if other { "other" } else { "any" }.to_owned();
    let codes = retry.map_or(&[][..], |retry| &retry.status_codes);
    let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
    let mirrors = to.forward.mirrors.iter().map(|mirror| match &mirror.cluster {
        MirrorCluster::One(cluster) => format!("{cluster} {}", f64::from(mirror.share.now().0) / 10_000.0),
        MirrorCluster::Header(name) => name.clone(),
    });
    [
        ("timeout", time(timeouts.global)),
        ("tries", retry.map_or(0, |retry| retry.num_retries).to_string()),
        ("per try", time(timeouts.per_try)),
        ("backoff", time(retry.map(|retry| retry.backoff_base))),
        ("codes", codes.join(",")),
        (
            "endpoints",
            other(retry.is_some_and(|retry| retry.omit.contains(&HostPredicate::Previous))),
        ),
        (
            "localities",
            other(retry.is_some_and(|retry| retry.leave_priorities.is_some())),
        ),
        ("mirrors", mirrors.collect::<Vec<_>>().join(", ")),
        (
            "counted",
            to.route.stat_name.as_deref().unwrap_or_default().to_owned(),
        ),
    ]
    .map(|(what, how)| (what.to_owned(), how))
    .into()
}

fn answered(status: u16) -> ResponseHead {
    ResponseHead {
        version: Version::Http11,
        status,
        headers: Headers::default(),
    }
}

fn text(headers: &Headers) -> BTreeMap<String, String> {
    let pairs = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value).into_owned();
        (String::from_utf8_lossy(name).to_ascii_lowercase(), value)
    });
    pairs.collect()
}

/// The cluster, if there is one.
fn behind(mesh: &Mesh, proxy: &Proxy, cluster: String, schema: &Schema, seen: &mut Seen) -> String {
    let Some(message) = mesh.get::<Cluster>(proxy, ResourceType::Cluster, &cluster) else {
        return format!("missing {cluster}");
    };
    compiled(compile::cluster::compile(
        &message,
        &NoFiles,
        &mut Warnings::default(),
    ));
    note(seen, "clusters", &cluster, || schema.to_json(&message).unwrap());
    cluster
}

fn note(seen: &mut Seen, kind: &'static str, name: &str, json: impl FnOnce() -> serde_json::Value) {
    seen.entry(kind)
        .or_default()
        .entry(name.into())
        .or_insert_with(json);
}

/// What translation makes, the engine takes: no case is without this test.
fn compiled<T>(result: Result<T, Rejection>) -> T {
    result.unwrap_or_else(|rejection| panic!("the engine rejects it: {rejection}"))
}

#[allow(deprecated)]
fn resolve(mesh: &Mesh, proxy: &Proxy, host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let table: NameTable = mesh.get(proxy, ResourceType::NameTable, "name-table")?;
    let mut entries = table.table.iter();
    let (_, info) =
        entries.find(|(name, info)| *name == host || info.alt_hosts.iter().any(|alt| alt == host))?;
    info.ips.first()?.parse().ok()
}

fn head(call: &Call) -> RequestHead {
    let mut headers = Headers::default();
    for (name, value) in &call.headers {
        headers.append(name, value);
    }
    RequestHead {
        version: Version::Http11,
        method: call.method.clone().unwrap_or_else(|| "GET".into()).into(),
        scheme: "http".into(),
        authority: Bytes::copy_from_slice(call.authority().as_bytes()),
        path: Bytes::copy_from_slice(call.path().as_bytes()),
        headers,
        upgrade: None,
    }
}
