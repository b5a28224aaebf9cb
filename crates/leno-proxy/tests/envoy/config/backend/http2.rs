//! HTTP/2 with prior knowledge.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, Request, Response};
use tokio::net::TcpStream;

use super::script::{Answer, What};
use super::{Told, tunnel_name};
use crate::message::quoted;

pub(super) async fn serve(stream: TcpStream, name: &'static str, told: Arc<Told>) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, name, Arc::clone(&told)));
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    name: &'static str,
    told: Arc<Told>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let answer = Answer::of(&told, header).await;
    let protocol = head.extensions.get::<h2::ext::Protocol>();
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let mut came = vec![format!("{} {path} HTTP/2", head.method)];
    came.extend(
        head.uri
            .authority()
            .map(|authority| format!(":authority: {authority}")),
    );
    came.extend(protocol.map(|protocol| format!(":protocol: {}", protocol.as_str())));
    let shown = |(name, value): (&HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    came.extend(head.headers.iter().map(shown));
    let status = match answer.what {
        What::Status(status) => status,
        What::Half => 200,
        What::Reset | What::Refuse => {
            respond.send_reset(match answer.what {
                What::Refuse => Reason::REFUSED_STREAM,
                _ => Reason::INTERNAL_ERROR,
            });
            return Ok(());
        }
        What::Never => {
            while body.data().await.is_some() {}
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await?;
            return Ok(());
        }
    };
    let mut response = Response::builder().status(status).header("x-backend", name);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let response = response.body(()).unwrap();
    let tell = header("x-tell").is_some();
    let tunnel = head.method == http::Method::CONNECT || tell;
    if tunnel && status == 200 {
        let name = tunnel_name(name, &came, tell);
        let mut stream = respond.send_response(response, false)?;
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            let mut echoed = format!("{name}: ").into_bytes();
            echoed.extend_from_slice(&data);
            stream.send_data(echoed.into(), false)?;
        }
        return stream.send_data(Bytes::new(), true);
    }
    let mut received = Vec::new();
    // That of a tunnel does not end.
    while let Some(Ok(data)) = match tunnel {
        true => None,
        false => body.data().await,
    } {
        let _ = body.flow_control().release_capacity(data.len());
        received.extend_from_slice(&data);
    }
    if !received.is_empty() {
        came.push(format!("(body): {}", quoted(&received)));
    }
    if !tunnel && let Ok(Some(trailers)) = body.trailers().await {
        came.extend(
            trailers
                .iter()
                .map(|trailer| format!("(trailer) {}", shown(trailer))),
        );
    }
    let text = Bytes::from(answer.body(name, &came));
    let empty = header("x-empty").is_some();
    let mut stream = respond.send_response(response, empty && answer.trailers.is_empty())?;
    if answer.what == What::Half {
        stream.send_data(text.slice(..text.len() / 2), false)?;
        stream.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    let last = answer.trailers.is_empty();
    if !empty {
        stream.send_data(text, last)?;
    }
    if !last {
        let pairs = answer.trailers.iter();
        let trailers: HeaderMap = pairs
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        stream.send_trailers(trailers)?;
    }
    Ok(())
}
