//! `grpc.health.v1.Health/Check`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::cluster::health_check::GrpcProbe;
use leno_engine::decide::health::Failure;
use leno_engine::message::Headers;
use prost::Message;

use super::http::{self, Answered, HttpConnection};
use super::one::{One, Well};
use crate::codec::{Body, Counter, Request};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Answers are of a few bytes.
const MOST: usize = 64 * 1024;
const SERVING: i32 = 1;

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, Message)]
struct Said {
    #[prost(int32, tag = "1")]
    status: i32,
}

pub(super) async fn ask(
    connection: &mut HttpConnection,
    one: One<'_>,
    probe: &GrpcProbe,
    secured: bool,
) -> Result<Well, Failure> {
    let mut head = http::head(one, &probe.authority, ("POST", PATH), true, secured);
    head.headers.append("te", "trailers");
    head.headers.append("content-type", "application/grpc");
    probe.metadata.edit_request(&mut head, &NoValues);
    let timeout = one.check.timeout.as_millis();
    head.headers.set("grpc-timeout", format!("{timeout}m"));
    let asked = Asked {
        service: probe.service.clone(),
    };
    let message = asked.encode_to_vec();
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    let body = Body::Full(framed.freeze());
    let answered = connection
        .exchange(
            Request {
                head,
                body,
                counter: Counter::default(),
            },
            MOST,
        )
        .await;
    let answered = answered.map_err(|_| Failure::Network)?;
    let failed = Failure::Active {
        status: None,
        retriable: false,
    };
    match is_serving(&answered) {
        true => Ok(Well { degraded: false }),
        false => Err(failed),
    }
}

fn is_serving(answered: &Answered) -> bool {
    let status = |headers: &Headers| headers.get_str("grpc-status").map(str::to_owned);
    // Of an answer without messages it stands in the head.
    let trailers = answered.trailers.as_ref().and_then(status);
    let status = trailers.or_else(|| status(&answered.head.headers));
    answered.head.status == 200
        && status.as_deref() == Some("0")
        && message(answered.body.clone())
            .and_then(|message| Said::decode(message).ok())
            .is_some_and(|said| said.status == SERVING)
}

/// The one message that there is.
fn message(mut data: Bytes) -> Option<Bytes> {
    let [compressed, length @ ..] = data.first_chunk::<5>().copied()?;
    data.advance(5);
    (compressed == 0 && data.len() == u32::from_be_bytes(length) as usize).then_some(data)
}
