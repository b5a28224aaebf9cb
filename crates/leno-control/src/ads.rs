//! The tonic edge of ADS: both kinds of stream become one loop around a [`Session`].

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_core::Stream as FutureStream;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use leno_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use leno_proto::google::rpc;
use leno_proto::type_url;
use leno_tls::{SpiffeId, TrustDomain};
use leno_translate::ProxyKind;
use leno_xds::server::{Outcome, Protocol, RequestError, Response as Pushed, Stream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::bounds::Bounds;
use crate::error::{BAD_NODE, PEER_REFUSED, PROXY_REJECTED};
use crate::limits::{Gate, StreamPlace};
use crate::listener::{Peer, stream_of};
use crate::node::{Described, describe};
use crate::once::{Once, Pace};
use crate::push::Push;
use crate::registration::{Presence, Registrations};
use crate::roster::{Roster, Seat};
use crate::session::Session;

/// Responses that wait for a slow client; what changes meanwhile stays a mark in its mailbox.
const IN_FLIGHT: usize = 4;

pub(crate) struct Ads {
    pub(crate) push: Arc<Push>,
    pub(crate) registrations: Arc<Registrations>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) trust_domain: TrustDomain,
    /// True from when the control plane is old enough to answer those who come with state.
    pub(crate) settled: watch::Receiver<bool>,
    /// Closed when the control plane ends.
    pub(crate) running: watch::Receiver<()>,
    pub(crate) refused: Once,
    /// What policies deny is kept.
    pub(crate) audited: bool,
    pub(crate) gate: Arc<Gate>,
}

/// What the two kinds of stream differ in.
trait Wire {
    type Request: Send + 'static;
    type Response: Send + 'static;
    const PROTOCOL: Protocol;

    fn node(request: &Self::Request) -> Option<&Node>;
    /// If the request tells of the workload's health: healthy, or why not.
    fn health(request: &Self::Request) -> Option<Option<&rpc::Status>>;
    fn feed(stream: &mut Stream, request: Self::Request) -> Result<Outcome, RequestError>;
    /// What it asks for by name, and what it says that it has.
    fn named(request: &Self::Request) -> (&[String], Option<&HashMap<String, String>>);
    fn unwrap(pushed: Pushed) -> Option<Self::Response>;
}

struct Delta;
struct Sotw;

impl Wire for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const PROTOCOL: Protocol = Protocol::Delta;

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn health(request: &Self::Request) -> Option<Option<&rpc::Status>> {
        (request.type_url == type_url::HEALTH_INFORMATION).then_some(request.error_detail.as_ref())
    }

    fn feed(stream: &mut Stream, request: Self::Request) -> Result<Outcome, RequestError> {
        stream.on_delta(request)
    }

    fn named(request: &Self::Request) -> (&[String], Option<&HashMap<String, String>>) {
        let has = &request.initial_resource_versions;
        (&request.resource_names_subscribe, Some(has))
    }

    fn unwrap(pushed: Pushed) -> Option<Self::Response> {
        match pushed {
            Pushed::Delta(response) => Some(response),
            Pushed::Sotw(_) => None,
        }
    }
}

impl Wire for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const PROTOCOL: Protocol = Protocol::StateOfTheWorld;

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn health(request: &Self::Request) -> Option<Option<&rpc::Status>> {
        (request.type_url == type_url::HEALTH_INFORMATION).then_some(request.error_detail.as_ref())
    }

    fn feed(stream: &mut Stream, request: Self::Request) -> Result<Outcome, RequestError> {
        stream.on_sotw(request)
    }

    fn named(request: &Self::Request) -> (&[String], Option<&HashMap<String, String>>) {
        (&request.resource_names, None)
    }

    fn unwrap(pushed: Pushed) -> Option<Self::Response> {
        match pushed {
            Pushed::Sotw(response) => Some(response),
            Pushed::Delta(_) => None,
        }
    }
}

/// One stream while it is served.
struct Conversation<W: Wire> {
    session: Session,
    seat: Seat,
    presence: Presence,
    out: mpsc::Sender<Result<W::Response, Status>>,
    /// The client came with state and the control plane is too young to know better.
    held: bool,
    push: Arc<Push>,
    complaints: Pace,
    /// What it may ask for.
    bounds: Bounds,
    _place: StreamPlace,
}

// === impl Ads ===

impl Ads {
    async fn serve<W: Wire>(
        self: Arc<Self>,
        peer: Option<Peer>,
        mut requests: Streaming<W::Request>,
        out: mpsc::Sender<Result<W::Response, Status>>,
        place: StreamPlace,
    ) {
        let Ok(Some(first)) = requests.message().await else {
            return;
        };
        let admitted = self.admit(peer.as_ref(), W::node(&first));
        let (described, presence) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => {
                self.log_refusal(peer.as_ref(), &status);
                let _ = out.send(Err(status)).await;
                return;
            }
        };
        let mut conversation = Conversation::<W> {
            presence,
            seat: self.roster.take_seat(&described, peer.as_ref()),
            session: Session::new(described.proxy, Stream::new(W::PROTOCOL), self.push.join()),
            out,
            held: false,
            push: self.push.clone(),
            complaints: Pace::default(),
            bounds: Bounds::new(self.gate.limits.names),
            _place: place,
        };
        if let Err(status) = self.converse(&mut conversation, first, &mut requests).await {
            if status.code() == tonic::Code::ResourceExhausted {
                let node = &conversation.session.proxy.id;
                let names = &self.gate.refused.names;
                names.tell(|| format!("xDS node {node}: {}", status.message()));
            }
            let _ = conversation.out.send(Err(status)).await;
        }
    }

    /// Until the client or the control plane ends the stream.
    async fn converse<W: Wire>(
        &self,
        conversation: &mut Conversation<W>,
        first: W::Request,
        requests: &mut Streaming<W::Request>,
    ) -> Result<(), Status> {
        let mut settled = self.settled.clone();
        let mut running = self.running.clone();
        conversation.receive(first, *settled.borrow())?;
        let is_settled = || *self.settled.borrow();
        loop {
            if !conversation.push().await {
                return Ok(());
            }
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => conversation.receive(request, is_settled())?,
                    Ok(None) | Err(_) => return Ok(()),
                },
                () = conversation.session.changed(), if !conversation.held => {}
                ended = settled.wait_for(|settled| *settled), if conversation.held => {
                    drop(ended);
                    conversation.held = false;
                }
                _ = running.changed() => return Err(Status::unavailable("the control plane ends")),
            }
        }
    }

    /// Who may have a stream: whoever [is](Self::recognise) what its node says, and takes nobody else's place.
    fn admit(&self, peer: Option<&Peer>, node: Option<&Node>) -> Result<(Described, Presence), Status> {
        let described = self.recognise(peer, node)?;
        let node = node.ok_or_else(|| Status::internal("a node without a node"))?;
        let secure = peer.is_some_and(|peer| peer.secure);
        let presence = self
            .registrations
            .join(node, &described, secure)
            .map_err(|taken| Status::permission_denied(taken.to_string()))?;
        Ok((described, presence))
    }

    /// Who may be told anything: whoever [is](Self::prove) what its node says.
    pub(crate) fn recognise(&self, peer: Option<&Peer>, node: Option<&Node>) -> Result<Described, Status> {
        let node = node.ok_or(crate::node::NodeError::Missing);
        let mut described = node
            .and_then(describe)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let peer = peer.ok_or_else(|| Status::internal("the connection is not known"))?;
        if peer.secure {
            self.prove(peer, &described)?; // The plaintext port is bound to loopback only.
            described.proxy.audited = self.audited;
            if let ProxyKind::Gateway(ports) = &mut described.proxy.kind {
                ports.proven = true;
            }
        }
        Ok(described)
    }

    /// Over TLS a certificate says who somebody is.
    fn prove(&self, peer: &Peer, described: &Described) -> Result<(), Status> {
        let proxy = &described.proxy;
        let claimed = SpiffeId::workload(&self.trust_domain, &proxy.namespace, &proxy.service_account)
            .map_err(|error| {
                Status::invalid_argument(format!("the node's identity is not valid: {error}"))
            })?;
        match &peer.identity {
            Some(identity) if *identity == claimed => Ok(()),
            Some(identity) => Err(Status::permission_denied(format!(
                "the node says it is {claimed}, its certificate says {identity} — xDS node {} — use the \
                 certificate of the node's own service account",
                proxy.id
            ))),
            None => Err(Status::unauthenticated(format!(
                "no mesh certificate — xDS node {} — get one with a join token first",
                proxy.id
            ))),
        }
    }

    fn log_refusal(&self, peer: Option<&Peer>, status: &Status) {
        let who = peer.map_or_else(|| "unknown".to_owned(), |p| p.address.ip().to_string());
        if self.refused.first(&format!("{who} {}", status.message())) {
            let code = match status.code() {
                tonic::Code::InvalidArgument => BAD_NODE,
                _ => PEER_REFUSED,
            };
            tracing::warn!("warning[{code}]: no xDS for peer {who}: {}", status.message());
        }
    }
}

// === impl Conversation ===

impl<W: Wire> Conversation<W> {
    fn receive(&mut self, request: W::Request, settled: bool) -> Result<(), Status> {
        if let Some(unhealthy) = W::health(&request) {
            self.seat.set_health(unhealthy.is_none());
            self.presence.set_health(unhealthy.is_none());
            return Ok(());
        }
        self.bounds.check(W::named(&request))?;
        let outcome = W::feed(&mut self.session.stream, request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.bounds.check_stream(&self.session.stream)?;
        self.held |= outcome.resumed && !settled;
        self.session.settle(&outcome);
        if let Some(message) = &outcome.rejected {
            self.log_rejection(&outcome.type_url, message);
        }
        Ok(())
    }

    fn log_rejection(&mut self, type_url: &str, message: &str) {
        self.push.work.rejections.fetch_add(1, Ordering::Relaxed);
        let Some(unsaid) = self.complaints.may_say(Instant::now()) else {
            return; // `leno status` says it.
        };
        let more = match unsaid {
            0 => String::new(),
            unsaid => format!(" ({unsaid} more before that)"),
        };
        tracing::warn!(
            "warning[{PROXY_REJECTED}]: {} rejected {}: {message}{more}",
            self.session.proxy.id,
            type_url::abbreviation(type_url).unwrap_or(type_url)
        );
    }

    /// Sends what is due. False when the client is gone.
    async fn push(&mut self) -> bool {
        if !self.held {
            for pushed in self.session.push() {
                self.push.work.sent(&pushed);
                let Some(response) = W::unwrap(pushed) else {
                    continue;
                };
                if self.out.send(Ok(response)).await.is_err() {
                    return false;
                }
            }
        }
        self.seat.set_status(&self.session.stream);
        true
    }
}

pub(crate) type Responses<T> = Pin<Box<dyn FutureStream<Item = Result<T, Status>> + Send>>;

/// The service: an [`Ads`] that its streams share.
#[derive(Clone)]
pub(crate) struct AdsService(pub(crate) Arc<Ads>);

impl AdsService {
    pub(crate) fn state_of_the_world(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Responses<DiscoveryResponse>>, Status> {
        self.spawn::<Sotw>(request)
    }

    pub(crate) fn delta(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses<DeltaDiscoveryResponse>>, Status> {
        self.spawn::<Delta>(request)
    }

    fn spawn<W: Wire + 'static>(
        &self,
        request: Request<Streaming<W::Request>>,
    ) -> Result<Response<Responses<W::Response>>, Status> {
        let place = stream_of(&request)?;
        let peer = request.extensions().get::<Peer>().cloned();
        let (out, responses) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(self.0.clone().serve::<W>(peer, request.into_inner(), out, place));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for AdsService {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.state_of_the_world(request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.delta(request)
    }
}
