//! A control plane in a temporary directory, and proxies that speak delta ADS to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use leno_control::{Handle, Options};
use leno_proto::control::mesh_client::MeshClient;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use leno_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use leno_proto::google::protobuf::value::Kind;
use leno_proto::google::protobuf::{Any, ListValue, Struct, Value};
use leno_proto::{FromAny, type_url};
use leno_tls::{
    ClientTls, Crypto, Identity, PeerCheck, ROOT_CA, Resumption, Secrets, ServerCheck, TlsConfigs,
    TrustBundle, Versions, WORKLOAD_CERTIFICATE,
};
use leno_xds::Client;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming};

/// Far more than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) control: Handle,
    directory: TempDir,
}

impl Rig {
    pub(crate) async fn start(files: &[(&str, &str)]) -> Self {
        Self::with(files, |_| {}).await
    }

    /// With other options.
    pub(crate) async fn with(files: &[(&str, &str)], change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("config")).unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join("config").join(name), text).unwrap();
        }
        let mut options = options(&directory);
        change(&mut options);
        let control = leno_control::run(options).await.unwrap();
        Self { control, directory }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join("config").join(name), text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.directory.path().join("config").join(name)).unwrap();
    }

    /// What the audit log says when it has so many lines.
    pub(crate) async fn audited(&self, lines: usize) -> Vec<serde_json::Value> {
        let path = self.directory.path().join("audit.jsonl");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        let there = async {
            while read().lines().count() < lines {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, there)
            .await
            .unwrap_or_else(|_| panic!("fewer than {lines}: {}", read()));
        let text = read();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn rendezvous(&self) -> PathBuf {
        self.directory.path().join("run/control.json")
    }

    pub(crate) fn options(&self) -> Options {
        options(&self.directory)
    }

    /// Ends the control plane, lets `between` change its state directory, and starts another.
    pub(crate) async fn restart(self, between: impl FnOnce(&Path)) -> Self {
        let Self { control, directory } = self;
        control.shutdown().await;
        between(&directory.path().join("state"));
        let control = leno_control::run(options(&directory)).await.unwrap();
        Self { control, directory }
    }

    pub(crate) async fn plaintext(&self) -> Channel {
        channel_to(self.control.plaintext.unwrap()).await
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(&self.control.token)
            .unwrap()
            .trim()
            .to_owned()
    }

    /// As an operator of this machine asks: with the join token.
    pub(crate) async fn mesh(&self) -> MeshClient<InterceptedService<Channel, impl Interceptor>> {
        let bearer: MetadataValue<_> = format!("Bearer {}", self.token()).parse().unwrap();
        let with_token = move |mut request: Request<()>| {
            request.metadata_mut().insert("authorization", bearer.clone());
            Ok(request)
        };
        MeshClient::with_interceptor(self.secure(None).await, with_token)
    }

    /// Over TLS, with or without a certificate of one's own.
    pub(crate) async fn secure(&self, identity: Option<Identity>) -> Channel {
        let secrets = Arc::new(Secrets::new());
        let root = std::fs::read(&self.control.ca).unwrap();
        secrets.set_bundle(ROOT_CA, TrustBundle::from_pem(&root, "root").unwrap());
        let tls = ClientTls {
            identity: identity.as_ref().map(|_| WORKLOAD_CERTIFICATE.to_owned()),
            server: ServerCheck::Hostname(PeerCheck::any(ROOT_CA)),
            sni: Some("localhost".to_owned()),
            alpn: vec!["h2".to_owned()],
            versions: Versions::TLS13,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            resumption: Resumption::Off,
        };
        if let Some(identity) = identity {
            secrets.set_identity(WORKLOAD_CERTIFICATE, identity);
        }
        let client = TlsConfigs::new(Crypto::system(), secrets, 1)
            .client(&Arc::new(tls))
            .unwrap();
        let address = self.control.secure;
        let connect = tower::service_fn(move |_: Uri| {
            let client = client.clone();
            async move {
                let tcp = TcpStream::connect(address).await?;
                let name = client.server_name(Some("localhost"), address.ip());
                let tls = tokio_rustls::TlsConnector::from(client.config().clone());
                tls.connect(name, tcp).await.map(TokioIo::new)
            }
        });
        Endpoint::from_static("http://localhost")
            .connect_with_connector(connect)
            .await
            .unwrap()
    }
}

fn options(directory: &TempDir) -> Options {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Options {
        config: Some(directory.path().join("config")),
        rendezvous: Some(directory.path().join("run/control.json")),
        plaintext: Some(any),
        secure: any,
        admin: any,
        audit_log: Some(directory.path().join("audit.jsonl")),
        ..Options::new(directory.path().join("state"))
    }
}

pub(crate) async fn channel_to(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// A sidecar of `service` that listens on 127.0.0.1 at `port`.
pub(crate) fn node(name: &str, service: &str, port: Option<u16>) -> Node {
    let ports = port.map(|port| structure(vec![("port", number(port)), ("protocol", text("http"))]));
    let leno = structure(vec![
        ("service", text(service)),
        (
            "onDemand",
            Value {
                kind: Some(Kind::BoolValue(true)),
            },
        ),
        (
            "ports",
            Value {
                kind: Some(Kind::ListValue(ListValue {
                    values: ports.into_iter().collect(),
                })),
            },
        ),
    ]);
    let metadata = structure(vec![
        ("NAME", text(name)),
        ("NAMESPACE", text("default")),
        ("SERVICE_ACCOUNT", text(service)),
        (
            "LABELS",
            structure(vec![("app", text(service)), ("version", text("v1"))]),
        ),
        ("LENO", leno),
    ]);
    let Some(Kind::StructValue(metadata)) = metadata.kind else {
        panic!("metadata is a structure");
    };
    Node {
        id: format!("sidecar~127.0.0.1~{name}.default~default.svc.cluster.local"),
        metadata: Some(metadata),
        ..Default::default()
    }
}

pub(crate) fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

fn number(number: u16) -> Value {
    Value {
        kind: Some(Kind::NumberValue(number.into())),
    }
}

pub(crate) fn structure(fields: Vec<(&str, Value)>) -> Value {
    let fields = fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Value {
        kind: Some(Kind::StructValue(Struct { fields })),
    }
}

/// A proxy that acknowledges everything and keeps it.
pub(crate) struct Proxy {
    pub(crate) client: Client,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    pub(crate) kept: BTreeMap<(String, String), Any>,
    /// Every resource that came, as often as it came.
    pub(crate) pushed: Vec<(String, String)>,
}

impl Proxy {
    /// Connects and reports that it is healthy.
    pub(crate) async fn connect(channel: Channel, node: Node, subscriptions: &[(&str, &str)]) -> Self {
        let mut client = Client::new(node);
        client.set_health(None);
        for (type_url, name) in subscriptions {
            client.subscribe(type_url, name);
        }
        Self::open(channel, client).await.unwrap()
    }

    pub(crate) async fn open(channel: Channel, mut client: Client) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(64);
        for request in client.on_connected() {
            requests.send(request).await.unwrap();
        }
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        Ok(Self {
            client,
            requests,
            responses,
            kept: BTreeMap::new(),
            pushed: Vec::new(),
        })
    }

    pub(crate) async fn next(&mut self) -> Result<(), Status> {
        let response = self.responses.message().await?;
        let response = response.ok_or_else(|| Status::new(Code::Cancelled, "ended"))?;
        let received = self.client.on_response(response);
        for (name, _, body) in received.updates {
            self.pushed.push((received.type_url.clone(), name.clone()));
            self.kept.insert((received.type_url.clone(), name), body);
        }
        for name in received.removed {
            self.kept.remove(&(received.type_url.clone(), name));
        }
        if let Some(ack) = self.client.finish(received.ticket, &[]) {
            let _ = self.requests.send(ack).await;
        }
        Ok(())
    }

    /// Receives until it is so.
    pub(crate) async fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let reached = tokio::time::timeout(PATIENCE, async {
            while !so(self) {
                self.next().await.unwrap();
            }
        });
        reached
            .await
            .unwrap_or_else(|_| panic!("never: {what}; kept: {:?}", self.kept.keys()));
    }

    pub(crate) async fn subscribe(&mut self, type_url: &str, name: &str) {
        self.client.subscribe(type_url, name);
        for request in self.client.next_requests() {
            self.requests.send(request).await.unwrap();
        }
    }

    pub(crate) async fn set_health(&mut self, problem: Option<&str>) {
        self.client.set_health(problem.map(str::to_owned));
        for request in self.client.next_requests() {
            self.requests.send(request).await.unwrap();
        }
    }

    pub(crate) fn has(&self, type_url: &str, name: &str) -> bool {
        self.kept.contains_key(&(type_url.to_owned(), name.to_owned()))
    }

    /// How many healthy endpoints of a cluster it was told.
    pub(crate) fn endpoints(&self, cluster: &str) -> usize {
        let key = (type_url::CLUSTER_LOAD_ASSIGNMENT.to_owned(), cluster.to_owned());
        let Some(body) = self.kept.get(&key) else { return 0 };
        let assignment: ClusterLoadAssignment = body.unpack().unwrap();
        let endpoints = assignment.endpoints.iter().flat_map(|l| &l.lb_endpoints);
        // HEALTHY or not said.
        endpoints.filter(|e| matches!(e.health_status, 0 | 1)).count()
    }

    pub(crate) fn body(&self, type_url: &str, name: &str) -> Option<&Any> {
        self.kept.get(&(type_url.to_owned(), name.to_owned()))
    }
}
