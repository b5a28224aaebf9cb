//! Clusters by name, for whoever has something to send.

use std::rc::Rc;
use std::time::Duration;

use leno_engine::compile::config_source::Source;

use crate::lookup::{Answer, Want};
use crate::outcome::Failure;
use crate::upstream::Upstream;
use crate::worker::Worker;

/// A cluster by name, asked for if it is not known, once its endpoints have been asked how they are.
pub(crate) async fn find(worker: &Rc<Worker>, name: &str) -> Result<Rc<Upstream>, Failure> {
    let upstream = known(worker, name).await?;
    while let Some(health) = upstream.cold() {
        Box::pin(async move { health.first_answers().await }).await;
    }
    Ok(upstream)
}

/// The same; what is not known is asked for there.
pub(crate) async fn find_at(
    worker: &Rc<Worker>,
    name: &str,
    source: &Source,
    patience: Duration,
) -> Result<Rc<Upstream>, Failure> {
    if worker.upstream(&worker.snapshot(), name).is_none() {
        let want = Want::Cluster(name.to_owned());
        worker.shared.demand.ask_of(want, source.clone(), patience).await;
    }
    find(worker, name).await
}

async fn known(worker: &Rc<Worker>, name: &str) -> Result<Rc<Upstream>, Failure> {
    let discovered = |upstream: Option<Rc<Upstream>>| upstream.filter(|u| u.is_discovered());
    if let Some(upstream) = discovered(worker.upstream(&worker.snapshot(), name)) {
        return Ok(upstream);
    }
    if let Some(upstream) = discovered(Box::pin(named(worker, name)).await) {
        return Ok(upstream);
    }
    let answer = worker.shared.demand.ask(Want::Cluster(name.to_owned())).await;
    match (worker.upstream(&worker.snapshot(), name), answer) {
        (Some(upstream), Answer::Found | Answer::Absent) => Ok(upstream),
        (Some(upstream), Answer::Unanswered) if upstream.is_discovered() => Ok(upstream),
        (_, Answer::Unanswered) => Err(Failure::Unanswered),
        (None, Answer::Found | Answer::Absent) => Err(Failure::NoCluster),
    }
}

/// A cluster once its names have been looked up, where that is waited for: Envoy opens its listeners only then.
async fn named(worker: &Rc<Worker>, name: &str) -> Option<Rc<Upstream>> {
    let mut changes = worker.shared.published.changes();
    loop {
        let upstream = worker.upstream(&worker.snapshot(), name)?;
        if !upstream.waits_for_names() || changes.changed().await.is_err() {
            return Some(upstream);
        }
    }
}
