//! `/stats`: what the workers have counted, and what is so at the moment.

use leno_engine::compile::listener::TerminalFilter;
use leno_engine::decide::limits::{Priority, Resource};
use leno_telemetry::stats::{Form, Kind, Sample, Scope, Snapshot, text};
use regex::Regex;

use super::answer::Answer;
use super::query::Query;
use super::{Admin, Own, server};
use crate::state::{ClusterState, Config};

pub(super) fn answer(admin: &Admin, own: &Own, query: &Query) -> Result<Answer, Answer> {
    let form = match query.get("format") {
        None | Some("" | "text") => Form::Text,
        Some("json") => Form::Json,
        Some("prometheus") => return prometheus(admin, own, query),
        Some(_) => {
            return Err(Answer::text(
                400,
                "usage: /stats?format=(json|prometheus|text)\n\n",
            ));
        }
    };
    let text = shown(own, query, form)?;
    Ok(match form {
        Form::Json => Answer::json(text),
        Form::Text | Form::Prometheus => Answer::text(200, text),
    })
}

/// Istio's metrics, unless statistics are picked by name, and Envoy's.
pub(super) fn prometheus(admin: &Admin, own: &Own, query: &Query) -> Result<Answer, Answer> {
    let mut text = match query.has("filter") {
        true => String::new(),
        false => admin.metrics.prometheus_text(),
    };
    text += &shown(own, query, Form::Prometheus)?;
    Ok(Answer::prometheus(text))
}

fn shown(own: &Own, query: &Query, form: Form) -> Result<String, Answer> {
    let filter = query.regex("filter")?;
    let inverted = query.has("invert_filter");
    let used_only = query.has("usedonly");
    let kind = match query.get("type") {
        None | Some("All") => None,
        Some("Counters") => Some(Kind::Counter),
        Some("Gauges") => Some(Kind::Gauge),
        Some(_) => return Err(Answer::text(400, "type: All, Counters or Gauges\n")),
    };
    let takes = |regex: &Regex, name: &str| regex.is_match(name) != inverted;
    Ok(text(&snapshot(own), form, |name: &str, sample: &Sample| {
        filter.as_ref().is_none_or(|regex| takes(regex, name))
            && kind.is_none_or(|kind| kind == sample.kind)
            && (!used_only || sample.value > 0)
    }))
}

fn snapshot(own: &Own) -> Snapshot {
    let mut snapshot = Snapshot::of(own.proxy.stats());
    let config = own.proxy.config();
    declare(&mut snapshot, &config);
    for state in config.clusters() {
        cluster(&mut snapshot, state);
    }
    runtime(&mut snapshot, own);
    let clusters = config.clusters().count() as u64;
    let listeners = config.listeners().count() as u64;
    for (name, value) in [
        ("cluster_manager.active_clusters", clusters),
        ("listener_manager.total_listeners_active", listeners),
        ("server.concurrency", own.process.concurrency as u64),
        ("server.live", u64::from(!own.proxy.fails_health_checks())),
        ("server.memory_allocated", server::resident().unwrap_or_default()),
        ("server.total_connections", own.proxy.connections() as u64),
        ("server.uptime", own.process.started.elapsed().as_secs()),
    ] {
        snapshot.add(name.to_owned(), Kind::Gauge, value);
    }
    snapshot
}

fn runtime(snapshot: &mut Snapshot, own: &Own) {
    let counts = own.proxy.runtime().counts();
    for (name, kind, value) in [
        ("admin_overrides_active", Kind::Gauge, counts.admin_overrides),
        ("deprecated_feature_seen_since_process_start", Kind::Gauge, 0),
        ("deprecated_feature_use", Kind::Counter, 0),
        ("load_error", Kind::Counter, counts.load_error),
        ("load_success", Kind::Counter, counts.load_success),
        ("num_keys", Kind::Gauge, counts.keys),
        ("num_layers", Kind::Gauge, counts.layers),
        ("override_dir_exists", Kind::Counter, counts.override_dir_exists),
        (
            "override_dir_not_exists",
            Kind::Counter,
            counts.override_dir_not_exists,
        ),
    ] {
        snapshot.add(format!("runtime.{name}"), kind, value);
    }
}

/// What is configured is there before anything has come.
fn declare(snapshot: &mut Snapshot, config: &Config) {
    for state in config.clusters() {
        snapshot.declare(Scope::Cluster, &state.cluster.stat_name);
    }
    for listener in config.listeners() {
        snapshot.declare(Scope::Listener, &listener.stat_name);
        for chain in listener.chains.iter().chain(&listener.default_chain) {
            match &chain.terminal {
                TerminalFilter::Http(manager) => snapshot.declare(Scope::Http, &manager.stat_prefix),
                TerminalFilter::Tcp(tcp) => snapshot.declare(Scope::Tcp, &tcp.stat_prefix),
                TerminalFilter::DirectResponse(_) | TerminalFilter::Echo => {}
            }
        }
    }
}

fn cluster(snapshot: &mut Snapshot, state: &ClusterState) {
    let name = state.cluster.stat_name.replace(':', "_");
    let mut gauge = |stat: &str, value| snapshot.add(format!("cluster.{name}.{stat}"), Kind::Gauge, value);
    for (priority, label) in [(Priority::Default, "default"), (Priority::High, "high")] {
        for (resource, stat) in [
            (Resource::Connection, "cx_open"),
            (Resource::Request, "rq_open"),
            (Resource::PendingRequest, "rq_pending_open"),
            (Resource::Retry, "rq_retry_open"),
        ] {
            let open = state.limits.used(resource, priority) >= state.limits.limit(resource, priority);
            gauge(&format!("circuit_breakers.{label}.{stat}"), u64::from(open));
        }
    }
    let (healthy, degraded, total) = state.membership();
    gauge("membership_total", total);
    gauge("membership_healthy", healthy);
    gauge("membership_degraded", degraded);
    let Some(health) = &state.health else { return };
    let has = |name: &str| match name.starts_with("health_check.") {
        true => state.cluster.health_check.is_some(),
        false => state.cluster.outlier.is_some(),
    };
    if has("health_check.healthy") {
        let (healthy, degraded) = health.known.checked();
        gauge("health_check.healthy", healthy);
        gauge("health_check.degraded", degraded);
    }
    if has("outlier_detection.ejections_active") {
        gauge(
            "outlier_detection.ejections_active",
            health.known.ejected() as u64,
        );
    }
    for (stat, value) in health.known.counts().filter(|(stat, _)| has(stat)) {
        snapshot.add(format!("cluster.{name}.{stat}"), Kind::Counter, value);
    }
}
