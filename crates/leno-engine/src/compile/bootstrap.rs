//! `envoy.config.bootstrap.v3.Bootstrap`: what a proxy starts with.

use std::path::PathBuf;

use super::address::{self, Address};
use super::at::{At, compiling, no_effect, refuse, silent};
use super::bind::{self, Bind};
use super::cluster::{self, Cluster};
use super::config_source::{ControlPlane, Source, ads, config_source, load_stats};
use super::dns_resolver::{Resolver, resolver};
use super::endpoint::{self, LocalityName};
use super::known_clusters;
use super::listener::{self, Listener};
use super::overload::{self, Overload};
use super::pb::{bootstrap as pb, core, internal_listener};
use super::runtime;
use super::secret::{self, Secret};
use super::stats::{self, StatsConfig};
use super::{Files, Rejection, Warnings};
use crate::runtime::Runtime;
use leno_proto::FromAny;

#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    pub node: Node,
    pub admin: Option<Address>,
    pub listeners: Vec<Listener>,
    pub clusters: Vec<Cluster>,
    /// By name, for TLS contexts that name a secret without a source.
    pub secrets: Vec<(String, Secret)>,
    pub dynamic: Dynamic,
    /// The cluster of proxies like this one, of which zone-aware routing knows where load comes from.
    pub local_cluster: Option<String>,
    pub runtime: Runtime,
    /// Where its values come from.
    pub layers: Vec<runtime::Source>,
    /// Who is told of the clusters' load.
    pub loads: Option<ControlPlane>,
    /// Where it is written who is ejected by outlier detection.
    pub outlier_log: Option<PathBuf>,
    pub overload: Option<Overload>,
    pub stats: StatsConfig,
    /// What connections come from, where their cluster does not say.
    pub bind: Option<Bind>,
    /// Who resolves names, where their cluster does not say.
    pub resolver: Option<Resolver>,
}

/// What the proxy says it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub id: String,
    pub cluster: String,
    pub locality: LocalityName,
    /// As it came: control planes are told all of it.
    pub message: core::Node,
}

/// What is not in the file itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dynamic {
    pub ads: Option<ControlPlane>,
    /// Where all listeners come from.
    pub listeners: Option<Source>,
    pub clusters: Option<Source>,
}

pub fn compile(
    message: &pb::Bootstrap,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<Bootstrap, Rejection> {
    compiling(files, warnings, |at| bootstrap(at, message))
}

fn bootstrap(at: &At<'_>, message: &pb::Bootstrap) -> Result<Bootstrap, Rejection> {
    let pb::Bootstrap {
        node: said,
        node_context_params,
        static_resources,
        dynamic_resources,
        cluster_manager: manager,
        hds_config,
        flags_path,
        stats_sinks,
        deferred_stat_options,
        stats_config,
        stats_flush_interval,
        watchdog,
        watchdogs,
        tracing,
        layered_runtime,
        admin: admin_port,
        overload_manager,
        enable_dispatcher_stats,
        header_prefix,
        stats_server_version_override,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        bootstrap_extensions,
        fatal_actions,
        config_sources,
        default_config_source,
        default_socket_interface,
        certificate_provider_instances,
        inline_headers,
        perf_tracing_file_path,
        default_regex_engine,
        xds_delegate_extension,
        xds_config_tracker_extension,
        listener_manager,
        application_log_config,
        grpc_async_client_manager_config,
        memory_allocator_manager,
        enable_worker_cpu_affinity,
        stats_flush,
        stats_eviction,
    } = message;
    refuse!(at; node_context_params, hds_config, tracing,
        header_prefix, config_sources, default_config_source, default_socket_interface,
        certificate_provider_instances, default_regex_engine, xds_delegate_extension,
        xds_config_tracker_extension, listener_manager, fatal_actions);
    no_effect!(at, "there is no such statistic"; stats_server_version_override, enable_dispatcher_stats);
    no_effect!(at, "what is not used costs nothing"; deferred_stat_options, stats_eviction);
    no_effect!(at, "sinks get something at their interval"; stats_flush);
    no_effect!(at, "a stuck thread is not killed"; watchdog, watchdogs);
    no_effect!(at, "Envoy's own process is tuned by it"; flags_path, inline_headers, perf_tracing_file_path,
        grpc_async_client_manager_config, memory_allocator_manager, enable_worker_cpu_affinity);
    no_effect!(at, "leno's log has its own form"; application_log_config);
    let OfClusters {
        local_cluster,
        loads,
        outlier_log,
        bind,
    } = match manager {
        None => OfClusters::default(),
        Some(manager) => cluster_manager(&at.field("cluster_manager"), manager)?,
    };
    at.each("bootstrap_extensions", bootstrap_extensions, extension)?;
    // Before what names its keys.
    let layers = runtime::layers(at, layered_runtime.as_ref())?;
    at.runtime().set(runtime::at_first(&layers));
    let empty = pb::bootstrap::StaticResources::default();
    let pb::bootstrap::StaticResources {
        listeners,
        clusters,
        secrets,
    } = static_resources.as_ref().unwrap_or(&empty);
    let resources = at.field("static_resources");
    if let Some(local) = &local_cluster
        && !clusters.iter().any(|cluster| cluster.name == *local)
    {
        let at = at.field("cluster_manager");
        return Err(at
            .field("local_cluster_name")
            .reject(format!("{local:?} is not in static_resources")));
    }
    let known = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    Ok(Bootstrap {
        runtime: at.runtime().clone(),
        layers,
        outlier_log,
        bind,
        resolver: resolver(
            at,
            typed_dns_resolver_config.as_ref(),
            dns_resolution_config.as_ref(),
            &[],
            *use_tcp_for_dns_lookups,
        )?,
        node: said.as_ref().map_or_else(Node::default, node),
        admin: match admin_port {
            None => None,
            Some(port) => admin(&at.field("admin"), port)?,
        },
        loads,
        clusters: resources.each("clusters", clusters, cluster::cluster)?,
        listeners: resources.each("listeners", listeners, |at, message| {
            let listener = listener::listener(at, message)?;
            known_clusters::check(at, &listener, &known)?;
            Ok(listener)
        })?,
        secrets: resources.each("secrets", secrets, secret::secret)?,
        dynamic: match dynamic_resources {
            None => Dynamic::default(),
            Some(resources) => dynamic(&at.field("dynamic_resources"), resources)?,
        },
        local_cluster,
        stats: stats::stats(at, stats_config.as_ref(), stats_sinks, stats_flush_interval)?,
        overload: match overload_manager {
            None => None,
            Some(manager) => Some(overload::overload(&at.field("overload_manager"), manager)?),
        },
    })
}

/// The only one is what allows internal listeners, which are always there.
fn extension(at: &At<'_>, message: &core::TypedExtensionConfig) -> Result<(), Rejection> {
    let core::TypedExtensionConfig { name, typed_config } = message;
    silent!("names are for people"; name);
    let any = at.required("typed_config", typed_config)?;
    let at = at.field("typed_config");
    if !any.is::<internal_listener::InternalListener>() {
        return Err(at.unknown_extension(any));
    }
    let internal_listener::InternalListener { buffer_size_kb } =
        &at.unpack::<internal_listener::InternalListener>(any)?;
    no_effect!(at, "64 KiB in each direction"; buffer_size_kb);
    Ok(())
}

fn node(message: &core::Node) -> Node {
    Node {
        id: message.id.clone(),
        cluster: message.cluster.clone(),
        locality: endpoint::locality_name(message.locality.as_ref()),
        message: message.clone(),
    }
}

/// What is said of all clusters.
#[derive(Default)]
struct OfClusters {
    local_cluster: Option<String>,
    loads: Option<ControlPlane>,
    outlier_log: Option<PathBuf>,
    bind: Option<Bind>,
}

fn cluster_manager(at: &At<'_>, message: &pb::ClusterManager) -> Result<OfClusters, Rejection> {
    let pb::ClusterManager {
        local_cluster_name,
        outlier_detection,
        upstream_bind_config,
        load_stats_config,
        enable_deferred_cluster_creation,
    } = message;
    no_effect!(at, "a cluster costs nothing until it is used"; enable_deferred_cluster_creation);
    Ok(OfClusters {
        local_cluster: Some(local_cluster_name.clone()).filter(|name| !name.is_empty()),
        loads: match load_stats_config {
            None => None,
            Some(source) => Some(load_stats(&at.field("load_stats_config"), source)?),
        },
        outlier_log: match outlier_detection {
            None => None,
            Some(detection) => outlier_log(&at.field("outlier_detection"), detection)?,
        },
        bind: match upstream_bind_config {
            None => None,
            Some(config) => Some(bind::bind(&at.field("upstream_bind_config"), config)?),
        },
    })
}

/// Where it is written who is ejected.
fn outlier_log(
    at: &At<'_>,
    message: &pb::cluster_manager::OutlierDetection,
) -> Result<Option<PathBuf>, Rejection> {
    let pb::cluster_manager::OutlierDetection {
        event_log_path,
        event_service,
    } = message;
    refuse!(at; event_service);
    Ok((!event_log_path.is_empty()).then(|| event_log_path.into()))
}

/// None: there is no admin port.
fn admin(at: &At<'_>, message: &pb::Admin) -> Result<Option<Address>, Rejection> {
    let pb::Admin {
        access_log,
        access_log_path,
        profile_path,
        address: port,
        socket_options,
        ignore_global_conn_limit,
        allow_paths,
    } = message;
    refuse!(at; allow_paths);
    no_effect!(at, "the admin port has no access log"; access_log, access_log_path);
    no_effect!(at, "there is no profiler"; profile_path);
    no_effect!(at, "not used"; socket_options);
    silent!("the admin port is never limited"; ignore_global_conn_limit);
    let Some(port) = port else {
        return Ok(None);
    };
    address::address(&at.field("address"), port).map(Some)
}

fn dynamic(at: &At<'_>, message: &pb::bootstrap::DynamicResources) -> Result<Dynamic, Rejection> {
    let pb::bootstrap::DynamicResources {
        lds_config,
        lds_resources_locator,
        cds_config,
        cds_resources_locator,
        ads_config,
    } = message;
    refuse!(at; lds_resources_locator, cds_resources_locator);
    let source = |field, source: &Option<core::ConfigSource>| match source {
        None => Ok(None),
        Some(_) => config_source(&at.field(field), source).map(Some),
    };
    Ok(Dynamic {
        ads: match ads_config {
            None => None,
            Some(source) => Some(ads(&at.field("ads_config"), source)?),
        },
        listeners: source("lds_config", lds_config)?,
        clusters: source("cds_config", cds_config)?,
    })
}
