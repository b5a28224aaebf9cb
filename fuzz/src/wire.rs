//! xDS messages as bytes, into the engine's compiled form.

use leno_engine::compile::{self, NoFiles, Rejection, Warnings};
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use leno_proto::envoy::config::listener::v3::Listener;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_translate::ResourceType;
use prost::Message;

/// Compiles one encoded resource. `None`: the bytes are no such message, or the engine does not take the type.
pub fn compile(kind: ResourceType, body: &[u8]) -> Option<Result<(), Rejection>> {
    let warnings = &mut Warnings::default();
    let done = match kind {
        ResourceType::Listener => {
            compile::listener::compile(&Listener::decode(body).ok()?, &NoFiles, warnings).map(drop)
        }
        ResourceType::Route => {
            compile::route::compile(&RouteConfiguration::decode(body).ok()?, &NoFiles, warnings).map(drop)
        }
        ResourceType::Cluster => {
            compile::cluster::compile(&Cluster::decode(body).ok()?, &NoFiles, warnings).map(drop)
        }
        ResourceType::Endpoints => {
            compile::endpoint::compile(&ClusterLoadAssignment::decode(body).ok()?, &NoFiles, warnings).map(drop)
        }
        // Neither goes through the engine: the proxy reads them itself.
        ResourceType::NameTable | ResourceType::Secret => return None,
    };
    if let Err(rejection) = &done {
        let _ = rejection.to_string();
    }
    Some(done)
}
