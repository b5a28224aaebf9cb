//! The demo's services, in the shape of Istio's bookinfo: small HTTP servers that know nothing of a mesh.
//!
//! They find each other by name (`reviews:9080`) and speak plain HTTP/1.1, keep-alive.

mod book;
mod call;
mod load;
mod pages;
mod productpage;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use book::Stars;
use call::Upstream;

type Answered = Response<Full<Bytes>>;

/// Which instance an answer is of.
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    if args.app == App::Load {
        return tasks.block_on(&runtime, load::run(&args.target, args.rate));
    }
    tasks.block_on(&runtime, serve(args))
}

async fn serve(args: Sample) -> anyhow::Result<()> {
    let address = SocketAddr::from(([0, 0, 0, 0], args.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("port {} cannot be opened", args.port))?;
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
            let serving =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is its own affair.
            let _ = serving.await;
        });
    }
}

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> Answered {
        let mut answer = self.answer_of_app(request).await;
        if let Ok(instance) = HeaderValue::from_str(&self.instance()) {
            answer.headers_mut().insert(SERVED_BY, instance);
        }
        answer
    }

    async fn answer_of_app(&self, request: Request<Incoming>) -> Answered {
        let path = request.uri().path();
        let found = match self.app {
            _ if path == "/health" => Some(text(200, "ok")),
            App::Details if path.starts_with("/details") => Some(json(200, &book::details())),
            App::Ratings if path.starts_with("/ratings") => Some(json(200, &book::ratings())),
            App::Reviews if path.starts_with("/reviews") => Some(self.reviews(request.headers()).await),
            App::Productpage => productpage::answer(self, request).await,
            _ => None,
        };
        found.unwrap_or_else(|| text(404, "no such page"))
    }

    /// v1 shows no stars, v2 black ones, v3 red ones. How long they wait for ratings is as in bookinfo.
    async fn reviews(&self, headers: &HeaderMap) -> Answered {
        let (color, patience) = match self.version.as_str() {
            "v1" => return json(200, &book::reviews(&self.instance(), None)),
            "v2" => ("black", Duration::from_secs(10)),
            _ => ("red", Duration::from_millis(2500)),
        };
        let ratings = self.ratings.get_within(patience, "/ratings/0", headers).await;
        let ratings = ratings.ok().and_then(|a| serde_json::from_str(&a.body).ok());
        json(
            200,
            &book::reviews(&self.instance(), Some(&Stars { color, ratings })),
        )
    }

    /// `reviews-v1`
    fn instance(&self) -> String {
        let app = self.app.to_possible_value();
        format!("{}-{}", app.as_ref().map_or("", |a| a.get_name()), self.version)
    }
}

fn text(status: u16, body: &str) -> Answered {
    respond(status, "text/plain", body.to_owned())
}

fn json(status: u16, body: &serde_json::Value) -> Answered {
    respond(status, "application/json", body.to_string())
}

fn respond(status: u16, kind: &'static str, body: String) -> Answered {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
