//! What happens: the proxy begins, everything comes, routes move to a new cluster, a bad cluster comes, one goes.

use std::fmt::Write;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::google::protobuf::Any;
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use leno_proto_text::Schema;
use leno_testkit::{Plane, eventually, free_address};
use serde_json::{Value, json};

use super::proxy::{Proxy, serves};
use super::rest::Polled;

const TYPES: [(&str, &str); 4] = [
    ("CDS", CLUSTER),
    ("EDS", CLUSTER_LOAD_ASSIGNMENT),
    ("LDS", LISTENER),
    ("RDS", ROUTE_CONFIGURATION),
];

const PATHS: [&str; 4] = [
    "/v3/discovery:clusters",
    "/v3/discovery:endpoints",
    "/v3/discovery:listeners",
    "/v3/discovery:routes",
];

pub(crate) struct Script {
    way: &'static str,
    schema: Schema,
    plane: Plane,
    /// Where the proxy is to listen.
    port: SocketAddr,
    backends: [SocketAddr; 2],
}

impl Script {
    pub(crate) fn new(way: &'static str) -> Self {
        Self {
            way,
            schema: Schema::load(),
            plane: Plane::start(),
            port: free_address(),
            backends: [backend("one"), backend("two")],
        }
    }

    /// What was asked for, type by type.
    pub(crate) fn run(self, start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
        let (plane, [one, two]) = (&self.plane, self.backends);
        self.say(plane);
        let proxy = start(&self.bootstrap());
        serves(self.port, "one");
        self.settled("1", &TYPES);

        let endpoints = || {
            vec![
                ("one", self.endpoints("one", one)),
                ("two", self.endpoints("two", two)),
            ]
        };
        plane.set(CLUSTER_LOAD_ASSIGNMENT, "2", endpoints());
        self.settled("2", &TYPES[1..2]);
        plane.set(
            CLUSTER,
            "2",
            vec![("one", self.cluster("one")), ("two", self.cluster("two"))],
        );
        self.settled("2", &TYPES[..1]);
        plane.set(ROUTE_CONFIGURATION, "2", vec![("r", self.routes("two"))]);
        serves(self.port, "two");
        self.settled("2", &TYPES[3..]);

        // Refused whole by neither: the others of the response are in force.
        let bad = vec![
            ("one", self.cluster("one")),
            ("two", self.cluster("two")),
            ("bad", self.bad("bad")),
        ];
        plane.set(CLUSTER, "3", bad);
        eventually("the bad cluster is refused", || {
            let asked = plane.asked(CLUSTER);
            let last = asked.last().cloned().unwrap_or_default();
            last.contains("error").then_some(()).ok_or(asked)
        });
        serves(self.port, "two");

        let before = plane.asked(CLUSTER_LOAD_ASSIGNMENT).len();
        plane.set(CLUSTER, "4", vec![("two", self.cluster("two"))]);
        self.settled("4", &TYPES[..1]);
        eventually("nobody asks for the endpoints of what is gone", || {
            let asked = plane.asked(CLUSTER_LOAD_ASSIGNMENT);
            (asked.len() > before && plane.is_quiet())
                .then_some(())
                .ok_or(asked)
        });
        serves(self.port, "two");
        let text = self.asked();
        drop(proxy);
        text
    }

    /// What is asked of a control plane that comes back with what it had.
    pub(crate) fn come_back(mut self, start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
        self.say(&self.plane);
        let proxy = start(&self.bootstrap());
        serves(self.port, "one");
        self.settled("1", &TYPES);
        let address = self.plane.address;
        // Another port first: the old one is free once its plane is gone.
        self.plane = Plane::start();
        serves(self.port, "one");
        self.plane = Plane::start_at(address);
        self.say(&self.plane);
        self.settled("1", &TYPES);
        serves(self.port, "one");
        let text = self.asked();
        drop(proxy);
        text
    }

    /// What is asked of a control plane that is polled.
    pub(crate) fn poll(self, start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
        let polled = Polled::start();
        let [one, two] = self.backends;
        polled.set(PATHS[0], "1", &[self.cluster("one")]);
        polled.set(PATHS[1], "1", &[self.endpoints("one", one)]);
        polled.set(PATHS[2], "1", &[self.listener()]);
        polled.set(PATHS[3], "1", &[self.routes("one")]);
        let proxy = start(&self.bootstrap_of(polled.address));
        serves(self.port, "one");
        let said = |path: &str, version: &str| {
            eventually(&format!("{path} {version} is taken"), || {
                let asked = polled.asked(path);
                let last = asked.last().cloned().unwrap_or_default();
                let done = last.contains(&format!("version {version:?}"));
                done.then_some(()).ok_or(asked)
            });
        };
        PATHS.iter().for_each(|path| said(path, "1"));
        polled.set(PATHS[1], "2", &[self.endpoints("one", two)]);
        serves(self.port, "two");
        said(PATHS[1], "2");
        // The version of what was not taken whole is not said.
        polled.set(PATHS[0], "2", &[self.cluster("one"), self.bad("bad")]);
        polled.set(PATHS[1], "3", &[self.endpoints("one", one)]);
        serves(self.port, "one");
        said(PATHS[1], "3");
        polled.set(PATHS[0], "3", &[self.cluster("one")]);
        said(PATHS[0], "3");
        drop(proxy);
        PATHS
            .map(|path| format!("# {path}\n{}\n", polled.asked(path).join("\n")))
            .concat()
    }

    /// Everything, in its first version.
    fn say(&self, plane: &Plane) {
        let one = self.backends[0];
        plane.set(CLUSTER, "1", vec![("one", self.cluster("one"))]);
        plane.set(
            CLUSTER_LOAD_ASSIGNMENT,
            "1",
            vec![("one", self.endpoints("one", one))],
        );
        plane.set(LISTENER, "1", vec![("l", self.listener())]);
        plane.set(ROUTE_CONFIGURATION, "1", vec![("r", self.routes("one"))]);
    }

    /// Type by type.
    fn asked(&self) -> String {
        let mut text = String::new();
        for (name, type_url) in TYPES {
            let _ = writeln!(text, "# {name}\n{}", self.plane.asked(type_url).join("\n"));
        }
        text
    }

    /// Of each type the version is acknowledged.
    fn settled(&self, version: &str, types: &[(&str, &str)]) {
        for (name, type_url) in types {
            eventually(&format!("{name} {version} is acknowledged"), || {
                let asked = self.plane.asked(type_url);
                let last = asked.last().cloned().unwrap_or_default();
                // A plane that has come back is asked before it has anything to say.
                let done = self.plane.is_quiet()
                    && !last.contains("nonce \"\"")
                    && match self.way.starts_with("DELTA") {
                        true => last.starts_with("nonce") && !last.contains("error"),
                        false => last.contains(&format!("version {version:?}")),
                    };
                done.then_some(()).ok_or(asked)
            });
        }
    }

    fn source(&self) -> Value {
        match self.way {
            "ADS" | "DELTA_ADS" => json!({"ads": {}, "resource_api_version": "V3"}),
            way => json!({"api_config_source": api(way), "resource_api_version": "V3"}),
        }
    }

    fn bootstrap(&self) -> Bootstrap {
        self.bootstrap_of(self.plane.address)
    }

    /// The cluster of a control plane.
    pub(crate) fn plane(plane: SocketAddr) -> Value {
        json!({
            "name": "plane",
            "load_assignment": assignment("plane", plane),
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
        })
    }

    /// How it is spoken to.
    pub(crate) fn api(kind: &str) -> Value {
        api(kind)
    }

    fn bootstrap_of(&self, plane: SocketAddr) -> Bootstrap {
        let plane = Self::plane(plane);
        let mut dynamic = json!({"cds_config": self.source(), "lds_config": self.source()});
        match self.way {
            "ADS" => dynamic["ads_config"] = api("GRPC"),
            "DELTA_ADS" => dynamic["ads_config"] = api("DELTA_GRPC"),
            _ => {}
        }
        let text = json!({
            "node": {"id": "edge", "cluster": "edges"},
            "dynamic_resources": dynamic,
            "static_resources": {"clusters": [plane]},
        });
        self.schema.from_text(&text.to_string()).unwrap()
    }

    fn any(&self, name: &str, value: &Value) -> Any {
        self.schema.any_from_text(&value.to_string(), name).unwrap()
    }

    fn cluster(&self, name: &str) -> Any {
        let eds = json!({"eds_config": self.source()});
        let cluster = json!({"name": name, "type": "EDS", "eds_cluster_config": eds});
        self.any("envoy.config.cluster.v3.Cluster", &cluster)
    }

    fn bad(&self, name: &str) -> Any {
        let cluster = json!({"name": name, "connect_timeout": "-1s"});
        self.any("envoy.config.cluster.v3.Cluster", &cluster)
    }

    fn endpoints(&self, name: &str, address: SocketAddr) -> Any {
        let assignment = assignment(name, address);
        self.any("envoy.config.endpoint.v3.ClusterLoadAssignment", &assignment)
    }

    fn listener(&self) -> Any {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "l",
            "rds": {"route_config_name": "r", "config_source": self.source()},
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }],
        });
        let filter =
            json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
        let listener = json!({
            "name": "l",
            "address": socket(self.port),
            "filter_chains": [{"filters": [filter]}],
        });
        self.any("envoy.config.listener.v3.Listener", &listener)
    }

    fn routes(&self, cluster: &str) -> Any {
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}});
        let host = json!({"name": "all", "domains": ["*"], "routes": [route]});
        let table = json!({"name": "r", "virtual_hosts": [host]});
        self.any("envoy.config.route.v3.RouteConfiguration", &table)
    }
}

/// A bootstrap whose one listener is in a file that says who it is.
pub(crate) fn by_file(file: &Path) -> Bootstrap {
    let source = json!({"path_config_source": {"path": file}, "resource_api_version": "V3"});
    let text = json!({
        "node": {"id": "edge", "cluster": "edges"},
        "dynamic_resources": {"lds_config": source},
    });
    Schema::load().from_text(&text.to_string()).unwrap()
}

/// A discovery response with one listener, which answers everything with this.
pub(crate) fn answering(port: SocketAddr, body: &str) -> String {
    let route = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": body}},
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "l",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    let listener = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "l",
        "address": socket(port),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    });
    json!({"version_info": body, "resources": [listener]}).to_string()
}

fn api(kind: &str) -> Value {
    if kind == "REST" {
        return json!({
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": ["plane"],
            "refresh_delay": "0.05s",
            "request_timeout": "5s",
        });
    }
    json!({
        "api_type": kind,
        "transport_api_version": "V3",
        "set_node_on_first_message_only": true,
        "grpc_services": [{
            "envoy_grpc": {"cluster_name": "plane"},
            "initial_metadata": [{"key": "x-said", "value": "hello"}],
        }],
    })
}

pub(crate) fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

pub(crate) fn assignment(name: &str, address: SocketAddr) -> Value {
    let endpoint = json!({"endpoint": {"address": socket(address)}});
    json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]})
}

/// Answers everything with its name, for as long as the test runs.
pub(crate) fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(read) = stream.read(&mut buffer) {
                    request.extend_from_slice(&buffer[..read]);
                    if read == 0 {
                        return;
                    }
                    if request.ends_with(b"\r\n\r\n") {
                        request.clear();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                        let _ = stream.write_all(answer.as_bytes());
                    }
                }
            });
        }
    });
    address
}
