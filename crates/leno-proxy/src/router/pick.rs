//! Where an attempt goes, and whether there is room for it.

use std::rc::Rc;

use leno_engine::compile::endpoint::Target;
use leno_engine::decide::balance::PickContext;
use leno_engine::decide::hash::Hashed;
use leno_engine::decide::limits::{Permit, Resource};
use leno_engine::decide::retry::RetryState;
use leno_telemetry::stats::ClusterStat;

use super::{Plan, Router};
use crate::outcome::Failure;
use crate::upstream::{Picked, Upstream};

impl Router<'_> {
    /// The right to one more request of a cluster.
    pub(super) fn admit(&self, upstream: &Upstream) -> Result<Permit, Failure> {
        upstream
            .acquire(Resource::Request, self.priority())
            .ok_or_else(|| {
                // As Envoy, which finds out when the request has its turn.
                upstream.counts.inc(ClusterStat::RqPendingTotal);
                upstream.counts.inc(ClusterStat::RqActiveOverflow);
                Failure::Overflow
            })
    }

    /// The same of the member that an aggregate has picked from; every attempt may be another's.
    pub(super) fn admit_to_member(
        &self,
        cluster: &Rc<Upstream>,
        member: &Rc<Upstream>,
    ) -> Result<Option<Permit>, Failure> {
        match Rc::ptr_eq(cluster, member) {
            true => Ok(None),
            false => self.admit(member).map(Some),
        }
    }

    pub(super) fn hash(&self) -> Hashed {
        let exchange = self.exchange;
        let source = exchange.downstream().remote.ip();
        let random = exchange.worker().random.next();
        self.forwarding
            .hash(&exchange.request.borrow(), Some(source), random)
    }

    pub(super) fn pick(
        &self,
        plan: &Plan,
        retry: Option<&RetryState>,
        previous: &[Target],
    ) -> Result<Picked, Failure> {
        let policy = retry.map(RetryState::policy).filter(|_| !previous.is_empty());
        plan.upstream.pick(&PickContext {
            random: self.exchange.worker().random.next(),
            hash: plan.hash,
            metadata: Some(self.forwarding.metadata()),
            previous,
            omit: policy.map_or(&[], |policy| &policy.omit),
            attempts: policy.map_or(0, |policy| policy.host_selection_attempts),
            leave_priorities: policy.and_then(|policy| policy.leave_priorities),
            original_destination: Some(self.exchange.session().connection.destination),
            place: None,
        })
    }
}
