//! What a try, and a request, have come to.

use leno_engine::decide::retry::FailureKind;
use leno_engine::decide::route::is_grpc;
use leno_engine::message::RequestHead;
use leno_telemetry::stats::{ClusterStat, RouteStat};

use super::{Failed, Forwarded};
use crate::outcome::{Failure, StreamError};
use crate::record::Exchange;
use crate::upstream::Upstream;

/// What a try has come to that has no answer.
pub(super) fn count_failure(cluster: &Upstream, member: &Upstream, failure: &Failure) {
    let (upstream, stat) = match failure {
        Failure::TryTimeout => (cluster, ClusterStat::RqPerTryTimeout),
        Failure::TryIdle => (cluster, ClusterStat::RqPerTryIdleTimeout),
        Failure::Stream(StreamError::Reset(_) | StreamError::Refused) => (member, ClusterStat::RqRxReset),
        Failure::Stream(StreamError::Protocol(_)) => (member, ClusterStat::CxProtocolError),
        Failure::Connect(_) | Failure::ConnectTimeout => (member, ClusterStat::RqPendingFailureEject),
        _ => return,
    };
    upstream.counts.inc(stat);
}

/// How long a try is waited with: as the last answer has said, or longer and longer.
pub(super) fn backed_off(limited: bool) -> ClusterStat {
    match limited {
        true => ClusterStat::RqRetryBackoffRatelimited,
        false => ClusterStat::RqRetryBackoffExponential,
    }
}

/// What a request has come to.
pub(super) fn count(
    exchange: &Exchange,
    upstream: &Upstream,
    is_internal: bool,
    forwarded: &Result<Forwarded, Failure>,
) {
    let status = match forwarded {
        Ok(Forwarded::Answered(answer) | Forwarded::Redirected { answer, .. }) => answer.head.status,
        Err(Failure::Downstream | Failure::Stream(StreamError::Malformed { .. })) => return,
        Err(failure) => failure.status(),
    };
    match forwarded {
        Err(Failure::Timeout) => {
            exchange.inc_both(&upstream.counts, ClusterStat::RqTimeout, RouteStat::RqTimeout)
        }
        Err(Failure::UpstreamDuration) => upstream.counts.inc(ClusterStat::RqMaxDurationReached),
        _ => {}
    }
    if matches!(forwarded, Err(Failure::Overflow | Failure::Dropped(_))) {
        upstream.drop_one();
    }
    let options = &exchange.session().manager.router;
    if options.without_stats {
        return;
    }
    let code = (!options.without_grpc_codes || !is_grpc(&exchange.request.borrow())).then_some(status);
    upstream.count_answer(code);
    let worker = exchange.worker();
    let tried = exchange.upstream.borrow().endpoint.clone();
    exchange.besides.replace(upstream.count_besides(
        &worker.counts.stats,
        code,
        is_internal,
        tried.as_deref(),
        worker.zone(),
    ));
    exchange.answer_beside(code);
}

/// A pooled connection that the upstream had closed, or was closing, when it was used (RFC 9110 §9.2.2): what has not
/// been sent may always be sent again, the rest only where doing it twice is the same as once.
pub(super) fn is_stale(failed: &Failed, head: &RequestHead) -> bool {
    let idempotent = matches!(
        head.method.as_ref(),
        b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
    );
    failed.reused
        && match failed.failure {
            Failure::Stream(StreamError::Refused) => true,
            Failure::Stream(StreamError::Closed) => idempotent && head.upgrade.is_none(),
            _ => false,
        }
}

pub(super) fn failure_kind(failure: &Failure) -> Option<FailureKind> {
    Some(match failure {
        Failure::Connect(_) | Failure::ConnectTimeout => FailureKind::Connect,
        Failure::Stream(StreamError::Refused) => FailureKind::RefusedStream,
        Failure::Stream(
            StreamError::Closed
            | StreamError::Truncated
            | StreamError::Reset(_)
            | StreamError::Protocol(_)
            | StreamError::Revoked,
        ) => FailureKind::Reset { sent: true },
        Failure::TryTimeout | Failure::TryIdle => FailureKind::PerTryTimeout,
        Failure::Overflow => FailureKind::Overflow,
        Failure::Stream(_)
        | Failure::Timeout
        | Failure::NoHealthyUpstream
        | Failure::NotThere(_)
        | Failure::NoCluster
        | Failure::Dropped(_)
        | Failure::Unanswered
        | Failure::Expired { .. }
        | Failure::UpstreamDuration
        | Failure::Downstream => return None,
    })
}
