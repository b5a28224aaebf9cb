//! CSDS: what the proxy says of its resources to gRPC's own library, and as JSON. Envoy has no such service.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use leno_proto::envoy::admin::v3::ClientResourceStatus;
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use leno_proto::envoy::service::status::v3::{ClientStatusRequest, ClientStatusResponse};
use leno_proto::{FromAny, type_url};
use leno_proto_text::Schema;
use leno_testkit::{eventually, free_address};
use prost::Message;
use serde_json::{Value, json};

use super::files::Files;
use super::proxy::{Proxy, answers};
use super::script::assignment;

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "envoy.config.listener.v3.Listener";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// One cluster was taken and then refused, one was refused at once, one route configuration was there, and of another nothing
/// has been said.
fn told() -> (Files, Proxy) {
    let (files, ports) = (Files::new(), [free_address(), free_address()]);
    let rds =
        |name: &str| json!({"rds": {"route_config_name": name, "config_source": files.stream("DELTA_GRPC")}});
    files.say(
        "1",
        LISTENER,
        &[
            Files::listener("l", ports[0], rds("missing"), &[]),
            Files::listener("m", ports[1], rds("silent"), &[]),
        ],
    );
    files.say("1", ROUTES, &[json!({"name": "missing"})]);
    files.say(
        "1",
        CLUSTER,
        &[cluster(), json!({"name": "b", "connect_timeout": "-1s"})],
    );
    let bootstrap = files.bootstrap(json!({
        "dynamic_resources": {
            "lds_config": files.stream("DELTA_GRPC"),
            "cds_config": files.stream("DELTA_GRPC"),
        },
        "static_resources": {"clusters": [files.cluster()]},
    }));
    let proxy = Proxy::leno(&bootstrap);
    answers(ports[0], "", "404");
    let mut worse = cluster();
    worse["connect_timeout"] = json!("-2s");
    files.say(
        "2",
        CLUSTER,
        &[worse, json!({"name": "b", "connect_timeout": "-1s"})],
    );
    files.say("2", ROUTES, &[]);
    eventually("everything has been said", || {
        let (_, text) = post(files.admin, "");
        let told = text.contains("DOES_NOT_EXIST") && text.matches("NACKED").count() == 2;
        told.then_some(()).ok_or(text)
    });
    (files, proxy)
}

fn cluster() -> Value {
    let tls = json!({"@type": TLS, "common_tls_context": {"tls_certificates": [{
        "certificate_chain": {"inline_string": crate::config::Pki::new().pem("client.crt")},
        "private_key": {"inline_string": crate::config::Pki::new().pem("client.key")},
    }]}});
    json!({
        "name": "a",
        "load_assignment": assignment("a", free_address()),
        "transport_socket": {"name": "tls", "typed_config": tls},
    })
}

#[test]
fn grpc_clients_are_told_of_each_resource() {
    let Some(packages) = std::env::var_os("LENO_GRPC_PYTHON") else {
        leno_testkit::skip(
            "grpc_clients_are_told_of_each_resource",
            "no grpcio: set LENO_GRPC_PYTHON",
        );
        return;
    };
    let (files, _proxy) = told();
    let mut client = Client::start(files.admin, &packages);
    for method in ["FetchClientStatus", "StreamClientStatus"] {
        let answer = client.ask(method, &ClientStatusRequest::default()).unwrap();
        let [config] = &answer.config[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(config.node.as_ref().unwrap().id, "edge");
        check(&config.generic_xds_configs);
    }
    let other = matching(json!([{"node_id": {"exact": "other"}}]));
    assert_eq!(
        client.ask("FetchClientStatus", &other),
        Ok(ClientStatusResponse::default())
    );
    let nobody = matching(json!([{"node_metadatas": [{"path": [], "value": {"null_match": {}}}]}]));
    assert_eq!(
        client.ask("FetchClientStatus", &nobody),
        Err("INVALID_ARGUMENT".to_owned())
    );
    assert_eq!(
        client.ask("Nothing", &ClientStatusRequest::default()),
        Err("UNIMPLEMENTED".to_owned())
    );
}

#[test]
fn the_same_is_there_as_json() {
    let (files, _proxy) = told();
    let (status, text) = post(files.admin, "");
    assert_eq!(status, "200");
    check(&response(&text).config[0].generic_xds_configs);
    let question = json!({
        "node_matchers": [{"node_id": {"prefix": "ed"}}],
        "exclude_resource_contents": true,
    });
    let (_, text) = post(files.admin, &question.to_string());
    let answer = response(&text);
    assert!(answer.config[0].generic_xds_configs.len() > 4, "{text}");
    for config in &answer.config[0].generic_xds_configs {
        assert_eq!(config.xds_config, None);
        assert!(
            config
                .error_state
                .iter()
                .all(|error| error.failed_configuration.is_none())
        );
    }
    let (_, text) = post(
        files.admin,
        r#"{"node_matchers": [{"node_id": {"exact": "other"}}]}"#,
    );
    assert_eq!(response(&text), ClientStatusResponse::default());
    assert_eq!(post(files.admin, r#"{"nodes": []}"#).0, "400");
}

#[track_caller]
fn check(configs: &[GenericXdsConfig]) {
    use ClientResourceStatus as Status;
    let told: BTreeMap<_, _> = configs.iter().map(|c| (c.name.as_str(), c)).collect();
    let state = |name: &str| {
        let config = told[name];
        let error = config
            .error_state
            .as_ref()
            .map(|error| error.version_info.as_str());
        let has = config.xds_config.is_some();
        (config.client_status(), config.version_info.as_str(), has, error)
    };
    // A version of delta is the resource's own.
    let (status, taken, has, refused) = state("a");
    assert_eq!((status, has), (Status::Nacked, true));
    assert_ne!(Some(taken), refused);
    let cluster: Cluster = told["a"].xds_config.as_ref().unwrap().unpack().unwrap();
    assert_eq!(cluster.connect_timeout, None);
    assert!(told["a"].last_updated.is_some());
    let bytes = told["a"].encode_to_vec();
    let shown = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(shown(b"BEGIN CERTIFICATE") && shown(b"[redacted]") && !shown(b"PRIVATE KEY"));
    let (status, version, has, refused) = state("b");
    assert_eq!((status, version, has), (Status::Nacked, "", false));
    let error = told["b"].error_state.as_ref().unwrap();
    assert!(refused.is_some() && error.failed_configuration.is_some());
    assert!(error.details.contains("connect_timeout"), "{}", error.details);
    // It is gone, and serves until what refers to it does not any more.
    assert_eq!(state("missing"), (Status::DoesNotExist, "1", true, None));
    assert_eq!(told["missing"].type_url, type_url::ROUTE_CONFIGURATION);
    assert_eq!(state("silent"), (Status::Requested, "", false, None));
    let (status, version, has, error) = state("l");
    assert_eq!((status, has, error), (Status::Acked, true, None));
    assert_ne!(version, "");
    assert!(told["plane"].is_static_resource && told["plane"].xds_config.is_some());
    assert!(
        configs
            .iter()
            .all(|config| config.is_static_resource == (config.name == "plane"))
    );
}

/// grpcio, as a process.
struct Client {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Client {
    fn start(admin: SocketAddr, packages: &std::ffi::OsStr) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/envoy/xds/client_status.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .arg(admin.to_string())
            .env("PYTHONPATH", packages);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, answers }
    }

    fn ask(&mut self, method: &str, question: &ClientStatusRequest) -> Result<ClientStatusResponse, String> {
        let question = question
            .encode_to_vec()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        writeln!(self.process.stdin.as_mut().unwrap(), "{method} {question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        match line.trim_end_matches('\n').split_once(' ').unwrap() {
            ("answer", answer) => {
                let pairs = answer
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| str::from_utf8(pair).unwrap());
                let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
                Ok(ClientStatusResponse::decode(bytes.as_slice()).unwrap())
            }
            (_, status) => Err(status.to_owned()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn matching(matchers: Value) -> ClientStatusRequest {
    let text = json!({"node_matchers": matchers}).to_string();
    Schema::load().from_text(&text).unwrap()
}

fn response(text: &str) -> ClientStatusResponse {
    Schema::load().from_text(text).unwrap()
}

fn post(admin: SocketAddr, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v3/discovery:client_status HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}
