//! Why this proxy has closed a connection.

use leno_engine::compile::access_log::Side;
use leno_engine::flags::{Flag, Flags};

const OF_BOTH: [(Flag, &str); 2] = [
    (Flag::StreamIdleTimeout, "tcp_session_idle_timeout"),
    (Flag::DurationTimeout, "max_connection_duration_reached"),
];

/// Of a client for which there is no upstream.
const OF_CLIENT: [(Flag, &str); 5] = [
    (Flag::UpstreamConnectionFailure, "tcp_initializion_failure:0"),
    (Flag::NoHealthyUpstream, "tcp_initializion_failure:1"),
    (Flag::UpstreamOverflow, "tcp_initializion_failure:2"),
    (Flag::NoClusterFound, "tcp_initializion_failure:3"),
    (Flag::NoRouteFound, "tcp_initializion_failure:3"),
];

/// In Envoy's words, and with its numbers. None: somebody else has.
pub(super) fn close_reason(side: Side, flags: Flags, connected: bool, details: &str) -> Option<&'static str> {
    let of_client = OF_CLIENT
        .iter()
        .filter(|_| !connected && side == Side::Downstream);
    let mut told = OF_BOTH.iter().chain(of_client);
    let told = told.find(|(flag, _)| flags.contains(*flag));
    let denied = details.starts_with("rbac_access_denied");
    told.map(|(_, reason)| *reason)
        .or(denied.then_some("rbac_deny_close"))
}
