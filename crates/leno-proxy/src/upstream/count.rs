//! What a cluster's connections and answers are counted as.

use leno_telemetry::stats::{ClusterStat, ClusterTime, InternalStat, Stats};

use super::Upstream;
use crate::counts::{Lasting, Timed};
use crate::outcome::Failure;

impl Upstream {
    /// A request has been answered with this status, by an endpoint or for lack of one; None: it is not counted which.
    pub(crate) fn count_answer(&self, status: Option<u16>) {
        self.counts.inc(ClusterStat::RqCompleted);
        let Some(status) = status else { return };
        if let Some(class) = ClusterStat::of_status(status) {
            self.counts.inc(class);
        }
        self.counts.code(status);
    }

    /// The same, of a request that is taken for one from inside.
    pub(crate) fn count_internal_answer(&self, stats: &Stats, status: Option<u16>) {
        let name = &self.state.borrow().cluster.stat_name;
        let counts = self.internal.get_or_init(|| stats.counts(name));
        counts.inc(InternalStat::RqCompleted);
        let Some(status) = status else { return };
        if let Some(class) = InternalStat::of_status(status) {
            counts.inc(class);
        }
        counts.code(status);
    }

    /// A connection begins.
    pub(crate) fn count_connection(&self) -> (Lasting<ClusterStat>, Timed<ClusterStat>) {
        self.counts.inc(ClusterStat::CxTotal);
        if let Some(health) = &self.state.borrow().health {
            health.known.meet();
        }
        (
            Lasting::begin(&self.counts, ClusterStat::CxActive, Some(ClusterStat::CxDestroy)),
            Timed::begin(&self.counts, ClusterTime::CxLength),
        )
    }

    pub(crate) fn count_protocol(&self, http2: bool) {
        self.counts.inc(match http2 {
            true => ClusterStat::CxHttp2Total,
            false => ClusterStat::CxHttp1Total,
        });
    }

    /// It could not be made.
    pub(crate) fn count_unconnected(&self, failure: &Failure) {
        // As Envoy, which closes what takes too long.
        let late = matches!(failure, Failure::ConnectTimeout);
        self.counts.meter().ended(!late);
        self.counts.inc(ClusterStat::CxConnectFail);
        if late {
            self.counts.inc(ClusterStat::CxConnectTimeout);
        }
    }
}
