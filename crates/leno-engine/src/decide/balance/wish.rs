//! Endpoints that a request asks for by their address.

use super::{Balancer, Host, PickError};
use crate::compile::cluster::Statuses;
use crate::compile::endpoint::Health;
use crate::decide::health::Standing;
use crate::decide::wish::{Wish, Wishes};

// === impl Balancer ===

impl Balancer {
    /// None: the policy is to choose.
    pub(super) fn grant(&self, wish: &Wish) -> Option<Result<Host, PickError>> {
        match self.host_at(&wish.address) {
            Some(host) if host.is_one_of(self.settings.wished) => Some(Ok(host.clone())),
            Some(_) => wish.strict.then_some(Err(PickError::NoHealthyEndpoint)),
            None => wish
                .strict
                .then_some(Err(PickError::NotThere(wish.status_if_missing))),
        }
    }

    /// The next of them that there is, however it is.
    pub(super) fn grant_next(&self, wishes: &Wishes) -> Option<Host> {
        std::iter::from_fn(|| wishes.next()).find_map(|address| self.host_at(address).cloned())
    }

    fn host_at(&self, address: &str) -> Option<&Host> {
        self.hosts()
            .find(|host| host.endpoint.address.is_shown_as(address))
    }
}

// === impl Host ===

impl Host {
    fn is_one_of(&self, statuses: Statuses) -> bool {
        let standing = self.endpoint.standing(self.state.flags.get());
        statuses.contains(match (standing, self.endpoint.health) {
            (Standing::Unhealthy, said @ (Health::Unhealthy | Health::Draining)) => said,
            (Standing::Unhealthy, _) => Health::Unhealthy,
            (Standing::Degraded, _) => Health::Degraded,
            (Standing::Healthy, said) => said,
        })
    }
}
