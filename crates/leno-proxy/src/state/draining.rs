//! Connections that are to end, and chains that are no longer in force for as long as they have some.

use std::sync::{Arc, Weak};
use std::time::Duration;

use leno_engine::compile::listener::{FilterChain, TerminalFilter};

use super::Updater;
use crate::drain::{CutBy, Drain};

/// Envoy's `--drain-time-s` is 600 s; Istio sets 45 s.
const DRAIN_TIME: Duration = Duration::from_secs(45);

/// A chain that is no longer in force.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) listener: String,
    pub(super) chain: Arc<FilterChain>,
    pub(super) drain: Arc<Drain>,
}

/// A retired chain for as long as it has connections.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) listener: String,
    pub(super) chain: Arc<FilterChain>,
    pub(super) drain: Weak<Drain>,
}

// === impl Updater ===

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

    /// Only a change that forbids a connection closes it.
    pub(super) fn close_forbidden(&self) {
        for draining in &self.draining {
            let state = self.next.listeners.get(&draining.listener);
            let origin = state.and_then(|state| state.forbids(&draining.chain));
            if let (Some(origin), Some(drain)) = (origin, draining.drain.upgrade()) {
                // Whoever still holds it is a connection.
                if Arc::strong_count(&drain) > 1 {
                    tracing::warn!(
                        listener = draining.listener,
                        chain = draining.chain.name,
                        origin,
                        "plaintext connections closed: the port takes mutual TLS only (STRICT)"
                    );
                }
                drain.forbid(CutBy::Strict);
            }
        }
    }

    /// Whether a listener that is gone or replaced still has connections.
    pub(crate) fn is_draining(&self, listener: &str) -> bool {
        let mut draining = self.draining.iter();
        // Whoever holds it besides the one that asks is a connection.
        draining.any(|d| d.listener == listener && d.drain.strong_count() > 0)
    }
}

/// The drain time of a chain's own connections, where it says one.
pub(super) fn drain_time(chain: &FilterChain) -> Duration {
    match &chain.terminal {
        TerminalFilter::Http(http) if !http.timeouts.drain.is_zero() => http.timeouts.drain,
        _ => DRAIN_TIME,
    }
}
