//! CSDS: what an xDS client has, resource by resource, and how it stands (`envoy.service.status.v3`, gRFC A40).
//!
//! Of a proxy that runs a bootstrap, over gRPC and as JSON. What the bootstrap has itself is static, and has no state.

use leno_engine::compile::matcher::node::NodeMatchers;
use leno_proto::ToAny;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use leno_proto::envoy::service::status::v3::{ClientConfig, ClientStatusRequest, ClientStatusResponse};
use leno_proto::google::protobuf::Any;
use leno_xds::WILDCARD;
use prost::{Message, Name};

use super::config_dump::dynamic::{any, error_state, newest, status};
use super::config_dump::{decoded, timestamp};
use super::{Json, Own, Wanted};
use crate::discovery::Dumped;

pub(super) const PATH: &str = "/v3/discovery:client_status";
pub(super) const SERVICE: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/";

/// Who asks has asked for what cannot be told, for this reason.
#[derive(Debug)]
pub(super) struct BadQuestion(String);

impl std::fmt::Display for BadQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The answer to a question in JSON; empty: to one that asks for everything.
pub(super) async fn of_json(own: &Own, question: String) -> Result<ClientStatusResponse, BadQuestion> {
    let message = match question.trim().is_empty() {
        true => Vec::new(),
        false => {
            let read = own.read_json.clone();
            let read =
                tokio::task::spawn_blocking(move || read(&question, &ClientStatusRequest::full_name()));
            let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
            read.map_err(BadQuestion)?
        }
    };
    answer(own, &message).await
}

/// The answer to an encoded question. It has whatever is secret.
async fn answer(own: &Own, question: &[u8]) -> Result<ClientStatusResponse, BadQuestion> {
    let question = ClientStatusRequest::decode(question).map_err(|error| BadQuestion(error.to_string()))?;
    let ClientStatusRequest {
        node_matchers,
        // Who asks is nobody's business.
        node: _,
        exclude_resource_contents,
    } = question;
    let meant = NodeMatchers::compile(&node_matchers).map_err(|error| BadQuestion(error.to_string()))?;
    let mut bootstrap = decoded(&own.bootstrap);
    let node = bootstrap.node.take().unwrap_or_default();
    if !meant.matches(&node) {
        return Ok(ClientStatusResponse::default());
    }
    let known = own.known().await;
    let come = known.resources.iter().filter(|dumped| dumped.is_of_source());
    let mut configs: Vec<_> = fixed(&bootstrap).chain(come.map(generic)).collect();
    if exclude_resource_contents {
        for config in &mut configs {
            config.xds_config = None;
            if let Some(error) = &mut config.error_state {
                error.failed_configuration = None;
            }
        }
    }
    Ok(ClientStatusResponse {
        config: vec![ClientConfig {
            node: Some(node),
            generic_xds_configs: configs,
            ..Default::default()
        }],
    })
}

/// The encoded answer to an encoded question, without secrets: those are found by the descriptors, so whoever writes JSON
/// writes them away, and what is left is read again.
pub(super) async fn of_wire(own: &Own, question: &[u8]) -> Result<Result<Vec<u8>, String>, BadQuestion> {
    let answer = answer(own, question).await?.to_any();
    let (write, read) = (own.json.clone(), own.read_json.clone());
    let told = tokio::task::spawn_blocking(move || match write(&answer, &Wanted::default())? {
        Json::Text(text) => read(&text, &ClientStatusResponse::full_name()),
        Json::NoResource | Json::NoField => Err("nothing is written".to_owned()),
    });
    Ok(told.await.unwrap_or_else(|error| Err(error.to_string())))
}

impl Dumped {
    /// It has come by xDS, or was asked for.
    fn is_of_source(&self) -> bool {
        let known =
            self.absent || self.requested.is_some() || self.rejected.is_some() || newest(self).is_some();
        known && !self.fixed && self.name.1 != WILDCARD
    }
}

fn generic(dumped: &Dumped) -> GenericXdsConfig {
    let (kind, name) = &dumped.name;
    let newest = newest(dumped);
    GenericXdsConfig {
        type_url: kind.type_url().to_owned(),
        name: name.clone(),
        version_info: newest.map(|version| version.version.clone()).unwrap_or_default(),
        xds_config: newest.map(|version| any(*kind, version)),
        last_updated: newest.and_then(|version| timestamp(version.updated)),
        client_status: status(dumped),
        error_state: error_state(dumped),
        ..Default::default()
    }
}

/// What the bootstrap has itself.
fn fixed(bootstrap: &Bootstrap) -> impl Iterator<Item = GenericXdsConfig> {
    let resources = bootstrap.static_resources.clone().unwrap_or_default();
    let of = |name: String, config: Any| GenericXdsConfig {
        type_url: config.type_url.clone(),
        name,
        xds_config: Some(config),
        is_static_resource: true,
        ..Default::default()
    };
    let clusters = resources.clusters.into_iter();
    let clusters = clusters.map(move |cluster| of(cluster.name.clone(), cluster.to_any()));
    let listeners = resources.listeners.into_iter();
    let listeners = listeners.map(move |listener| of(listener.name.clone(), listener.to_any()));
    let secrets = resources.secrets.into_iter();
    let secrets = secrets.map(move |secret| of(secret.name.clone(), secret.to_any()));
    clusters.chain(listeners).chain(secrets)
}
