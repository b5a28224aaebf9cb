//! `leno.control.v1.Mesh`: what operators ask, and the side streams by which proxies report and are asked.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream as FutureStream;
use leno_proto::control::mesh_server::Mesh;
use leno_proto::control::{
    Command, ConfigRequest, ConfigResponse, CreateTokenRequest, CreateTokenResponse, ObjectsRequest,
    ObjectsResponse, Report, Resource, ResourcesRequest, ResourcesResponse, RevokeTokenRequest,
    RevokeTokenResponse, RootRequest, RootResponse, StatusRequest, StatusResponse, TapRequest, TapResponse,
    TapStart, TokensRequest, TokensResponse, TrafficRequest, TrafficResponse,
};
use leno_telemetry::tap::Filter;
use leno_translate::ResourceType;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::attached::{Attached, Speaker};
use crate::ca::Certificates;
use crate::catalogue::Catalogue;
use crate::listener::{Peer, stream_of};
use crate::objects::{self, Asked};
use crate::push::Push;
use crate::registration::Registrations;
use crate::root::Root;
use crate::roster::Roster;
use crate::state::State;
use crate::tap::Tap;
use crate::tokens;
use crate::writer::Diagnostics;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// Resources that are made for one question.
const MOST_NAMES: usize = 1000;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct MeshService {
    pub(crate) push: Arc<Push>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) diagnostics: Arc<Diagnostics>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) state: Arc<State>,
    pub(crate) attached: Arc<Attached>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) root: Arc<Root>,
    pub(crate) registrations: Arc<Registrations>,
    pub(crate) running: watch::Receiver<()>,
}

// === impl MeshService ===

impl MeshService {
    /// The node id of the one proxy that is meant.
    fn find(&self, workload: &str) -> Result<String, Status> {
        let found = self.roster.named(workload);
        match found.as_slice() {
            [one] => Ok(one.node_id.clone()),
            [] => Err(self.nobody(workload, "workload")),
            several => {
                let names: Vec<&str> = several.iter().map(|p| p.workload.as_str()).collect();
                Err(Status::invalid_argument(format!(
                    "{workload} is ambiguous — workload — name one of {}",
                    names.join(", ")
                )))
            }
        }
    }

    fn nobody(&self, name: &str, field: &str) -> Status {
        let near = match self.roster.nearest(name) {
            Some(near) => format!("did you mean {near}? "),
            None => String::new(),
        };
        Status::not_found(format!(
            "no proxy of {name} is connected — {field} — {near}`leno status` lists those that are"
        ))
    }

    /// What operators ask is for nobody else: a workload knows its own configuration, and not the others'. The token
    /// travels over TLS, or stays on this machine.
    fn operator_only<T>(&self, request: &Request<T>) -> Result<(), Status> {
        operator_only(&self.certificates, request)
    }
}

/// See [`MeshService::operator_only`].
pub(crate) fn operator_only<T>(certificates: &Certificates, request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get::<Peer>() {
        Some(peer) if peer.secure || peer.address.ip().is_loopback() => {
            certificates.check_operator(request.metadata())
        }
        _ => Err(Status::unauthenticated(
            "this is asked over TLS, or from the control plane's machine — this port — use the TLS port (15012)",
        )),
    }
}

impl MeshService {
    /// Who may let workloads into the mesh: nobody but its operator, whose token travels over TLS only.
    fn operator<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match request.extensions().get::<Peer>() {
            Some(peer) if peer.secure => self.certificates.check_operator(request.metadata()),
            _ => Err(Status::unauthenticated(
                "this is asked over TLS only — this port — use the TLS port (15012)",
            )),
        }
    }
}

type Streamed<T> = Pin<Box<dyn FutureStream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Mesh for MeshService {
    type AttachStream = Streamed<Command>;
    type TrafficStream = Streamed<TrafficResponse>;
    type TapStream = Streamed<TapResponse>;

    async fn attach(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let place = stream_of(&request)?;
        let (commands, sent) = mpsc::channel(16);
        let peer = request.extensions().get::<Peer>().cloned();
        let roster = self.roster.clone();
        let (attached, running) = (self.attached.clone(), self.running.clone());
        let (reports, speaker) = (request.into_inner(), Speaker { peer, roster });
        tokio::spawn(async move {
            attached.listen(reports, commands, running, speaker).await;
            drop(place);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.operator_only(&request)?;
        Ok(Response::new(StatusResponse {
            proxies: self.roster.proxies(),
            diagnostics: self.diagnostics.told(&self.state),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            snapshot: self.push.snapshot().version,
        }))
    }

    async fn config(&self, request: Request<ConfigRequest>) -> Result<Response<ConfigResponse>, Status> {
        self.operator_only(&request)?;
        let asked = request.into_inner();
        let node = self.find(&asked.workload)?;
        let dump = self.attached.dump(&node, &asked.kind).await?;
        if !dump.error.is_empty() {
            return Err(Status::failed_precondition(dump.error));
        }
        Ok(Response::new(ConfigResponse {
            resources: dump.resources,
        }))
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        self.operator(&request)?;
        tokens::create(&self.certificates, request.into_inner()).map(Response::new)
    }

    async fn tokens(&self, request: Request<TokensRequest>) -> Result<Response<TokensResponse>, Status> {
        self.operator(&request)?;
        Ok(Response::new(tokens::list(&self.certificates.tokens)))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        self.operator(&request)?;
        tokens::revoke(&self.certificates, &request.into_inner().id).map(Response::new)
    }

    async fn root(&self, request: Request<RootRequest>) -> Result<Response<RootResponse>, Status> {
        self.operator(&request)?;
        let step = request.into_inner().step;
        if !step.is_empty() {
            self.root.step(&step, &self.roster, &self.registrations)?;
        }
        Ok(Response::new(self.root.answer(&self.roster, &self.registrations)))
    }

    async fn objects(&self, request: Request<ObjectsRequest>) -> Result<Response<ObjectsResponse>, Status> {
        self.operator_only(&request)?;
        let request = request.into_inner();
        let asked =
            Asked::parse(&request).map_err(|unknown| Status::invalid_argument(unknown.to_string()))?;
        let files = self.catalogue.files();
        let in_force = files.iter().flat_map(|objects| objects.iter());
        let mut diagnostics = self.diagnostics.all();
        // What is looked for only when somebody asks.
        let all: Vec<Arc<leno_api::Object>> = in_force.clone().cloned().map(Arc::new).collect();
        diagnostics.extend(leno_model::analyze(&all, &self.push.snapshot()));
        objects::objects(&asked, &request, in_force, diagnostics)
            .map(Response::new)
            .map_err(|unknown| Status::not_found(unknown.to_string()))
    }

    async fn tap(&self, request: Request<TapRequest>) -> Result<Response<Self::TapStream>, Status> {
        self.operator_only(&request)?;
        let place = stream_of(&request)?;
        let TapRequest {
            target,
            filter,
            max_per_second,
        } = request.into_inner();
        Filter::parse(&filter.clone().unwrap_or_default())
            .map_err(|bad| Status::invalid_argument(bad.to_string()))?;
        let meant = self.roster.meant(&target);
        if meant.is_empty() && !target.is_empty() {
            return Err(self.nobody(&target, "target"));
        }
        let start = TapStart {
            filter,
            max_per_second: if max_per_second == 0 { 100 } else { max_per_second },
        };
        let (tap, records) = Tap::new(self.attached.number(), target, start);
        let nodes: Vec<String> = meant.into_iter().map(|proxy| proxy.node_id).collect();
        self.attached.open_tap(&tap, &nodes);
        let (send, responses) = mpsc::channel(1);
        let (attached, running) = (self.attached.clone(), self.running.clone());
        tokio::spawn(async move {
            tap.pass_on(records, send, running).await;
            attached.close_tap(&tap);
            drop(place);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn resources(
        &self,
        request: Request<ResourcesRequest>,
    ) -> Result<Response<ResourcesResponse>, Status> {
        self.operator_only(&request)?;
        let ResourcesRequest {
            node_id,
            type_url,
            names,
        } = request.into_inner();
        let Some(kind) = ResourceType::from_type_url(&type_url) else {
            let said = format!("{type_url} is not served — type_url — ask for a type that ADS serves");
            return Err(Status::invalid_argument(said));
        };
        if names.len() > MOST_NAMES {
            let said = format!(
                "{} names at once — names — ask for {MOST_NAMES} at most",
                names.len()
            );
            return Err(Status::invalid_argument(said));
        }
        let Some(proxy) = self.roster.proxy(&node_id) else {
            let said = format!("{node_id} is not connected — node_id — `leno status` lists those that are");
            return Err(Status::not_found(said));
        };
        let made = names.iter().filter_map(|name| self.push.look(&proxy, kind, name));
        let resources = made.map(|made| Resource {
            name: made.name.clone(),
            type_url: made.type_url.to_owned(),
            version: made.version.clone(),
            body: made.body.to_vec(),
            error: String::new(),
        });
        Ok(Response::new(ResourcesResponse {
            resources: resources.collect(),
        }))
    }

    async fn traffic(
        &self,
        request: Request<TrafficRequest>,
    ) -> Result<Response<Self::TrafficStream>, Status> {
        self.operator_only(&request)?;
        let place = stream_of(&request)?;
        let TrafficRequest { interval_ms, routes } = *request.get_ref();
        let interval = match interval_ms {
            0 => DEFAULT_INTERVAL,
            ms => Duration::from_millis(ms.into()).max(SHORTEST_INTERVAL),
        };
        let (send, responses) = mpsc::channel(1);
        let (attached, mut running) = (self.attached.clone(), self.running.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut ticks = tokio::time::interval(interval);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = running.changed() => return,
                }
                let response = TrafficResponse {
                    edges: attached.traffic().edges(routes),
                };
                if send.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}
