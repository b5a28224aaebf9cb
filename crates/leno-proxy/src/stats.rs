//! The statistics at one moment: what the workers have counted, and what is so now.

use leno_engine::compile::http::RouteSource;
use leno_engine::compile::listener::TerminalFilter;
use leno_engine::compile::route::RouteTable;
use leno_engine::decide::limits::{Priority, Resource};
use leno_telemetry::stats::{Kind, Scope, Snapshot};

use crate::Handle;
use crate::overload::Overload;
use crate::resident;
use crate::state::{ClusterState, Config};

pub(crate) fn snapshot(proxy: &Handle) -> Snapshot {
    let mut snapshot = Snapshot::of(proxy.stats());
    let config = proxy.config();
    declare(&mut snapshot, &config);
    for state in config.clusters() {
        cluster(&mut snapshot, state);
    }
    runtime(&mut snapshot, proxy);
    for (name, is_count, value) in proxy.overload().map(Overload::told).unwrap_or_default() {
        let kind = if is_count { Kind::Counter } else { Kind::Gauge };
        snapshot.add(format!("overload.{name}"), kind, value);
    }
    let clusters = config.clusters().count() as u64;
    let listeners = config.listeners().count() as u64;
    for (name, value) in [
        ("cluster_manager.active_clusters", clusters),
        ("listener_manager.total_listeners_active", listeners),
        ("server.concurrency", proxy.concurrency() as u64),
        ("server.live", u64::from(!proxy.fails_health_checks())),
        (
            "server.memory_allocated",
            resident::resident().unwrap_or_default(),
        ),
        ("server.total_connections", proxy.connections() as u64),
        ("server.uptime", proxy.uptime().as_secs()),
    ] {
        snapshot.add(name.to_owned(), Kind::Gauge, value);
    }
    snapshot
}

fn runtime(snapshot: &mut Snapshot, proxy: &Handle) {
    let counts = proxy.runtime().counts();
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
    for table in config.routes() {
        routes(snapshot, table);
    }
    for listener in config.listeners() {
        snapshot.declare(Scope::Listener, &listener.stat_name);
        for chain in listener.chains.iter().chain(&listener.default_chain) {
            for name in chain
                .network
                .iter()
                .filter_map(|filter| config.network_filter(filter))
                .flat_map(|filter| filter.counts())
            {
                snapshot.name(Scope::Alone, "", &name);
            }
            match &chain.terminal {
                TerminalFilter::Http(manager) => {
                    if let RouteSource::Inline(table) = &manager.routes {
                        routes(snapshot, table);
                    }
                    snapshot.declare(Scope::Http, &manager.stat_prefix);
                    for name in manager.filters.iter().flat_map(|filter| filter.factory.counts()) {
                        snapshot.name(Scope::Http, &manager.stat_prefix, &name);
                    }
                }
                TerminalFilter::Tcp(tcp) => snapshot.declare(Scope::Tcp, &tcp.stat_prefix),
                TerminalFilter::DirectResponse(_) | TerminalFilter::Echo => {}
            }
        }
    }
}

/// As what the requests of a table are counted besides their clusters.
fn routes(snapshot: &mut Snapshot, table: &RouteTable) {
    for host in &table.hosts {
        let of_routes = host.routes.iter().filter_map(|route| route.stat_name.as_deref());
        for name in host.facts.clusters.stat_names().chain(of_routes) {
            snapshot.declare(Scope::VirtualHost, name);
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
    let has = |name: &str| match name.split_once('.').map(|(scope, _)| scope) {
        Some("health_check") => state.cluster.health_check.is_some(),
        Some("lb_orca_oob") => state.cluster.balance.asks().is_some(),
        _ => state.cluster.outlier.is_some(),
    };
    if has("lb_orca_oob.active_sessions") {
        gauge("lb_orca_oob.active_sessions", health.known.sessions());
    }
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
