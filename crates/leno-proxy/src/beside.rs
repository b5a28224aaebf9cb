//! As what a request is counted besides its cluster: its virtual host's virtual cluster, and its route.

use std::rc::Rc;
use std::time::Duration;

use leno_telemetry::stats::{Counts, RouteStat, RouteTime};
use smallvec::SmallVec;

/// Only of requests whose route or virtual host wants it.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) counts: SmallVec<[Rc<Counts<RouteStat>>; 2]>,
    /// The virtual cluster that has taken it.
    pub(crate) virtual_cluster: Option<Box<str>>,
}

// === impl Beside ===

impl Beside {
    pub(crate) fn each(&self, count: impl Fn(&Counts<RouteStat>)) {
        self.counts.iter().for_each(|counts| count(counts));
    }

    pub(crate) fn took(&self, time: Duration) {
        self.each(|counts| counts.took(RouteTime::Rq, time));
    }
}
