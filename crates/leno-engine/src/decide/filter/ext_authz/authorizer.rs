//! Who is asked: the request as it is told, as an effect.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::grpc;
use super::http::HttpAuthorizer;
use super::told::{Asking, Told};
use crate::compile::pb::auth::CheckRequest;
use crate::compile::service::GrpcService;
use crate::decide::ext_authz::CHECK;
use crate::decide::filter::{Context, Effect};
use crate::message::RequestHead;

#[derive(Debug)]
pub(super) enum Authorizer {
    Grpc(Arc<GrpcService>, Duration),
    Http(Box<HttpAuthorizer>),
}

impl Authorizer {
    pub(super) fn ask(
        &self,
        rules: &Told,
        asking: &Asking<'_>,
        cx: &Context<'_>,
        head: &RequestHead,
    ) -> Effect {
        match self {
            Self::Grpc(service, patience) => {
                let attributes = grpc::attributes(rules, asking, cx, head);
                let message = CheckRequest {
                    attributes: Some(attributes),
                };
                Effect::Ask {
                    service: Arc::clone(service),
                    path: CHECK,
                    message: message.encode_to_vec().into(),
                    patience: *patience,
                }
            }
            Self::Http(authorizer) => authorizer.ask(rules, asking, cx, head),
        }
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> &str {
        match self {
            Self::Grpc(service, _) => &service.cluster,
            Self::Http(authorizer) => &authorizer.uri,
        }
    }
}
