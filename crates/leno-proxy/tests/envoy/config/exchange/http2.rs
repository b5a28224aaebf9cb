//! HTTP/2 with prior knowledge.

use bytes::Bytes;
use http::Request as Head;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Told, shown};
use crate::config::request::Request;
use crate::message::quoted;

pub(super) async fn exchange<S>(request: &Request, stream: S) -> Told
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match over(request, stream).await {
        Ok(told) => told,
        Err(error) => Told {
            status: 0,
            backend: None,
            text: failure(&error),
        },
    }
}

fn failure(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_reset() => format!("reset: {reason:?}"),
        Some(reason) => format!("connection ended: {reason:?}"),
        None => "closed".into(),
    }
}

async fn over<S>(request: &Request, stream: S) -> Result<Told, h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = h2::client::handshake::<_>(stream).await?;
    let driver = tokio::spawn(connection);
    let mut send = send.ready().await?;
    let (method, path) = request.send.split_once(' ').unwrap();
    let uri = match (method, &request.protocol) {
        ("CONNECT", None) => path.to_owned(),
        _ => format!("http://{}{path}", request.host()),
    };
    let mut head = Head::builder().method(method).uri(uri);
    for (name, value) in request.fields() {
        head = head.header(name, value);
    }
    if let Some(protocol) = &request.protocol {
        head = head.extension(h2::ext::Protocol::from(protocol.as_str()));
    }
    let ends = request.body.is_none() && method != "CONNECT";
    let (answer, mut body) = send.send_request(head.body(()).unwrap(), ends)?;
    if let Some(text) = &request.body {
        body.send_data(Bytes::from(text.clone()), true)?;
    }
    let (head, mut answer) = answer.await?.into_parts();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    let headers = headers.collect();
    let mut received = Vec::new();
    let mut lines = Vec::new();
    let mut trailers = Vec::new();
    let mut ending = None;
    if request.then.is_empty() {
        loop {
            match answer.data().await {
                Some(Ok(data)) => received.extend_from_slice(&data),
                Some(Err(error)) => break ending = Some(failure(&error)),
                None => break,
            }
        }
        if let Ok(Some(more)) = answer.trailers().await {
            let more = more
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            trailers.extend(more);
        }
    } else {
        for text in &request.then {
            body.send_data(Bytes::from(text.clone()), false)?;
            match answer.data().await {
                Some(Ok(data)) => lines.push(quoted(&data)),
                Some(Err(error)) => ending = Some(failure(&error)),
                None => ending = Some("(end)".into()),
            }
            if ending.is_some() {
                break;
            }
        }
    }
    let line = format!("HTTP/2 {}", head.status.as_u16());
    let mut text = shown(&line, headers, &received, &trailers);
    for line in lines.into_iter().chain(ending) {
        text += &format!("\n  {line}");
    }
    driver.abort();
    let backend = head
        .headers
        .get("x-backend")
        .and_then(|value| value.to_str().ok());
    Ok(Told {
        status: head.status.as_u16(),
        backend: backend.map(str::to_owned),
        text,
    })
}
