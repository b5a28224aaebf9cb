//! The load generator: evenly spaced requests over a few open connections.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderMap;
use tokio::sync::Semaphore;

use super::call::Upstream;

/// Requests on the way at one time: beyond it the generator waits rather than pile up.
const MAX_OPEN: usize = 64;

pub async fn run(target: &str, rate: u32) -> anyhow::Result<()> {
    let upstream = Rc::new(Upstream::new(target));
    let open = Arc::new(Semaphore::new(MAX_OPEN));
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    loop {
        tick.tick().await;
        let Ok(permit) = open.clone().acquire_owned().await else { return Ok(()) };
        let upstream = upstream.clone();
        tokio::task::spawn_local(async move {
            // Failures show in the mesh's own numbers; here they are worth a line.
            if let Err(error) = upstream.get("/productpage", &HeaderMap::new()).await {
                eprintln!("load: {error:#}");
            }
            drop(permit);
        });
    }
}
