//! The admin port over HTTP/2 without TLS: the same pages, and [CSDS](super::client_status) as gRPC.

use std::future::poll_fn;
use std::io::{self, Cursor};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::pages::{self, Asked};
use super::{Admin, HEADER_TIMEOUT, MAX_FORM, SETTINGS, Stream, client_status};
use crate::grpc::{INVALID_ARGUMENT, Status};

const STREAMS: u32 = 16;
/// Bytes of a body, which is small.
const WINDOW: u32 = MAX_FORM as u32;
const INTERNAL: u32 = 13;
const UNIMPLEMENTED: u32 = 12;

/// `read`: what has been read of the connection, its preface included.
pub(super) async fn serve(stream: Box<dyn Stream>, read: Bytes, admin: &Arc<Admin>) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let stream = tokio::io::join(AsyncReadExt::chain(Cursor::new(read), reader), writer);
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(STREAMS)
        .initial_window_size(WINDOW)
        .max_header_list_size(u32::try_from(SETTINGS.limits.head_bytes).unwrap_or(u32::MAX))
        .handshake(stream);
    let handshake = tokio::time::timeout(HEADER_TIMEOUT, handshake).await?;
    let mut connection = handshake.map_err(io::Error::other)?;
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            asked = connection.accept() => {
                let Some(asked) = asked else { return Ok(()) };
                let (request, respond) = asked.map_err(io::Error::other)?;
                let admin = Arc::clone(admin);
                open.spawn(async move {
                    if let Err(error) = answer(request, respond, &admin).await {
                        tracing::debug!(%error, "admin stream");
                    }
                });
            }
            Some(_) = open.join_next() => {}
            () = tokio::time::sleep(HEADER_TIMEOUT), if open.is_empty() => return Ok(()),
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    admin: &Admin,
) -> Result<(), h2::Error> {
    let (head, body) = request.into_parts();
    let body = Body {
        stream: body,
        read: BytesMut::new(),
    };
    let kind = head.headers.get("content-type");
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return call(head.uri.path(), body, respond, admin).await;
    }
    let query = head.uri.query().unwrap_or_default();
    let asked = Asked::of(
        head.method.as_str().as_bytes(),
        head.uri.path().as_bytes(),
        query.as_bytes(),
    );
    let body = tokio::time::timeout(HEADER_TIMEOUT, body.whole()).await;
    let body = body.unwrap_or(Err(h2::Reason::CANCEL.into()))?;
    let answer = pages::answer(admin, asked.with(&body)).await;
    let Ok(response) = answer.response() else {
        return Err(h2::Reason::INTERNAL_ERROR.into());
    };
    let bare = answer.body.is_empty() || head.method == http::Method::HEAD;
    let mut out = respond.send_response(response, bare)?;
    match bare {
        true => Ok(()),
        false => out.send_data(answer.body, true),
    }
}

struct Body {
    stream: RecvStream,
    read: BytesMut,
}

impl Body {
    /// False: there is no more.
    async fn more(&mut self) -> Result<bool, h2::Error> {
        let Some(chunk) = self.stream.data().await else {
            return Ok(false);
        };
        let chunk = chunk?;
        self.stream.flow_control().release_capacity(chunk.len())?;
        self.read.extend_from_slice(&chunk);
        Ok(true)
    }

    async fn whole(mut self) -> Result<BytesMut, h2::Error> {
        while self.more().await? {
            if self.read.len() as u64 > MAX_FORM {
                return Err(h2::Reason::ENHANCE_YOUR_CALM.into());
            }
        }
        Ok(self.read)
    }

    /// The next message of a gRPC stream; None: there is no more.
    async fn message(&mut self) -> Result<Result<Option<Bytes>, Status>, h2::Error> {
        loop {
            if let Some(prefix) = self.read.first_chunk::<5>() {
                let [compressed, length @ ..] = *prefix;
                let length = u32::from_be_bytes(length);
                if compressed != 0 {
                    return Ok(Err(status(
                        UNIMPLEMENTED,
                        "a compressed message, which was not offered",
                    )));
                }
                if u64::from(length) > MAX_FORM {
                    return Ok(Err(status(INVALID_ARGUMENT, "the question is too long")));
                }
                let end = 5 + length as usize;
                if self.read.len() >= end {
                    self.read.advance(5);
                    return Ok(Ok(Some(self.read.split_to(end - 5).freeze())));
                }
            }
            if !self.more().await? {
                return Ok(match self.read.is_empty() {
                    true => Ok(None),
                    false => Err(status(INVALID_ARGUMENT, "the question is cut off")),
                });
            }
        }
    }
}

/// One answer for each question.
async fn call(
    path: &str,
    mut body: Body,
    mut respond: SendResponse<Bytes>,
    admin: &Admin,
) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert("content-type", kind);
    let method = path.strip_prefix(client_status::SERVICE);
    let (Some(method @ ("FetchClientStatus" | "StreamClientStatus")), Some(own)) = (method, &admin.own)
    else {
        let unknown = status(UNIMPLEMENTED, &format!("unknown method {path}"));
        head.headers_mut().extend(trailers(&unknown));
        return respond.send_response(head, true).map(drop);
    };
    let mut out = respond.send_response(head, false)?;
    let ended = loop {
        let question = match body.message().await? {
            Ok(Some(question)) => question,
            Ok(None) => break status(0, ""),
            Err(bad) => break bad,
        };
        match client_status::of_wire(own, &question).await {
            Ok(Ok(answer)) => send(&mut out, &answer).await?,
            Ok(Err(why)) => break status(INTERNAL, &why),
            Err(bad) => break status(INVALID_ARGUMENT, &bad.to_string()),
        }
        if method == "FetchClientStatus" {
            break status(0, "");
        }
    };
    out.send_trailers(trailers(&ended))
}

/// Once some of it can go: who does not read what it asks for is not answered again.
async fn send(out: &mut SendStream<Bytes>, message: &[u8]) -> Result<(), h2::Error> {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    out.reserve_capacity(1);
    while out.capacity() == 0 {
        if let Some(capacity) = poll_fn(|cx| out.poll_capacity(cx)).await {
            capacity?;
        } else {
            return Err(h2::Reason::CANCEL.into());
        }
    }
    out.send_data(frame.freeze(), false)
}

fn status(code: u32, message: &str) -> Status {
    Status {
        code,
        message: message.to_owned(),
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.code.into());
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&status.message))
        && !message.is_empty()
    {
        trailers.insert("grpc-message", message);
    }
    trailers
}

fn percent_encoded(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    each.collect()
}
