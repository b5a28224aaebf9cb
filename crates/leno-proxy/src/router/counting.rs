//! What becomes of requests and their attempts, in the statistics of their clusters.

use leno_telemetry::stats::ClusterStat;

use super::Forwarded;
use crate::outcome::{Failure, StreamError};
use crate::upstream::Upstream;

/// What a try has come to that has no answer.
pub(super) fn count_failure(cluster: &Upstream, member: &Upstream, failure: &Failure) {
    let (upstream, stat) = match failure {
        Failure::TryTimeout => (cluster, ClusterStat::RqPerTryTimeout),
        Failure::TryIdle => (cluster, ClusterStat::RqPerTryIdleTimeout),
        Failure::Stream(StreamError::Reset(_) | StreamError::Refused) => (member, ClusterStat::RqRxReset),
        Failure::Connect(_) | Failure::ConnectTimeout => (member, ClusterStat::RqPendingFailureEject),
        _ => return,
    };
    upstream.counts.inc(stat);
}

/// What a request has come to.
pub(super) fn count(upstream: &Upstream, forwarded: &Result<Forwarded, Failure>) {
    let status = match forwarded {
        Ok(Forwarded::Answered(answer) | Forwarded::Redirected { answer, .. }) => answer.head.status,
        Err(Failure::Downstream | Failure::Stream(StreamError::Malformed { .. })) => return,
        Err(failure) => failure.status(),
    };
    match forwarded {
        Err(Failure::Timeout) => upstream.counts.inc(ClusterStat::RqTimeout),
        Err(Failure::UpstreamDuration) => upstream.counts.inc(ClusterStat::RqMaxDurationReached),
        _ => {}
    }
    if matches!(forwarded, Err(Failure::Overflow)) {
        upstream.drop_one();
    }
    upstream.count_answer(status);
}
