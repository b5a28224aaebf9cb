//! Join tokens, as operators make, see and revoke them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use leno_ca::{Binding, TokenClaims, TokenGrant, TokenStore};
use leno_proto::control::{
    CreateTokenRequest, CreateTokenResponse, RevokeTokenResponse, Token, TokensResponse,
};
use serde_json::json;
use tonic::Status;

use crate::audit::Event;
use crate::ca::Certificates;

/// Who makes and revokes tokens.
const OPERATOR: &str = "operator";

pub(crate) fn create(
    certificates: &Certificates,
    request: CreateTokenRequest,
) -> Result<CreateTokenResponse, Status> {
    let CreateTokenRequest {
        namespace,
        service_account,
        ttl_seconds,
        reusable,
    } = request;
    let now = SystemTime::now();
    let expires = match ttl_seconds {
        0 => None,
        seconds => Some(now.checked_add(Duration::from_secs(seconds)).ok_or_else(|| {
            Status::invalid_argument(format!(
                "{seconds} seconds is no lifetime — ttl — write it like 24h"
            ))
        })?),
    };
    let bound = |name: String| Some(name).filter(|name| !name.is_empty());
    let grant = TokenGrant {
        binding: Binding {
            namespace: bound(namespace),
            service_account: bound(service_account),
        },
        expires,
        reusable,
    };
    let mut tokens = certificates.tokens.lock().unwrap_or_else(PoisonError::into_inner);
    let (claims, text) = tokens
        .create(grant, now)
        .map_err(|error| Status::internal(error.to_string()))?;
    let more = json!({"identities": claims.binding.to_string(), "reusable": reusable});
    certificates
        .audit
        .tell(Event::TokenCreated, OPERATOR, &claims.id, more);
    tracing::info!(token = claims.id, identities = %claims.binding, reusable, "join token made");
    Ok(CreateTokenResponse {
        token: Some(told(claims)),
        text,
    })
}

pub(crate) fn list(tokens: &Mutex<TokenStore>) -> TokensResponse {
    let tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
    TokensResponse {
        tokens: tokens.list().map(told).collect(),
    }
}

/// The operator's own token stays: without it nobody could make another.
pub(crate) fn revoke(certificates: &Certificates, id: &str) -> Result<RevokeTokenResponse, Status> {
    let mut tokens = certificates.tokens.lock().unwrap_or_else(PoisonError::into_inner);
    if tokens.list().any(|claims| claims.id == id && claims.operator) {
        return Err(Status::failed_precondition(format!(
            "{id} is the control plane's own token — token — remove its file and restart the control plane to have \
             another"
        )));
    }
    match tokens.revoke(id) {
        Ok(true) => {
            certificates
                .audit
                .tell(Event::TokenRevoked, OPERATOR, id, json!({}));
            tracing::info!(token = id, "join token revoked");
            Ok(RevokeTokenResponse {})
        }
        Ok(false) => Err(Status::not_found(format!(
            "there is no join token {id} — token — `leno token list` names them"
        ))),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

fn told(claims: TokenClaims) -> Token {
    let seconds = |at: SystemTime| {
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    };
    Token {
        id: claims.id,
        namespace: claims.binding.namespace.unwrap_or_default(),
        service_account: claims.binding.service_account.unwrap_or_default(),
        expires: claims.expires.map_or(0, seconds),
        reusable: claims.reusable,
        used: claims.used,
        operator: claims.operator,
    }
}
