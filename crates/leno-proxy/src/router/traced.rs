//! Where tries are told to a request's trace.

use leno_engine::compile::address::Address;
use leno_engine::decide::balance::Host;

use super::Router;
use crate::upstream::{self, Upstream};

impl Router<'_> {
    /// A stale connection is no try of its own.
    pub(super) fn trace_try(&self, to: &Upstream, host: &Host, again: bool) {
        let exchange = self.exchange;
        let Some(trace) = exchange.trace() else { return };
        if !again {
            let cluster = to.cluster();
            let split = exchange.session().manager.router.spawn_upstream;
            let retry = exchange.attempts.get().saturating_sub(1);
            trace.try_begins(
                retry,
                (&cluster.name, &cluster.stat_name),
                split,
                exchange.worker(),
            );
        }
        trace.try_goes_to(upstream::address(&host.endpoint).and_then(Address::socket));
    }
}
