//! `envoy.filters.http.fault`: delays and aborts for a share of the requests.
//!
//! Whether to delay and whether to abort are drawn independently; a delay comes first. Faults asked for by request
//! headers (`x-envoy-fault-*`) happen only where the configuration allows it (`header_delay`, `header_abort`), and
//! for no greater share than it says. An answer that shall come slowly has each piece of its body wait for its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use leno_proto::google::protobuf::Any;

use super::{Context, Effect, EffectResult, FilterConfig, FilterFactory, Foretold, HttpFilter, Kind, Step};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::matcher::{self, HeaderMatcher};
use crate::compile::pb::{fault as pb, fault_delay};
use crate::flags::Flag;
use crate::message::{Headers, LocalReply, RequestHead};
use crate::runtime::{Key, Readable, Setting, Share, said_or};

pub(super) const KIND: Kind = Kind {
    messages: &["envoy.extensions.filters.http.fault.v3.HTTPFault"],
    parse,
};

#[derive(Debug)]
struct Fault {
    delay: Option<(Delay, Share)>,
    abort: Option<(Abort, Share)>,
    keys: Keys,
    slow: Option<(Throughput, Share)>,
    body: Bytes,
    cluster: Option<String>,
    headers: Vec<HeaderMatcher>,
    nodes: Vec<String>,
    max_active: Setting<u32>,
    /// Requests under way with a fault; per process, as the limit is.
    active: Arc<AtomicU32>,
}

/// What the runtime replaces, whether the configuration or a header has said it.
#[derive(Clone, Debug)]
struct Keys {
    delay_share: Option<Key>,
    /// Milliseconds.
    delay: Option<Key>,
    abort_share: Option<Key>,
    status: Option<Key>,
    grpc_status: Option<Key>,
    slow_share: Option<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Delay {
    Fixed(Duration),
    /// `x-envoy-fault-delay-request`, in milliseconds.
    Header,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Abort {
    Http(u16),
    Grpc(u32),
    /// `x-envoy-fault-abort-request`, `x-envoy-fault-abort-grpc-request`.
    Header,
}

/// Of an answer's body, in KiB a second.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Throughput {
    Fixed(u64),
    /// `x-envoy-fault-throughput-response`
    Header,
}

fn parse(at: &At<'_>, any: &Any) -> Result<Box<dyn FilterFactory>, Rejection> {
    let pb::HttpFault {
        delay,
        abort,
        upstream_cluster,
        headers,
        downstream_nodes,
        max_active_faults,
        response_rate_limit,
        delay_percent_runtime,
        abort_percent_runtime,
        delay_duration_runtime,
        abort_http_status_runtime,
        max_active_faults_runtime,
        response_rate_limit_percent_runtime,
        abort_grpc_status_runtime,
        disable_downstream_cluster_stats,
        filter_metadata,
    } = &at.unpack::<pb::HttpFault>(any)?;
    let named = |said: &str, otherwise: &str| at.key(if said.is_empty() { otherwise } else { said });
    no_effect!(at, "not used"; disable_downstream_cluster_stats, filter_metadata);
    Ok(Box::new(Fault {
        delay: match delay {
            None => None,
            Some(delay) => Some(parse_delay(&at.field("delay"), delay)?),
        },
        abort: match abort {
            None => None,
            Some(abort) => Some(parse_abort(&at.field("abort"), abort)?),
        },
        slow: match response_rate_limit {
            None => None,
            Some(limit) => Some(parse_rate_limit(&at.field("response_rate_limit"), limit)?),
        },
        body: match abort.as_ref().map(|abort| abort.response_body.as_str()) {
            None | Some("") => Bytes::from_static(b"fault filter abort"),
            Some(body) => Bytes::copy_from_slice(body.as_bytes()),
        },
        cluster: Some(upstream_cluster.clone()).filter(|cluster| !cluster.is_empty()),
        headers: at.each("headers", headers, matcher::header)?,
        nodes: downstream_nodes.clone(),
        max_active: Setting::new(
            max_active_faults.as_ref().map_or(u32::MAX, |most| most.value),
            named(max_active_faults_runtime, "fault.http.max_active_faults"),
        ),
        keys: Keys {
            delay_share: named(delay_percent_runtime, "fault.http.delay.fixed_delay_percent"),
            delay: named(delay_duration_runtime, "fault.http.delay.fixed_duration_ms"),
            abort_share: named(abort_percent_runtime, "fault.http.abort.abort_percent"),
            status: named(abort_http_status_runtime, "fault.http.abort.http_status"),
            grpc_status: named(abort_grpc_status_runtime, "fault.http.abort.grpc_status"),
            slow_share: named(
                response_rate_limit_percent_runtime,
                "fault.http.rate_limit.response_percent",
            ),
        },
        active: Arc::default(),
    }))
}

fn parse_delay(at: &At<'_>, message: &fault_delay::FaultDelay) -> Result<(Delay, Share), Rejection> {
    use fault_delay::fault_delay::{FaultDelaySecifier as S, HeaderDelay};
    let fault_delay::FaultDelay {
        percentage,
        fault_delay_secifier,
    } = message;
    let delay = match at.required("fault_delay_secifier", fault_delay_secifier)? {
        S::FixedDelay(delay) => Delay::Fixed(at.positive("fixed_delay", &Some(*delay), Duration::ZERO)?),
        S::HeaderDelay(HeaderDelay {}) => Delay::Header,
    };
    let share = percentage.unwrap_or_default();
    Ok((delay, Share(at.field("percentage").fraction(&share)?)))
}

fn parse_rate_limit(
    at: &At<'_>,
    message: &fault_delay::FaultRateLimit,
) -> Result<(Throughput, Share), Rejection> {
    use fault_delay::fault_rate_limit::{FixedLimit, HeaderLimit, LimitType as L};
    let fault_delay::FaultRateLimit {
        percentage,
        limit_type,
    } = message;
    let throughput = match at.required("limit_type", limit_type)? {
        L::FixedLimit(FixedLimit { limit_kbps: 0 }) => {
            return Err(at.field("fixed_limit").field("limit_kbps").reject("at least 1"));
        }
        L::FixedLimit(FixedLimit { limit_kbps }) => Throughput::Fixed(*limit_kbps),
        L::HeaderLimit(HeaderLimit {}) => Throughput::Header,
    };
    let share = percentage.unwrap_or_default();
    Ok((throughput, Share(at.field("percentage").fraction(&share)?)))
}

fn parse_abort(at: &At<'_>, message: &pb::FaultAbort) -> Result<(Abort, Share), Rejection> {
    use pb::fault_abort::{ErrorType as E, HeaderAbort};
    let pb::FaultAbort {
        percentage,
        response_body: _,
        error_type,
    } = message;
    let abort = match at.required("error_type", error_type)? {
        E::HttpStatus(status) => match u16::try_from(*status) {
            Ok(status @ 200..600) => Abort::Http(status),
            _ => {
                return Err(at
                    .field("http_status")
                    .reject(format!("200 to 599, not {status}")));
            }
        },
        E::GrpcStatus(status) => Abort::Grpc(*status),
        E::HeaderAbort(HeaderAbort {}) => Abort::Header,
    };
    let share = percentage.unwrap_or_default();
    Ok((abort, Share(at.field("percentage").fraction(&share)?)))
}

// === impl Fault ===

impl Fault {
    /// What holds for a request: the route's word, else the list's. None: nothing is injected.
    fn injection(&self, per_route: Option<&FilterConfig>) -> Option<Injection> {
        let settings = per_route
            .and_then(|config| config.factory.as_any().downcast_ref())
            .unwrap_or(self);
        if settings.delay.is_none() && settings.abort.is_none() && settings.slow.is_none() {
            return None;
        }
        // Only what this request may need: its own copy outlives a change of the configuration.
        Some(Injection {
            delay: settings.delay,
            abort: settings.abort,
            slow: settings.slow,
            pace: None,
            body: settings.body.clone(),
            cluster: settings.cluster.clone(),
            headers: settings.headers.clone(),
            nodes: settings.nodes.clone(),
            max_active: settings.max_active.clone(),
            keys: settings.keys.clone(),
            active: settings.active.clone(),
            counted: false,
            pending: None,
        })
    }
}

impl FilterFactory for Fault {
    fn start(&self, per_route: Option<&FilterConfig>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(self.injection(per_route)?))
    }

    fn foretell(
        &self,
        per_route: Option<&FilterConfig>,
        head: &RequestHead,
        cluster: Option<&str>,
    ) -> Vec<Foretold> {
        match self.injection(per_route) {
            Some(injection) if injection.applies(cluster, head) => injection.foretell(head),
            _ => Vec::new(),
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// One request's faults.
#[derive(Debug)]
struct Injection {
    delay: Option<(Delay, Share)>,
    abort: Option<(Abort, Share)>,
    keys: Keys,
    slow: Option<(Throughput, Share)>,
    /// How fast this answer's body is.
    pace: Option<Pace>,
    body: Bytes,
    cluster: Option<String>,
    headers: Vec<HeaderMatcher>,
    nodes: Vec<String>,
    max_active: Setting<u32>,
    active: Arc<AtomicU32>,
    counted: bool,
    /// The answer that follows the delay.
    pending: Option<LocalReply>,
}

impl HttpFilter for Injection {
    fn on_request_headers(&mut self, cx: &mut Context<'_>, head: &mut RequestHead, _end: bool) -> Step {
        if !self.applies(cx.cluster, head) {
            return Step::Continue;
        }
        let delay = self.draw_delay(cx.random as u32, head);
        let abort = self.draw_abort((cx.random >> 32) as u32, head);
        // Drawn apart from the other two.
        let kib = self.draw_throughput((cx.random.wrapping_mul(GOLDEN) >> 32) as u32, head);
        if (delay.is_none() && abort.is_none() && kib.is_none()) || !self.count() {
            return Step::Continue;
        }
        if kib.is_some() {
            cx.tally.of_manager("fault.response_rl_injected");
        }
        self.pace = kib.map(|kib| Pace { kib, free_at: None });
        self.pending = abort;
        match delay {
            Some(delay) => {
                cx.flags.insert(Flag::DelayInjected);
                cx.tally.of_manager("fault.delays_injected");
                Step::Effect(Effect::Sleep(delay))
            }
            None => self.finish(cx),
        }
    }

    fn on_response_data(&mut self, cx: &mut Context<'_>, data: &mut Bytes, _end: bool) -> Step {
        match self.pace.as_mut().map(|pace| pace.wait(data.len(), (cx.clock)())) {
            Some(wait) if !wait.is_zero() => Step::Effect(Effect::Sleep(wait)),
            _ => Step::Continue,
        }
    }

    fn sees_bodies(&self) -> bool {
        self.slow.is_some()
    }

    fn on_effect(&mut self, cx: &mut Context<'_>, _result: EffectResult) -> Step {
        self.finish(cx)
    }
}

impl Injection {
    fn applies(&self, cluster: Option<&str>, head: &RequestHead) -> bool {
        let node = || head.headers.get_str("x-envoy-downstream-service-node");
        self.cluster
            .as_deref()
            .is_none_or(|wanted| cluster == Some(wanted))
            && (self.nodes.is_empty() || node().is_some_and(|node| self.nodes.iter().any(|n| n == node)))
            && self.headers.iter().all(|header| header.matches_request(head))
    }

    /// Both, as they would be drawn.
    fn foretell(&self, head: &RequestHead) -> Vec<Foretold> {
        let delay = self
            .delay_of(head)
            .map(|(time, share)| Foretold::Delay { time, share: share.0 });
        let abort = self.abort_of(head).map(|(abort, share)| Foretold::Reply {
            status: self.reply(abort).status,
            share: share.0,
        });
        delay.into_iter().chain(abort).collect()
    }

    fn draw_delay(&self, random: u32, head: &RequestHead) -> Option<Duration> {
        let (delay, share) = self.delay_of(head)?;
        hits(random, share).then_some(delay)
    }

    fn draw_abort(&self, random: u32, head: &RequestHead) -> Option<LocalReply> {
        let (abort, share) = self.abort_of(head)?;
        hits(random, share).then(|| self.reply(abort))
    }

    fn draw_throughput(&self, random: u32, head: &RequestHead) -> Option<u64> {
        let (throughput, share) = self.slow?;
        let (kib, share) = match throughput {
            Throughput::Fixed(kib) => (kib, share),
            Throughput::Header => {
                let kib = number(head, "x-envoy-fault-throughput-response").filter(|kib| *kib > 0)?;
                let asked = share_asked(head, "x-envoy-fault-throughput-response-percentage");
                (kib, share.min(asked))
            }
        };
        let share = said_or(self.keys.slow_share.as_ref(), share);
        hits(random, share).then_some(kib)
    }

    fn delay_of(&self, head: &RequestHead) -> Option<(Duration, Share)> {
        let (delay, share) = self.delay?;
        let (delay, share) = match delay {
            Delay::Fixed(delay) => (delay, share),
            Delay::Header => {
                let milliseconds = number(head, "x-envoy-fault-delay-request")?;
                let asked = share_asked(head, "x-envoy-fault-delay-request-percentage");
                (Duration::from_millis(milliseconds), share.min(asked))
            }
        };
        let delay = match self.keys.delay.as_ref().and_then(u64::read) {
            Some(milliseconds) => Duration::from_millis(milliseconds),
            None => delay,
        };
        let share = said_or(self.keys.delay_share.as_ref(), share);
        (!delay.is_zero()).then_some((delay, share))
    }

    fn abort_of(&self, head: &RequestHead) -> Option<(Abort, Share)> {
        let (abort, share) = self.abort?;
        let (abort, share) = match abort {
            Abort::Header => {
                let asked = share_asked(head, "x-envoy-fault-abort-request-percentage");
                (abort_asked(head)?, share.min(asked))
            }
            abort => (abort, share),
        };
        let abort = match abort {
            Abort::Http(status) => {
                let status = said_or(self.keys.status.as_ref(), u32::from(status));
                Abort::Http(u16::try_from(status).unwrap_or(503))
            }
            Abort::Grpc(status) => Abort::Grpc(said_or(self.keys.grpc_status.as_ref(), status)),
            Abort::Header => Abort::Header,
        };
        Some((abort, said_or(self.keys.abort_share.as_ref(), share)))
    }

    fn reply(&self, abort: Abort) -> LocalReply {
        let status = match abort {
            Abort::Http(status) => status,
            Abort::Grpc(_) => 200,
            Abort::Header => 500,
        };
        LocalReply {
            status,
            headers: Headers::default(),
            body: self.body.clone(),
            details: "fault_filter_abort".into(),
            flags: Flag::FaultInjected.into(),
            grpc_status: match abort {
                Abort::Grpc(status) => Some(status),
                Abort::Http(_) | Abort::Header => None,
            },
        }
    }

    /// Takes one of the places for requests with a fault.
    fn count(&mut self) -> bool {
        let most = self.max_active.now();
        let one_more = |active: u32| (active < most).then(|| active + 1);
        self.counted = self.active.fetch_update(Relaxed, Relaxed, one_more).is_ok();
        self.counted
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Step {
        match self.pending.take() {
            None => Step::Continue,
            Some(reply) => {
                cx.flags.insert(Flag::FaultInjected);
                cx.tally.of_manager("fault.aborts_injected");
                Step::Reply(reply)
            }
        }
    }
}

/// Spreads 64 random bits over the upper half anew.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The pace of one body.
#[derive(Debug)]
struct Pace {
    /// A second, at least 1.
    kib: u64,
    /// When all that has passed has had its time.
    free_at: Option<Instant>,
}

impl Pace {
    /// How long so many bytes have to wait.
    fn wait(&mut self, bytes: usize, now: Instant) -> Duration {
        let free_at = self.free_at.map_or(now, |free_at| free_at.max(now));
        let nanos = (bytes as u64).saturating_mul(1_000_000_000 / 1024) / self.kib;
        let free_at = free_at + Duration::from_nanos(nanos);
        self.free_at = Some(free_at);
        free_at - now
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        if self.counted {
            self.active.fetch_sub(1, Relaxed);
        }
    }
}

/// Whether a random number falls into a share.
fn hits(random: u32, share: Share) -> bool {
    (u64::from(random) * 1_000_000) >> 32 < u64::from(share.0)
}

fn number<T: std::str::FromStr>(head: &RequestHead, header: &str) -> Option<T> {
    head.headers.get_str(header)?.trim().parse().ok()
}

/// Percent in a header; all if it says nothing.
fn share_asked(head: &RequestHead, header: &str) -> Share {
    number(head, header).map_or(Share::ALL, |percent: u32| Share(percent.min(100) * 10_000))
}

fn abort_asked(head: &RequestHead) -> Option<Abort> {
    match number(head, "x-envoy-fault-abort-request") {
        Some(status @ 200..600) => Some(Abort::Http(status)),
        _ => number(head, "x-envoy-fault-abort-grpc-request").map(Abort::Grpc),
    }
}
