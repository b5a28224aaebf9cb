//! When a data plane has started.

use std::time::Duration;

/// What begins to run once everything is ready (a worker's first look at its connections, what waits for changes) has
/// run by then: given back before, its code and constants would come back at once.
const SETTLED: Duration = Duration::from_millis(100);

/// Gives back the memory that only starting up needed.
pub async fn let_go_of_start_up() {
    tokio::time::sleep(SETTLED).await;
    if let Err(error) = leno_run::let_go_of_start_up() {
        tracing::debug!(%error, "memory of the start is not given back");
    }
}
