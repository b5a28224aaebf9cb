//! The state-of-the-world protocol.
//!
//! Of listeners and clusters a response holds all there are, and what it leaves out is gone; of everything else
//! it holds what changed, and there is no way to say that something is gone.
//!
//! A client that has just asked for a name cannot tell a response that leaves it out from one that was sent before it
//! asked, and waits (gRPC: 15 s). So such names are also said one by one, for those who read it (gRFC A88).

use std::collections::BTreeSet;
use std::sync::Arc;

use leno_proto::envoy::service::discovery::v3::{
    DiscoveryRequest, DiscoveryResponse, ResourceError, ResourceName,
};
use leno_proto::google::rpc::Status;
use leno_proto::type_url;

use super::ack::bounded;
use super::watch::{Watch, legacy_wildcard};
use super::{Outcome, RequestError, Resource, Response, Stream, Update};
use crate::WILDCARD;

impl Stream {
    /// A request on a state-of-the-world stream. One that answers anything but the last response is stale, and its
    /// names mean nothing: the client will say them again when it answers the last.
    pub fn on_sotw(&mut self, request: DiscoveryRequest) -> Result<Outcome, RequestError> {
        let type_url = request.type_url;
        if type_url.is_empty() {
            return Err(RequestError::NoType);
        }
        if !request.resource_locators.is_empty() {
            return Err(RequestError::Locators(type_url));
        }
        let (first, watch) = self.watch(&type_url)?;
        let rejected = request.error_detail.map(|status| status.message);
        // Also of an older response this says whether it was taken.
        watch.acks.answered(&request.response_nonce, rejected.clone());
        let mut outcome = Outcome {
            resumed: first && !request.version_info.is_empty(),
            rejected: rejected.map(bounded),
            ..Outcome::default()
        };
        if first || watch.is_last(&request.response_nonce) {
            outcome.ended = watch.set_names(&type_url, request.resource_names);
        }
        outcome.type_url = type_url;
        Ok(outcome)
    }
}

impl Watch {
    fn is_last(&self, nonce: &str) -> bool {
        match self.last_nonce {
            None => true,
            Some(last) => nonce.parse() == Ok(last),
        }
    }

    /// Each request names everything that is asked for. Returns what no longer is.
    fn set_names(&mut self, type_url: &str, names: Vec<String>) -> Vec<String> {
        let mut names: BTreeSet<String> = names.into_iter().collect();
        let all = names.remove(WILDCARD) || (names.is_empty() && !self.named && legacy_wildcard(type_url));
        self.named |= !names.is_empty();
        let mut ended: Vec<String> = self.names.difference(&names).cloned().collect();
        let added: Vec<String> = names.difference(&self.names).cloned().collect();
        if all && !self.wildcard {
            self.subscribe_all();
        }
        for name in &ended {
            match all {
                // The wildcard keeps it, and the client knows that: all is said at once, always.
                true => drop(self.names.remove(name)),
                false => self.unsubscribe(name),
            }
        }
        for name in added {
            self.subscribe(name);
        }
        if !all && self.wildcard {
            self.unsubscribe_all();
            ended.push(WILDCARD.to_owned());
        }
        ended
    }
}

/// `google.rpc.Code.NOT_FOUND`.
const NOT_FOUND: i32 = 5;

fn not_found(type_url: &str, name: &str) -> ResourceError {
    let kind = type_url::abbreviation(type_url).unwrap_or(type_url);
    ResourceError {
        resource_name: Some(ResourceName {
            name: name.to_owned(),
            ..Default::default()
        }),
        error_detail: Some(Status {
            code: NOT_FOUND,
            message: format!("the mesh has no {name} — {kind} — check the name and the port"),
            details: Vec::new(),
        }),
    }
}

pub(super) fn respond(
    watch: &mut Watch,
    type_url: &str,
    nonce: u64,
    update: Update<'_>,
) -> Option<(Response, Vec<Arc<str>>)> {
    let changed: Vec<Arc<Resource>> = update.present.iter().filter(|r| watch.take(r)).cloned().collect();
    let removed: Vec<&String> = update.absent.iter().filter(|name| watch.drop(name)).collect();
    let first_of_all = update.wildcard && watch.take_wildcard();
    let whole = matches!(type_url, type_url::LISTENER | type_url::CLUSTER);
    let nothing_gone = !whole || removed.is_empty();
    if changed.is_empty() && !first_of_all && nothing_gone {
        return None;
    }
    let missing = removed.into_iter().filter(|name| watch.names.contains(*name));
    let resource_errors = missing.map(|name| not_found(type_url, name)).collect();
    let told: Vec<_> = changed.iter().map(|r| r.name.clone()).collect();
    let resources: Vec<Arc<Resource>> = if whole {
        watch.bodies().cloned().collect()
    } else {
        changed
    };
    watch.last_nonce = Some(nonce);
    watch.sent(nonce, resources.iter().map(|r| r.name.clone()).collect());
    let response = DiscoveryResponse {
        type_url: type_url.to_owned(),
        version_info: nonce.to_string(),
        nonce: nonce.to_string(),
        resources: resources.iter().map(|r| r.packed(type_url)).collect(),
        resource_errors,
        ..Default::default()
    };
    Some((Response::Sotw(response), told))
}
