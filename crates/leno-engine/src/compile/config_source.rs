//! `envoy.config.core.v3.ConfigSource`: where a resource comes from that is named and not there.

use std::time::Duration;

use leno_proto::google::protobuf;

use super::Rejection;
use super::at::{At, no_effect, refuse, silent};
use super::pb::core;

/// Envoy's default `initial_fetch_timeout`.
const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy's default `request_timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
const LEAST_POLL: Duration = Duration::from_millis(1);
/// Envoy's `RateLimitSettings` where they say nothing of their own.
const RATE_LIMIT: (u32, f64) = (100, 10.0);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub origin: Origin,
    /// How long what names the resource waits for it before it goes into force without. None: for ever.
    pub initial_fetch_timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The stream of the bootstrap's `ads_config`; `self` is the same.
    Ads,
    /// A stream of this type's own.
    Stream(ControlPlane),
    File(WatchedFile),
    Rest(Polled),
}

/// `api_type: REST`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Polled {
    /// Which static cluster is asked.
    pub cluster: String,
    /// So long after an answer, and up to as long again by chance.
    pub every: Duration,
    pub timeout: Duration,
}

/// A gRPC stream to a control plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ControlPlane {
    pub protocol: Protocol,
    /// The first that answers serves.
    pub services: Vec<Service>,
    /// Discovery requests: as many at once, and one more each so often.
    pub rate: Option<Rate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate {
    pub burst: u32,
    pub every: Duration,
}

/// `envoy_grpc`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Which static cluster it is.
    pub cluster: String,
    /// `:authority`; where nothing is said, the cluster's name.
    pub authority: String,
    /// Headers of each stream.
    pub metadata: Vec<(String, String)>,
}

/// How xDS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    StateOfTheWorld,
    Delta,
}

/// `path_config_source`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchedFile {
    pub path: String,
    /// A move into this directory tells of a change; None: a move to the path itself.
    pub directory: Option<WatchedDirectory>,
    /// Instead of being told: looked at so often.
    pub poll: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchedDirectory {
    pub path: String,
    /// A write in place tells of a change as well.
    pub writes: bool,
}

// === impl Source ===

impl Source {
    /// From ADS, waited for as long as by default.
    pub fn ads() -> Self {
        Self {
            origin: Origin::Ads,
            initial_fetch_timeout: Some(INITIAL_FETCH_TIMEOUT),
        }
    }
}

/// Whoever compiles does not fetch: the source says where.
pub(crate) fn config_source(at: &At<'_>, source: &Option<core::ConfigSource>) -> Result<Source, Rejection> {
    use core::config_source::ConfigSourceSpecifier as Specifier;
    let Some(core::ConfigSource {
        authorities,
        initial_fetch_timeout,
        resource_api_version,
        config_source_specifier,
    }) = source
    else {
        return Err(at.reject("required"));
    };
    refuse!(at; authorities);
    at.version("resource_api_version", *resource_api_version)?;
    let origin = match at.required("config_source_specifier", config_source_specifier)? {
        Specifier::Ads(core::AggregatedConfigSource {}) => Origin::Ads,
        Specifier::Self_(core::SelfConfigSource {
            transport_api_version,
        }) => {
            silent!("there is only v3"; transport_api_version);
            Origin::Ads
        }
        Specifier::Path(path) => {
            at.not_empty("path", path)?;
            Origin::File(WatchedFile {
                path: path.clone(),
                directory: None,
                poll: None,
            })
        }
        Specifier::PathConfigSource(file) => {
            Origin::File(watched_file(&at.field("path_config_source"), file)?)
        }
        Specifier::ApiConfigSource(api) => api_config_source(&at.field("api_config_source"), api)?,
    };
    Ok(Source {
        origin,
        initial_fetch_timeout: at.timeout(
            "initial_fetch_timeout",
            initial_fetch_timeout,
            Some(INITIAL_FETCH_TIMEOUT),
        )?,
    })
}

fn watched_file(at: &At<'_>, message: &core::PathConfigSource) -> Result<WatchedFile, Rejection> {
    let core::PathConfigSource {
        path,
        watched_directory,
        poll_interval,
    } = message;
    at.not_empty("path", path)?;
    let poll = at.duration("poll_interval", poll_interval)?;
    if poll.is_some_and(|poll| poll < LEAST_POLL) {
        return Err(at.field("poll_interval").reject("at least 1ms"));
    }
    if poll.is_some() && watched_directory.is_some() {
        let reason = "there is a watched_directory beside it";
        return Err(at.field("poll_interval").reject(reason));
    }
    let directory = match watched_directory {
        None => None,
        Some(core::WatchedDirectory { path, watch_modify }) => {
            let at = at.field("watched_directory");
            at.not_empty("path", path)?;
            Some(WatchedDirectory {
                path: path.clone(),
                writes: *watch_modify,
            })
        }
    };
    Ok(WatchedFile {
        path: path.clone(),
        directory,
        poll,
    })
}

/// The bootstrap's `ads_config`.
pub(crate) fn ads(at: &At<'_>, message: &core::ApiConfigSource) -> Result<ControlPlane, Rejection> {
    match api(at, message)? {
        Origin::Stream(control) => Ok(control),
        Origin::Ads | Origin::File(_) | Origin::Rest(_) => Err(at.field("api_type").reject("ADS is gRPC")),
    }
}

/// The bootstrap's `load_stats_config`: a stream without a protocol of its own.
pub(crate) fn load_stats(at: &At<'_>, message: &core::ApiConfigSource) -> Result<ControlPlane, Rejection> {
    match api(at, message)? {
        Origin::Stream(control) => Ok(control),
        Origin::Ads | Origin::File(_) | Origin::Rest(_) => {
            Err(at.field("api_type").reject("load is reported by gRPC"))
        }
    }
}

/// `AGGREGATED_*` are for `ads_config` alone.
fn api_config_source(at: &At<'_>, message: &core::ApiConfigSource) -> Result<Origin, Rejection> {
    use core::api_config_source::ApiType;
    match at.choice("api_type", message.api_type)? {
        ApiType::AggregatedGrpc | ApiType::AggregatedDeltaGrpc => {
            Err(at.field("api_type").reject("not supported here: use ads"))
        }
        _ => api(at, message),
    }
}

fn api(at: &At<'_>, message: &core::ApiConfigSource) -> Result<Origin, Rejection> {
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
    refuse!(at; config_validators);
    silent!("the node is always said in the first message only"; set_node_on_first_message_only);
    at.version("transport_api_version", *transport_api_version)?;
    let protocol = match at.choice("api_type", *api_type)? {
        ApiType::Grpc | ApiType::AggregatedGrpc => Protocol::StateOfTheWorld,
        ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc => Protocol::Delta,
        ApiType::DeprecatedAndUnavailableDoNotUse => {
            return Err(at.field("api_type").reject("required"));
        }
        ApiType::Rest => {
            refuse!(at; grpc_services);
            no_effect!(at, "REST is limited by its refresh_delay"; rate_limit_settings);
            return rest(at, cluster_names, refresh_delay, request_timeout).map(Origin::Rest);
        }
    };
    refuse!(at; cluster_names);
    no_effect!(at, "it is of REST only"; refresh_delay, request_timeout);
    if grpc_services.is_empty() {
        return Err(at.field("grpc_services").reject("required"));
    }
    Ok(Origin::Stream(ControlPlane {
        protocol,
        services: at.each("grpc_services", grpc_services, grpc_service)?,
        rate: match rate_limit_settings {
            None => None,
            Some(settings) => Some(rate(&at.field("rate_limit_settings"), settings)?),
        },
    }))
}

fn rest(
    at: &At<'_>,
    cluster_names: &[String],
    refresh_delay: &Option<protobuf::Duration>,
    request_timeout: &Option<protobuf::Duration>,
) -> Result<Polled, Rejection> {
    let [cluster] = cluster_names else {
        return Err(at.field("cluster_names").reject("exactly one is required"));
    };
    let every = at.duration("refresh_delay", refresh_delay)?;
    Ok(Polled {
        cluster: cluster.clone(),
        every: every
            .filter(|every| *every >= LEAST_POLL)
            .ok_or_else(|| at.field("refresh_delay").reject("required, and at least 1ms"))?,
        timeout: at
            .duration("request_timeout", request_timeout)?
            .unwrap_or(REQUEST_TIMEOUT),
    })
}

fn rate(at: &At<'_>, message: &core::RateLimitSettings) -> Result<Rate, Rejection> {
    let core::RateLimitSettings {
        max_tokens,
        fill_rate,
    } = message;
    let fill = fill_rate.as_ref().map_or(RATE_LIMIT.1, |rate| rate.value);
    // Envoy's least rate is one a year.
    let every = Duration::try_from_secs_f64(1.0 / fill);
    Ok(Rate {
        burst: max_tokens.as_ref().map_or(RATE_LIMIT.0, |max| max.value).max(1),
        every: every
            .ok()
            .filter(|every| !every.is_zero() && fill > 0.0)
            .ok_or_else(|| at.field("fill_rate").reject("must be more than zero"))?,
    })
}

pub(crate) fn grpc_service(at: &At<'_>, message: &core::GrpcService) -> Result<Service, Rejection> {
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
    } = match at.required("target_specifier", target_specifier)? {
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
        let key = at.field("key").header_name(key)?;
        Ok((key, value.clone()))
    })?;
    Ok(Service {
        cluster: cluster_name.clone(),
        authority: authority.clone(),
        metadata,
    })
}
