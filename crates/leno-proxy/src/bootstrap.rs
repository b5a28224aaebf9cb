//! A static configuration: Envoy's bootstrap, already parsed, compiled whole or refused with the field's path.

use std::net::SocketAddr;

use leno_engine::compile::cluster::{self, Cluster};
use leno_engine::compile::listener::{self, Listener};
use leno_engine::compile::{Files, Rejection, Warnings};
use leno_proto::envoy::config::bootstrap::v3 as pb;
use leno_proto::envoy::config::core::v3 as core;

use crate::state::{Refused, Updater};

/// What a bootstrap says that is served from the beginning.
#[derive(Debug)]
pub struct Bootstrap {
    pub listeners: Vec<Listener>,
    pub clusters: Vec<Cluster>,
    pub admin: Option<SocketAddr>,
    /// `node.id`, which logs and peers may see.
    pub node_id: String,
    pub warnings: Warnings,
}

#[derive(Debug, thiserror::Error)]
#[error("bootstrap: {path}: {reason}")]
pub struct BootstrapError {
    pub path: String,
    pub reason: String,
}

// === impl Bootstrap ===

impl Bootstrap {
    /// `files` reads what data sources name.
    pub fn compile(message: &pb::Bootstrap, files: &dyn Files) -> Result<Self, BootstrapError> {
        refuse_unsupported(message)?;
        let mut warnings = Warnings::default();
        let mut bootstrap = Self {
            listeners: Vec::new(),
            clusters: Vec::new(),
            admin: message.admin.as_ref().map(admin).transpose()?.flatten(),
            node_id: message
                .node
                .as_ref()
                .map(|node| node.id.clone())
                .unwrap_or_default(),
            warnings: Warnings::default(),
        };
        let Some(pb::bootstrap::StaticResources {
            listeners,
            clusters,
            secrets,
        }) = &message.static_resources
        else {
            return Ok(bootstrap);
        };
        if !secrets.is_empty() {
            return Err(unsupported(
                "static_resources.secrets",
                "give certificates where they are used",
            ));
        }
        for (at, listener) in listeners.iter().enumerate() {
            let compiled = listener::compile(listener, files, &mut warnings);
            bootstrap
                .listeners
                .push(compiled.map_err(|r| inside("listeners", at, r))?);
        }
        for (at, cluster) in clusters.iter().enumerate() {
            let compiled = cluster::compile(cluster, files, &mut warnings);
            bootstrap
                .clusters
                .push(compiled.map_err(|r| inside("clusters", at, r))?);
        }
        bootstrap.warnings = warnings;
        Ok(bootstrap)
    }

    /// Puts it in force: clusters first, so that no listener is open before what it sends to.
    pub fn apply(self, updater: &mut Updater) -> Result<(), Refused> {
        for cluster in self.clusters {
            updater.upsert_cluster(cluster)?;
        }
        for listener in self.listeners {
            updater.upsert_listener(listener)?;
        }
        updater.publish();
        Ok(())
    }
}

/// Every field is named, so that one which a newer Envoy adds does not compile until somebody has decided. Those that
/// only describe or observe the process are let be.
fn refuse_unsupported(message: &pb::Bootstrap) -> Result<(), BootstrapError> {
    #[expect(deprecated, reason = "they are refused, or let be, like the others")]
    let pb::Bootstrap {
        node: _,
        node_context_params,
        static_resources: _,
        dynamic_resources,
        cluster_manager,
        hds_config,
        flags_path: _,
        stats_sinks,
        deferred_stat_options: _,
        stats_config: _,
        stats_flush_interval: _,
        watchdog: _,
        watchdogs: _,
        tracing,
        layered_runtime,
        admin: _,
        overload_manager,
        enable_dispatcher_stats: _,
        header_prefix,
        stats_server_version_override: _,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        bootstrap_extensions,
        fatal_actions: _,
        config_sources,
        default_config_source,
        default_socket_interface,
        certificate_provider_instances,
        inline_headers: _,
        perf_tracing_file_path: _,
        default_regex_engine,
        xds_delegate_extension,
        xds_config_tracker_extension,
        listener_manager,
        application_log_config: _,
        grpc_async_client_manager_config: _,
        memory_allocator_manager: _,
        enable_worker_cpu_affinity: _,
        stats_flush: _,
        stats_eviction: _,
    } = message;
    let refused = [
        ("node_context_params", !node_context_params.is_empty()),
        ("dynamic_resources", dynamic_resources.is_some()),
        ("cluster_manager", cluster_manager.is_some()),
        ("hds_config", hds_config.is_some()),
        ("stats_sinks", !stats_sinks.is_empty()),
        ("tracing", tracing.is_some()),
        ("layered_runtime", layered_runtime.is_some()),
        ("overload_manager", overload_manager.is_some()),
        ("header_prefix", !header_prefix.is_empty()),
        ("use_tcp_for_dns_lookups", *use_tcp_for_dns_lookups),
        ("dns_resolution_config", dns_resolution_config.is_some()),
        ("typed_dns_resolver_config", typed_dns_resolver_config.is_some()),
        ("bootstrap_extensions", !bootstrap_extensions.is_empty()),
        ("config_sources", !config_sources.is_empty()),
        ("default_config_source", default_config_source.is_some()),
        ("default_socket_interface", !default_socket_interface.is_empty()),
        (
            "certificate_provider_instances",
            !certificate_provider_instances.is_empty(),
        ),
        ("default_regex_engine", default_regex_engine.is_some()),
        ("xds_delegate_extension", xds_delegate_extension.is_some()),
        (
            "xds_config_tracker_extension",
            xds_config_tracker_extension.is_some(),
        ),
        ("listener_manager", listener_manager.is_some()),
    ];
    match refused.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(unsupported(field, "leave it out")),
        None => Ok(()),
    }
}

/// Only the address counts: what Envoy's admin logs is not logged here.
fn admin(admin: &pb::Admin) -> Result<Option<SocketAddr>, BootstrapError> {
    let Some(core::address::Address::SocketAddress(address)) =
        admin.address.as_ref().and_then(|a| a.address.as_ref())
    else {
        return Ok(None);
    };
    let Some(core::socket_address::PortSpecifier::PortValue(port)) = address.port_specifier else {
        return Err(unsupported(
            "admin.address.socket_address",
            "it needs a port_value",
        ));
    };
    let parsed = address.address.parse().ok().zip(u16::try_from(port).ok());
    match parsed {
        Some((ip, port)) => Ok(Some(SocketAddr::new(ip, port))),
        None => Err(unsupported(
            "admin.address.socket_address",
            "it is not an IP address and a port",
        )),
    }
}

fn inside(list: &str, at: usize, rejection: Rejection) -> BootstrapError {
    BootstrapError {
        path: format!("static_resources.{list}[{at}].{}", rejection.path),
        reason: rejection.reason,
    }
}

fn unsupported(path: &str, hint: &str) -> BootstrapError {
    BootstrapError {
        path: path.to_owned(),
        reason: format!("not supported — {hint}"),
    }
}

#[cfg(test)]
mod tests {
    use leno_engine::compile::NoFiles;

    use super::*;

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let message = pb::Bootstrap {
            dynamic_resources: Some(Default::default()),
            ..Default::default()
        };
        let error = Bootstrap::compile(&message, &NoFiles).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bootstrap: dynamic_resources: not supported — leave it out"
        );
    }

    #[test]
    fn a_bad_listener_is_refused_with_its_place() {
        let message = pb::Bootstrap {
            static_resources: Some(pb::bootstrap::StaticResources {
                listeners: vec![Default::default()],
                ..Default::default()
            }),
            ..Default::default()
        };
        let error = Bootstrap::compile(&message, &NoFiles).unwrap_err();
        assert!(
            error.path.starts_with("static_resources.listeners[0]."),
            "{error}"
        );
    }
}
