//! CSDS: who is connected, and whether each follows what it was sent, type by type. As istiod tells it to `istioctl
//! proxy-status`; for operators, as `leno status` is.

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use leno_proto::control::{ProxyStatus, TypeStatus};
use leno_proto::envoy::admin::v3::UpdateFailureState;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use leno_proto::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryService;
use leno_proto::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use leno_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use leno_proto::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use leno_proto::type_url;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::ca::Certificates;
use crate::mesh::operator_only;
use crate::roster::Roster;

#[derive(Clone)]
pub(super) struct ClientStatuses {
    roster: Arc<Roster>,
    certificates: Arc<Certificates>,
}

impl ClientStatuses {
    pub(super) fn new(roster: Arc<Roster>, certificates: Arc<Certificates>) -> Self {
        Self { roster, certificates }
    }

    fn answer(&self, request: &ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
        let mut config = Vec::new();
        for proxy in self.roster.proxies() {
            if is_meant(&request.node_matchers, &proxy.node_id)? {
                config.push(client(proxy));
            }
        }
        Ok(ClientStatusResponse { config })
    }
}

#[tonic::async_trait]
impl ClientStatusDiscoveryService for ClientStatuses {
    type StreamClientStatusStream = Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        operator_only(&self.certificates, &request)?;
        let (answers, sent) = mpsc::channel(1);
        let (this, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let answer = this.answer(&request);
                let refused = answer.is_err();
                if answers.send(answer).await.is_err() || refused {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        operator_only(&self.certificates, &request)?;
        Ok(Response::new(self.answer(request.get_ref())?))
    }
}

/// None is everybody; else whoever one of them matches.
fn is_meant(matchers: &[NodeMatcher], node: &str) -> Result<bool, Status> {
    if matchers.is_empty() {
        return Ok(true);
    }
    for matcher in matchers {
        if !matcher.node_metadatas.is_empty() {
            return Err(Status::invalid_argument(
                "node_metadatas is not served — node_matchers — choose by node_id",
            ));
        }
        let id = matcher.node_id.as_ref();
        if id.map_or(Ok(true), |id| matches(id, node))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn matches(matcher: &StringMatcher, node: &str) -> Result<bool, Status> {
    let cased = |text: &str| match matcher.ignore_case {
        true => text.to_lowercase(),
        false => text.to_owned(),
    };
    let node = cased(node);
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => Ok(node == cased(text)),
        Some(MatchPattern::Prefix(text)) => Ok(node.starts_with(&cased(text))),
        Some(MatchPattern::Suffix(text)) => Ok(node.ends_with(&cased(text))),
        Some(MatchPattern::Contains(text)) => Ok(node.contains(&cased(text))),
        Some(MatchPattern::SafeRegex(_) | MatchPattern::Custom(_)) | None => Err(Status::invalid_argument(
            "only exact, prefix, suffix and contains are served — node_matchers.node_id — use one of them",
        )),
    }
}

fn client(proxy: ProxyStatus) -> ClientConfig {
    ClientConfig {
        node: Some(Node {
            id: proxy.node_id,
            cluster: proxy.service,
            ..Default::default()
        }),
        generic_xds_configs: proxy.types.into_iter().map(of_type).collect(),
        ..Default::default()
    }
}

fn of_type(of: TypeStatus) -> GenericXdsConfig {
    let status = match of.state.as_str() {
        "SYNCED" => ConfigStatus::Synced,
        "STALE" => ConfigStatus::Stale,
        "NOT_SENT" => ConfigStatus::NotSent,
        "REJECTED" => ConfigStatus::Error,
        _ => ConfigStatus::Unknown,
    };
    let known = type_url::ALL
        .into_iter()
        .find(|known| type_url::abbreviation(known) == Some(&of.r#type));
    GenericXdsConfig {
        type_url: known.map_or(of.r#type, str::to_owned),
        config_status: status.into(),
        error_state: (!of.error.is_empty()).then(|| UpdateFailureState {
            details: of.error,
            ..Default::default()
        }),
        ..Default::default()
    }
}
