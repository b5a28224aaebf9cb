//! The demo's services, in the shape of Istio's bookinfo: small HTTP servers that know nothing of a mesh.
//!
//! They find each other by name (`reviews:9080`) and speak plain HTTP/1.1, keep-alive.

mod call;
mod load;
mod pages;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use call::Upstream;

/// One of the demo's services
#[derive(Debug, Args)]
pub struct Sample {
    #[arg(value_enum)]
    app: App,
    /// Which version it says it is
    #[arg(long, default_value = "v1")]
    version: String,
    #[arg(long, default_value_t = 9080)]
    port: u16,
    /// Requests a second (load only)
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Where productpage is (load only)
    #[arg(long, default_value = "productpage:9080")]
    target: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum App {
    Productpage,
    Details,
    Reviews,
    Ratings,
    /// The load generator
    Load,
}

/// What the handlers share. One thread: no locks.
struct Site {
    app: App,
    version: String,
    details: Upstream,
    reviews: Upstream,
    ratings: Upstream,
}

pub fn run(args: Sample) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    if args.app == App::Load {
        return tasks.block_on(&runtime, load::run(&args.target, args.rate));
    }
    tasks.block_on(&runtime, serve(args))
}

async fn serve(args: Sample) -> anyhow::Result<()> {
    let address = SocketAddr::from(([0, 0, 0, 0], args.port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("port {} cannot be opened", args.port))?;
    let site = Rc::new(Site {
        app: args.app,
        version: args.version,
        details: Upstream::new("details:9080"),
        reviews: Upstream::new("reviews:9080"),
        ratings: Upstream::new("ratings:9080"),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let site = site.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let site = site.clone();
                async move { Ok::<_, Infallible>(site.answer(request).await) }
            });
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is its own affair.
            let _ = serving.await;
        });
    }
}

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        match (self.app, path) {
            (_, "/health") => text(200, "ok"),
            (App::Details, p) if p.starts_with("/details") => json(200, pages::details()),
            (App::Ratings, p) if p.starts_with("/ratings") => json(200, pages::ratings()),
            (App::Reviews, p) if p.starts_with("/reviews") => self.reviews(request.headers()).await,
            (App::Productpage, "/" | "/productpage") => self.productpage(request.headers()).await,
            _ => text(404, "no such page"),
        }
    }

    /// v1 shows no stars, v2 black ones, v3 red ones.
    async fn reviews(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let color = match self.version.as_str() {
            "v1" => return json(200, pages::reviews(&self.version, None)),
            "v2" => "black",
            _ => "red",
        };
        match self.ratings.get("/ratings/0", headers).await {
            Ok(ratings) => json(200, pages::reviews(&self.version, Some((color, &ratings)))),
            Err(error) => json(503, pages::error(&format!("ratings: {error:#}"))),
        }
    }

    async fn productpage(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let (details, reviews) =
            tokio::join!(self.details.get("/details/0", headers), self.reviews.get("/reviews/0", headers));
        let status = if details.is_ok() && reviews.is_ok() { 200 } else { 503 };
        respond(status, "text/html; charset=utf-8", pages::productpage(details, reviews))
    }
}

fn text(status: u16, body: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain", body.to_owned())
}

fn json(status: u16, body: String) -> Response<Full<Bytes>> {
    respond(status, "application/json", body)
}

fn respond(status: u16, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
