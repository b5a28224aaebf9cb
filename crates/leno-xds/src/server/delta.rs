//! The incremental protocol.

use std::sync::Arc;

use leno_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as SentResource,
};
use leno_proto::type_url;

use super::ack::bounded;
use super::watch::{Watch, legacy_wildcard};
use super::{Outcome, RequestError, Resource, Response, Stream, Update};
use crate::WILDCARD;

impl Stream {
    /// A request on a delta stream: a subscription, an acknowledgement, a rejection, or several at once.
    pub fn on_delta(&mut self, request: DeltaDiscoveryRequest) -> Result<Outcome, RequestError> {
        let type_url = request.type_url;
        if type_url.is_empty() {
            return Err(RequestError::NoType);
        }
        if !request.resource_locators_subscribe.is_empty() {
            return Err(RequestError::Locators(type_url));
        }
        let (first, watch) = self.watch(&type_url)?;
        let resumed = first && !request.initial_resource_versions.is_empty();
        if first {
            for (name, version) in request.initial_resource_versions {
                watch.has_already(name, version);
            }
            if request.resource_names_subscribe.is_empty() && legacy_wildcard(&type_url) {
                watch.subscribe_all();
            }
        }
        let rejected = request.error_detail.map(|status| status.message);
        watch.acks.answered(&request.response_nonce, rejected.clone());
        let rejected = rejected.map(bounded);
        for name in &request.resource_names_unsubscribe {
            match name.as_str() {
                WILDCARD => watch.unsubscribe_all(),
                name => watch.unsubscribe(name),
            }
        }
        for name in request.resource_names_subscribe {
            match name.as_str() {
                WILDCARD => watch.subscribe_all(),
                _ => watch.subscribe(name),
            }
        }
        if first && type_url != type_url::CLUSTER_LOAD_ASSIGNMENT {
            watch.trust_versions();
        }
        Ok(Outcome {
            type_url,
            resumed,
            rejected,
            ended: request.resource_names_unsubscribe,
        })
    }
}

pub(super) fn respond(
    watch: &mut Watch,
    type_url: &str,
    nonce: u64,
    update: Update<'_>,
) -> Option<(Response, Vec<Arc<str>>)> {
    let changed: Vec<&Arc<Resource>> = update.present.iter().filter(|r| watch.take(r)).collect();
    let removed: Vec<String> = update
        .absent
        .iter()
        .filter(|name| watch.drop(name))
        .cloned()
        .collect();
    let first_of_all = update.wildcard && watch.take_wildcard();
    if changed.is_empty() && removed.is_empty() && !first_of_all {
        return None;
    }
    let told: Vec<_> = changed.iter().map(|r| r.name.clone()).collect();
    watch.sent(nonce, told.clone());
    let response = DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        nonce: nonce.to_string(),
        resources: changed
            .iter()
            .map(|r| SentResource {
                name: r.name.to_string(),
                version: r.version.to_string(),
                resource: Some(r.packed(type_url)),
                ..Default::default()
            })
            .collect(),
        removed_resources: removed,
        ..Default::default()
    };
    Some((Response::Delta(response), told))
}
