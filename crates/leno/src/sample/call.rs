//! A plain HTTP/1.1 client that keeps its connections to a service, as a simple application does.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::SERVED_BY;

/// What a service hands on of a request, so that routes and traces work across it (as bookinfo does).
const FORWARDED: &[&str] = &[
    "x-request-id",
    "end-user",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

pub struct Upstream {
    authority: String,
    idle: RefCell<Vec<SendRequest<Empty<Bytes>>>>,
}

/// A 200.
#[derive(Debug)]
pub struct Answer {
    pub body: String,
    /// What the instance calls itself: `reviews-v1`; empty if it does not say.
    pub served_by: String,
}

impl Upstream {
    pub fn new(authority: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            idle: RefCell::default(),
        }
    }

    /// As [`Self::get`], but no longer than this. A connection whose answer did not come is given up.
    pub async fn get_within(
        &self,
        limit: Duration,
        path: &str,
        headers: &HeaderMap,
    ) -> anyhow::Result<Answer> {
        let answer = tokio::time::timeout(limit, self.get(path, headers)).await;
        answer.with_context(|| format!("no answer within {} ms", limit.as_millis()))?
    }

    /// Anything but a 200 is an error.
    pub async fn get(&self, path: &str, headers: &HeaderMap) -> anyhow::Result<Answer> {
        let mut connection = self.connection().await?;
        let mut request = Request::get(path).header(HOST, &self.authority);
        for name in FORWARDED {
            if let Some(value) = headers.get(*name) {
                request = request.header(*name, value);
            }
        }
        let response = connection.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let served_by = response.headers().get(SERVED_BY);
        let served_by = served_by
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = response.into_body().collect().await?.to_bytes();
        if connection.ready().await.is_ok() {
            self.idle.borrow_mut().push(connection);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        if status != StatusCode::OK {
            bail!("{} {body}", status.as_u16());
        }
        Ok(Answer { body, served_by })
    }

    async fn connection(&self) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(mut connection) => {
                    if connection.ready().await.is_ok() {
                        return Ok(connection);
                    }
                }
                None => return self.connect().await,
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .with_context(|| format!("no connection to {}", self.authority))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // Its end shows on the next `ready`.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
