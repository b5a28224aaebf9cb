//! How a connection ended, in the words of logs.

use leno_engine::flags::{Flag, Flags};

use crate::outcome::Failure;
use crate::tcp::Why;

#[derive(Default)]
pub(super) struct Outcome {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) flags: Flags,
    pub(super) details: &'static str,
    /// By the client.
    pub(super) reset: bool,
}

/// As Envoy: an orderly end, whoever begins it, has no flag.
pub(super) fn judge(why: &Why, cut_by: Option<&'static str>) -> (Flags, &'static str) {
    match why {
        Why::Finished {
            downstream_first: true,
        } => (Flags::default(), "downstream_closed"),
        Why::Finished {
            downstream_first: false,
        } => (Flags::default(), "upstream_closed"),
        Why::Downstream(_) => (Flag::DownstreamConnectionTermination.into(), "downstream_reset"),
        Why::Upstream(_) => (Flag::UpstreamConnectionTermination.into(), "upstream_reset"),
        Why::Idle => (Flag::StreamIdleTimeout.into(), "idle_timeout"),
        Why::Cut => match cut_by {
            Some(by) => (Flag::LocalReset.into(), by),
            None => (Flag::DurationTimeout.into(), "max_connection_duration"),
        },
    }
}

/// The attempts that there may be have all been made then.
pub(super) fn flags(failure: &Failure, tunnelled: bool) -> Flags {
    // A request without room is to Envoy an attempt like any other, a connection is not.
    if tunnelled && matches!(failure, Failure::Overflow) {
        return Flag::UpstreamRetryLimitExceeded.into();
    }
    let mut flags = failure.flags();
    if matches!(failure, Failure::Connect(_) | Failure::ConnectTimeout) {
        flags.insert(Flag::UpstreamRetryLimitExceeded);
    }
    flags
}
