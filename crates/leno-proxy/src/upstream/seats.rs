//! Connections to each endpoint, where their number is limited (`per_host_thresholds`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use leno_engine::compile::listener::Address;
use leno_engine::decide::limits::{Priority, Seat};
use leno_telemetry::stats::ClusterStat;

use super::Upstream;

/// Those of one worker that are TCP's own: nobody shares them, so who comes later waits.
#[derive(Debug, Default)]
pub(super) struct Seats(RefCell<HashMap<Address, Rc<Here>>>);

#[derive(Debug, Default)]
struct Here {
    taken: Cell<u32>,
    freed: tokio::sync::Notify,
}

/// Until dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    _seat: Seat,
    here: Rc<Here>,
}

// === impl Upstream ===

impl Upstream {
    /// Whether there may be one more connection to this endpoint.
    pub(super) fn has_room_at(&self, address: &Address, priority: Priority) -> bool {
        self.state.borrow().limits.has_room_at(address, priority)
    }

    /// Counts a connection to an endpoint, where that is limited.
    pub(super) fn seat(&self, address: &Address) -> Option<Seat> {
        let state = self.state.borrow();
        state.limits.is_per_host().then(|| state.limits.seat(address))
    }

    /// Waits until there may be one more connection to it. As Envoy, which always allows the first of a worker. None: there
    /// is no limit.
    pub(crate) async fn take_seat(&self, address: &Address) -> Option<Taken> {
        if !self.state.borrow().limits.is_per_host() {
            return None;
        }
        let here = Rc::clone(self.seats.0.borrow_mut().entry(address.clone()).or_default());
        loop {
            if here.taken.get() == 0 || self.has_room_at(address, Priority::Default) {
                here.taken.set(here.taken.get() + 1);
                return Some(Taken {
                    _seat: self.seat(address)?,
                    here,
                });
            }
            self.counts.inc(ClusterStat::CxOverflow);
            here.freed.notified().await;
        }
    }

    /// Forgets endpoints without connections.
    pub(super) fn forget_seats(&self) {
        let mut seats = self.seats.0.borrow_mut();
        if !seats.is_empty() {
            seats.retain(|_, here| Rc::strong_count(here) > 1);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.here.taken.set(self.here.taken.get().saturating_sub(1));
        self.here.freed.notify_one();
    }
}
