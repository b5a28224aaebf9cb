//! An authorizer (`envoy.service.auth.v3.Authorization`): the request that it is told of says what it answers, in `x-check`:
//! a `CheckResponse` as YAML, `grpc STATUS`, or `never`. Where it says nothing the request is allowed, unless the call's
//! `:authority` ends in `-deny`. What it was told is kept by `:authority`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response};
use leno_proto::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use leno_proto::google::rpc::Status;
use leno_proto_text::Schema;
use prost::Message as _;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::config::collected::flatten;

const DENIES: &str = "-deny";

#[derive(Default)]
pub(crate) struct Checks(Mutex<BTreeMap<String, Vec<String>>>);

impl Checks {
    pub(crate) fn of(&self, authority: &str) -> Vec<String> {
        self.0.lock().unwrap().get(authority).cloned().unwrap_or_default()
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn add(&self, authority: &str, told: String) {
        let key = authority.strip_suffix(DENIES).unwrap_or(authority);
        self.0
            .lock()
            .unwrap()
            .entry(key.to_owned())
            .or_default()
            .push(told);
    }
}

pub(super) async fn listen(listener: TcpListener, checks: Arc<Checks>, schema: Arc<Schema>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (checks, schema) = (Arc::clone(&checks), Arc::clone(&schema));
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await?;
            while let Some(accepted) = connection.accept().await {
                let (request, respond) = accepted?;
                tokio::spawn(answer(request, respond, Arc::clone(&checks), Arc::clone(&schema)));
            }
            Ok::<_, h2::Error>(())
        });
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    checks: Arc<Checks>,
    schema: Arc<Schema>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    assert_eq!(head.uri.path(), "/envoy.service.auth.v3.Authorization/Check");
    let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut buffer = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        buffer.extend_from_slice(&data);
    }
    let check = CheckRequest::decode(&buffer[5..]).unwrap();
    let says = wish(&check);
    checks.add(&authority, told(&schema, &check));
    let mut status = "0".to_owned();
    let mut message = CheckResponse::default();
    match says.as_deref() {
        None if authority.ends_with(DENIES) => {
            message.status = Some(Status {
                code: 7,
                ..Default::default()
            });
        }
        None => {}
        Some("never") => {
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await?;
            return Ok(());
        }
        Some(text) => match text.strip_prefix("grpc ") {
            Some(code) => status = code.to_owned(),
            None => message = schema.from_text(text).unwrap(),
        },
    }
    let encoded = message.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(encoded.len().try_into().unwrap());
    framed.extend_from_slice(&encoded);
    let response = Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(response.body(()).unwrap(), false)?;
    stream.send_data(framed.freeze(), false)?;
    stream.send_trailers(HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_str(&status).unwrap(),
    )]))
}

fn wish(check: &CheckRequest) -> Option<String> {
    let http = check.attributes.as_ref()?.request.as_ref()?.http.as_ref()?;
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    let raw = raw.filter(|header| header.key == "x-check");
    let mut raw = raw.map(|header| String::from_utf8_lossy(&header.raw_value).into_owned());
    http.headers.get("x-check").cloned().or_else(|| raw.next())
}

/// Without what differs from run to run.
fn told(schema: &Schema, check: &CheckRequest) -> String {
    let mut check = check.clone();
    let attributes = check.attributes.as_mut().unwrap();
    for party in [&mut attributes.source, &mut attributes.destination] {
        let party = party.as_mut().unwrap();
        party.address = None;
        // As long as it is one.
        if party.certificate.starts_with("-----BEGIN%20CERTIFICATE-----%0A") {
            party.certificate = "(a certificate)".into();
        }
    }
    if let Some(request) = &mut attributes.request {
        request.time = request.time.take().map(|_| Default::default());
        if let Some(http) = &mut request.http {
            assert!(http.id.parse::<u64>().is_ok(), "{:?}", http.id);
            http.id.clear();
            http.headers.remove("x-check");
            if let Some(map) = &mut http.header_map {
                map.headers.retain(|header| header.key != "x-check");
                map.headers.sort_by(|one, other| one.key.cmp(&other.key));
            }
        }
    }
    let mut lines = Vec::new();
    let json: Value = schema.to_json(&check).unwrap();
    flatten("", &json["attributes"], &mut lines);
    format!("- {}", lines.join("\n  "))
}
