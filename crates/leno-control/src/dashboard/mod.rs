//! The dashboard on the admin port: the page, and what it asks for. Only ever read.
//!
//! The mesh is looked at when somebody asks, at most once a second however many ask, and not at all when nobody does;
//! an answer is made once for all who ask the same of the same look.

mod guard;
mod query;
mod watched;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as With;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use leno_dashboard::objects::{Objects, Text};
use leno_dashboard::overview::Overview;
use leno_dashboard::page::ASSETS;
use leno_dashboard::{Facts, Graph, History, Pictures, View, workload};
use serde::Serialize;

use crate::attached::Attached;
use crate::catalogue::Catalogue;
use crate::push::Push;
use crate::roster::Roster;
use crate::state::State;
use crate::writer::Diagnostics;
pub(crate) use guard::only_known_hosts;
use query::Query;
use watched::Watched;

/// The mesh is not looked at more often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Answers kept of one look.
const MOST_ANSWERS: usize = 64;

/// What the dashboard is made from.
#[derive(Debug)]
pub(crate) struct Dashboard {
    pub(crate) push: Arc<Push>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) attached: Arc<Attached>,
    pub(crate) diagnostics: Arc<Diagnostics>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) state: Arc<State>,
    pub(crate) watched: Watched,
    pub(crate) seen: Mutex<Seen>,
}

/// What the last look saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    at: Option<Instant>,
    /// From the first look to the last.
    passed: Duration,
    facts: Facts,
    history: History,
    pictures: Pictures,
    /// By path and query.
    answers: HashMap<String, Option<Bytes>>,
}

/// What the page asks for, by the last part of the path.
const QUESTIONS: &[(&str, Question)] = &[
    ("topology", topology),
    ("workloads", |seen, _| {
        answer(seen, workload::list(&seen.facts, &seen.history))
    }),
    ("workload", |seen, query| {
        let page = workload::page(
            &seen.facts,
            &seen.history,
            query.get("namespace"),
            query.get("name"),
        )?;
        answer(seen, page)
    }),
    ("objects", |seen, _| answer(seen, Objects::new(&seen.facts))),
    ("object", |seen, query| {
        let (kind, namespace, name) = (query.get("kind"), query.get("namespace"), query.get("name"));
        answer(seen, Text::new(&seen.facts, kind, namespace, name)?)
    }),
];

/// While it is asked for, the workload's requests are watched.
const WORKLOAD_PAGE: &str = "/dashboard/api/workload";

/// None: there is no such thing.
type Question = fn(&mut Seen, &Query) -> Option<Vec<u8>>;

#[derive(Serialize)]
struct Answer<T> {
    overview: Overview,
    data: T,
}

pub(crate) fn router(dashboard: Arc<Dashboard>) -> Router {
    let mut router = Router::new().route("/dashboard", get(|| async { Redirect::permanent("/dashboard/") }));
    for asset in ASSETS {
        let headers = [(CONTENT_TYPE, asset.content_type), (CACHE_CONTROL, "no-cache")];
        let serve = move || async move { (headers, asset.body) };
        router = router.route(&format!("/dashboard/{}", asset.name), get(serve));
    }
    for (name, question) in QUESTIONS {
        let ask = move |With(dashboard): With<Arc<Dashboard>>, uri: Uri| ask(dashboard, uri, *question);
        router = router.route(&format!("/dashboard/api/{name}"), get(ask));
    }
    router
        .layer(middleware::from_fn(guard::only_this_machine))
        .with_state(dashboard)
}

/// Off the runtime's threads: a large mesh takes a while to lay out.
async fn ask(dashboard: Arc<Dashboard>, uri: Uri, question: Question) -> Response {
    let answered = tokio::task::spawn_blocking(move || dashboard.answer(&uri, question)).await;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    match answered {
        Ok(Some(body)) => (headers, body).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, headers, "{\"error\":\"not found\"}").into_response(),
        Err(error) => {
            tracing::error!("the dashboard has no answer: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn topology(seen: &mut Seen, query: &Query) -> Option<Vec<u8>> {
    let view = View {
        level: query.get("level").to_owned(),
        namespaces: query.get("namespaces").to_owned(),
        focus: query.get("focus").to_owned(),
    };
    let graph = Graph::new(&seen.facts, &seen.history, &view, &mut seen.pictures);
    answer(seen, graph)
}

fn answer(seen: &Seen, data: impl Serialize) -> Option<Vec<u8>> {
    let overview = Overview::new(&seen.facts, &seen.history);
    serde_json::to_vec(&Answer { overview, data }).ok()
}

// === impl Dashboard ===

impl Dashboard {
    fn answer(&self, uri: &Uri, question: Question) -> Option<Bytes> {
        let query = Query::new(uri.query().unwrap_or_default());
        if uri.path() == WORKLOAD_PAGE {
            let (namespace, name) = (query.get("namespace"), query.get("name"));
            self.watched.ask(&self.attached, &self.roster, namespace, name);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.at.is_none_or(|at| at.elapsed() >= BETWEEN_LOOKS) {
            self.look(&mut seen);
        }
        let asked = uri.to_string();
        if let Some(answer) = seen.answers.get(&asked) {
            return answer.clone();
        }
        let answer = question(&mut seen, &query).map(Bytes::from);
        if seen.answers.len() >= MOST_ANSWERS {
            seen.answers.clear();
        }
        seen.answers.insert(asked, answer.clone());
        answer
    }

    fn look(&self, seen: &mut Seen) {
        let now = Instant::now();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let edges = self.attached.traffic().edges(false);
        seen.passed += seen.at.map_or(Duration::ZERO, |at| now.duration_since(at));
        seen.history.add(seen.passed, &edges);
        seen.facts = Facts {
            now: since_epoch,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            snapshot: self.push.snapshot(),
            proxies: self.roster.proxies(),
            diagnostics: self.diagnostics.told(&self.state),
            objects: self.catalogue.files(),
            requests: self.watched.requests(),
        };
        seen.answers.clear();
        seen.at = Some(now);
    }
}
