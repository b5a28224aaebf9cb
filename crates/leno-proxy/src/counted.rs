//! A request, counted besides its cluster.

use leno_telemetry::stats::{ClusterStat, Counts, RouteStat};

use crate::beside::Beside;
use crate::record::Exchange;

impl Exchange {
    /// Once the cluster is known, and the request as it came.
    pub(crate) fn begin_beside(&self) {
        let route = self.route.borrow();
        let Some(route) = &*route else { return };
        let request = self.request.borrow();
        let of_host = route.host.clusters.of(&request);
        if of_host.is_none() && route.stat_name.is_none() {
            return;
        }
        let stat_names = of_host.map(|(stats, _)| stats);
        let stat_names = stat_names.into_iter().chain(route.stat_name.as_deref());
        let counts = &self.worker().counts;
        self.beside.replace(Some(Box::new(Beside {
            counts: stat_names
                .map(|name| counts.routes.get(&counts.stats, name))
                .collect(),
            virtual_cluster: of_host.and_then(|(_, name)| name).map(Into::into),
        })));
    }

    fn each_beside(&self, count: impl Fn(&Counts<RouteStat>)) {
        if let Some(beside) = &*self.beside.borrow() {
            beside.each(count);
        }
    }

    pub(crate) fn inc_beside(&self, stat: RouteStat) {
        self.each_beside(|counts| counts.inc(stat));
    }

    /// At the cluster as well.
    pub(crate) fn inc_both(&self, cluster: &Counts<ClusterStat>, stat: ClusterStat, beside: RouteStat) {
        cluster.inc(stat);
        self.inc_beside(beside);
    }

    /// The answer, or what is said in place of one.
    pub(crate) fn answer_beside(&self, status: Option<u16>) {
        self.each_beside(|counts| {
            counts.inc(RouteStat::RqCompleted);
            let Some(status) = status else { return };
            if let Some(class) = RouteStat::of_status(status) {
                counts.inc(class);
            }
            counts.code(status);
        });
    }
}
