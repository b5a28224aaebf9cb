//! `envoy.filters.http.local_ratelimit`: a token bucket of the process for the requests of a listener, or of a route.

use std::sync::Arc;

use bytes::Bytes;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::access_log::NoValues;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::header::{self, HeaderOps};
use crate::compile::pb::{local_ratelimit as pb, protobuf, types};
use crate::compile::token_bucket;
use crate::decide::bucket::TokenBucket;
use crate::flags::Flag;
use crate::message::{Headers, LocalReply, RequestHead, ResponseHead, Version};

pub(super) const KIND: Kind = Kind {
    messages: &["envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"],
    parse,
};

#[derive(Debug)]
struct Factory(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    bucket: TokenBucket,
    status: u16,
    /// Parts in a million of the requests: that are counted, and of those that are refused.
    enabled: u32,
    enforced: u32,
    not_enforced_headers: HeaderOps,
    response_headers: HeaderOps,
    resource_exhausted: bool,
}

#[derive(Debug)]
struct Filter(Arc<Limit>);

/// Without a bucket it does nothing, and only routes limit.
fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let limit = limit(at, &at.unpack(any)?)?;
    Ok(Box::new(Factory(limit.map(Arc::new))))
}

fn limit(at: &At<'_>, message: &pb::LocalRateLimit) -> Result<Option<Limit>, Rejection> {
    let pb::LocalRateLimit {
        stat_prefix,
        status,
        token_bucket: bucket,
        filter_enabled,
        filter_enforced,
        request_headers_to_add_when_not_enforced,
        response_headers_to_add,
        descriptors,
        stage,
        local_rate_limit_per_downstream_connection,
        local_cluster_rate_limit,
        enable_x_ratelimit_headers,
        vh_rate_limits,
        always_consume_default_token_bucket,
        rate_limited_as_resource_exhausted,
        rate_limits,
        max_dynamic_descriptors,
        enable_retry_after_header,
    } = message;
    silent!("leno has its own statistics"; stat_prefix);
    refuse!(at; descriptors, local_rate_limit_per_downstream_connection, local_cluster_rate_limit,
        enable_x_ratelimit_headers, rate_limits, enable_retry_after_header);
    no_effect!(at, "there are no descriptors"; stage, vh_rate_limits, always_consume_default_token_bucket,
        max_dynamic_descriptors);
    let Some(bucket) = bucket else {
        return Ok(None);
    };
    let share = |field, message: &Option<_>| match message {
        None => Ok(0),
        Some(share) => at.field(field).runtime_fraction(share),
    };
    Ok(Some(Limit {
        bucket: token_bucket::token_bucket(&at.field("token_bucket"), bucket)?,
        status: match status {
            // As Envoy: what is no error is not taken for one.
            Some(types::HttpStatus {
                code: code @ 400..600,
            }) => u16::try_from(*code).unwrap_or(429),
            _ => 429,
        },
        enabled: share("filter_enabled", filter_enabled)?,
        enforced: share("filter_enforced", filter_enforced)?,
        not_enforced_headers: header::edits(
            at,
            &header::added(
                "request_headers_to_add_when_not_enforced",
                request_headers_to_add_when_not_enforced,
            ),
        )?,
        response_headers: header::edits(
            at,
            &header::added("response_headers_to_add", response_headers_to_add),
        )?,
        resource_exhausted: *rate_limited_as_resource_exhausted,
    }))
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        let route = per_route.and_then(|config| config.factory.as_any().downcast_ref::<Self>());
        let limit = Arc::clone(route.unwrap_or(self).0.as_ref()?);
        Some(Box::new(Filter(limit)))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let limit = &self.0;
        let (first, second) = (cx.random % 1_000_000, cx.random / 1_000_000 % 1_000_000);
        if first >= u64::from(limit.enabled) || limit.bucket.take((cx.clock)()) {
            return Step::Continue;
        }
        if second >= u64::from(limit.enforced) {
            limit.not_enforced_headers.edit_request(head, &NoValues);
            return Step::Continue;
        }
        let mut answer = ResponseHead {
            version: Version::Http11,
            status: limit.status,
            headers: Headers::default(),
        };
        limit.response_headers.edit_response(head, &mut answer, &NoValues);
        Step::Reply(LocalReply {
            status: limit.status,
            headers: answer.headers,
            body: Bytes::from_static(b"local_rate_limited"),
            details: "local_rate_limited".into(),
            flags: Flag::RateLimited.into(),
            grpc_status: limit.resource_exhausted.then_some(8),
        })
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}
