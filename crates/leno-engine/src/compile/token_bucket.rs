//! `envoy.type.v3.TokenBucket`

use std::time::Duration;

use super::Rejection;
use super::at::At;
use super::pb::types;
use crate::decide::bucket::TokenBucket;

/// Envoy's shortest interval.
const SHORTEST: Duration = Duration::from_millis(50);

/// What buckets are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSize {
    pub most: u32,
    pub fill: u32,
    pub interval: Duration,
}

impl BucketSize {
    pub(crate) fn bucket(self) -> TokenBucket {
        TokenBucket::new(self.most, self.fill, self.interval)
    }
}

pub(crate) fn token_bucket(at: &At<'_>, message: &types::TokenBucket) -> Result<TokenBucket, Rejection> {
    size(at, message).map(BucketSize::bucket)
}

pub(crate) fn size(at: &At<'_>, message: &types::TokenBucket) -> Result<BucketSize, Rejection> {
    let types::TokenBucket {
        max_tokens,
        tokens_per_fill,
        fill_interval,
    } = message;
    if *max_tokens == 0 {
        return Err(at.field("max_tokens").reject("must be more than 0"));
    }
    let fill = tokens_per_fill.as_ref().map_or(1, |tokens| tokens.value);
    if fill == 0 {
        return Err(at.field("tokens_per_fill").reject("must be more than 0"));
    }
    at.required("fill_interval", fill_interval)?;
    let interval = at.positive("fill_interval", fill_interval, SHORTEST)?;
    if interval < SHORTEST {
        return Err(at.field("fill_interval").reject("50 ms at least"));
    }
    Ok(BucketSize {
        most: *max_tokens,
        fill,
        interval,
    })
}
