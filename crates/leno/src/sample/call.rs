//! A plain HTTP/1.1 client that keeps one connection a service, as a simple application does.

use std::cell::RefCell;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What a service hands on of a request, so that routes and traces work across it (as bookinfo does).
const FORWARDED: &[&str] = &["x-request-id", "end-user", "traceparent", "tracestate", "b3"];

pub struct Upstream {
    authority: String,
    idle: RefCell<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Upstream {
    pub fn new(authority: &str) -> Self {
        Self { authority: authority.to_owned(), idle: RefCell::default() }
    }

    /// The body of a 200.
    pub async fn get(&self, path: &str, headers: &HeaderMap) -> anyhow::Result<String> {
        let mut connection = self.connection().await?;
        let mut request = Request::get(path).header(HOST, &self.authority);
        for name in FORWARDED {
            if let Some(value) = headers.get(*name) {
                request = request.header(*name, value);
            }
        }
        let response = connection.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if connection.ready().await.is_ok() {
            self.idle.borrow_mut().push(connection);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        if status != StatusCode::OK {
            bail!("{status} {body}");
        }
        Ok(body)
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
        let stream = TcpStream::connect(&self.authority).await.with_context(|| format!("no connection to {}", self.authority))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // Its end shows on the next `ready`.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
