//! `circuit_breakers`.

use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse};
use crate::compile::pb::{cluster as pb, core, protobuf};

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
    /// To each endpoint (`per_host_thresholds`).
    pub max_connections_per_host: u32,
    /// How much is left is told by statistics.
    pub track_remaining: bool,
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
            max_connections_per_host: u32::MAX,
            track_remaining: false,
        }
    }
}

pub(super) fn limits(
    at: &At<'_>,
    message: Option<&pb::CircuitBreakers>,
) -> Result<CircuitBreakers, Rejection> {
    let mut limits = CircuitBreakers::default();
    let Some(pb::CircuitBreakers {
        thresholds,
        per_host_thresholds,
    }) = message
    else {
        return Ok(limits);
    };
    let at = &at.field("circuit_breakers");
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
            max_connections_per_host: limits.max_connections_per_host,
            track_remaining: *track_remaining,
        };
        Ok(())
    })?;
    at.each("per_host_thresholds", per_host_thresholds, |at, threshold| {
        per_host(at, threshold, &mut limits)
    })?;
    Ok(limits)
}

/// Of an endpoint only connections are limited, as in Envoy.
fn per_host(
    at: &At<'_>,
    message: &pb::circuit_breakers::Thresholds,
    limits: &mut CircuitBreakers,
) -> Result<(), Rejection> {
    let pb::circuit_breakers::Thresholds {
        priority,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        track_remaining,
        max_connection_pools,
    } = message;
    refuse!(at; max_pending_requests, max_requests, max_retries, retry_budget, max_connection_pools);
    no_effect!(at, "of endpoints nothing is told"; track_remaining);
    let limits = match at.choice("priority", *priority)? {
        core::RoutingPriority::Default => &mut limits.default,
        core::RoutingPriority::High => &mut limits.high,
    };
    if let Some(most) = max_connections {
        limits.max_connections_per_host = most.value;
    }
    Ok(())
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
