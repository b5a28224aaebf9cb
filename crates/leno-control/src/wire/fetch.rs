//! One question, one answer: the state of the world without a stream.
//!
//! Whoever asks so is not registered: a workload is in the mesh while it has a stream.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use leno_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use leno_xds::server::{Protocol, Response, Stream};
use tonic::Status;

use crate::ads::Ads;
use crate::listener::Peer;
use crate::session::Session;

pub(super) struct Fetch {
    ads: Arc<Ads>,
}

impl Fetch {
    pub(super) fn new(ads: Arc<Ads>) -> Self {
        Self { ads }
    }

    pub(super) fn answer(
        &self,
        peer: Option<&Peer>,
        type_url: &str,
        request: DiscoveryRequest,
    ) -> Result<DiscoveryResponse, Status> {
        let described = self.ads.recognise(peer, request.node.as_ref())?;
        if !request.type_url.is_empty() && request.type_url != type_url {
            return Err(Status::invalid_argument(format!(
                "{} is asked for where {type_url} is served — type_url — leave it out, or ask at its own path",
                request.type_url
            )));
        }
        let mut stream = Stream::new(Protocol::StateOfTheWorld);
        let asked = DiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names: request.resource_names,
            resource_locators: request.resource_locators,
            ..Default::default()
        };
        let refused = |error: leno_xds::server::RequestError| Status::invalid_argument(error.to_string());
        stream.on_sotw(asked).map_err(refused)?;
        let mut session = Session::new(described.proxy, stream, self.ads.push.join());
        // What is there comes first, then all of it again with the names of what is not.
        let mut answer = match session.push().pop() {
            Some(Response::Sotw(response)) => response,
            _ => DiscoveryResponse {
                type_url: type_url.to_owned(),
                ..Default::default()
            },
        };
        self.ads.push.work.sent(&Response::Sotw(answer.clone()));
        answer.nonce.clear();
        answer.version_info = version(&answer);
        Ok(answer)
    }
}

/// The same for the same resources: there is no stream on which they could be counted.
fn version(answer: &DiscoveryResponse) -> String {
    let mut hasher = DefaultHasher::new();
    for resource in &answer.resources {
        resource.value.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
