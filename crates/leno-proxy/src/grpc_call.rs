//! gRPC calls of the proxy's own to a cluster, by the same pools as everybody's: one message each way.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use leno_engine::compile::service::GrpcService;
use leno_engine::flags::Flags;
use leno_engine::message::{Headers, RequestHead, Version};

use crate::call;
use crate::codec::{Body, Frame};
use crate::outcome::Failure;
use crate::worker::Worker;

/// Larger answers are refused.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("response flags {0}")]
    Call(Flags),
    #[error("HTTP status {0}")]
    Http(u16),
    #[error("gRPC status {0}")]
    Status(u32),
    #[error("not a gRPC answer")]
    Protocol,
}

/// Calls a method with an encoded message; its answer's, still encoded, and empty where there is none.
///
/// `patience`: how long it takes at most, where the service has no timeout of its own.
pub(crate) async fn call(
    worker: &Rc<Worker>,
    service: &GrpcService,
    path: &'static str,
    message: &[u8],
    patience: Duration,
) -> Result<Bytes, Failed> {
    let length = u32::try_from(message.len()).map_err(|_| Failed::Protocol)?;
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.extend_from_slice(message);
    let calling = async {
        let head = head(service, path);
        let answer = call::send(worker, &service.cluster, head, Body::Full(framed.freeze()))
            .await
            .map_err(|failure| Failed::Call(failure.flags()))?;
        if answer.head.status != 200 {
            return Err(Failed::Http(answer.head.status));
        }
        let (data, trailers) = whole(answer.body).await?;
        let status = |headers: &Headers| headers.get_str("grpc-status")?.parse().ok();
        // Of an answer without messages it stands in the head.
        let status = trailers
            .as_ref()
            .and_then(status)
            .or_else(|| status(&answer.head.headers));
        match status {
            Some(0) => unframed(data),
            Some(code) => Err(Failed::Status(code)),
            None => Err(Failed::Protocol),
        }
    };
    let called = tokio::time::timeout(service.timeout.unwrap_or(patience), calling).await;
    called.unwrap_or_else(|_| Err(Failed::Call(Failure::Timeout.flags())))
}

fn head(service: &GrpcService, path: &'static str) -> RequestHead {
    let mut headers = Headers::default();
    headers.append("te", "trailers");
    headers.append("content-type", "application/grpc");
    if let Some(timeout) = service.timeout {
        headers.append("grpc-timeout", format!("{}m", timeout.as_millis()));
    }
    for (name, value) in &service.metadata {
        headers.append(name, value);
    }
    RequestHead {
        version: Version::Http2,
        method: Bytes::from_static(b"POST"),
        scheme: Bytes::from_static(b"http"),
        authority: Bytes::copy_from_slice(service.authority.as_bytes()),
        path: Bytes::from_static(path.as_bytes()),
        headers,
        upgrade: None,
    }
}

async fn whole(mut body: Body) -> Result<(BytesMut, Option<Headers>), Failed> {
    let mut data = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(Frame::Data(more)) if data.len() + more.len() <= MAX_ANSWER => data.extend_from_slice(&more),
            Ok(Frame::Data(_)) => return Err(Failed::Protocol),
            Ok(Frame::Trailers(end)) => trailers = Some(end),
            Err(error) => return Err(Failed::Call(Failure::Stream(error).flags())),
        }
    }
    Ok((data, trailers))
}

/// The message of the first frame.
fn unframed(mut data: BytesMut) -> Result<Bytes, Failed> {
    if data.is_empty() {
        return Ok(Bytes::new());
    }
    let Some([compressed, length @ ..]) = data.first_chunk::<5>().copied() else {
        return Err(Failed::Protocol);
    };
    let length = u32::from_be_bytes(length) as usize;
    data.advance(5);
    if compressed != 0 || data.len() < length {
        return Err(Failed::Protocol);
    }
    Ok(data.split_to(length).freeze())
}
