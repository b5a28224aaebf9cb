//! One proxy: its stream, and what it acknowledges when.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use leno_proto::google::protobuf::value::Kind;
use leno_proto::google::protobuf::{ListValue, Struct, Value};
use leno_proto::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use leno_xds::Client;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::Sizes;
use crate::mesh::{cluster, route, used};
use crate::plane::Dialer;

/// A resource was acknowledged.
#[derive(Clone, Debug)]
pub struct Heard {
    pub proxy: usize,
    pub what: Arc<str>,
    pub version: Arc<str>,
    pub at: Instant,
}

/// A proxy that runs; it leaves when dropped.
pub struct Running {
    health: mpsc::UnboundedSender<Option<String>>,
    task: JoinHandle<()>,
}

impl Running {
    /// What asks for its services, numbered from zero.
    pub async fn user(
        number: usize,
        dialer: &Dialer,
        sizes: &Sizes,
        heard: mpsc::UnboundedSender<Heard>,
    ) -> anyhow::Result<Self> {
        let mut client = Client::new(node(&format!("p{number}"), &format!("p{number}")));
        client.subscribe(LISTENER, "virtualInbound");
        for service in used(number, sizes) {
            client.subscribe(CLUSTER, &cluster(service));
            client.subscribe(CLUSTER_LOAD_ASSIGNMENT, &cluster(service));
            client.subscribe(ROUTE_CONFIGURATION, &route(service));
        }
        Self::start(number, client, dialer, heard).await
    }

    /// A workload of a service, which says how it is.
    pub async fn workload(service: usize, dialer: &Dialer) -> anyhow::Result<Self> {
        let (heard, _) = mpsc::unbounded_channel();
        let name = format!("s{service}");
        let client = Client::new(node(&format!("{name}-1"), &name));
        Self::start(usize::MAX, client, dialer, heard).await
    }

    pub fn set_health(&self, healthy: bool) {
        let _ = self.health.send((!healthy).then(|| "it flaps".to_owned()));
    }

    async fn start(
        number: usize,
        mut client: Client,
        dialer: &Dialer,
        heard: mpsc::UnboundedSender<Heard>,
    ) -> anyhow::Result<Self> {
        client.set_health(None);
        let (requests, outgoing) = mpsc::channel(64);
        for request in client.on_connected() {
            requests.send(request).await.context("the stream has ended")?;
        }
        let channel = dialer.dial().await?;
        let mut responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        let (health, mut healths) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    response = responses.message() => {
                        let Ok(Some(response)) = response else { return };
                        let received = client.on_response(response);
                        if let Some(answer) = client.finish(received.ticket, &[]) {
                            let _ = requests.send(answer).await;
                        }
                        let at = Instant::now();
                        for (name, version, _) in received.updates {
                            let what = format!("{} {name}", received.type_url).into();
                            let _ = heard.send(Heard { proxy: number, what, version: version.into(), at });
                        }
                    }
                    Some(health) = healths.recv() => {
                        client.set_health(health);
                        for request in client.next_requests() {
                            let _ = requests.send(request).await;
                        }
                    }
                }
            }
        });
        Ok(Self { health, task })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn node(name: &str, app: &str) -> Node {
    let yes = Value {
        kind: Some(Kind::BoolValue(true)),
    };
    let port = structure([("port", number(80.0)), ("protocol", text("http"))]);
    let ports = Value {
        kind: Some(Kind::ListValue(ListValue {
            values: vec![of(port)],
        })),
    };
    let leno = structure([("onDemand", yes), ("ports", ports)]);
    Node {
        id: format!("sidecar~127.0.0.1~{name}.default~default.svc.cluster.local"),
        metadata: Some(structure([
            ("NAMESPACE", text("default")),
            ("SERVICE_ACCOUNT", text("sim")),
            ("LABELS", of(structure([("app", text(app))]))),
            ("LENO", of(leno)),
        ])),
        ..Default::default()
    }
}

fn structure<const N: usize>(fields: [(&str, Value); N]) -> Struct {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    Struct {
        fields: fields.collect(),
    }
}

fn of(structure: Struct) -> Value {
    Value {
        kind: Some(Kind::StructValue(structure)),
    }
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

fn number(number: f64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(number)),
    }
}
