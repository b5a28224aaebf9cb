//! `envoy.filters.network.ext_authz`: somebody else decides about a connection, over gRPC (`envoy.service.auth.v3`).
//!
//! It is asked when the connection is there, before anything is connected behind it. (Envoy asks when the first byte comes,
//! so that a server that speaks first has spoken.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_proto::google::protobuf::Any;
use leno_proto::google::rpc::Status;
use prost::Message;

use super::{Admission, Ask, Kind, NetworkFilter};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::matcher::metadata::{MetadataMatcher, metadata};
use crate::compile::metadata::{Value, fields};
use crate::compile::pb::auth::{AttributeContext, CheckRequest, CheckResponse};
use crate::compile::pb::core;
use crate::compile::pb::network::ext_authz as pb;
use crate::compile::service::{GrpcService, grpc_service};
use crate::decide::ext_authz::{CHECK, Tells, noted};
use crate::decide::rbac::{Caller, Denial, asked_by};
use crate::decide::tally::Tally;
use crate::flags::Flag;

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    parse,
};

/// How long an authorizer may take, where nothing is said.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where answers are noted.
const NAMESPACE: &str = "envoy.filters.network.ext_authz";

#[derive(Debug)]
struct Filter {
    service: Arc<GrpcService>,
    tells: Tells,
    namespaces: Vec<String>,
    enabled: Option<MetadataMatcher>,
    fails_open: bool,
    names: Names,
}

/// Of counters.
#[derive(Debug)]
struct Names {
    total: String,
    ok: String,
    denied: String,
    error: String,
    closed: String,
    disabled: String,
    failure_mode_allowed: String,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn NetworkFilter>, Rejection> {
    let pb::ExtAuthz {
        stat_prefix,
        grpc_service: service,
        failure_mode_allow,
        include_peer_certificate,
        transport_api_version,
        filter_enabled_metadata,
        bootstrap_metadata_labels_key,
        include_tls_session,
        send_tls_alert_on_denial,
        metadata_context_namespaces,
        typed_metadata_context_namespaces,
        shadow_mode,
    } = &at.unpack::<pb::ExtAuthz>(any)?;
    refuse!(at; bootstrap_metadata_labels_key, shadow_mode);
    no_effect!(at, "the connection is closed"; send_tls_alert_on_denial);
    no_effect!(at, "there is no typed metadata"; typed_metadata_context_namespaces);
    at.not_empty("stat_prefix", stat_prefix)?;
    if *transport_api_version != i32::from(core::ApiVersion::V3) {
        return Err(at.field("transport_api_version").reject("only V3"));
    }
    let service = grpc_service(&at.field("grpc_service"), at.required("grpc_service", service)?)?;
    let name = |what: &str| format!("ext_authz.{stat_prefix}.{what}");
    Ok(Box::new(Filter {
        service: Arc::new(service),
        tells: Tells {
            certificate: *include_peer_certificate,
            tls_session: *include_tls_session,
        },
        namespaces: metadata_context_namespaces.clone(),
        enabled: match filter_enabled_metadata {
            None => None,
            Some(matcher) => Some(metadata(&at.field("filter_enabled_metadata"), matcher)?),
        },
        fails_open: *failure_mode_allow,
        names: Names {
            total: name("total"),
            ok: name("ok"),
            denied: name("denied"),
            error: name("error"),
            closed: name("cx_closed"),
            disabled: name("disabled"),
            failure_mode_allowed: name("failure_mode_allowed"),
        },
    }))
}

impl Filter {
    fn refuse(&self, caller: &Caller<'_>, why: Option<&str>, tally: &dyn Tally) -> Admission {
        tally.alone(&self.names.closed);
        let details = match why {
            None => "ext_authz_close",
            Some(_) => "ext_authz_error",
        };
        Admission::Refused {
            details: details.to_owned(),
            flags: Flag::UnauthorizedExternalService.into(),
            denial: Some(Box::new(self.denial(caller, why))),
            delay: None,
        }
    }

    fn denial(&self, caller: &Caller<'_>, why: Option<&str>) -> Denial {
        let read = |value: &Value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        let enabled = self.enabled.as_ref();
        let policy = enabled
            .zip(caller.notes)
            .and_then(|(enabled, notes)| notes.metadata(&enabled.namespace, &enabled.path, read).flatten());
        let asked = policy.and_then(|policy| asked_by(&policy, caller.values));
        let who = match &asked {
            Some(asked) => asked.provider.clone(),
            None => format!("at {}", self.service.cluster),
        };
        let who = match why {
            None => format!("the authorizer {who}"),
            Some(why) => format!("the authorizer {who}, which has not answered: {why}"),
        };
        Denial {
            place: asked.as_ref().and_then(|asked| asked.place.clone()),
            policy: Some(match &asked {
                Some(asked) => format!("{who}; asked by {}", asked.policy),
                None => who,
            }),
            ..Denial::default()
        }
    }
}

impl NetworkFilter for Filter {
    fn admit(&self, caller: &Caller<'_>, _now: Instant, tally: &dyn Tally) -> Admission {
        let enabled = self.enabled.as_ref();
        if !enabled.is_none_or(|enabled| enabled.matches(caller.notes)) {
            tally.alone(&self.names.disabled);
            return Admission::Admitted;
        }
        tally.alone(&self.names.total);
        let (source, mut destination) = self.tells.parties(&caller.peer, caller.values);
        destination.service = caller.peer.server_name.unwrap_or_default().to_owned();
        let check = CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(source),
                destination: Some(destination),
                metadata_context: Some(noted(&self.namespaces, caller.notes)),
                tls_session: self.tells.session(&caller.peer),
                ..Default::default()
            }),
        };
        Admission::Asks(Ask {
            service: Arc::clone(&self.service),
            path: CHECK,
            message: check.encode_to_vec().into(),
            patience: PATIENCE,
        })
    }

    fn answered(&self, caller: &Caller<'_>, answer: Result<Bytes, String>, tally: &dyn Tally) -> Admission {
        let answer = answer.and_then(|encoded| {
            CheckResponse::decode(encoded).map_err(|_| "its answer cannot be decoded".to_owned())
        });
        let CheckResponse {
            status,
            dynamic_metadata,
            http_response,
        } = match answer {
            Ok(answer) => answer,
            Err(why) => {
                tally.alone(&self.names.error);
                if self.fails_open {
                    tally.alone(&self.names.failure_mode_allowed);
                    return Admission::Admitted;
                }
                return self.refuse(caller, Some(&why), tally);
            }
        };
        silent!("there is no request that it could change"; http_response);
        if let (Some(metadata), Some(notes)) = (&dynamic_metadata, caller.notes) {
            notes.set_metadata(NAMESPACE, fields(metadata));
        }
        match status.map_or(0, |Status { code, .. }| code) {
            0 => {
                tally.alone(&self.names.ok);
                Admission::Admitted
            }
            _ => {
                tally.alone(&self.names.denied);
                self.refuse(caller, None, tally)
            }
        }
    }

    fn notes(&self) -> bool {
        true
    }

    fn counts(&self) -> Vec<String> {
        let Names {
            total,
            ok,
            denied,
            error,
            closed,
            disabled,
            failure_mode_allowed,
        } = &self.names;
        [total, ok, denied, error, closed, disabled, failure_mode_allowed]
            .map(String::clone)
            .into()
    }
}
