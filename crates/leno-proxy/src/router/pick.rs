//! Where an attempt goes, and whether there is room for it.

use std::net::SocketAddr;
use std::rc::Rc;

use leno_engine::compile::cluster::{Cluster, Discovery};
use leno_engine::compile::endpoint::Target;
use leno_engine::decide::balance::{Host, PickContext};
use leno_engine::decide::hash::{Hashed, hash_by};
use leno_engine::decide::limits::{Permit, Resource};
use leno_engine::decide::notes::{APPLICATION_PROTOCOLS, ORIGINAL_DST, Object, address};
use leno_engine::decide::retry::RetryState;
use leno_engine::decide::wish::Wishes;
use leno_engine::message::RequestHead;
use leno_telemetry::stats::ClusterStat;

use super::{Plan, Router};
use crate::alpn::Offer;
use crate::outcome::Failure;
use crate::upstream::{Picked, Upstream};

impl Router<'_> {
    /// To the endpoint's name, where the route wants that.
    pub(super) fn rewrite_host(&self, head: &mut RequestHead, host: &Host) {
        if self.rewrites_host(host) {
            let name = host.endpoint.hostname.as_bytes();
            self.forwarding.set_host(head, name, self.tells());
        }
    }

    /// The names that a filter has asked for.
    pub(super) fn named_offer(&self) -> Option<Offer> {
        let exchange = self.exchange;
        let named = |object: &Object| exchange.worker().tls.named(&object.value);
        exchange.notes.state(APPLICATION_PROTOCOLS, named).flatten()
    }

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

    /// A cluster whose endpoint is the request's own host may have to find it first, where no filter has.
    pub(super) async fn await_host(&self, plan: &Plan) {
        if plan.upstream.is_by_host() {
            let authority = self.exchange.request.borrow().authority.clone();
            // What has not been found is found missing by the pick.
            let _ = Box::pin(plan.upstream.resolve_own(&authority)).await;
        }
    }

    /// For clusters that send to the connection's own destination, or to what is said instead: by a filter, in the
    /// request's metadata, or in a header, in this order.
    pub(super) fn original_destination(&self, cluster: &Cluster) -> Option<SocketAddr> {
        if !matches!(
            cluster.discovery,
            Discovery::OriginalDst | Discovery::Aggregate(_)
        ) {
            return None;
        }
        let (exchange, original) = (self.exchange, &cluster.original_dst);
        let noted = || {
            let by_filter = exchange
                .notes
                .state(ORIGINAL_DST, |object| object.value.parse().ok());
            by_filter.flatten().or_else(|| {
                let (namespace, path) = original.metadata.as_deref()?;
                exchange.notes.metadata(namespace, path, address).flatten()
            })
        };
        let said = || {
            let head = exchange.request.borrow();
            let value = head.field(original.header.as_ref()?)?;
            std::str::from_utf8(value).ok()?.parse().ok()
        };
        let own = || exchange.session().connection.original_destination();
        original.toward(noted().or_else(said).or_else(own))
    }

    /// Where the request's headers want it to go, if the cluster heeds them.
    pub(super) fn wishes(&self, cluster: &Cluster) -> Option<Wishes> {
        let names = cluster.wishes.as_deref()?;
        let head = self.exchange.request.borrow();
        Some(Wishes::of(names.iter().filter_map(|name| head.field(name))))
    }

    /// Whether the request takes the endpoint's name.
    pub(super) fn rewrites_host(&self, host: &Host) -> bool {
        self.forwarding.auto_host() && !host.endpoint.hostname.is_empty()
    }

    pub(super) fn hash(&self, cluster: &Cluster) -> Hashed {
        let policies = match cluster.hash.as_slice() {
            [] => &self.forwarding.forward.hash,
            own => own,
        };
        if policies.is_empty() {
            return Hashed::default();
        }
        let exchange = self.exchange;
        let source = exchange.downstream().remote.ip();
        let random = exchange.worker().random.next();
        let notes = Some(&exchange.notes);
        hash_by(policies, &exchange.request.borrow(), Some(source), notes, random)
    }

    pub(super) fn pick(
        &self,
        plan: &Plan,
        retry: Option<&RetryState>,
        previous: &[Target],
    ) -> Result<Picked, Failure> {
        let policy = retry.map(RetryState::policy).filter(|_| !previous.is_empty());
        let (wish, first) = (self.exchange.wish.borrow(), self.exchange.attempts.get() <= 1);
        let head = self.exchange.request.borrow();
        plan.upstream.pick(&PickContext {
            random: self.exchange.worker().random.next(),
            hash: plan.hash,
            metadata: Some(self.forwarding.metadata()),
            previous,
            omit: policy.map_or(&[], |policy| &policy.omit),
            attempts: policy.map_or(0, |policy| policy.host_selection_attempts),
            leave_priorities: policy.and_then(|policy| policy.leave_priorities),
            authority: Some(&head.authority),
            original_destination: self.original_destination(&plan.upstream.cluster()),
            place: None,
            wish: wish.as_ref().filter(|_| first),
            wishes: plan.wishes.as_ref(),
            notes: None,
        })
    }
}
