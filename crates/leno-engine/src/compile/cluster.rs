//! `envoy.config.cluster.v3.Cluster`.

mod balance;
mod breakers;
mod client_side;
mod connections;
mod custom;
pub mod dns;
mod errors;
mod filters;
mod happy_eyeballs;
pub mod health_check;
mod http;
mod istio;
mod outlier;
mod peak_ewma;
mod policy;
mod settings;
mod slow_start;
mod statuses;
mod subset;
mod transport;
mod transport_matcher;
mod zone;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::at::{At, compiling, no_effect, refuse};
use super::bind::{self, Bind};
use super::config_source::{Source, config_source};
use super::dns_cache::DnsCache;
use super::endpoint::{self, Assignment};
use super::hash::HashPolicy;
use super::http::keepalive::Keepalive;
use super::http::spelling::HeaderCase;
use super::metadata::Told;
use super::pb::{cluster as pb, core, protobuf, upstream_http};
use super::route::mirror::MirrorPolicy;
use super::route::retry::RetryPolicy;
use super::socket::SocketOption;
use super::{Files, Rejection, Warnings};
use crate::runtime::Setting;
pub use breakers::{CircuitBreakers, RetryBudget, Thresholds};
pub use client_side::{ClientSide, OutOfBand};
use dns::Resolving;
pub use errors::ErrorMatcher;
pub use happy_eyeballs::AddressOrder;
pub use health_check::HealthCheck;
pub use outlier::{Compared, Consecutive, OutlierDetection};
pub use peak_ewma::PeakEwma;
pub use slow_start::SlowStart;
pub use statuses::Statuses;
pub use subset::{Fallback, Selector, SubsetConfig};
pub use transport::{Introduced, Passing, Transport, TransportSockets};
pub use transport_matcher::SocketTree;
pub use zone::ZoneAware;

#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub name: String,
    /// `alt_stat_name`, else the name.
    pub stat_name: String,
    pub discovery: Discovery,
    /// It is ready once its names are resolved.
    pub waits_for_names: bool,
    pub balance: BalancePolicy,
    pub connect_timeout: Duration,
    pub limits: CircuitBreakers,
    pub outlier: Option<OutlierDetection>,
    /// Which answers its outlier detection takes for errors. None: those of 5xx.
    pub errors: Option<Arc<ErrorMatcher>>,
    pub health_check: Option<HealthCheck>,
    /// Endpoints that have never been checked do not count as unhealthy ones.
    pub ignores_unchecked: bool,
    /// An endpoint that discovery takes away goes, however well it is.
    pub ignores_health_on_removal: bool,
    /// TCP connections to an endpoint that is found unwell are closed.
    pub closes_unwell: bool,
    /// With other endpoints come new connections to all of them.
    pub closes_on_change: bool,
    pub transport: TransportSockets,
    pub protocol: UpstreamProtocol,
    /// Percent; below this share of healthy hosts all are used. Envoy's default 50.
    pub panic_threshold: u32,
    pub subsets: Option<Arc<SubsetConfig>>,
    /// How endpoints are that a request may ask for (`override_host_status`).
    pub wished: Statuses,
    /// The policy chooses where these headers of a request name no endpoint (`override_host`).
    pub wishes: Option<Arc<[String]>>,
    /// In place of the routes': empty where it says nothing.
    pub hash: Vec<HashPolicy>,
    /// `locality_weighted_lb_config`: localities share a priority's load by their weights.
    pub locality_weighted: bool,
    pub zone: ZoneAware,
    pub original_dst: OriginalDst,
    pub max_requests_per_connection: Option<u32>,
    /// Connections are of one client's connection each (`connection_pool_per_downstream_connection`).
    pub apart: bool,
    /// Pooled connections: Envoy's default 1 h.
    /// After which a connection takes no more requests.
    pub max_connection_duration: Option<Duration>,
    /// Of a request and its answer, where the route does not say less.
    pub max_stream_duration: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    /// Its metadata, for logs.
    pub told: Option<Told>,
    /// Istio's `filter_metadata["istio"].services[0]`.
    pub service: Option<ServiceName>,
    /// Istio's `filter_metadata["istio"].external`: not of the mesh.
    pub external: bool,
    /// Its own ALPN names are offered, whatever a request asks for (`filter_metadata["istio"].alpn_override`).
    pub keeps_alpn: bool,
    /// What connections come from. None: as the kernel likes.
    pub bind: Option<Arc<Bind>>,
    /// Whether and how an idle connection is asked whether it is there.
    pub keepalive: Vec<SocketOption>,
    /// Of endpoints that have several addresses.
    pub address_order: AddressOrder,
    /// Connections for each request that is under way, where that is more than one.
    pub preconnect: Option<f64>,
    /// Sizes of requests and answers are counted.
    pub counts_sizes: bool,
    /// Bytes that a connection may hold for a slow reader. None: leno's own limits.
    pub buffer_limit: Option<u32>,
    /// The header whose value is the server's name in place of the authority, where names come from requests.
    pub sni_header: Option<String>,
    pub http1: UpstreamHttp1,
    pub http2: UpstreamHttp2,
    /// In place of the routes': empty where it says nothing.
    pub mirrors: Vec<MirrorPolicy>,
    /// In place of the routes'.
    pub retry: Option<Arc<RetryPolicy>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamHttp1 {
    pub header_case: HeaderCase,
    /// Requests name their whole URL, as to a proxy.
    pub whole_url: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamHttp2 {
    pub max_concurrent_streams: u32,
    pub initial_stream_window: u32,
    pub initial_connection_window: u32,
    /// None: peers are not asked whether they are there.
    pub keepalive: Option<Keepalive>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    pub host: String,
    pub name: String,
    pub namespace: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    Static(Arc<Assignment>),
    /// EDS, by this service name, from there.
    Eds(String, Source),
    StrictDns {
        assignment: Arc<Assignment>,
        resolving: Resolving,
    },
    /// One address stands for the name.
    LogicalDns {
        assignment: Arc<Assignment>,
        resolving: Resolving,
    },
    /// The connection's original destination.
    OriginalDst,
    /// The request's own host.
    DynamicForward(DynamicForward),
    /// The endpoints of these clusters, which come after each other.
    Aggregate(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct DynamicForward {
    pub cache: DnsCache,
    /// A server need not prove that it is the host.
    pub insecure: bool,
    /// How the addresses of a host share its requests, where each is an endpoint by itself (`sub_clusters_config`).
    pub each_address: Option<Box<BalancePolicy>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BalancePolicy {
    RoundRobin {
        slow_start: Option<SlowStart>,
    },
    LeastRequest(LeastRequest),
    Random,
    RingHash {
        minimum: u64,
        maximum: u64,
        function: HashFunction,
        hashing: Hashing,
    },
    Maglev {
        table_size: u64,
        hashing: Hashing,
    },
    ClientSide(ClientSide),
    PeakEwma(PeakEwma),
    /// The cluster says the destination itself (ORIGINAL_DST).
    ClusterProvided,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LeastRequest {
    pub choices: u32,
    /// All hosts are looked at, and not `choices` of them.
    pub full_scan: bool,
    /// How much requests under way count where weights differ: 0 not at all.
    pub bias: Setting<f64>,
    pub slow_start: Option<SlowStart>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    XxHash,
    /// With the seed of libstdc++'s `std::hash`.
    Murmur2,
}

/// What of an endpoint is hashed, where its metadata have no `hash_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKey {
    Address,
    Hostname,
}

/// Where an `ORIGINAL_DST` cluster sends to, besides the connection's own destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginalDst {
    /// The address in this header goes before it.
    pub header: Option<String>,
    /// What filters have noted at this path of a namespace goes before both.
    pub metadata: Option<Box<(String, Vec<String>)>>,
    /// In place of the destination's.
    pub port: Option<u16>,
}

impl OriginalDst {
    /// Where it is sent to that goes there.
    pub fn toward(&self, destination: Option<SocketAddr>) -> Option<SocketAddr> {
        let mut to = destination?;
        if let Some(port) = self.port {
            to.set_port(port);
        }
        Some(to)
    }
}

/// Of every policy that hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    pub key: HashKey,
    /// Percent of the mean load that an endpoint may have.
    pub bound: Option<u32>,
}

impl HashKey {
    fn of(use_hostname: bool) -> Self {
        match use_hostname {
            true => Self::Hostname,
            false => Self::Address,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    /// As the downstream request came.
    Downstream,
    /// By ALPN.
    Auto,
}

pub fn compile(
    message: &pb::Cluster,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<Cluster, Rejection> {
    compiling(files, warnings, |at| cluster(at, message))
}

pub(super) fn cluster(at: &At<'_>, message: &pb::Cluster) -> Result<Cluster, Rejection> {
    let pb::Cluster {
        transport_socket_matches,
        transport_socket_matcher,
        name,
        alt_stat_name,
        stats_matcher,
        eds_cluster_config: _,
        connect_timeout,
        per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout,
        lb_policy: _,
        load_assignment: _,
        health_checks,
        max_requests_per_connection,
        circuit_breakers,
        upstream_http_protocol_options: _,
        common_http_protocol_options: _,
        http_protocol_options: _,
        http2_protocol_options: _,
        typed_extension_protocol_options,
        dns_refresh_rate: _,
        dns_jitter: _,
        dns_failure_refresh_rate: _,
        respect_dns_ttl: _,
        dns_lookup_family: _,
        dns_resolvers: _,
        use_tcp_for_dns_lookups: _,
        dns_resolution_config: _,
        typed_dns_resolver_config: _,
        wait_for_warm_on_init,
        outlier_detection,
        cleanup_interval,
        upstream_bind_config,
        lb_subset_config,
        common_lb_config,
        transport_socket,
        metadata,
        protocol_selection: _,
        upstream_connection_options,
        close_connections_on_host_health_failure,
        ignore_health_on_host_removal,
        filters,
        load_balancing_policy: _,
        lrs_server,
        lrs_report_endpoint_metrics,
        track_timeout_budgets,
        upstream_config,
        track_cluster_stats,
        preconnect_policy,
        connection_pool_per_downstream_connection,
        queuing_policies,
        cluster_discovery_type: _,
        lb_config: _,
    } = message;
    refuse!(at; upstream_config, queuing_policies);
    no_effect!(at, "leno has its own statistics"; stats_matcher, lrs_server, lrs_report_endpoint_metrics,
        track_timeout_budgets);
    no_effect!(at, "not used"; cleanup_interval, per_connection_buffer_high_watermark_timeout);
    at.not_empty("name", name)?;
    at.each("filters", filters, filters::filter)?;
    let mut http = upstream_http(at, typed_extension_protocol_options, message)?;
    let mut common = balance::common(at, common_lb_config.as_ref())?;
    if let Some(subsets) = lb_subset_config {
        common.subsets = subset::older(&at.field("lb_subset_config"), subsets)?;
    }
    let discovery = discovery(at, message)?;
    dns::unused(at, message, &discovery);
    if let Discovery::DynamicForward(forward) = &discovery {
        custom::by_host(
            at,
            forward,
            typed_extension_protocol_options.is_empty(),
            &mut http,
        )?;
    }
    let balance = balance::policy(at, message, &discovery, &mut common)?;
    let transport = transport::sockets(
        at,
        transport_socket_matches,
        transport_socket_matcher.as_ref(),
        transport_socket.as_ref(),
        &http,
    )?;
    let (keepalive, address_order) = match upstream_connection_options {
        None => Default::default(),
        Some(options) => connections::options(&at.field("upstream_connection_options"), options)?,
    };
    let per_connection = max_requests_per_connection.as_ref().map(|most| most.value);
    let health_check = checked(at, health_checks, &discovery)?;
    Ok(Cluster {
        name: name.clone(),
        stat_name: if alt_stat_name.is_empty() {
            name
        } else {
            alt_stat_name
        }
        .clone(),
        discovery,
        waits_for_names: wait_for_warm_on_init.is_none_or(|waits| waits.value),
        balance,
        connect_timeout: at.positive("connect_timeout", connect_timeout, Duration::from_secs(5))?,
        limits: breakers::limits(at, circuit_breakers.as_ref())?,
        outlier: match outlier_detection {
            None => None,
            Some(detection) => Some(outlier::detection(&at.field("outlier_detection"), detection)?),
        },
        errors: http.errors,
        health_check,
        ignores_unchecked: common.ignores_unchecked,
        ignores_health_on_removal: *ignore_health_on_host_removal,
        closes_unwell: *close_connections_on_host_health_failure,
        closes_on_change: common.closes_on_change,
        transport,
        protocol: http.protocol,
        panic_threshold: common.panic_threshold,
        subsets: common.subsets,
        wished: common.wished,
        wishes: common.wishes,
        hash: match common.hash.is_empty() {
            true => http.hash,
            false => common.hash,
        },
        locality_weighted: common.locality_weighted,
        zone: common.zone,
        original_dst: common.original_dst,
        max_requests_per_connection: http
            .max_requests_per_connection
            .or(per_connection.filter(|most| *most > 0)),
        apart: *connection_pool_per_downstream_connection,
        idle_timeout: http.idle_timeout,
        max_connection_duration: http.max_connection_duration,
        max_stream_duration: http.max_stream_duration,
        told: Told::new(metadata.as_ref()),
        service: istio::service(metadata.as_ref()),
        external: istio::is_external(metadata.as_ref()),
        bind: match upstream_bind_config {
            None => None,
            Some(config) => Some(Arc::new(bind::bind(&at.field("upstream_bind_config"), config)?)),
        },
        keepalive,
        address_order,
        counts_sizes: match track_cluster_stats {
            None => false,
            Some(tracked) => counts_sizes(&at.field("track_cluster_stats"), tracked),
        },
        preconnect: match preconnect_policy {
            None => None,
            Some(policy) => connections::ahead(&at.field("preconnect_policy"), policy)?,
        },
        keeps_alpn: istio::keeps_alpn(metadata.as_ref()),
        buffer_limit: per_connection_buffer_limit_bytes
            .as_ref()
            .map(|limit| limit.value),
        sni_header: http.sni_header,
        http1: http.http1,
        http2: http.http2,
        mirrors: http.mirrors,
        retry: http.retry,
    })
}

fn counts_sizes(at: &At<'_>, message: &pb::TrackClusterStats) -> bool {
    let pb::TrackClusterStats {
        timeout_budgets,
        request_response_sizes,
        per_endpoint_stats,
    } = message;
    no_effect!(at, "leno has its own statistics"; timeout_budgets, per_endpoint_stats);
    *request_response_sizes
}

/// Who has no endpoints of its own has nobody to ask.
fn checked(
    at: &At<'_>,
    messages: &[core::HealthCheck],
    discovery: &Discovery,
) -> Result<Option<HealthCheck>, Rejection> {
    let check = health_check::only(at, messages)?;
    if check.is_some() && matches!(discovery, Discovery::OriginalDst | Discovery::Aggregate(_)) {
        let reason = "a cluster of this type has no endpoints of its own to ask";
        return Err(at.field("health_checks").reject(reason));
    }
    Ok(check)
}

fn upstream_http(
    at: &At<'_>,
    options: &std::collections::HashMap<String, protobuf::Any>,
    message: &pb::Cluster,
) -> Result<http::UpstreamHttp, Rejection> {
    let mut http = http::legacy(at, message)?;
    for (name, any) in options {
        let at = at.entry("typed_extension_protocol_options", name);
        http = http::options(&at, &at.unpack::<upstream_http::HttpProtocolOptions>(any)?)?;
    }
    Ok(http)
}

fn discovery(at: &At<'_>, message: &pb::Cluster) -> Result<Discovery, Rejection> {
    use pb::cluster::{ClusterDiscoveryType, DiscoveryType};
    // A cluster without endpoints is a black hole.
    let assignment = || -> Result<Arc<Assignment>, Rejection> {
        let empty = Default::default();
        let message = message.load_assignment.as_ref().unwrap_or(&empty);
        let assignment = endpoint::assignment(&at.field("load_assignment"), message)?;
        Ok(Arc::new(assignment))
    };
    let kind = match &message.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => at.choice("type", *kind)?,
        Some(ClusterDiscoveryType::ClusterType(kind)) => {
            return custom::extension(at, message, kind, assignment()?);
        }
    };
    Ok(match kind {
        DiscoveryType::Static => Discovery::Static(numeric(&at.field("load_assignment"), assignment()?)?),
        DiscoveryType::StrictDns => Discovery::StrictDns {
            assignment: assignment()?,
            resolving: dns::named(at, message)?,
        },
        DiscoveryType::LogicalDns => {
            let assignment = assignment()?;
            let endpoints = assignment
                .priorities
                .iter()
                .flatten()
                .flat_map(|locality| &locality.endpoints);
            if endpoints.count() != 1 {
                return Err(at
                    .field("load_assignment")
                    .reject("LOGICAL_DNS has exactly one endpoint"));
            }
            Discovery::LogicalDns {
                assignment,
                resolving: dns::named(at, message)?,
            }
        }
        DiscoveryType::Eds => {
            at.unsupported("load_assignment", &message.load_assignment)?;
            let pb::cluster::EdsClusterConfig {
                eds_config,
                service_name,
            } = at.required("eds_cluster_config", &message.eds_cluster_config)?;
            let source = config_source(&at.field("eds_cluster_config").field("eds_config"), eds_config)?;
            let name = match service_name.as_str() {
                "" => &message.name,
                name => name,
            };
            Discovery::Eds(name.to_owned(), source)
        }
        DiscoveryType::OriginalDst => {
            at.unsupported("load_assignment", &message.load_assignment)?;
            Discovery::OriginalDst
        }
    })
}

/// A static cluster's endpoints are addresses, not names.
fn numeric(at: &At<'_>, assignment: Arc<Assignment>) -> Result<Arc<Assignment>, Rejection> {
    let mut endpoints = assignment
        .priorities
        .iter()
        .flatten()
        .flat_map(|locality| &locality.endpoints);
    let named = endpoints.find_map(|endpoint| match &endpoint.address {
        endpoint::Target::Name { host, .. } => Some(host.clone()),
        endpoint::Target::Address(_) => None,
    });
    match named {
        Some(host) => Err(at.reject(format!("a static cluster needs IP addresses, not {host:?}"))),
        None => Ok(assignment),
    }
}
