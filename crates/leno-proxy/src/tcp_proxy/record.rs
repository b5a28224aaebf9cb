//! What is told of a connection: to logs, metrics and statistics.

use std::time::{Duration, Instant, SystemTime};

use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::listener::TcpProxy;
use leno_engine::compile::log_filter::LogType;
use leno_engine::decide::balance::Host;
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::flags::Flag;
use leno_telemetry::record::{ConnectionRecord, DownstreamRecord, UpstreamRecord, WireBytes};
use leno_telemetry::stats::TcpStat;

use super::{Connected, Outcome, Unconnected};
use crate::connect::UpstreamConnection;
use crate::connection::Connection;
use crate::upstream;
use crate::worker::Worker;

pub(super) fn upstream_record(connected: &Connected) -> UpstreamRecord<'_> {
    record_of(&connected.cluster, &connected.host, &connected.connection)
}

pub(super) fn record_of<'c>(
    cluster: &'c Cluster,
    host: &'c Host,
    connection: &'c UpstreamConnection,
) -> UpstreamRecord<'c> {
    UpstreamRecord {
        name: &cluster.name,
        hostname: &host.endpoint.hostname,
        cluster: &cluster.stat_name,
        service: cluster.service.as_ref(),
        workload: host.endpoint.workload.as_ref(),
        remote: Some(&connection.remote),
        local: connection.local,
        peer_principal: connection.peer_principal(),
        local_principal: connection.local_principal(),
        transport_failure: None,
        is_connected: true,
        version: None,
        connection_id: Some(connection.id),
        tls: connection.tls_facts(),
        server_name: connection.server_name(),
        wire: WireBytes::default(),
        cluster_metadata: cluster.told.as_ref(),
        metadata: host.endpoint.told.as_ref(),
    }
}

/// Without a connection ended, or opened.
pub(super) fn log(
    worker: &Worker,
    downstream: &Connection,
    tcp: &TcpProxy,
    start: (SystemTime, Instant),
    upstream: Option<UpstreamRecord<'_>>,
    so_far: &Outcome,
    log_type: LogType,
) {
    let record = ConnectionRecord {
        start: start.0,
        duration: start.1.elapsed(),
        flags: so_far.flags,
        bytes_received: so_far.received,
        bytes_sent: so_far.sent,
        attempts: upstream.is_some().into(),
        upstream,
        downstream: &downstream.record,
        peer: &PeerMetadata::default(),
        details: so_far.details,
        termination: "",
        reset: so_far.reset,
        log_type,
    };
    worker.reporter.meanwhile_connected(&record, &tcp.access_log);
}

pub(super) fn report(
    worker: &Worker,
    downstream: &DownstreamRecord,
    tcp: &TcpProxy,
    start: (SystemTime, Instant),
    connected: Result<&Connected, &Unconnected>,
    outcome: &Outcome,
) {
    let duration: Duration = start.1.elapsed();
    let counts = worker.tcp_counts(&tcp.stat_prefix);
    counts.add(TcpStat::CxRxBytesTotal, outcome.received);
    counts.add(TcpStat::CxTxBytesTotal, outcome.sent);
    for (flag, stat) in [
        (Flag::NoClusterFound, TcpStat::CxNoRoute),
        (Flag::StreamIdleTimeout, TcpStat::IdleTimeout),
        (Flag::DurationTimeout, TcpStat::MaxDownstreamConnectionDuration),
    ] {
        if outcome.flags.contains(flag) {
            counts.inc(stat);
        }
    }
    let cluster = tcp.clusters.first().map_or("", |one| one.name.as_str());
    let failed = connected.err();
    let reason = failed.and_then(|failed| failed.failure.transport_reason());
    let tried = failed.and_then(|failed| failed.tried.as_deref());
    let unconnected = UpstreamRecord {
        name: cluster,
        hostname: "",
        cluster,
        service: None,
        workload: None,
        remote: tried.and_then(upstream::address),
        local: None,
        peer_principal: None,
        local_principal: None,
        transport_failure: reason.as_deref(),
        is_connected: false,
        version: None,
        connection_id: None,
        tls: None,
        server_name: None,
        wire: WireBytes::default(),
        cluster_metadata: None,
        metadata: tried.and_then(|endpoint| endpoint.told.as_ref()),
    };
    worker.reporter.connection(
        &ConnectionRecord {
            start: start.0,
            duration,
            flags: outcome.flags,
            bytes_received: outcome.received,
            bytes_sent: outcome.sent,
            upstream: Some(connected.map_or(unconnected, upstream_record)),
            downstream,
            peer: &PeerMetadata::default(),
            details: outcome.details,
            termination: "",
            reset: outcome.reset,
            log_type: LogType::TcpConnectionEnd,
            attempts: 1,
        },
        connected.is_ok(),
        &tcp.access_log,
    );
}
