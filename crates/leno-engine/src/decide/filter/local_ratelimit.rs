//! `envoy.filters.http.local_ratelimit`: token buckets of the process for the requests of a listener, or of a route;
//! one for all of them, and one for each kind that a descriptor tells from the others.

mod buckets;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::buckets::Buckets;
use self::buckets::buckets;
use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::header::{self, HeaderOps};
use crate::compile::pb::{local_ratelimit as pb, protobuf, ratelimit, route, types};
use crate::compile::rate_limit::{RateLimit, RouteLimits, rate_limit};
use crate::decide::bucket::TokenBucket;
use crate::decide::rate_limit::Counted;
use crate::flags::Flag;
use crate::message::{Decimal, Headers, LocalReply, RequestHead, ResponseHead, Version};
use crate::runtime::{Setting, Share};

pub(super) const KIND: Kind = Kind {
    messages: &["envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"],
    parse,
};

#[derive(Debug)]
struct Factory(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    buckets: Buckets,
    /// Each connection has buckets of its own.
    per_connection: bool,
    counted: Descriptors,
    status: u16,
    /// Of the requests: that are counted, and of those that are refused.
    enabled: Setting<Share>,
    enforced: Setting<Share>,
    not_enforced_headers: HeaderOps,
    response_headers: HeaderOps,
    resource_exhausted: bool,
    /// `x-ratelimit-limit`, `-remaining` and `-reset`
    tells: bool,
    /// `retry-after`
    retry_after: bool,
    names: Names,
}

/// Of counters.
#[derive(Debug)]
struct Names {
    enabled: String,
    ok: String,
    rate_limited: String,
    enforced: String,
    shadow_mode: String,
}

/// As what requests are counted.
#[derive(Debug)]
enum Descriptors {
    Own(Vec<RateLimit>),
    /// As the route says of this stage.
    Route {
        stage: u32,
        host: Host,
    },
}

/// When that counts which the virtual host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    /// Where the route says nothing.
    Otherwise,
    Too,
    Never,
}

#[derive(Debug)]
struct Filter {
    limit: Arc<Limit>,
    /// What the answer tells of.
    told: Option<Arc<TokenBucket>>,
}

/// Without a bucket it does nothing, and only routes limit.
fn parse(at: &At<'_>, any: &protobuf::Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let limit = limit(at, &at.unpack(any)?)?;
    Ok(Box::new(Factory(limit.map(Arc::new))))
}

fn limit(at: &At<'_>, message: &pb::LocalRateLimit) -> Result<Option<Limit>, Rejection> {
    let pb::LocalRateLimit {
        stat_prefix,
        status,
        token_bucket: _,
        filter_enabled,
        filter_enforced,
        request_headers_to_add_when_not_enforced,
        response_headers_to_add,
        descriptors: _,
        stage,
        local_rate_limit_per_downstream_connection,
        local_cluster_rate_limit,
        enable_x_ratelimit_headers,
        vh_rate_limits,
        always_consume_default_token_bucket: _,
        rate_limited_as_resource_exhausted,
        rate_limits,
        max_dynamic_descriptors: _,
        enable_retry_after_header,
    } = message;
    let name = |what: &str| format!("{stat_prefix}.http_local_rate_limit.{what}");
    refuse!(at; local_cluster_rate_limit);
    let share = |field, message: &Option<_>| match message {
        None => Ok(Share(0).into()),
        Some(share) => at.field(field).runtime_fraction(share),
    };
    let counted = descriptors(at, rate_limits, *stage, *vh_rate_limits)?;
    let tells = match at.choice("enable_x_ratelimit_headers", *enable_x_ratelimit_headers)? {
        ratelimit::XRateLimitHeadersRfcVersion::Off => false,
        ratelimit::XRateLimitHeadersRfcVersion::DraftVersion03 => true,
    };
    let Some(buckets) = buckets(at, message)? else {
        return Ok(None);
    };
    Ok(Some(Limit {
        buckets,
        per_connection: *local_rate_limit_per_downstream_connection,
        counted,
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
        tells,
        retry_after: *enable_retry_after_header,
        names: Names {
            enabled: name("enabled"),
            ok: name("ok"),
            rate_limited: name("rate_limited"),
            enforced: name("enforced"),
            shadow_mode: name("shadow_mode"),
        },
    }))
}

fn descriptors(
    at: &At<'_>,
    own: &[route::RateLimit],
    stage: u32,
    host: i32,
) -> Result<Descriptors, Rejection> {
    if stage > 10 {
        return Err(at.field("stage").reject(format!("0 to 10, not {stage}")));
    }
    let host = match at.choice("vh_rate_limits", host)? {
        ratelimit::VhRateLimitsOptions::Override => Host::Otherwise,
        ratelimit::VhRateLimitsOptions::Include => Host::Too,
        ratelimit::VhRateLimitsOptions::Ignore => Host::Never,
    };
    if own.is_empty() {
        return Ok(Descriptors::Route { stage, host });
    }
    if stage != 0 {
        at.field("stage").warn("rate_limits of its own have no stage");
    }
    if host != Host::Otherwise {
        at.field("vh_rate_limits").warn("it has rate_limits of its own");
    }
    let own = at.each("rate_limits", own, |at, one| {
        // As in Envoy.
        if one.stage.is_some() {
            return Err(at.field("stage").reject("only routes' rate limits have a stage"));
        }
        rate_limit(at, one)
    })?;
    Ok(Descriptors::Own(own))
}

// === impl Descriptors ===

impl Descriptors {
    fn of<'l>(&'l self, route: Option<&'l RouteLimits>) -> impl Iterator<Item = &'l RateLimit> {
        let (first, second, stage): (&[RateLimit], &[RateLimit], u32) = match (self, route) {
            (Self::Own(own), _) => (own, &[], 0),
            (Self::Route { .. }, None) => (&[], &[], 0),
            (Self::Route { stage, host }, Some(limits)) => {
                let counts = match host {
                    _ if limits.include_host => true,
                    Host::Otherwise => limits.route.is_empty(),
                    Host::Too => true,
                    Host::Never => false,
                };
                (&limits.route, if counts { &limits.host } else { &[] }, *stage)
            }
        };
        first
            .iter()
            .chain(second)
            .filter(move |limit| limit.stage == stage)
    }
}

impl FilterFactory for Factory {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        let route = per_route.and_then(|config| config.factory.as_any().downcast_ref::<Self>());
        let limit = Arc::clone(route.unwrap_or(self).0.as_ref()?);
        Some(Box::new(Filter { limit, told: None }))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HttpFilter for Filter {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        let limit = &*self.limit;
        if !limit.enabled.now().takes(cx.random) {
            return Step::Continue;
        }
        cx.tally.alone(&limit.names.enabled);
        let now = (cx.clock)();
        let buckets: &Buckets = match limit.per_connection {
            // As in Envoy, a connection has those of the first that asks.
            true => cx
                .connection
                .limits
                .0
                .get_or_init(|| Box::new(limit.buckets.anew())),
            false => &limit.buckets,
        };
        let described = buckets.has_descriptors();
        let limits = limit.counted.of(cx.route_limits).filter(|_| described);
        let request = Counted {
            head,
            cluster: cx.cluster,
            remote: cx.remote.ip(),
        };
        let taken = buckets.take(limits, &request, now);
        if taken.shadowed {
            cx.tally.alone(&limit.names.shadow_mode);
        }
        let tells = taken.tell.unwrap_or(limit.tells);
        let wait = taken.bucket.as_ref().map(|bucket| bucket.until_next(now));
        self.told = taken.bucket.filter(|_| tells);
        if taken.allowed {
            cx.tally.alone(&limit.names.ok);
            return Step::Continue;
        }
        cx.tally.alone(&limit.names.rate_limited);
        if !limit.enforced.now().takes(cx.random / 1_000_000) {
            limit.not_enforced_headers.edit_request(head, cx.values);
            return Step::Continue;
        }
        cx.tally.alone(&limit.names.enforced);
        let mut answer = ResponseHead {
            version: Version::Http11,
            status: limit.status,
            headers: Headers::default(),
        };
        if let Some(wait) = wait.filter(|_| limit.retry_after) {
            answer
                .headers
                .append("retry-after", Decimal::from(seconds(wait).max(1)));
        }
        limit.response_headers.edit_response(head, &mut answer, cx.values);
        Step::Reply(LocalReply {
            status: limit.status,
            headers: answer.headers,
            body: Bytes::from_static(b"local_rate_limited"),
            details: "local_rate_limited".into(),
            flags: Flag::RateLimited.into(),
            grpc_status: limit.resource_exhausted.then_some(8),
        })
    }

    fn on_response_headers(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead, _end: bool) -> Step {
        if let Some(bucket) = &self.told {
            let now = (cx.clock)();
            let headers = &mut head.headers;
            headers.append("x-ratelimit-limit", Decimal::from(bucket.most()));
            headers.append("x-ratelimit-remaining", Decimal::from(bucket.left(now)));
            headers.append(
                "x-ratelimit-reset",
                Decimal::from(seconds(bucket.until_next(now))),
            );
        }
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}

/// Whole seconds, upwards.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
