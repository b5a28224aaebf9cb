//! `RetryPolicy`.

use std::time::Duration;

use leno_proto::FromAny;

use crate::compile::Rejection;
use crate::compile::at::{At, refuse, silent};
use crate::compile::matcher::{self, HeaderMatcher};
use crate::compile::metadata::{self, Fields};
use crate::compile::pb::retry::{
    omit_canary_hosts::OmitCanaryHostsPredicate, omit_host_metadata::OmitHostMetadataConfig,
    previous_hosts::PreviousHostsPredicate, previous_priorities::PreviousPrioritiesConfig,
};
use crate::compile::pb::{core, route as pb};

#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    pub on: RetryOn,
    pub num_retries: u32,
    pub per_try_timeout: Option<Duration>,
    pub per_try_idle_timeout: Option<Duration>,
    pub status_codes: Vec<u16>,
    pub retriable_headers: Vec<HeaderMatcher>,
    /// Only requests that one of them matches are retried; none: all.
    pub request_headers: Vec<HeaderMatcher>,
    /// How long to wait is said by the answer.
    pub rate_limited: Option<RateLimited>,
    pub backoff_base: Duration,
    pub backoff_max: Duration,
    /// Hosts that another is picked in place of.
    pub omit: Vec<HostPredicate>,
    /// Priorities of earlier attempts are left out, looked at anew after so many.
    pub leave_priorities: Option<u32>,
    pub host_selection_attempts: u32,
}

/// `retry_host_predicate`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPredicate {
    /// Those of earlier attempts.
    Previous,
    /// With all of this in their metadata.
    Metadata(Fields),
}

/// `rate_limited_retry_back_off`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// The first that an answer has decides.
    pub resets: Vec<ResetHeader>,
    /// What is longer does not count.
    pub longest: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetHeader {
    /// In lower case.
    pub name: String,
    /// Seconds since 1970, and not from now on.
    pub unix: bool,
}

/// The conditions of `retry_on`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    pub five_xx: bool,
    pub gateway_error: bool,
    pub reset: bool,
    pub reset_before_request: bool,
    pub connect_failure: bool,
    pub retriable_4xx: bool,
    pub refused_stream: bool,
    pub retriable_status_codes: bool,
    pub retriable_headers: bool,
    pub envoy_ratelimited: bool,
    pub grpc_cancelled: bool,
    pub grpc_deadline_exceeded: bool,
    pub grpc_internal: bool,
    pub grpc_resource_exhausted: bool,
    pub grpc_unavailable: bool,
}

impl RetryOn {
    /// Either's conditions.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            five_xx: self.five_xx | other.five_xx,
            gateway_error: self.gateway_error | other.gateway_error,
            reset: self.reset | other.reset,
            reset_before_request: self.reset_before_request | other.reset_before_request,
            connect_failure: self.connect_failure | other.connect_failure,
            retriable_4xx: self.retriable_4xx | other.retriable_4xx,
            refused_stream: self.refused_stream | other.refused_stream,
            retriable_status_codes: self.retriable_status_codes | other.retriable_status_codes,
            retriable_headers: self.retriable_headers | other.retriable_headers,
            envoy_ratelimited: self.envoy_ratelimited | other.envoy_ratelimited,
            grpc_cancelled: self.grpc_cancelled | other.grpc_cancelled,
            grpc_deadline_exceeded: self.grpc_deadline_exceeded | other.grpc_deadline_exceeded,
            grpc_internal: self.grpc_internal | other.grpc_internal,
            grpc_resource_exhausted: self.grpc_resource_exhausted | other.grpc_resource_exhausted,
            grpc_unavailable: self.grpc_unavailable | other.grpc_unavailable,
        }
    }
}

impl Default for RetryPolicy {
    /// Nothing is retried; the rest is Envoy's defaults.
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            num_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Vec::new(),
            retriable_headers: Vec::new(),
            request_headers: Vec::new(),
            rate_limited: None,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            omit: Vec::new(),
            leave_priorities: None,
            host_selection_attempts: 0,
        }
    }
}

pub(crate) fn policy(at: &At<'_>, message: &pb::RetryPolicy) -> Result<RetryPolicy, Rejection> {
    let pb::RetryPolicy {
        retry_on,
        num_retries,
        per_try_timeout,
        per_try_idle_timeout,
        retry_priority,
        retry_host_predicate,
        retry_options_predicates,
        host_selection_retry_max_attempts,
        retriable_status_codes,
        retry_back_off,
        rate_limited_retry_back_off,
        retriable_headers,
        retriable_request_headers,
        refresh_cluster_on_retry,
    } = message;
    refuse!(at; retry_options_predicates, refresh_cluster_on_retry);
    let attempts = u32::try_from(*host_selection_retry_max_attempts).unwrap_or(0);
    let (backoff_base, backoff_max) = backoff(at, retry_back_off.as_ref())?;
    Ok(RetryPolicy {
        on: conditions(retry_on, &mut |word, why| {
            at.field("retry_on").warn(&format!("{word:?} {why}"))
        }),
        num_retries: num_retries.as_ref().map_or(1, |retries| retries.value),
        per_try_timeout: at.timeout("per_try_timeout", per_try_timeout, None)?,
        per_try_idle_timeout: at.timeout("per_try_idle_timeout", per_try_idle_timeout, None)?,
        status_codes: at.each("retriable_status_codes", retriable_status_codes, |at, code| {
            u16::try_from(*code).map_err(|_| at.reject(format!("not a status: {code}")))
        })?,
        retriable_headers: at.each("retriable_headers", retriable_headers, matcher::header)?,
        request_headers: at.each(
            "retriable_request_headers",
            retriable_request_headers,
            matcher::header,
        )?,
        rate_limited: match rate_limited_retry_back_off {
            None => None,
            Some(message) => Some(rate_limited(&at.field("rate_limited_retry_back_off"), message)?),
        },
        backoff_base,
        backoff_max,
        omit: at.each("retry_host_predicate", retry_host_predicate, host_predicate)?,
        leave_priorities: match retry_priority {
            None => None,
            Some(message) => Some(priority(&at.field("retry_priority"), message)?),
        },
        // Envoy's default is one pick; a bound, since each attempt is a pick on the request path.
        host_selection_attempts: attempts.min(100),
    })
}

fn host_predicate(
    at: &At<'_>,
    message: &pb::retry_policy::RetryHostPredicate,
) -> Result<HostPredicate, Rejection> {
    use pb::retry_policy::retry_host_predicate::ConfigType;
    let pb::retry_policy::RetryHostPredicate { name, config_type } = message;
    let any = match config_type {
        None if name == "envoy.retry_host_predicates.previous_hosts" => return Ok(HostPredicate::Previous),
        None => return Err(at.field("name").reject(format!("{name:?} is not supported"))),
        Some(ConfigType::TypedConfig(any)) => any,
    };
    let at = at.field("typed_config");
    if any.is::<PreviousHostsPredicate>() {
        let PreviousHostsPredicate {} = at.unpack(any)?;
        return Ok(HostPredicate::Previous);
    }
    if any.is::<OmitCanaryHostsPredicate>() {
        let OmitCanaryHostsPredicate {} = at.unpack(any)?;
        let canary = [("canary".to_owned(), metadata::Value::Bool(true))];
        return Ok(HostPredicate::Metadata(canary.into()));
    }
    if any.is::<OmitHostMetadataConfig>() {
        let OmitHostMetadataConfig { metadata_match } = at.unpack(any)?;
        let at = at.field("metadata_match");
        let filters = metadata_match.iter().flat_map(|one| one.filter_metadata.keys());
        for other in filters.filter(|filter| *filter != LB) {
            at.entry("filter_metadata", other)
                .warn("only that of envoy.lb is looked at");
        }
        refuse_typed(&at, metadata_match.as_ref())?;
        return Ok(HostPredicate::Metadata(metadata::of(metadata_match.as_ref(), LB)));
    }
    Err(at.unknown_extension(any))
}

/// What hosts are told apart by.
const LB: &str = "envoy.lb";

fn refuse_typed(at: &At<'_>, metadata: Option<&core::Metadata>) -> Result<(), Rejection> {
    let Some(core::Metadata {
        // The caller's.
        filter_metadata: _,
        typed_filter_metadata,
    }) = metadata
    else {
        return Ok(());
    };
    refuse!(at; typed_filter_metadata);
    Ok(())
}

/// After how many attempts the priorities of those before are left out.
fn priority(at: &At<'_>, message: &pb::retry_policy::RetryPriority) -> Result<u32, Rejection> {
    use pb::retry_policy::retry_priority::ConfigType;
    let pb::retry_policy::RetryPriority { name, config_type } = message;
    silent!("names are for people"; name);
    let ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    let at = at.field("typed_config");
    if !any.is::<PreviousPrioritiesConfig>() {
        return Err(at.unknown_extension(any));
    }
    let PreviousPrioritiesConfig { update_frequency } = at.unpack(any)?;
    match u32::try_from(update_frequency) {
        Ok(every @ 1..) => Ok(every),
        _ => Err(at.field("update_frequency").reject("more than 0")),
    }
}

fn backoff(
    at: &At<'_>,
    message: Option<&pb::retry_policy::RetryBackOff>,
) -> Result<(Duration, Duration), Rejection> {
    let default = Duration::from_millis(25);
    let Some(pb::retry_policy::RetryBackOff {
        base_interval,
        max_interval,
    }) = message
    else {
        return Ok((default, default * 10));
    };
    let at = at.field("retry_back_off");
    at.required("base_interval", base_interval)?;
    let base = at.positive("base_interval", base_interval, default)?;
    let most = at.positive("max_interval", max_interval, base.saturating_mul(10))?;
    if most < base {
        return Err(at.field("max_interval").reject("less than the base interval"));
    }
    Ok((base, most))
}

fn rate_limited(
    at: &At<'_>,
    message: &pb::retry_policy::RateLimitedRetryBackOff,
) -> Result<RateLimited, Rejection> {
    use pb::retry_policy::ResetHeaderFormat;
    let pb::retry_policy::RateLimitedRetryBackOff {
        reset_headers,
        max_interval,
    } = message;
    if reset_headers.is_empty() {
        return Err(at.field("reset_headers").reject("required"));
    }
    Ok(RateLimited {
        resets: at.each("reset_headers", reset_headers, |at, header| {
            let pb::retry_policy::ResetHeader { name, format } = header;
            at.not_empty("name", name)?;
            Ok(ResetHeader {
                name: name.to_ascii_lowercase(),
                unix: at.choice::<ResetHeaderFormat>("format", *format)? == ResetHeaderFormat::UnixTimestamp,
            })
        })?,
        longest: at.positive("max_interval", max_interval, Duration::from_secs(300))?,
    })
}

/// `retry_on`, and `x-envoy-retry-on` and `x-envoy-retry-grpc-on`. Words that are not known are passed over, as Envoy
/// does, but told.
pub(crate) fn conditions(text: &str, unknown: &mut dyn FnMut(&str, &str)) -> RetryOn {
    let mut on = RetryOn::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "5xx" => on.five_xx = true,
            "gateway-error" => on.gateway_error = true,
            "reset" => on.reset = true,
            "reset-before-request" => on.reset_before_request = true,
            "connect-failure" => on.connect_failure = true,
            "retriable-4xx" => on.retriable_4xx = true,
            "refused-stream" => on.refused_stream = true,
            "retriable-status-codes" => on.retriable_status_codes = true,
            "retriable-headers" => on.retriable_headers = true,
            "envoy-ratelimited" => on.envoy_ratelimited = true,
            "http3-post-connect-failure" => unknown(word, "is of HTTP/3, which is not spoken"),
            "cancelled" => on.grpc_cancelled = true,
            "deadline-exceeded" => on.grpc_deadline_exceeded = true,
            "internal" => on.grpc_internal = true,
            "resource-exhausted" => on.grpc_resource_exhausted = true,
            "unavailable" => on.grpc_unavailable = true,
            other => unknown(other, "is not a condition"),
        }
    }
    on
}
