//! REST-JSON: a `DiscoveryRequest` in JSON is posted to the path of its type, by HTTP/1.1 or HTTP/2, at the ports of xDS.
//!
//! The paths are those that Envoy's services declare (`google.api.http`). What the client has already is answered with
//! 304. Descriptors of all messages are loaded with the first request: some 20 MiB, of whoever has such clients.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use leno_proto::envoy::service::discovery::v3::DiscoveryRequest;
use leno_proto::type_url;
use leno_proto_text::Schema;
use tonic::{Code, Status};

use super::fetch::Fetch;
use crate::listener::Peer;

const PATHS: [(&str, &str); 7] = [
    ("/v3/discovery:clusters", type_url::CLUSTER),
    ("/v3/discovery:endpoints", type_url::CLUSTER_LOAD_ASSIGNMENT),
    ("/v3/discovery:listeners", type_url::LISTENER),
    ("/v3/discovery:routes", type_url::ROUTE_CONFIGURATION),
    ("/v3/discovery:secrets", type_url::SECRET),
    ("/v3/discovery:runtime", type_url::RUNTIME),
    (
        "/v3/discovery:extension_configs",
        type_url::TYPED_EXTENSION_CONFIG,
    ),
];

#[derive(Clone)]
struct Rest {
    fetch: Arc<Fetch>,
    schema: Arc<OnceLock<Schema>>,
}

pub(super) fn router(fetch: Arc<Fetch>) -> Router {
    let rest = Rest {
        fetch,
        schema: Arc::default(),
    };
    let mut router = Router::new();
    for (path, type_url) in PATHS {
        let ask = move |State(rest): State<Rest>, peer: Option<Extension<Peer>>, body: Bytes| async move {
            let peer = peer.map(|Extension(peer)| peer);
            // Reading and writing JSON takes a while.
            let answered = tokio::task::spawn_blocking(move || rest.answer(peer.as_ref(), type_url, &body));
            match answered.await {
                Ok(Ok(response)) => response,
                Ok(Err(status)) => refusal(&status),
                Err(_) => refusal(&Status::internal("the answer could not be made")),
            }
        };
        router = router.route(path, post(ask));
    }
    router.with_state(rest)
}

impl Rest {
    fn answer(&self, peer: Option<&Peer>, type_url: &str, body: &[u8]) -> Result<Response, Status> {
        let schema = self.schema.get_or_init(Schema::load);
        let bad = |why: String| {
            Status::invalid_argument(format!("{why} — the body — post a DiscoveryRequest in JSON"))
        };
        let text = std::str::from_utf8(body).map_err(|error| bad(error.to_string()))?;
        let request: DiscoveryRequest = schema.from_text(text).map_err(|error| bad(error.to_string()))?;
        let had = request.version_info.clone();
        let answer = self.fetch.answer(peer, type_url, request)?;
        if answer.version_info == had {
            return Ok(StatusCode::NOT_MODIFIED.into_response());
        }
        let json = schema
            .to_json(&answer)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(([(CONTENT_TYPE, "application/json")], json.to_string()).into_response())
    }
}

fn refusal(status: &Status) -> Response {
    let code = match status.code() {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (code, format!("{}\n", status.message())).into_response()
}
