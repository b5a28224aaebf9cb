//! What both ways of naming a policy come to.

use std::sync::Arc;

use super::slow_start::{SlowStart, double};
use super::{
    BalancePolicy, HashFunction, Hashing, LeastRequest, OriginalDst, Statuses, SubsetConfig, ZoneAware,
};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::hash::HashPolicy;
use crate::compile::pb::{core, protobuf};

/// What is said beside the policy.
pub(super) struct Common {
    pub(super) panic_threshold: u32,
    pub(super) locality_weighted: bool,
    pub(super) zone: ZoneAware,
    pub(super) hashing: Hashing,
    pub(super) original_dst: OriginalDst,
    pub(super) subsets: Option<Arc<SubsetConfig>>,
    pub(super) ignores_unchecked: bool,
    pub(super) closes_on_change: bool,
    pub(super) wished: Statuses,
    pub(super) wishes: Option<Arc<[String]>>,
    pub(super) hash: Vec<HashPolicy>,
}

pub(super) fn least_request(
    at: &At<'_>,
    choice_count: Option<&protobuf::UInt32Value>,
    active_request_bias: Option<&core::RuntimeDouble>,
    full_scan: bool,
    slow_start: Option<SlowStart>,
) -> Result<BalancePolicy, Rejection> {
    let choices = choice_count.map_or(2, |count| count.value);
    if !(2..=1024).contains(&choices) {
        return Err(at
            .field("choice_count")
            .reject(format!("2 to 1024, not {choices}")));
    }
    Ok(BalancePolicy::LeastRequest(LeastRequest {
        choices,
        full_scan,
        bias: double(at, "active_request_bias", active_request_bias)?.unwrap_or(1.0.into()),
        slow_start,
    }))
}

/// Envoy's limit for rings.
const LARGEST_RING: u64 = 8 * 1024 * 1024;

pub(super) fn ring_hash(
    at: &At<'_>,
    minimum_ring_size: Option<&protobuf::UInt64Value>,
    maximum_ring_size: Option<&protobuf::UInt64Value>,
    function: HashFunction,
    hashing: Hashing,
) -> Result<BalancePolicy, Rejection> {
    let minimum = minimum_ring_size.map_or(1024, |size| size.value);
    let maximum = maximum_ring_size.map_or(LARGEST_RING, |size| size.value);
    if maximum > LARGEST_RING || maximum == 0 {
        return Err(at
            .field("maximum_ring_size")
            .reject(format!("1 to {LARGEST_RING}, not {maximum}")));
    }
    if minimum > maximum {
        return Err(at
            .field("minimum_ring_size")
            .reject(format!("more than the maximum, {maximum}")));
    }
    Ok(BalancePolicy::RingHash {
        minimum: minimum.max(1),
        maximum,
        function,
        hashing,
    })
}

pub(super) fn maglev(
    at: &At<'_>,
    table_size: Option<&protobuf::UInt64Value>,
    hashing: Hashing,
) -> Result<BalancePolicy, Rejection> {
    let size = table_size.map_or(65_537, |size| size.value);
    // The preference lists visit every place of the table only if its size is prime.
    if size > 5_000_011 || !is_prime(size) {
        return Err(at
            .field("table_size")
            .reject(format!("a prime up to 5000011, not {size}")));
    }
    Ok(BalancePolicy::Maglev {
        table_size: size,
        hashing,
    })
}

fn is_prime(n: u64) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

/// `hash_balance_factor`
pub(super) fn bound(
    at: &At<'_>,
    hash_balance_factor: Option<&protobuf::UInt32Value>,
) -> Result<Option<u32>, Rejection> {
    let factor = hash_balance_factor.map(|factor| factor.value);
    match factor {
        Some(percent) if percent < 100 => Err(at.field("hash_balance_factor").reject("at least 100")),
        factor => Ok(factor),
    }
}
