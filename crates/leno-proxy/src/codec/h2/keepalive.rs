//! Whether the peer is there (`connection_keepalive`).

use std::rc::Rc;

use leno_engine::compile::http::Keepalive;
use leno_http2::Connection;
use tokio::time::sleep;

use super::link::Link;
use crate::random::Random;

/// Asks in intervals. Ready when an answer does not come in time.
pub(super) async fn watch(link: Rc<Link>, keepalive: Keepalive) {
    let Keepalive {
        interval,
        timeout,
        jitter,
    } = keepalive;
    let random = Random::default();
    // Of the interval, the time that was waited for an answer is over.
    let mut waited = std::time::Duration::ZERO;
    loop {
        let share = u32::try_from(random.next() % (u64::from(jitter) + 1)).unwrap_or_default();
        sleep(interval.saturating_sub(waited) + interval / 100 * share).await;
        link.with(Connection::ask_for_life);
        sleep(timeout).await;
        if link.with(|machine| machine.owes_life()) {
            return;
        }
        waited = timeout;
    }
}
