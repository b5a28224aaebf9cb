//! The statistics at one moment: what the workers have counted, and what is so now.

use std::time::SystemTime;

use leno_engine::compile::cluster::Discovery;
use leno_engine::compile::http::RouteSource;
use leno_engine::compile::listener::TerminalFilter;
use leno_engine::compile::route::RouteTable;
use leno_engine::decide::limits::{Priority, Resource};
use leno_telemetry::stats::{Kind, Scope, Snapshot};
use leno_xds::WILDCARD;

use crate::Handle;
use crate::accept::counted;
use crate::admin::certs;
use crate::overload::Overload;
use crate::resident;
use crate::resources::Kind as Resources;
use crate::state::{ClusterState, Config};
use crate::tls_counts;
use crate::updates::Subscription;

#[allow(clippy::disallowed_methods)]
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
    elsewhere(&mut snapshot, proxy, &config);
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
        (
            "server.memory_physical_size",
            resident::resident().unwrap_or_default(),
        ),
        ("server.state", u64::from(proxy.fails_health_checks())),
        ("server.total_connections", proxy.connections() as u64),
        ("server.uptime", proxy.uptime().as_secs()),
    ] {
        snapshot.add(name.to_owned(), Kind::Gauge, value);
    }
    let secrets = proxy.updater().secrets();
    if let Some(days) = certs::days_until_first_expires(&config, &secrets, SystemTime::now()) {
        let name = "server.days_until_first_cert_expiring";
        snapshot.add(name.to_owned(), Kind::Gauge, days);
    }
    let (clusters, listeners) = proxy.updater().changes();
    for (whose, what, changed) in [
        ("cluster_manager", "cluster", clusters),
        ("listener_manager", "listener", listeners),
    ] {
        for (how, value) in [
            ("added", changed.added),
            ("modified", changed.modified),
            ("removed", changed.removed),
        ] {
            snapshot.add(format!("{whose}.{what}_{how}"), Kind::Counter, value);
        }
    }
    snapshot
}

/// What has come of configuration from elsewhere, by the names of who asks for it.
fn elsewhere(snapshot: &mut Snapshot, proxy: &Handle, config: &Config) {
    let known = proxy.updates().all();
    let nothing = Subscription::default();
    let of = |kind, name: &str| known.get(&(kind, name.to_owned()));
    for state in config.clusters() {
        let name = state.cluster.stat_name.replace(':', "_");
        let service = match &state.cluster.discovery {
            Discovery::Eds(service, _) => service,
            _ => &state.cluster.name,
        };
        let one = of(Resources::Endpoints, service).unwrap_or(&nothing);
        let by_eds = matches!(state.cluster.discovery, Discovery::Eds(..));
        updated(snapshot, &format!("cluster.{name}"), one, by_eds);
    }
    for (kind, prefix) in [
        (Resources::Cluster, "cluster_manager.cds"),
        (Resources::Listener, "listener_manager.lds"),
    ] {
        if let Some(one) = of(kind, WILDCARD) {
            updated(snapshot, prefix, one, true);
        }
    }
    for listener in config.listeners() {
        let chains = listener.chains.iter().chain(&listener.default_chain);
        for chain in chains {
            if let TerminalFilter::Http(manager) = &chain.terminal
                && let RouteSource::Rds(table, _) = &manager.routes
            {
                let prefix = manager.stat_prefix.replace(':', "_");
                let one = of(Resources::Route, table).unwrap_or(&nothing);
                let prefix = format!("http.{prefix}.rds.{}", table.replace(':', "_"));
                if snapshot.value(&format!("{prefix}.update_success")).is_none() {
                    updated(snapshot, &prefix, one, true);
                }
            }
        }
    }
    let secrets = known.iter().filter(|((kind, _), _)| *kind == Resources::Secret);
    for ((_, name), one) in secrets {
        updated(snapshot, &format!("sds.{}", name.replace(':', "_")), one, true);
    }
    if !known.is_empty() {
        let connected = u64::from(proxy.updates().is_connected());
        snapshot.add("control_plane.connected_state".to_owned(), Kind::Gauge, connected);
    }
}

/// `by_xds`: what is said may be refused.
fn updated(snapshot: &mut Snapshot, prefix: &str, one: &Subscription, by_xds: bool) {
    let mut add = |stat: &str, kind, value| snapshot.add(format!("{prefix}.{stat}"), kind, value);
    add("update_attempt", Kind::Counter, one.attempts);
    add("update_success", Kind::Counter, one.successes);
    add("update_failure", Kind::Counter, one.failures);
    if by_xds {
        add("update_rejected", Kind::Counter, one.rejected);
        add("update_time", Kind::Gauge, one.time);
    }
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
        if state
            .cluster
            .transport
            .all()
            .any(|transport| transport.tls().is_some())
        {
            for name in tls_counts::NAMES {
                snapshot.name(Scope::Cluster, &state.cluster.stat_name, name);
            }
        }
    }
    for table in config.routes() {
        routes(snapshot, table);
    }
    for listener in config.listeners() {
        snapshot.declare(Scope::Listener, &listener.stat_name);
        for name in counted::names(&listener.filters) {
            snapshot.name(Scope::Alone, "", name);
        }
        for chain in listener.chains.iter().chain(&listener.default_chain) {
            for filter in chain
                .network
                .iter()
                .filter_map(|filter| config.network_filter(filter))
            {
                for name in filter.counts() {
                    snapshot.name(Scope::Alone, "", &name);
                }
                for (name, value) in filter.states() {
                    snapshot.add(name, Kind::Gauge, value);
                }
            }
            if chain.tls.is_some() {
                for name in tls_counts::NAMES {
                    snapshot.name(Scope::Listener, &listener.stat_name, name);
                }
            }
            match &chain.terminal {
                TerminalFilter::Http(manager) => {
                    if let RouteSource::Inline(table) = &manager.routes {
                        routes(snapshot, table);
                    }
                    snapshot.declare(Scope::Http, &manager.stat_prefix);
                    snapshot.declare_by_listener(&listener.stat_name, &manager.stat_prefix);
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
    snapshot.add(
        format!("cluster.{name}.membership_change"),
        Kind::Counter,
        state.changes,
    );
    let mut gauge = |stat: &str, value| snapshot.add(format!("cluster.{name}.{stat}"), Kind::Gauge, value);
    for (thresholds, priority, label) in [
        (&state.cluster.limits.default, Priority::Default, "default"),
        (&state.cluster.limits.high, Priority::High, "high"),
    ] {
        if !thresholds.track_remaining {
            continue;
        }
        for (resource, stat) in [
            (Resource::Connection, "remaining_cx"),
            (Resource::Request, "remaining_rq"),
            (Resource::PendingRequest, "remaining_pending"),
            (Resource::Retry, "remaining_retries"),
        ] {
            let used = state.limits.used(resource, priority);
            let left = state.limits.limit(resource, priority).saturating_sub(used);
            gauge(&format!("circuit_breakers.{label}.{stat}"), u64::from(left));
        }
    }
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
