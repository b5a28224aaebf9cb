//! Who counts for filters: the worker, by the request's manager and cluster.

use std::time::Duration;

use leno_engine::decide::tally::Tally;

use crate::record::Exchange;
use crate::worker::Worker;

impl Tally for Exchange {
    fn of_manager(&self, name: &str) {
        self.session().counts.named(name, 1);
    }

    fn of_cluster(&self, name: &str, amount: u64) {
        self.with_cluster(|counts| counts.named(name, amount));
    }

    fn time_of_cluster(&self, name: &str, millis: u64) {
        self.with_cluster(|counts| counts.took_named(name, Duration::from_millis(millis)));
    }

    fn answer_of_cluster(&self, status: u16) {
        let worker = self.worker();
        let name = self
            .upstream
            .borrow()
            .cluster
            .as_ref()
            .map(|cluster| cluster.name.clone());
        let Some(upstream) = name.and_then(|name| worker.upstream(&worker.snapshot(), &name)) else {
            return;
        };
        upstream.count_answer(Some(status));
        // Of nobody's endpoint; what the proxy does by itself is from inside.
        let _ = upstream.count_besides(&worker.counts.stats, Some(status), true, None, "");
    }

    fn alone(&self, name: &str) {
        self.worker().counts.alone().named(name, 1);
    }
}

/// Of a connection that is not served yet.
impl Tally for Worker {
    fn of_manager(&self, _name: &str) {}
    fn of_cluster(&self, _name: &str, _amount: u64) {}
    fn time_of_cluster(&self, _name: &str, _millis: u64) {}

    fn alone(&self, name: &str) {
        self.counts.alone().named(name, 1);
    }
}
