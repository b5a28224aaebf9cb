//! The process itself: what it is, and what it is told to do.

use std::time::Duration;

use leno_proto::envoy::admin::v3 as admin;
use leno_proto::google::protobuf;
use serde_json::{Value, json};

use super::query::Query;
use super::{Admin, Own, config_dump};
use crate::resident;

/// Envoy's word for it.
pub(super) fn state(admin: &Admin, own: &Own) -> &'static str {
    match (own.proxy.fails_health_checks(), (admin.ready)()) {
        (true, _) => "DRAINING",
        (false, true) => "LIVE",
        (false, false) => "PRE_INITIALIZING",
    }
}

pub(super) fn info(admin: &Admin, own: &Own) -> admin::ServerInfo {
    let process = &own.process;
    let uptime = Some(protobuf::Duration {
        seconds: i64::try_from(process.started.elapsed().as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    });
    let state = admin::server_info::State::from_str_name(state(admin, own)).unwrap_or_default();
    admin::ServerInfo {
        version: process.version.clone(),
        state: state.into(),
        uptime_current_epoch: uptime,
        uptime_all_epochs: uptime,
        hot_restart_version: "disabled".to_owned(),
        command_line_options: Some(admin::CommandLineOptions {
            concurrency: u32::try_from(process.concurrency).unwrap_or(u32::MAX),
            config_path: process.config_path.to_string_lossy().into_owned(),
            disable_hot_restart: true,
            ..Default::default()
        }),
        node: config_dump::decoded(&own.bootstrap).node,
        ..Default::default()
    }
}

/// Bytes, as Envoy's page names them: there is one heap, of the C library.
pub(super) fn memory() -> Value {
    let resident = resident::resident().unwrap_or_default();
    json!({
        "allocated": resident.to_string(),
        "heap_size": resident.to_string(),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": resident.to_string(),
    })
}

pub(super) fn drain_listeners(own: &Own, query: &Query) {
    let inbound_only = query.has("inboundonly");
    let proxy = own.proxy.clone();
    let skip_exit = query.has("skip_exit");
    if skip_exit || query.has("graceful") {
        let time: Duration = proxy.updater().drain_listeners(inbound_only);
        if !skip_exit {
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                proxy.updater().stop_listening(inbound_only);
            });
        }
    } else {
        proxy.updater().stop_listening(inbound_only);
    }
}
