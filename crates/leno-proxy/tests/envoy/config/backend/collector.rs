//! A collector: keeps what it is sent, by `:authority`, and is content. gRPC messages are kept as they come, so that a
//! stream need not end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A message, and the path that it was sent to.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) path: String,
    pub(crate) bytes: Bytes,
}

#[derive(Default)]
pub(crate) struct Kept(Mutex<BTreeMap<String, Vec<Message>>>);

impl Kept {
    pub(crate) fn of(&self, authority: &str) -> Vec<Message> {
        self.0.lock().unwrap().get(authority).cloned().unwrap_or_default()
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn add(&self, authority: &str, path: &str, bytes: Bytes) {
        let message = Message {
            path: path.to_owned(),
            bytes,
        };
        let mut all = self.0.lock().unwrap();
        all.entry(authority.to_owned()).or_default().push(message);
    }
}

pub(super) async fn http2(stream: TcpStream, kept: Arc<Kept>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(take(request, respond, Arc::clone(&kept)));
    }
}

async fn take(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    kept: Arc<Kept>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = head.uri.path();
    let grpc = head
        .headers
        .get("content-type")
        .is_some_and(|kind| kind == "application/grpc");
    let mut buffer = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        buffer.extend_from_slice(&data);
        while let Some(message) = grpc.then(|| framed(&mut buffer)).flatten() {
            kept.add(&authority, path, message);
        }
    }
    if !grpc {
        kept.add(&authority, path, buffer.freeze());
        // Zipkin's collector says 202.
        let response = Response::builder().status(if path.contains("spans") { 202 } else { 200 });
        respond.send_response(response.body(()).unwrap(), true)?;
        return Ok(());
    }
    let response = Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(response.body(()).unwrap(), false)?;
    stream.send_data(Bytes::from_static(&[0; 5]), false)?;
    stream.send_trailers(HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]))
}

/// A length-prefixed message that is whole.
fn framed(buffer: &mut BytesMut) -> Option<Bytes> {
    let [_, length @ ..] = *buffer.first_chunk::<5>()?;
    let length = u32::from_be_bytes(length) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}

/// Requests with a `content-length`, one after the other.
pub(super) async fn http1(mut stream: TcpStream, kept: Arc<Kept>) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer.split_to(end)).into_owned();
        let field = |name: &str| {
            let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            let mut fields = fields.filter(|(is, _)| is.eq_ignore_ascii_case(name));
            fields.next().map(|(_, value)| value.to_owned())
        };
        let length = field("content-length").map_or(0, |length| length.parse().unwrap());
        while buffer.len() < length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        kept.add(
            &field("host").unwrap_or_default(),
            path,
            buffer.split_to(length).freeze(),
        );
        stream
            .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            .await?;
    }
}
