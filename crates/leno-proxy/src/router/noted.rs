//! What a request's record is told of its tries.

use leno_engine::decide::balance::Host;

use super::Router;
use crate::outcome::Failure;
use crate::upstream::Checkout;

impl Router<'_> {
    /// What is tried, and once there is one on which connection.
    pub(super) fn note(&self, host: &Host, checkout: Option<&Checkout>) {
        let connection = checkout.map(|checkout| &checkout.info);
        self.exchange
            .tries(&host.endpoint, connection, checkout.map(Checkout::version));
    }

    pub(super) fn note_failure(&self, failure: &Failure) {
        self.exchange.upstream.borrow_mut().failure = failure.transport_reason();
    }
}
