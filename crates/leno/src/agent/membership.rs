//! The agent's own stream to the control plane, beside its peer's: it says how the application is, and hears the
//! mesh's names for DNS and whom to trust. That it acknowledges when its peer has it too.

use std::sync::Arc;
use std::time::Duration;

use leno_dns::NameTable;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use leno_proto::istio::networking::nds::v1::NameTable as Message;
use leno_proto::type_url;
use leno_proxy::control_plane::ControlPlane;
use leno_proxy::discovery::Teller;
use leno_proxy::grpc::{self, Channel, Receiver, Sender};
use leno_proxy::trust::Trust;
use leno_tls::{ROOT_CA, Secrets};
use leno_xds::client::{Client, Received, Ticket};
use prost::Message as _;
use tokio::sync::watch;

use super::taken::Taken;
use crate::random;

/// How often it is looked whether whom to trust is followed by now.
const LOOK: Duration = Duration::from_millis(250);
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

pub struct Membership {
    client: Client,
    control: ControlPlane,
    namespace: String,
    health: watch::Receiver<Option<String>>,
    names: watch::Sender<Arc<NameTable>>,
    /// The failure that was told last.
    told: Option<String>,
    following: Following,
}

/// Whom to trust: who is told, and who is to follow before the control plane hears of it.
pub struct Following {
    teller: Teller,
    secrets: Arc<Secrets>,
    taken: Arc<Taken>,
    newest: Option<Arc<Trust>>,
    held: Option<Ticket>,
}

impl Following {
    pub fn new(teller: Teller, secrets: Arc<Secrets>, taken: Arc<Taken>) -> Self {
        Self {
            teller,
            secrets,
            taken,
            newest: None,
            held: None,
        }
    }

    fn is_done(&self) -> bool {
        let trust = self.newest.as_ref();
        trust.is_some_and(|trust| trust.is_followed(&self.secrets.load())) && self.taken.is_all()
    }
}

struct Link {
    _channel: Channel,
    sender: Sender<DeltaDiscoveryRequest>,
    receiver: Receiver<DeltaDiscoveryResponse>,
}

impl Membership {
    /// `names`: whether the mesh's names are asked for.
    pub fn new(
        node: Node,
        control: ControlPlane,
        health: watch::Receiver<Option<String>>,
        names: bool,
        following: Following,
    ) -> (Self, watch::Receiver<Arc<NameTable>>) {
        let (sender, receiver) = watch::channel(Arc::new(NameTable::default()));
        let namespace = node
            .id
            .rsplit('~')
            .next()
            .and_then(|domain| domain.split('.').next());
        let namespace = namespace.unwrap_or_default().to_owned();
        let mut client = Client::new(node);
        client.subscribe(type_url::SECRET, ROOT_CA);
        if names {
            client.subscribe_wildcard(type_url::NAME_TABLE);
        }
        let this = Self {
            client,
            control,
            namespace,
            health,
            names: sender,
            told: None,
            following,
        };
        (this, receiver)
    }

    /// For ever, one stream after another.
    pub async fn run(mut self) {
        loop {
            let error = match self.connect().await {
                Ok(link) => self.converse(link).await,
                Err(error) => error,
            };
            self.report(&error);
            let wait: Duration = self.client.on_disconnected(random::number());
            tokio::time::sleep(wait).await;
        }
    }

    async fn connect(&mut self) -> Result<Link, grpc::Error> {
        let target = self.control.joined();
        let target = target.map_err(|error| grpc::Error::Protocol(error.to_string()))?;
        let channel = Channel::connect(&target).await?;
        let (sender, receiver) = channel.stream(DELTA, None).await?;
        Ok(Link {
            _channel: channel,
            sender,
            receiver,
        })
    }

    /// Until the stream ends; returns why.
    async fn converse(&mut self, mut link: Link) -> grpc::Error {
        self.client.set_health(self.health.borrow_and_update().clone());
        let mut requests = self.client.on_connected();
        let mut look = tokio::time::interval(LOOK);
        loop {
            for request in std::mem::take(&mut requests) {
                if let Err(error) = link.sender.send(&request) {
                    return error;
                }
            }
            tokio::select! {
                message = link.receiver.next() => match message {
                    Ok(Some(response)) => requests.extend(self.take(response)),
                    Ok(None) => return grpc::Error::Ended,
                    Err(error) => return error,
                },
                _ = look.tick(), if self.following.held.is_some() => {
                    if self.following.is_done()
                        && let Some(ticket) = self.following.held.take()
                    {
                        requests.extend(self.client.finish(ticket, &[]));
                    }
                }
                Ok(()) = self.health.changed() => {
                    self.client.set_health(self.health.borrow_and_update().clone());
                    requests.extend(self.client.next_requests());
                }
            }
        }
    }

    fn take(&mut self, response: DeltaDiscoveryResponse) -> Option<DeltaDiscoveryRequest> {
        let received = self.client.on_response(response);
        let mut errors = Vec::new();
        if received.type_url == type_url::SECRET {
            return self.take_trust(received);
        }
        for (name, _, body) in &received.updates {
            match Message::decode(body.value.as_slice()) {
                Ok(table) => {
                    let table = NameTable::in_namespace(&table, &self.namespace);
                    self.names.send_replace(Arc::new(table));
                }
                Err(error) => errors.push((name.clone(), error.to_string())),
            }
        }
        self.told = None;
        self.client.finish(received.ticket, &errors)
    }

    /// It is acknowledged when it is followed; what came before need not be any more.
    fn take_trust(&mut self, received: Received) -> Option<DeltaDiscoveryRequest> {
        let Some((name, _, body)) = received.updates.first() else {
            return self.client.finish(received.ticket, &[]);
        };
        match Trust::read(&body.value) {
            Ok(trust) => {
                let trust = Arc::new(trust);
                self.following.newest = Some(Arc::clone(&trust));
                self.following.teller.send_replace(Some(trust));
                let before = self.following.held.replace(received.ticket)?;
                self.client.finish(before, &[])
            }
            Err(why) => self.client.finish(received.ticket, &[(name.clone(), why)]),
        }
    }

    /// Once each: the control plane may be away for long.
    fn report(&mut self, error: &grpc::Error) {
        let (text, address) = (error.to_string(), self.control.address());
        if self.told.as_ref() == Some(&text) {
            return;
        }
        if error.is_refusal() {
            tracing::error!("the control plane refuses this workload: {text} — {address}");
        } else {
            tracing::warn!(error = %text, %address, "the control plane does not hear how this workload is");
        }
        self.told = Some(text);
    }
}
