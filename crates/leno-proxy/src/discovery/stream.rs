//! One gRPC stream to a control plane after another: who is asked for what is the client's matter (`leno-xds`), here the
//! messages are moved.

use std::time::Duration;

use leno_engine::compile::config_source::{self, Protocol, Service};
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use leno_xds::client::{Client, Lookup, Received, Ticket};
use leno_xds::{StateClient, WILDCARD};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::said::{Event, Incoming, Key, Outgoing, Said};
use crate::Proxy;
use crate::alpn::Offer;
use crate::control_plane::ControlPlane;
use crate::grpc::{self, Channel};
use crate::reach::{Place, Reach};
use crate::resources::Kind;

const AGGREGATED: [&str; 2] = [
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
];

/// Which control plane it is, and how it is reached.
pub enum Via {
    /// The mesh's own, which knows this proxy by its certificate; it speaks delta.
    Mesh(ControlPlane),
    /// One of a cluster's endpoints.
    Cluster(config_source::ControlPlane),
}

pub(super) struct Stream {
    conversation: Conversation,
    via: Via,
    path: &'static str,
    link: Link,
    /// How often it was tried: another service, another endpoint each time.
    turn: usize,
    /// Which connection this is; what an earlier one said no longer counts.
    epoch: u64,
}

enum Conversation {
    Delta(Box<Client>),
    State(Box<StateClient>),
}

enum Link {
    Closed,
    Opening(Task),
    Open {
        _task: Task,
        out: mpsc::UnboundedSender<Outgoing>,
    },
}

/// Ends with its owner.
struct Task {
    handle: JoinHandle<()>,
}

// === impl Stream ===

impl Stream {
    /// `kind`: of a stream of one type's own; None: ADS.
    pub(super) fn new(node: Node, via: Via, kind: Option<Kind>) -> Self {
        let protocol = match &via {
            Via::Mesh(_) => Protocol::Delta,
            Via::Cluster(control) => control.protocol,
        };
        let [state, delta] = kind.map_or(AGGREGATED, Kind::methods);
        let (conversation, path) = match protocol {
            Protocol::Delta => (Conversation::Delta(Box::new(Client::new(node))), delta),
            Protocol::StateOfTheWorld => (Conversation::State(Box::new(StateClient::new(node))), state),
        };
        Self {
            conversation,
            via,
            path,
            link: Link::Closed,
            turn: 0,
            epoch: 0,
        }
    }

    pub(super) fn is_delta(&self) -> bool {
        matches!(self.conversation, Conversation::Delta(_))
    }

    pub(super) fn subscribe(&mut self, type_url: &str, name: &str) {
        match &mut self.conversation {
            Conversation::Delta(client) if name == WILDCARD => client.subscribe_wildcard(type_url),
            Conversation::Delta(client) => client.subscribe(type_url, name),
            Conversation::State(client) => client.subscribe(type_url, name),
        }
    }

    pub(super) fn unsubscribe(&mut self, type_url: &str, name: &str) {
        match &mut self.conversation {
            Conversation::Delta(client) => client.unsubscribe(type_url, name),
            Conversation::State(client) => client.unsubscribe(type_url, name),
        }
    }

    pub(super) fn lookup(&self, type_url: &str, name: &str) -> Lookup {
        match &self.conversation {
            Conversation::Delta(client) => client.lookup(type_url, name),
            Conversation::State(client) => client.lookup(type_url, name),
        }
    }

    pub(super) fn restore(&mut self, type_url: &str, name: &str, version: &str) {
        match &mut self.conversation {
            Conversation::Delta(client) => client.restore(type_url, name, version),
            Conversation::State(client) => client.restore(type_url, name, version),
        }
    }

    pub(super) fn expire(&mut self, type_url: &str, name: &str) {
        match &mut self.conversation {
            Conversation::Delta(client) => client.expire(type_url, name),
            Conversation::State(client) => client.expire(type_url, name),
        }
    }

    /// Istio's workload health; other control planes are told nothing.
    pub(super) fn set_health(&mut self, unhealthy: Option<String>) {
        if let (Conversation::Delta(client), Via::Mesh(_)) = (&mut self.conversation, &self.via) {
            client.set_health(unhealthy);
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Who is asked, for messages.
    pub(super) fn peer(&self) -> String {
        match &self.via {
            Via::Mesh(control) => control.address().to_string(),
            Via::Cluster(control) => self
                .service(control)
                .map_or_else(String::new, |s| s.cluster.clone()),
        }
    }

    /// Opens the stream, unless it is open.
    pub(super) fn open(
        &mut self,
        proxy: &Proxy,
        reach: &mut Reach,
        key: &Key,
        events: &mpsc::Sender<Said>,
        wait: Duration,
    ) {
        if !matches!(self.link, Link::Closed) {
            return;
        }
        self.epoch += 1;
        let target = self.target(proxy, reach);
        self.turn = self.turn.wrapping_add(1);
        let teller = Teller {
            key: key.clone(),
            epoch: self.epoch,
            events: events.clone(),
        };
        let path = self.path;
        let handle = match &self.conversation {
            Conversation::Delta(_) => tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let error = run(target, path, &teller, delta_out, Incoming::Delta).await;
                teller.tell(Event::Lost(error)).await;
            }),
            Conversation::State(_) => tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let error = run(target, path, &teller, state_out, Incoming::State).await;
                teller.tell(Event::Lost(error)).await;
            }),
        };
        self.link = Link::Opening(Task { handle });
    }

    /// It is open: asks for everything.
    pub(super) fn opened(&mut self, out: mpsc::UnboundedSender<Outgoing>) {
        if let Link::Opening(task) = std::mem::replace(&mut self.link, Link::Closed) {
            self.link = Link::Open { _task: task, out };
        }
        let requests: Vec<Outgoing> = match &mut self.conversation {
            Conversation::Delta(client) => client.on_connected().into_iter().map(Outgoing::Delta).collect(),
            Conversation::State(client) => client.on_connected().into_iter().map(Outgoing::State).collect(),
        };
        self.send(requests);
    }

    /// Asks for what is new.
    pub(super) fn flush(&mut self) {
        let requests: Vec<Outgoing> = match &mut self.conversation {
            Conversation::Delta(client) => client.next_requests().into_iter().map(Outgoing::Delta).collect(),
            Conversation::State(client) => client.next_requests().into_iter().map(Outgoing::State).collect(),
        };
        self.send(requests);
    }

    pub(super) fn receive(&mut self, message: Incoming) -> Option<Received> {
        match (&mut self.conversation, message) {
            (Conversation::Delta(client), Incoming::Delta(response)) => Some(client.on_response(response)),
            (Conversation::State(client), Incoming::State(response)) => Some(client.on_response(response)),
            _ => None,
        }
    }

    pub(super) fn finish(&mut self, ticket: Ticket, errors: &[(String, String)]) {
        let request = match &mut self.conversation {
            Conversation::Delta(client) => client.finish(ticket, errors).map(Outgoing::Delta),
            Conversation::State(client) => client.finish(ticket, errors).map(Outgoing::State),
        };
        self.send(request.into_iter().collect());
    }

    /// How long to wait before it is opened again.
    pub(super) fn lost(&mut self, random: u32) -> Duration {
        self.link = Link::Closed;
        match &mut self.conversation {
            Conversation::Delta(client) => client.on_disconnected(random),
            Conversation::State(client) => client.on_disconnected(random),
        }
    }

    fn send(&mut self, requests: Vec<Outgoing>) {
        if let Link::Open { out, .. } = &self.link {
            for request in requests {
                // Of a stream that has ended, that it has is told next.
                let _ = out.send(request);
            }
        }
    }

    fn service<'v>(&self, control: &'v config_source::ControlPlane) -> Option<&'v Service> {
        control
            .services
            .get(self.turn.checked_rem(control.services.len()).unwrap_or_default())
    }

    fn target(&mut self, proxy: &Proxy, reach: &mut Reach) -> Result<Target, grpc::Error> {
        let turn = self.turn;
        match &mut self.via {
            Via::Mesh(control) => {
                let target = control.joined();
                let target = target.map_err(|error| grpc::Error::Unreachable(error.to_string()))?;
                Ok(Target {
                    authority: target.address.to_string(),
                    place: Place::Network(target),
                    metadata: Vec::new(),
                })
            }
            Via::Cluster(control) => {
                let count = control.services.len().max(1);
                let Some(service) = control.services.get(turn % count) else {
                    return Err(grpc::Error::Unreachable("there is no service".to_owned()));
                };
                let place = reach.place(proxy, &service.cluster, Offer::Http2, turn / count);
                Ok(Target {
                    place: place.map_err(grpc::Error::Unreachable)?,
                    authority: match service.authority.as_str() {
                        "" => service.cluster.clone(),
                        said => said.to_owned(),
                    },
                    metadata: service.metadata.clone(),
                })
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

struct Target {
    place: Place,
    authority: String,
    metadata: Vec<(String, String)>,
}

/// Says what happens on one connection.
struct Teller {
    key: Key,
    epoch: u64,
    events: mpsc::Sender<Said>,
}

impl Teller {
    async fn tell(&self, event: Event) {
        let said = Said {
            key: self.key.clone(),
            epoch: self.epoch,
            event,
        };
        // Nobody listens any more: it is over.
        let _ = self.events.send(said).await;
    }
}

fn delta_out(out: Outgoing) -> Option<DeltaDiscoveryRequest> {
    match out {
        Outgoing::Delta(request) => Some(request),
        Outgoing::State(_) => None,
    }
}

fn state_out(out: Outgoing) -> Option<DiscoveryRequest> {
    match out {
        Outgoing::State(request) => Some(request),
        Outgoing::Delta(_) => None,
    }
}

/// Moves messages until the stream ends, and says why it did.
async fn run<Q: Message, A: Message + Default>(
    target: Result<Target, grpc::Error>,
    path: &str,
    teller: &Teller,
    out: impl Fn(Outgoing) -> Option<Q>,
    incoming: impl Fn(A) -> Incoming,
) -> grpc::Error {
    let moved = async {
        let target = target?;
        let channel = match &target.place {
            Place::Network(network) => Channel::connect(network).await?,
            Place::Pipe(path) => Channel::connect_pipe(path).await?,
        };
        let channel = channel.calling(target.authority, target.metadata);
        let (mut sender, mut receiver) = channel.stream::<Q, A>(path, None).await?;
        let (requests, mut outgoing) = mpsc::unbounded_channel();
        teller.tell(Event::Opened(requests)).await;
        loop {
            tokio::select! {
                request = outgoing.recv() => match request {
                    None => return Ok(()),
                    Some(request) => out(request).map_or(Ok(()), |request| sender.send(&request))?,
                },
                response = receiver.next() => match response? {
                    None => return Err(grpc::Error::Ended),
                    Some(response) => teller.tell(Event::Message(incoming(response))).await,
                },
            }
        }
    };
    moved.await.err().unwrap_or(grpc::Error::Ended)
}

impl Kind {
    /// Of the type's own service: state of the world, delta.
    fn methods(self) -> [&'static str; 2] {
        match self {
            Self::Runtime => [
                "/envoy.service.runtime.v3.RuntimeDiscoveryService/StreamRuntime",
                "/envoy.service.runtime.v3.RuntimeDiscoveryService/DeltaRuntime",
            ],
            Self::Endpoints => [
                "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints",
                "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
            ],
            Self::Secret => [
                "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
                "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
            ],
            Self::Cluster => [
                "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters",
                "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters",
            ],
            Self::Route => [
                "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
                "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes",
            ],
            Self::Scope => [
                "/envoy.service.route.v3.ScopedRoutesDiscoveryService/StreamScopedRoutes",
                "/envoy.service.route.v3.ScopedRoutesDiscoveryService/DeltaScopedRoutes",
            ],
            Self::Extension => [
                "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs",
                "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs",
            ],
            // There is delta alone.
            Self::VirtualHost => ["/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts"; 2],
            Self::Listener => [
                "/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners",
                "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners",
            ],
        }
    }
}
