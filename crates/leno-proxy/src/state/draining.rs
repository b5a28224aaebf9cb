//! Connections that are to end.

use std::time::Duration;

use leno_engine::compile::listener::{FilterChain, TerminalFilter};

use super::Updater;

/// Envoy's `--drain-time-s` is 600 s; Istio sets 45 s.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(45);

impl Updater {
    /// Lets connections end within the time that it gives back, as they become idle; new ones are still accepted.
    pub(crate) fn drain_listeners(&self, inbound_only: bool) -> Duration {
        for state in self.listeners_of(inbound_only) {
            for (_, drain) in &state.drains {
                drain.start(DRAIN_TIME);
            }
        }
        self.sockets.workers().look();
        DRAIN_TIME
    }

    /// Stops accepting and drains every connection; what is left after `time` is cut off.
    pub(crate) fn drain_all(&mut self, time: Duration) {
        let names: Vec<String> = self.next.listeners.keys().cloned().collect();
        for name in &names {
            self.sockets.close(name);
        }
        for state in self.next.listeners.values() {
            for (_, drain) in &state.drains {
                drain.finish(time);
            }
        }
        for drain in self.draining.iter().filter_map(|d| d.drain.upgrade()) {
            drain.finish(time);
        }
        self.sockets.workers().look();
    }
}

/// The drain time of a chain's own connections, where it says one.
pub(super) fn drain_time(chain: &FilterChain) -> Duration {
    match &chain.terminal {
        TerminalFilter::Http(http) if !http.timeouts.drain.is_zero() => http.timeouts.drain,
        _ => DRAIN_TIME,
    }
}
