//! `envoy.filters.network.local_ratelimit`: a token a connection.

use std::time::Instant;

use leno_proto::google::protobuf::Any;

use super::{Admission, Kind, NetworkFilter};
use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::pb::network::local_ratelimit as pb;
use crate::compile::token_bucket::token_bucket;
use crate::decide::bucket::TokenBucket;
use crate::decide::rbac::Caller;
use crate::decide::tally::Tally;
use crate::flags::Flags;
use crate::runtime::Setting;

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
    parse,
};

#[derive(Debug)]
struct LocalRateLimit {
    bucket: TokenBucket,
    enabled: Setting<bool>,
    /// The name of a counter.
    limited: String,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn NetworkFilter>, Rejection> {
    let pb::LocalRateLimit {
        stat_prefix,
        token_bucket: bucket,
        runtime_enabled,
        share_key,
    } = &at.unpack::<pb::LocalRateLimit>(any)?;
    refuse!(at; share_key);
    let bucket = at.required("token_bucket", bucket)?;
    Ok(Box::new(LocalRateLimit {
        bucket: token_bucket(&at.field("token_bucket"), bucket)?,
        enabled: at.enabled(runtime_enabled.as_ref()),
        limited: format!("local_rate_limit.{stat_prefix}.rate_limited"),
    }))
}

impl NetworkFilter for LocalRateLimit {
    fn admit(&self, _caller: &Caller<'_>, now: Instant, tally: &dyn Tally) -> Admission {
        match !self.enabled.now() || self.bucket.take(now) {
            true => Admission::Admitted,
            false => {
                tally.alone(&self.limited);
                Admission::Refused {
                    details: "local_ratelimit_close".into(),
                    flags: Flags::default(),
                    denial: None,
                    delay: None,
                }
            }
        }
    }

    fn counts(&self) -> Vec<String> {
        vec![self.limited.clone()]
    }
}
