//! What operators ask of the control plane: the Mesh service, with the token of this machine.

use std::sync::Arc;
use std::time::Duration;

use leno_proto::control::{
    ConfigRequest, ConfigResponse, CreateTokenRequest, CreateTokenResponse, Diagnostic, Edge, ObjectsRequest,
    ObjectsResponse, ResourcesRequest, ResourcesResponse, RevokeTokenRequest, RevokeTokenResponse,
    RootRequest, RootResponse, StatusRequest, StatusResponse, TapRequest, TapResponse, TokensRequest,
    TokensResponse, TrafficRequest, TrafficResponse,
};
use leno_proxy::control_plane::ControlPlane;
use leno_proxy::grpc::{self, Channel, Receiver};
use leno_tls::{Crypto, Secrets};

use crate::join::Join;

const SERVICE: &str = "/leno.control.v1.Mesh";
const TIMEOUT: Duration = Duration::from_secs(5);

pub struct Mesh {
    channel: Channel,
    token: String,
}

impl Mesh {
    pub async fn connect(join: &Join) -> anyhow::Result<Self> {
        let mut control = ControlPlane::new(
            join.address,
            join.trust()?,
            Arc::new(Secrets::new()),
            Crypto::system(),
        );
        let channel = Channel::connect(&control.joining()?)
            .await
            .map_err(|e| explained(e, join))?;
        Ok(Self {
            channel,
            token: join.token()?,
        })
    }

    pub async fn status(&self) -> Result<StatusResponse, grpc::Error> {
        self.channel
            .unary(
                &format!("{SERVICE}/Status"),
                Some(&self.token),
                &StatusRequest {},
                TIMEOUT,
            )
            .await
    }

    pub async fn config(&self, workload: &str, kind: &str) -> Result<ConfigResponse, grpc::Error> {
        let request = ConfigRequest {
            workload: workload.to_owned(),
            kind: kind.to_owned(),
        };
        self.channel
            .unary(&format!("{SERVICE}/Config"), Some(&self.token), &request, TIMEOUT)
            .await
    }

    /// What the control plane has for a connected proxy, by name.
    pub async fn resources(
        &self,
        node_id: &str,
        type_url: &str,
        names: Vec<String>,
    ) -> Result<ResourcesResponse, grpc::Error> {
        let request = ResourcesRequest {
            node_id: node_id.to_owned(),
            type_url: type_url.to_owned(),
            names,
        };
        self.channel
            .unary(
                &format!("{SERVICE}/Resources"),
                Some(&self.token),
                &request,
                TIMEOUT,
            )
            .await
    }

    /// Sums of all edges, at first and then every `interval`; `routes`: by route, status and flags as well.
    pub async fn traffic(
        &self,
        interval: Duration,
        routes: bool,
    ) -> Result<Receiver<TrafficResponse>, grpc::Error> {
        let path = format!("{SERVICE}/Traffic");
        let (mut sender, receiver) = self
            .channel
            .stream::<TrafficRequest, _>(&path, Some(&self.token))
            .await?;
        sender.send(&TrafficRequest {
            interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
            routes,
        })?;
        sender.finish()?;
        Ok(receiver)
    }
}

impl Mesh {
    /// The sums of all edges as of now.
    pub async fn edges_now(&self, routes: bool) -> anyhow::Result<Vec<Edge>> {
        let mut sums = self.traffic(Duration::from_secs(60), routes).await?;
        let first = tokio::time::timeout(TIMEOUT, sums.next()).await;
        let first = first.map_err(|_| anyhow::anyhow!("no answer within {TIMEOUT:?}"))??;
        Ok(first.map(|response| response.edges).unwrap_or_default())
    }

    pub async fn create_token(
        &self,
        request: &CreateTokenRequest,
    ) -> Result<CreateTokenResponse, grpc::Error> {
        let path = format!("{SERVICE}/CreateToken");
        self.channel
            .unary(&path, Some(&self.token), request, TIMEOUT)
            .await
    }

    pub async fn tokens(&self) -> Result<TokensResponse, grpc::Error> {
        let path = format!("{SERVICE}/Tokens");
        self.channel
            .unary(&path, Some(&self.token), &TokensRequest {}, TIMEOUT)
            .await
    }

    pub async fn revoke_token(&self, id: &str) -> Result<RevokeTokenResponse, grpc::Error> {
        let path = format!("{SERVICE}/RevokeToken");
        let request = RevokeTokenRequest { id: id.to_owned() };
        self.channel
            .unary(&path, Some(&self.token), &request, TIMEOUT)
            .await
    }

    /// The authority's own certificates; `step`: of a rotation of the root, or empty.
    pub async fn root(&self, step: &str) -> Result<RootResponse, grpc::Error> {
        let path = format!("{SERVICE}/Root");
        let request = RootRequest {
            step: step.to_owned(),
        };
        self.channel
            .unary(&path, Some(&self.token), &request, TIMEOUT)
            .await
    }

    pub async fn objects(&self, request: &ObjectsRequest) -> Result<ObjectsResponse, grpc::Error> {
        let path = format!("{SERVICE}/Objects");
        self.channel
            .unary(&path, Some(&self.token), request, TIMEOUT)
            .await
    }

    /// Requests as they end; the first response comes at once.
    pub async fn tap(&self, request: &TapRequest) -> Result<Receiver<TapResponse>, grpc::Error> {
        let path = format!("{SERVICE}/Tap");
        let (mut sender, receiver) = self
            .channel
            .stream::<TapRequest, _>(&path, Some(&self.token))
            .await?;
        sender.send(request)?;
        sender.finish()?;
        Ok(receiver)
    }
}

/// `warning[LN0123]: what — where — remedy`
pub fn line(diagnostic: &Diagnostic) -> String {
    let Diagnostic {
        code,
        severity,
        place,
        object,
        message,
        hint,
    } = diagnostic;
    let place = [object, place]
        .into_iter()
        .filter(|p| !p.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(" at ");
    let parts = [format!("{severity}[{code}]: {message}"), place, hint.clone()];
    parts
        .into_iter()
        .filter(|p| !p.is_empty())
        .collect::<Vec<_>>()
        .join(" — ")
}

fn explained(error: grpc::Error, join: &Join) -> anyhow::Error {
    match error {
        grpc::Error::Connect { source, .. } => anyhow::anyhow!(
            "the control plane does not answer ({source}) — {} — start it with `leno control --config DIR`",
            join.address
        ),
        other => anyhow::anyhow!("{other} — {} — check --control, --ca and --token", join.address),
    }
}
