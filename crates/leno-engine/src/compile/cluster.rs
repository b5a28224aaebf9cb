//! `envoy.config.cluster.v3.Cluster`.

mod balance;
pub mod dns;
mod filters;
pub mod health_check;
mod http;
mod outlier;
mod policy;
mod settings;
mod slow_start;
mod sources;
mod subset;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::at::{At, compiling, no_effect, refuse};
use super::config_source::{Source, config_source};
use super::endpoint::{self, Assignment};
use super::pb::{aggregate, cluster as pb, core, dns_cluster, protobuf, upstream_http};
use leno_proto::FromAny;

use super::{Files, Rejection, Warnings};
use crate::runtime::Setting;
use dns::Resolving;
pub use health_check::HealthCheck;
pub use outlier::{Compared, Consecutive, OutlierDetection};
pub use slow_start::SlowStart;
pub use subset::{Fallback, Selector, SubsetConfig};
pub use transport::{Introduced, Transport, TransportSockets};

#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub name: String,
    /// `alt_stat_name`, else the name.
    pub stat_name: String,
    pub discovery: Discovery,
    pub balance: BalancePolicy,
    pub connect_timeout: Duration,
    pub limits: CircuitBreakers,
    pub outlier: Option<OutlierDetection>,
    pub health_check: Option<HealthCheck>,
    /// Endpoints that have never been checked do not count as unhealthy ones.
    pub ignores_unchecked: bool,
    /// An endpoint that discovery takes away goes, however well it is.
    pub ignores_health_on_removal: bool,
    pub transport: TransportSockets,
    pub protocol: UpstreamProtocol,
    /// Percent; below this share of healthy hosts all are used. Envoy's default 50.
    pub panic_threshold: u32,
    pub subsets: Option<Arc<SubsetConfig>>,
    /// `locality_weighted_lb_config`: localities share a priority's load by their weights.
    pub locality_weighted: bool,
    pub max_requests_per_connection: Option<u32>,
    /// Pooled connections: Envoy's default 1 h.
    /// After which a connection takes no more requests.
    pub max_connection_duration: Option<Duration>,
    /// Of a request and its answer, where the route does not say less.
    pub max_stream_duration: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    /// Istio's `filter_metadata["istio"].services[0]`.
    pub service: Option<ServiceName>,
    /// Istio's `filter_metadata["istio"].external`: not of the mesh.
    pub external: bool,
    /// Its own ALPN names are offered, whatever a request asks for (`filter_metadata["istio"].alpn_override`).
    pub keeps_alpn: bool,
    /// What connections come from: the first of the family of where they go. None: as the kernel likes.
    pub sources: Vec<SocketAddr>,
    /// Bytes that a connection may hold for a slow reader. None: leno's own limits.
    pub buffer_limit: Option<u32>,
    pub http2: UpstreamHttp2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamHttp2 {
    pub max_concurrent_streams: u32,
    pub initial_stream_window: u32,
    pub initial_connection_window: u32,
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
    /// The endpoints of these clusters, which come after each other.
    Aggregate(Vec<String>),
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
        key: HashKey,
    },
    Maglev {
        table_size: u64,
        key: HashKey,
    },
    /// The cluster says the destination itself (ORIGINAL_DST), at this port where it is another.
    ClusterProvided {
        port: Option<u16>,
    },
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

impl HashKey {
    fn of(use_hostname: bool) -> Self {
        match use_hostname {
            true => Self::Hostname,
            false => Self::Address,
        }
    }
}

/// Limits of each priority; per process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CircuitBreakers {
    pub default: Thresholds,
    pub high: Thresholds,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    pub max_connections: u32,
    pub max_pending_requests: u32,
    pub max_requests: u32,
    pub max_retries: u32,
    /// In place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
}

/// How many retries there may be for so many requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Percent of the requests that are under way or wait.
    pub percent: f64,
    /// So many always.
    pub minimum: u32,
}

impl Default for RetryBudget {
    /// Envoy's.
    fn default() -> Self {
        Self {
            percent: 20.0,
            minimum: 3,
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
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
        upstream_http_protocol_options,
        common_http_protocol_options,
        http_protocol_options,
        http2_protocol_options,
        typed_extension_protocol_options,
        dns_refresh_rate: _,
        dns_jitter,
        dns_failure_refresh_rate: _,
        respect_dns_ttl,
        dns_lookup_family: _,
        dns_resolvers,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        wait_for_warm_on_init,
        outlier_detection,
        cleanup_interval,
        upstream_bind_config,
        lb_subset_config,
        common_lb_config,
        transport_socket,
        metadata,
        protocol_selection,
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
    refuse!(at; close_connections_on_host_health_failure, transport_socket_matcher, protocol_selection, upstream_config, dns_resolvers,
        dns_resolution_config, typed_dns_resolver_config, use_tcp_for_dns_lookups,
        upstream_http_protocol_options, common_http_protocol_options, http_protocol_options,
        connection_pool_per_downstream_connection, queuing_policies);
    no_effect!(at, "leno has its own statistics"; stats_matcher, lrs_server, lrs_report_endpoint_metrics,
        track_timeout_budgets, track_cluster_stats);
    no_effect!(at, "not used"; dns_jitter, respect_dns_ttl, wait_for_warm_on_init,
        cleanup_interval, preconnect_policy, per_connection_buffer_high_watermark_timeout,
        upstream_connection_options);
    at.not_empty("name", name)?;
    at.each("filters", filters, filters::filter)?;
    let mut http = upstream_http(at, typed_extension_protocol_options)?;
    if let Some(http2) = http2_protocol_options {
        http::legacy_http2(&at.field("http2_protocol_options"), http2, &mut http)?;
    }
    let mut common = balance::common(at, common_lb_config.as_ref())?;
    if let Some(subsets) = lb_subset_config {
        common.subsets = subset::older(&at.field("lb_subset_config"), subsets)?;
    }
    let discovery = discovery(at, message)?;
    let balance = balance::policy(at, message, &discovery, &mut common)?;
    let transport = transport::sockets(at, transport_socket_matches, transport_socket.as_ref(), &http)?;
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
        balance,
        connect_timeout: at.positive("connect_timeout", connect_timeout, Duration::from_secs(5))?,
        limits: limits(at, circuit_breakers.as_ref())?,
        outlier: match outlier_detection {
            None => None,
            Some(detection) => Some(outlier::detection(&at.field("outlier_detection"), detection)?),
        },
        health_check,
        ignores_unchecked: common.ignores_unchecked,
        ignores_health_on_removal: *ignore_health_on_host_removal,
        transport,
        protocol: http.protocol,
        panic_threshold: common.panic_threshold,
        subsets: common.subsets,
        locality_weighted: common.locality_weighted,
        max_requests_per_connection: http
            .max_requests_per_connection
            .or(per_connection.filter(|most| *most > 0)),
        idle_timeout: http.idle_timeout,
        max_connection_duration: http.max_connection_duration,
        max_stream_duration: http.max_stream_duration,
        service: service(metadata.as_ref()),
        external: is_external(metadata.as_ref()),
        sources: match upstream_bind_config {
            None => Vec::new(),
            Some(config) => sources::sources(&at.field("upstream_bind_config"), config)?,
        },
        keeps_alpn: keeps_alpn(metadata.as_ref()),
        buffer_limit: per_connection_buffer_limit_bytes
            .as_ref()
            .map(|limit| limit.value),
        http2: http.http2,
    })
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
) -> Result<http::UpstreamHttp, Rejection> {
    let mut http = http::UpstreamHttp::default();
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
        Some(ClusterDiscoveryType::ClusterType(custom)) => return extension(at, custom, assignment()?),
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

/// A kind of cluster that is an extension.
fn extension(
    at: &At<'_>,
    message: &pb::cluster::CustomClusterType,
    assignment: Arc<Assignment>,
) -> Result<Discovery, Rejection> {
    let at = at.field("cluster_type");
    let pb::cluster::CustomClusterType { name, typed_config } = message;
    let Some(any) = typed_config else {
        return Err(at.reject(format!("{name:?} is not supported")));
    };
    let at = at.field("typed_config");
    if any.is::<dns_cluster::DnsCluster>() {
        return dns::typed(&at, any, assignment);
    }
    let unused = assignment.priorities.is_empty();
    if any.is::<aggregate::ClusterConfig>() && unused {
        let aggregate::ClusterConfig { clusters } = at.unpack(any)?;
        if clusters.is_empty() {
            return Err(at.field("clusters").reject("required"));
        }
        return Ok(Discovery::Aggregate(clusters));
    }
    Err(at.unknown_extension(any))
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

fn limits(at: &At<'_>, message: Option<&pb::CircuitBreakers>) -> Result<CircuitBreakers, Rejection> {
    let mut limits = CircuitBreakers::default();
    let Some(pb::CircuitBreakers {
        thresholds,
        per_host_thresholds,
    }) = message
    else {
        return Ok(limits);
    };
    let at = &at.field("circuit_breakers");
    refuse!(at; per_host_thresholds);
    at.each("thresholds", thresholds, |at, threshold| {
        let pb::circuit_breakers::Thresholds {
            priority,
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
            retry_budget,
            track_remaining,
            max_connection_pools,
        } = threshold;
        no_effect!(at, "leno has its own statistics"; track_remaining);
        no_effect!(at, "pools are one a worker and endpoint"; max_connection_pools);
        let limits = match at.choice("priority", *priority)? {
            core::RoutingPriority::Default => &mut limits.default,
            core::RoutingPriority::High => &mut limits.high,
        };
        let or =
            |said: &Option<protobuf::UInt32Value>, default: u32| said.as_ref().map_or(default, |v| v.value);
        *limits = Thresholds {
            max_connections: or(max_connections, limits.max_connections),
            max_pending_requests: or(max_pending_requests, limits.max_pending_requests),
            max_requests: or(max_requests, limits.max_requests),
            max_retries: or(max_retries, limits.max_retries),
            retry_budget: match retry_budget {
                None => None,
                Some(budget) => Some(self::retry_budget(&at.field("retry_budget"), budget)?),
            },
        };
        Ok(())
    })?;
    Ok(limits)
}

fn retry_budget(
    at: &At<'_>,
    message: &pb::circuit_breakers::thresholds::RetryBudget,
) -> Result<RetryBudget, Rejection> {
    let pb::circuit_breakers::thresholds::RetryBudget {
        budget_percent,
        min_retry_concurrency,
        budget_interval,
    } = message;
    refuse!(at; budget_interval);
    let percent = budget_percent.as_ref().map_or(20.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&percent) {
        return Err(at.field("budget_percent").reject("0 to 100"));
    }
    Ok(RetryBudget {
        percent,
        minimum: min_retry_concurrency.as_ref().map_or(3, |minimum| minimum.value),
    })
}

fn istio(metadata: Option<&core::Metadata>) -> Option<&protobuf::Struct> {
    metadata?.filter_metadata.get("istio")
}

/// `filter_metadata["istio"].services[0]`
fn service(metadata: Option<&core::Metadata>) -> Option<ServiceName> {
    use protobuf::value::Kind;
    let Some(Kind::ListValue(services)) = &istio(metadata)?.fields.get("services")?.kind else {
        return None;
    };
    let Some(Kind::StructValue(first)) = &services.values.first()?.kind else {
        return None;
    };
    let text = |name: &str| match first.fields.get(name).and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text.clone(),
        _ => String::new(),
    };
    Some(ServiceName {
        host: text("host"),
        name: text("name"),
        namespace: text("namespace"),
    })
}

/// Istio's word that the names of the cluster's own context are offered, whatever a request asks for.
fn keeps_alpn(metadata: Option<&core::Metadata>) -> bool {
    let said = istio(metadata).and_then(|istio| istio.fields.get("alpn_override"));
    let is_false = |kind: &protobuf::value::Kind| match kind {
        protobuf::value::Kind::StringValue(text) => text == "false",
        _ => false,
    };
    said.and_then(|value| value.kind.as_ref()).is_some_and(is_false)
}

/// `filter_metadata["istio"].external`
fn is_external(metadata: Option<&core::Metadata>) -> bool {
    let external = istio(metadata).and_then(|istio| istio.fields.get("external"));
    external.and_then(|value| value.kind.as_ref()) == Some(&protobuf::value::Kind::BoolValue(true))
}
