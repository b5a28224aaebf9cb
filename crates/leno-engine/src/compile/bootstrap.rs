//! `envoy.config.bootstrap.v3.Bootstrap`: what a proxy starts with.

use super::address::{self, Address};
use super::at::{At, compiling, no_effect, refuse, silent};
use super::cluster::{self, Cluster};
use super::listener::{self, Listener};
use super::pb::{bootstrap as pb, core};
use super::secret::{self, Secret};
use super::{Files, Rejection, Warnings};

#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    pub node: Node,
    pub admin: Option<Address>,
    pub listeners: Vec<Listener>,
    pub clusters: Vec<Cluster>,
    /// By name, for TLS contexts that name a secret without a source.
    pub secrets: Vec<(String, Secret)>,
    pub dynamic: Dynamic,
}

/// What the proxy says it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub id: String,
    pub cluster: String,
    /// As it came: control planes are told all of it.
    pub message: core::Node,
}

/// What is not in the file itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dynamic {
    pub ads: Option<ControlPlane>,
    /// All listeners that the control plane has are served.
    pub listeners: bool,
    pub clusters: bool,
}

/// A stream to a control plane.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlPlane {
    pub protocol: Protocol,
    /// Which static cluster it is.
    pub cluster: String,
    /// `:authority`, where it is not the cluster's name.
    pub authority: String,
    /// Headers of each stream.
    pub metadata: Vec<(String, String)>,
}

/// How xDS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    StateOfTheWorld,
    Delta,
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
    refuse!(at; node_context_params, hds_config, stats_sinks, tracing, layered_runtime, overload_manager,
        header_prefix, use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config,
        bootstrap_extensions, config_sources, default_config_source, default_socket_interface,
        certificate_provider_instances, default_regex_engine, xds_delegate_extension,
        xds_config_tracker_extension, listener_manager, fatal_actions);
    no_effect!(at, "leno has its own statistics"; deferred_stat_options, stats_config, stats_flush_interval,
        stats_server_version_override, enable_dispatcher_stats, stats_flush, stats_eviction);
    no_effect!(at, "a stuck thread is not killed"; watchdog, watchdogs);
    no_effect!(at, "Envoy's own process is tuned by it"; flags_path, inline_headers, perf_tracing_file_path,
        grpc_async_client_manager_config, memory_allocator_manager, enable_worker_cpu_affinity);
    no_effect!(at, "leno's log has its own form"; application_log_config);
    if let Some(manager) = manager {
        cluster_manager(&at.field("cluster_manager"), manager)?;
    }
    let empty = pb::bootstrap::StaticResources::default();
    let pb::bootstrap::StaticResources {
        listeners,
        clusters,
        secrets,
    } = static_resources.as_ref().unwrap_or(&empty);
    let resources = at.field("static_resources");
    Ok(Bootstrap {
        node: said.as_ref().map_or_else(Node::default, node),
        admin: match admin_port {
            None => None,
            Some(port) => admin(&at.field("admin"), port)?,
        },
        clusters: resources.each("clusters", clusters, cluster::cluster)?,
        listeners: resources.each("listeners", listeners, listener::listener)?,
        secrets: resources.each("secrets", secrets, secret::secret)?,
        dynamic: match dynamic_resources {
            None => Dynamic::default(),
            Some(resources) => dynamic(&at.field("dynamic_resources"), resources)?,
        },
    })
}

fn node(message: &core::Node) -> Node {
    Node {
        id: message.id.clone(),
        cluster: message.cluster.clone(),
        message: message.clone(),
    }
}

fn cluster_manager(at: &At<'_>, message: &pb::ClusterManager) -> Result<(), Rejection> {
    let pb::ClusterManager {
        local_cluster_name,
        outlier_detection,
        upstream_bind_config,
        load_stats_config,
        enable_deferred_cluster_creation,
    } = message;
    refuse!(at; local_cluster_name, upstream_bind_config, load_stats_config);
    no_effect!(at, "ejections are counted, and not written to a file"; outlier_detection);
    no_effect!(at, "a cluster costs nothing until it is used"; enable_deferred_cluster_creation);
    Ok(())
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
    for (field, source) in [("lds_config", lds_config), ("cds_config", cds_config)] {
        if source.is_some() {
            at.field(field).config_source(source)?;
        }
    }
    Ok(Dynamic {
        ads: match ads_config {
            None => None,
            Some(source) => Some(control_plane(&at.field("ads_config"), source)?),
        },
        listeners: lds_config.is_some(),
        clusters: cds_config.is_some(),
    })
}

fn control_plane(at: &At<'_>, message: &core::ApiConfigSource) -> Result<ControlPlane, Rejection> {
    use core::api_config_source::ApiType;
    let core::ApiConfigSource {
        api_type,
        transport_api_version,
        cluster_names,
        grpc_services,
        refresh_delay,
        request_timeout,
        rate_limit_settings,
        set_node_on_first_message_only,
        config_validators,
    } = message;
    refuse!(at; cluster_names, rate_limit_settings, config_validators);
    no_effect!(at, "it is of REST only"; refresh_delay, request_timeout);
    silent!("the node is always said in the first message only"; set_node_on_first_message_only);
    at.version("transport_api_version", *transport_api_version)?;
    let protocol = match at.choice("api_type", *api_type)? {
        ApiType::Grpc | ApiType::AggregatedGrpc => Protocol::StateOfTheWorld,
        ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc => Protocol::Delta,
        ApiType::DeprecatedAndUnavailableDoNotUse | ApiType::Rest => {
            return Err(at.field("api_type").reject("only gRPC is supported"));
        }
    };
    let (cluster, authority, metadata) = match grpc_services.as_slice() {
        [one] => grpc_service(&at.item("grpc_services", 0), one)?,
        _ => return Err(at.field("grpc_services").reject("exactly one is needed")),
    };
    Ok(ControlPlane {
        protocol,
        cluster,
        authority,
        metadata,
    })
}

type Service = (String, String, Vec<(String, String)>);

/// Cluster, authority and headers.
fn grpc_service(at: &At<'_>, message: &core::GrpcService) -> Result<Service, Rejection> {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let core::GrpcService {
        timeout,
        initial_metadata,
        retry_policy,
        target_specifier,
    } = message;
    refuse!(at; retry_policy);
    no_effect!(at, "a stream has no end"; timeout);
    let EnvoyGrpc {
        cluster_name,
        authority,
        retry_policy,
        max_receive_message_length,
        skip_envoy_headers,
    } = match at.required("envoy_grpc", target_specifier)? {
        TargetSpecifier::EnvoyGrpc(service) => service,
        TargetSpecifier::GoogleGrpc(_) => {
            return Err(at.field("google_grpc").reject("not supported: use envoy_grpc"));
        }
    };
    let envoy = at.field("envoy_grpc");
    envoy.not_empty("cluster_name", cluster_name)?;
    refuse!(envoy; retry_policy);
    no_effect!(envoy, "messages have leno's own limit"; max_receive_message_length);
    silent!("they are never sent"; skip_envoy_headers);
    let metadata = at.each("initial_metadata", initial_metadata, |at, header| {
        let core::HeaderValue {
            key,
            value,
            raw_value,
        } = header;
        refuse!(at; raw_value);
        at.not_empty("key", key)?;
        Ok((key.clone(), value.clone()))
    })?;
    Ok((cluster_name.clone(), authority.clone(), metadata))
}
