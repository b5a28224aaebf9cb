//! The admin port: readiness, metrics, and debug pages that list themselves.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State as With;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{Html, IntoResponse, Json};
use axum::routing::get;
use leno_proto::type_url;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::ca::Certificates;
use crate::dashboard::{self, Dashboard, only_known_hosts};
use crate::decisions::Decisions;
use crate::limits::Gate;
use crate::push::Push;
use crate::root::{Ending, Root};
use crate::roster::Roster;
use crate::writer::Diagnostics;

#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) push: Arc<Push>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) decisions: Arc<Decisions>,
    pub(crate) diagnostics: Arc<Diagnostics>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) root: Arc<Root>,
    pub(crate) dashboard: Arc<Dashboard>,
}

/// A debug page: path, what it shows, its content.
type Page = (&'static str, &'static str, fn(&Admin) -> Value);

const PAGES: &[Page] = &[
    (
        "/debug/services",
        "services, their ports, addresses and endpoints",
        services,
    ),
    ("/debug/workloads", "registered workloads", workloads),
    (
        "/debug/proxies",
        "connected proxies and whether they follow",
        proxies,
    ),
    (
        "/debug/diagnostics",
        "what is wrong with the configuration",
        diagnostics,
    ),
];

pub(crate) async fn serve(listener: TcpListener, admin: Admin, mut running: watch::Receiver<()>) {
    let mut router = Router::new()
        .route("/", get(index))
        .route("/debug", get(index))
        .route("/ready", get(|| async { "ready\n" }))
        .route("/metrics", get(metrics));
    for (path, _, page) in PAGES {
        let show = move |With(admin): With<Admin>| async move { Json(page(&admin)) };
        router = router.route(path, get(show));
    }
    let stopped = async move {
        let _ = running.changed().await;
    };
    let dashboard = dashboard::router(admin.dashboard.clone());
    let router = router.with_state(admin).merge(dashboard);
    let router = router.layer(middleware::from_fn(only_known_hosts));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(stopped);
    if let Err(error) = served.await {
        tracing::warn!("the admin port stopped: {error}");
    }
}

async fn index() -> Html<String> {
    let mut page = String::from("<title>leno control</title><ul>");
    let own = [
        ("/dashboard/", "the mesh as a page"),
        ("/ready", "200 when serving"),
        ("/metrics", "Prometheus text"),
    ];
    let debug = PAGES.iter().map(|(path, what, _)| (*path, *what));
    for (path, what) in own.into_iter().chain(debug) {
        let _ = write!(page, "<li><a href=\"{path}\">{path}</a> {what}");
    }
    Html(page)
}

async fn metrics(With(admin): With<Admin>) -> impl IntoResponse {
    let snapshot = admin.push.snapshot();
    let counts = &admin.certificates.counts;
    let found = admin.diagnostics.all();
    let errors = found.iter().filter(|d| d.is_error()).count();
    let work = &admin.push.work;
    let (connections, strangers) = admin.gate.counts();
    let refused = &admin.gate.refused;
    let decisions = &admin.decisions.counts;
    let rows: [(&str, &str, &str, u64); 25] = [
        (
            "leno_control_snapshot_version",
            "gauge",
            "The newest snapshot.",
            snapshot.version,
        ),
        (
            "leno_control_services",
            "gauge",
            "Services in the mesh.",
            snapshot.services.len() as u64,
        ),
        (
            "leno_control_workloads",
            "gauge",
            "Workloads in the mesh.",
            snapshot.workloads.len() as u64,
        ),
        (
            "leno_control_streams",
            "gauge",
            "Open ADS streams.",
            admin.push.streams() as u64,
        ),
        (
            "leno_control_cached_resources",
            "gauge",
            "Encoded resources kept.",
            admin.push.cached() as u64,
        ),
        (
            "leno_control_config_errors",
            "gauge",
            "Errors in the configuration.",
            errors as u64,
        ),
        (
            "leno_control_config_warnings",
            "gauge",
            "Warnings about the configuration.",
            (found.len() - errors) as u64,
        ),
        (
            "leno_control_certificates_issued_total",
            "counter",
            "Certificates issued.",
            counts.issued.load(Ordering::Relaxed),
        ),
        (
            "leno_control_certificates_refused_total",
            "counter",
            "Certificate requests refused.",
            counts.refused.load(Ordering::Relaxed),
        ),
        (
            "leno_control_responses_total",
            "counter",
            "Responses sent to proxies.",
            work.responses.load(Ordering::Relaxed),
        ),
        (
            "leno_control_resources_sent_total",
            "counter",
            "Resources in responses to proxies.",
            work.resources.load(Ordering::Relaxed),
        ),
        (
            "leno_control_response_bytes_total",
            "counter",
            "Bytes of responses to proxies.",
            work.bytes.load(Ordering::Relaxed),
        ),
        (
            "leno_control_rejections_total",
            "counter",
            "Responses that proxies did not take.",
            work.rejections.load(Ordering::Relaxed),
        ),
        (
            "leno_control_connections",
            "gauge",
            "Connections to the ports for proxies.",
            connections as u64,
        ),
        (
            "leno_control_connections_unproven",
            "gauge",
            "Of these, peers that have shown no certificate.",
            strangers as u64,
        ),
        (
            "leno_control_connections_refused_total",
            "counter",
            "Connections beyond the limits.",
            refused.connections.total.load(Ordering::Relaxed),
        ),
        (
            "leno_control_connections_unproven_ended_total",
            "counter",
            "Peers without a certificate that gave way to others.",
            refused.strangers.total.load(Ordering::Relaxed),
        ),
        (
            "leno_control_streams_refused_total",
            "counter",
            "Streams beyond the limits.",
            refused.streams.total.load(Ordering::Relaxed),
        ),
        (
            "leno_control_subscriptions_refused_total",
            "counter",
            "Streams that ended because they asked for too much.",
            refused.names.total.load(Ordering::Relaxed),
        ),
        (
            "leno_control_decisions_total",
            "counter",
            "Decisions of policies that proxies told, for the audit log.",
            decisions.heard.load(Ordering::Relaxed),
        ),
        (
            "leno_control_decisions_lost_total",
            "counter",
            "Decisions that proxies told beyond what is written.",
            decisions.lost.load(Ordering::Relaxed),
        ),
        (
            "leno_control_load_reports_total",
            "counter",
            "Load reports (LRS).",
            work.load_reports.load(Ordering::Relaxed),
        ),
        (
            "leno_control_load_requests_total",
            "counter",
            "Requests that load reports tell of, without those that failed.",
            work.load_requests.load(Ordering::Relaxed),
        ),
        (
            "leno_control_load_failures_total",
            "counter",
            "Requests that failed, by load reports.",
            work.load_failures.load(Ordering::Relaxed),
        ),
        (
            "leno_control_load_dropped_total",
            "counter",
            "Requests that were dropped, by load reports.",
            work.load_dropped.load(Ordering::Relaxed),
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in rows {
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
    }
    made(&mut text, &admin.push);
    expiry(&mut text, &admin.root);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// What others had already is not made again.
fn made(text: &mut String, push: &Push) {
    let name = "leno_control_resources_made_total";
    let _ = writeln!(
        text,
        "# HELP {name} Resources made and encoded.\n# TYPE {name} counter"
    );
    for (kind, count) in push.made() {
        let kind = type_url::abbreviation(kind.type_url()).unwrap_or_default();
        let _ = writeln!(text, "{name}{{type=\"{kind}\"}} {count}");
    }
}

/// Under istiod's names, where it has one: of the root that signs, and of what lies between it and leaves.
fn expiry(text: &mut String, root: &Root) {
    let now = SystemTime::now();
    let left = |ending: &Ending| match ending.not_after.duration_since(now) {
        Ok(left) => left.as_secs_f64(),
        Err(over) => -over.duration().as_secs_f64(),
    };
    let since_epoch = |ending: &Ending| {
        let at = ending.not_after.duration_since(SystemTime::UNIX_EPOCH);
        at.unwrap_or_default().as_secs_f64()
    };
    let endings = root.endings();
    let first = |role: &str| {
        endings
            .iter()
            .find(|e| e.role == role && (e.signs || role == "revocation list"))
    };
    for (role, name, what) in [
        (
            "root",
            "citadel_server_root_cert",
            "the root certificate that signs",
        ),
        (
            "intermediate",
            "citadel_server_cert_chain",
            "the intermediate certificate that signs",
        ),
        (
            "revocation list",
            "leno_control_crl",
            "the first revocation list that ends",
        ),
    ] {
        let Some(ending) = first(role) else { continue };
        let _ = write!(
            text,
            "# HELP {name}_expiry_seconds Seconds until the end of {what}.\n# TYPE {name}_expiry_seconds gauge\n\
             {name}_expiry_seconds {}\n\
             # HELP {name}_expiry_timestamp The end of {what}, in seconds since 1970.\n\
             # TYPE {name}_expiry_timestamp gauge\n{name}_expiry_timestamp {}\n",
            left(ending),
            since_epoch(ending)
        );
    }
}

fn services(admin: &Admin) -> Value {
    let snapshot = admin.push.snapshot();
    let all = snapshot.services.values().map(|service| {
        let endpoints = snapshot.endpoints(&service.host);
        json!({
            "host": service.host.as_str(),
            "ports": service.ports.iter().map(|p| json!({
                "port": p.port, "name": p.name, "protocol": format!("{:?}", p.protocol),
            })).collect::<Vec<_>>(),
            "addresses": service.vips,
            "endpoints": endpoints.iter().map(|w| w.id.to_string()).collect::<Vec<_>>(),
            "undeclared": service.undeclared,
        })
    });
    all.collect()
}

fn workloads(admin: &Admin) -> Value {
    let snapshot = admin.push.snapshot();
    let all = snapshot.workloads.values().map(|w| {
        json!({
            "workload": w.id.to_string(),
            "service": w.service,
            "serviceAccount": w.service_account,
            "labels": w.labels,
            "addresses": w.addresses,
            "ports": w.ports.iter().map(|p| p.port).collect::<Vec<_>>(),
            "healthy": w.healthy,
        })
    });
    all.collect()
}

fn proxies(admin: &Admin) -> Value {
    let all = admin.roster.proxies().into_iter().map(|p| {
        json!({
            "node": p.node_id,
            "workload": p.workload,
            "principal": p.principal,
            "kind": p.kind,
            "connectedSeconds": p.connected_seconds,
            "types": p.types.iter().map(|t| json!({
                "type": t.r#type, "state": t.state, "resources": t.resources, "error": t.error,
            })).collect::<Vec<_>>(),
        })
    });
    all.collect()
}

fn diagnostics(admin: &Admin) -> Value {
    admin
        .diagnostics
        .all()
        .iter()
        .map(|d| Value::from(d.to_string()))
        .collect()
}
