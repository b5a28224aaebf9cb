//! A proxy that is started again while its control plane is away serves what it had; the control plane's next word
//! replaces it, and no request fails.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use leno_proto::google::protobuf::Any;
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use leno_proto_text::Schema;
use leno_testkit::{Plane, Process, eventually, free_address};
use leno_xds::kept::Kept;
use serde_json::{Value, json};

use crate::support::LENO;

struct World {
    schema: Schema,
    source: Value,
    port: SocketAddr,
}

#[test]
fn what_was_said_is_served_without_a_control_plane_and_its_next_word_replaces_it() {
    for (ads, kind) in [
        (true, "GRPC"),
        (true, "DELTA_GRPC"),
        (false, "GRPC"),
        (false, "DELTA_GRPC"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (state, file) = (directory.path().join("state"), directory.path().join("b.yaml"));
        let plane = Plane::start();
        let world = World {
            schema: Schema::load(),
            source: match ads {
                true => json!({"ads": {}, "resource_api_version": "V3"}),
                false => json!({"api_config_source": api(kind), "resource_api_version": "V3"}),
            },
            port: free_address(),
        };
        std::fs::write(
            &file,
            world.bootstrap(plane.address, ads.then(|| api(kind))).to_string(),
        )
        .unwrap();
        world.say(&plane, "1", "one");
        let mut proxy = start(&file, &state);
        serves(world.port, "one");
        keeps(&state, "one");
        proxy.kill();
        let address = plane.address;
        drop(plane);

        let proxy = start(&file, &state);
        serves(world.port, "one");
        let load = Load::start(world.port);
        let plane = Plane::start_at(address);
        world.say(&plane, "2", "two");
        serves(world.port, "two");
        assert_eq!(load.end(), ["one", "two"], "{kind} ads: {ads} {}", proxy.output());
        keeps(&state, "two");
    }
}

fn start(file: &Path, state: &Path) -> Process {
    let mut command = Command::new(LENO);
    command
        .args(["proxy", "--concurrency", "1", "--state"])
        .arg(state);
    command.arg("-c").arg(file);
    Process::spawn(command)
}

/// All of it, and nothing that was before.
#[track_caller]
fn keeps(state: &Path, backend: &str) {
    let mut want = vec![backend, backend, "l", "r"];
    want.sort_unstable();
    eventually(&format!("{backend} is kept"), || {
        let bytes = std::fs::read(state.join("xds")).map_err(|error| error.to_string())?;
        let kept = Kept::from_bytes(bytes.into()).map_err(|error| error.to_string())?;
        let mut names: Vec<_> = kept.resources.iter().map(|r| r.name.as_str()).collect();
        names.sort_unstable();
        (names == want).then_some(()).ok_or(format!("{names:?}"))
    });
}

impl World {
    /// The routes go to this backend, and there is no other.
    fn say(&self, plane: &Plane, version: &str, name: &str) {
        let cluster = json!({"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": self.source}});
        let cluster = self.any("envoy.config.cluster.v3.Cluster", &cluster);
        let endpoints = assignment(name, backend(name));
        let endpoints = self.any("envoy.config.endpoint.v3.ClusterLoadAssignment", &endpoints);
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": name}});
        let table =
            json!({"name": "r", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]});
        let table = self.any("envoy.config.route.v3.RouteConfiguration", &table);
        plane.set(CLUSTER, version, vec![(name, cluster)]);
        plane.set(CLUSTER_LOAD_ASSIGNMENT, version, vec![(name, endpoints)]);
        plane.set(LISTENER, version, vec![("l", self.listener())]);
        plane.set(ROUTE_CONFIGURATION, version, vec![("r", table)]);
    }

    fn listener(&self) -> Any {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "l",
            "rds": {"route_config_name": "r", "config_source": self.source},
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }],
        });
        let filter =
            json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
        let listener =
            json!({"name": "l", "address": socket(self.port), "filter_chains": [{"filters": [filter]}]});
        self.any("envoy.config.listener.v3.Listener", &listener)
    }

    fn any(&self, name: &str, value: &Value) -> Any {
        self.schema.any_from_text(&value.to_string(), name).unwrap()
    }

    fn bootstrap(&self, plane: SocketAddr, ads: Option<Value>) -> Value {
        let plane = json!({
            "name": "plane",
            "load_assignment": assignment("plane", plane),
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
        });
        let mut dynamic = json!({"cds_config": self.source, "lds_config": self.source});
        if let Some(ads) = ads {
            dynamic["ads_config"] = ads;
        }
        json!({
            "node": {"id": "edge", "cluster": "edges"},
            "dynamic_resources": dynamic,
            "static_resources": {"clusters": [plane]},
        })
    }
}

fn api(kind: &str) -> Value {
    json!({
        "api_type": kind,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "plane"}}],
    })
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn assignment(name: &str, address: SocketAddr) -> Value {
    let endpoint = json!({"endpoint": {"address": socket(address)}});
    json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]})
}

/// Answers with its name and closes, for as long as the test runs.
fn backend(name: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let name = name.to_owned();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                name.len()
            );
            let _ = stream.write_all(format!("{head}{name}").as_bytes());
        }
    });
    address
}

#[track_caller]
fn serves(address: SocketAddr, wanted: &str) {
    eventually(&format!("{address} serves {wanted}"), || match get(address) {
        Ok(body) if body == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    match head.starts_with("HTTP/1.1 200 ") {
        true => Ok(body.to_owned()),
        false => Err(std::io::Error::other(answer.clone())),
    }
}

/// Requests without a pause.
struct Load {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&enough);
        let thread = std::thread::spawn(move || {
            let mut seen: Vec<String> = Vec::new();
            while !end.load(Ordering::Relaxed) {
                let answer = get(address).unwrap_or_else(|error| format!("failed: {error}"));
                if seen.last() != Some(&answer) {
                    seen.push(answer);
                }
            }
            seen
        });
        Self { enough, thread }
    }

    /// The different answers, in their order; the last requests see what is now.
    fn end(self) -> Vec<String> {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
