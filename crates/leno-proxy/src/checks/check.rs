//! One endpoint that is asked again and again.

use std::rc::Rc;
use std::sync::Arc;

use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::endpoint::Endpoint;
use leno_engine::decide::health::{Failure, Flags, HostHealth};

use super::events;
use super::one::One;
use super::own::Own;
use super::probe::Probing;
use crate::health::Health;

/// For as long as the endpoint is there.
pub(super) async fn ask(
    own: Rc<Own>,
    cluster: Arc<Cluster>,
    health: Arc<Health>,
    endpoint: Arc<Endpoint>,
    host: Arc<HostHealth>,
) {
    let Some(check) = &cluster.health_check else {
        return;
    };
    let one = One {
        cluster: &cluster,
        check,
        health: &health,
        endpoint: &endpoint,
        host: &host,
    };
    let mut probing = Probing::new(&own, one);
    let first = check.intervals.first(own.random.next());
    if !first.is_zero() {
        tokio::time::sleep(first).await;
    }
    loop {
        health.known.attempt();
        let asked = tokio::time::timeout(check.timeout, probing.ask()).await;
        let mut result = asked.unwrap_or_else(|_| {
            probing.hang_up();
            Err(Failure::Timeout)
        });
        loop {
            let passed = result.is_ok();
            let verdict = one.judge(result);
            events::tell(&own.files, one, &verdict);
            health.note_answers();
            let flags = host.flags();
            if flags.has(Flags::LEAVING) && flags.has(Flags::FAILED_CHECK) {
                own.let_leave(&cluster.name);
            }
            let wait = check
                .intervals
                .next(health.known.is_met(), passed, verdict.change, own.random.next());
            // Who hangs up while nobody asks is unwell as well.
            result = tokio::select! {
                () = tokio::time::sleep(wait) => break,
                () = probing.broken() => Err(Failure::Network),
            };
        }
    }
}
