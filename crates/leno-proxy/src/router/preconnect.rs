//! Connections that are made before anybody needs them (`preconnect_policy`).

use std::rc::Rc;

use leno_engine::decide::limits::Priority;

use crate::upstream::{Pool, Upstream};
use crate::worker::Worker;

/// As many as a request that comes now leaves wanting, where the cluster wants any.
pub(super) fn start(
    worker: &Rc<Worker>,
    upstream: &Rc<Upstream>,
    pool: &Rc<Pool>,
    (priority, http2): (Priority, bool),
) {
    let Some(ratio) = upstream.preconnect() else {
        return;
    };
    for _ in 0..pool.lacks(ratio, http2) {
        let (worker, upstream, pool) = (Rc::clone(worker), Rc::clone(upstream), Rc::clone(pool));
        tokio::task::spawn_local(async move {
            pool.prepare(worker.connector(), &upstream, priority, http2).await;
        });
    }
}
