//! `envoy.filters.http.health_check`: answers health checks of the proxy itself, or remembers the upstream's answers.
//!
//! Where somebody wants health checks to fail (`/healthcheck/fail`), they do, and every answer tells the caller to look
//! elsewhere at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_proto::google::protobuf::Any;

use super::{Context, FilterConfig, FilterFactory, HttpFilter, Kind, Membership, Step};
use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::matcher::{self, HeaderMatcher};
use crate::compile::pb::{health_check as pb, types};
use crate::flags::{Flag, Flags};
use crate::message::{Headers, LocalReply, RequestHead, ResponseHead};

pub(super) const KIND: Kind = Kind {
    messages: &["envoy.extensions.filters.http.health_check.v3.HealthCheck"],
    parse,
};

const CHECKED_CLUSTER: &str = "x-envoy-upstream-healthchecked-cluster";
const IMMEDIATE_FAIL: &str = "x-envoy-immediate-health-check-fail";
const DEGRADED: &str = "x-envoy-degraded";

#[derive(Clone, Debug)]
struct HealthCheck {
    /// What is asked goes to the upstream.
    pass_through: bool,
    /// Which requests are health checks.
    headers: Arc<[HeaderMatcher]>,
    /// So many percent of a cluster's endpoints have to be well.
    clusters: Arc<[(String, u64)]>,
    /// The upstream's last answer; all workers'.
    cache: Option<Arc<Cache>>,
}

#[derive(Debug)]
struct Cache {
    time: Duration,
    last: Mutex<Option<Remembered>>,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    at: Instant,
    status: u16,
    degraded: bool,
}

/// One request.
#[derive(Debug)]
struct Checking {
    config: HealthCheck,
    is_check: bool,
    /// The answer is the upstream's.
    passed: bool,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let pb::HealthCheck {
        pass_through_mode,
        cache_time,
        cluster_min_healthy_percentages,
        headers,
    } = &at.unpack::<pb::HealthCheck>(any)?;
    let pass_through = at.required("pass_through_mode", pass_through_mode)?.value;
    let time = at.timeout("cache_time", cache_time, None)?;
    if !pass_through && time.is_some() {
        return Err(at
            .field("cache_time")
            .reject("there is nothing to remember without pass_through_mode"));
    }
    if pass_through && !cluster_min_healthy_percentages.is_empty() {
        return Err(at
            .field("cluster_min_healthy_percentages")
            .reject("of no account with pass_through_mode"));
    }
    let mut clusters = Vec::new();
    for (name, types::Percent { value }) in cluster_min_healthy_percentages {
        if !(0.0..=100.0).contains(value) {
            let at = at.entry("cluster_min_healthy_percentages", name);
            return Err(at.reject("0 to 100"));
        }
        clusters.push((name.clone(), *value as u64));
    }
    clusters.sort();
    Ok(Box::new(HealthCheck {
        pass_through,
        headers: at.each("headers", headers, matcher::header)?.into(),
        clusters: clusters.into(),
        cache: time.map(|time| {
            Arc::new(Cache {
                time,
                last: Mutex::default(),
            })
        }),
    }))
}

// === impl HealthCheck ===

impl FilterFactory for HealthCheck {
    fn start(&self, _per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Checking {
            config: self.clone(),
            is_check: false,
            passed: false,
        }))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl HealthCheck {
    /// Status and details.
    fn answer(&self, cx: &Context<'_>) -> (u16, &'static str) {
        for (cluster, least) in self.clusters.iter() {
            let Some(Membership { well, all }) = cx.process.membership(cluster) else {
                return (503, "health_check_failed_no_cluster_found");
            };
            if all == 0 && *least > 0 {
                return (503, "health_check_failed_cluster_empty");
            }
            if well * 100 < all * least {
                return (503, "health_check_failed_cluster_unhealthy");
            }
        }
        match self.clusters.is_empty() {
            true => (200, "health_check_ok"),
            false => (200, "health_check_ok_cluster_healthy"),
        }
    }
}

// === impl Cache ===

impl Cache {
    fn last(&self) -> MutexGuard<'_, Option<Remembered>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Checking ===

impl HttpFilter for Checking {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        self.is_check = self
            .config
            .headers
            .iter()
            .all(|header| header.matches_request(head));
        if !self.is_check {
            return Step::Continue;
        }
        cx.flags.mark_health_check();
        if cx.process.fails_health_checks() {
            return reply(503, "health_check_failed", false);
        }
        if !self.config.pass_through {
            let (status, details) = self.config.answer(cx);
            return reply(status, details, false);
        }
        let now = (cx.clock)();
        let fresh = self.config.cache.as_ref().and_then(|cache| {
            let last = *cache.last();
            last.filter(|last| now.saturating_duration_since(last.at) < cache.time)
        });
        match fresh {
            Some(last) => reply(last.status, "health_check_cached", last.degraded),
            None => {
                self.passed = true;
                Step::Continue
            }
        }
    }

    fn on_response_headers(&mut self, cx: &mut Context<'_>, head: &mut ResponseHead, _end: bool) -> Step {
        if cx.process.fails_health_checks() {
            head.headers.set(IMMEDIATE_FAIL, "true");
        }
        if !self.is_check {
            return Step::Continue;
        }
        if let Some(cache) = self.config.cache.as_ref().filter(|_| self.passed) {
            *cache.last() = Some(Remembered {
                at: (cx.clock)(),
                status: head.status,
                degraded: head.headers.contains(DEGRADED),
            });
        }
        head.headers.set(
            CHECKED_CLUSTER,
            Bytes::copy_from_slice(cx.process.cluster_name().as_bytes()),
        );
        Step::Continue
    }

    fn sees_bodies(&self) -> bool {
        false
    }
}

fn reply(status: u16, details: &'static str, degraded: bool) -> Step {
    let mut headers = Headers::default();
    if degraded {
        headers.append(DEGRADED, "");
    }
    let failed = !(200..300).contains(&status);
    Step::Reply(LocalReply {
        status,
        headers,
        body: Bytes::new(),
        details: details.into(),
        flags: match failed {
            true => Flag::FailedLocalHealthCheck.into(),
            false => Flags::default(),
        },
        grpc_status: None,
    })
}
