//! How much of a request is kept to be sent again, and where copies of it go.

use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::route::{KeptBody, MirrorPolicy};

use super::Router;

/// Kept of a request's body where no retry policy asks for more: enough to repeat it on a fresh connection when a
/// pooled one turns out to be closed.
const STALE_REPLAY: usize = 64 * 1024;
/// Kept where a retry policy or a mirror needs it, unless the listener says otherwise: Envoy's default.
const RETRY_REPLAY: usize = 1024 * 1024;

impl Router<'_> {
    /// The cluster's, or else the route's.
    pub(super) fn mirrors<'m>(&'m self, cluster: &'m Cluster) -> &'m [MirrorPolicy] {
        match cluster.mirrors.as_slice() {
            [] => &self.forwarding.forward.mirrors,
            own => own,
        }
    }

    /// How much of the request is kept to be sent again.
    pub(super) fn replay_limit(&self, cluster: &Cluster, retries: bool) -> usize {
        let forward = self.forwarding.forward;
        if !retries && self.mirrors(cluster).is_empty() && forward.redirects.is_none() {
            return STALE_REPLAY;
        }
        let limit = self.exchange.session().connection.buffer_limit;
        let limit = limit.map_or(RETRY_REPLAY, |limit| limit as usize);
        match forward.kept {
            None => limit,
            Some(KeptBody { bytes, may_be_more }) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                if may_be_more { bytes } else { bytes.min(limit) }
            }
        }
    }
}
