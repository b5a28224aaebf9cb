//! What a cluster's connections and answers are counted as.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use leno_engine::compile::endpoint::{Assignment, Endpoint};
use leno_engine::compile::metadata::Value;
use leno_telemetry::stats::{AnswerStat, AnswerTime, ClusterStat, ClusterTime, Counts, Stats};
use smallvec::SmallVec;

use super::Upstream;
use crate::counts::{Lasting, Timed};
use crate::outcome::Failure;

/// What some of a cluster's answers are counted as besides, made when the first of them comes.
#[derive(Debug, Default)]
pub(super) struct Answers {
    internal: OnceCell<Rc<Counts<AnswerStat>>>,
    canary: OnceCell<Rc<Counts<AnswerStat>>>,
    retried: OnceCell<Rc<Counts<AnswerStat>>>,
    zones: RefCell<Zones>,
}

/// By endpoints' zones.
#[derive(Debug, Default)]
struct Zones {
    /// Of which the zones are: kept, so that no other can be where it is.
    assignment: Option<Arc<Assignment>>,
    /// By the endpoint's address in memory.
    of_endpoints: HashMap<usize, Rc<Counts<AnswerStat>>>,
    by_zone: HashMap<String, Rc<Counts<AnswerStat>>>,
}

/// As what a request's answer is counted besides its cluster's.
#[derive(Debug, Default)]
pub(crate) struct Besides(SmallVec<[Rc<Counts<AnswerStat>>; 2]>);

// === impl Besides ===

impl Besides {
    pub(crate) fn took(&self, time: std::time::Duration) {
        self.0.iter().for_each(|counts| counts.took(AnswerTime::Rq, time));
    }
}

// === impl Zones ===

impl Zones {
    fn of(
        &mut self,
        endpoint: &Endpoint,
        assignment: &Arc<Assignment>,
        count: impl Fn(&str) -> Counts<AnswerStat>,
    ) -> Option<Rc<Counts<AnswerStat>>> {
        if self.assignment.as_ref().map(Arc::as_ptr) != Some(Arc::as_ptr(assignment)) {
            self.of_endpoints.clear();
            for locality in assignment.priorities.iter().flatten() {
                let zone = &locality.name.zone;
                if zone.is_empty() {
                    continue;
                }
                let counts = self.by_zone.entry(zone.clone());
                let counts = counts.or_insert_with(|| Rc::new(count(zone)));
                for endpoint in &locality.endpoints {
                    self.of_endpoints
                        .insert(Arc::as_ptr(endpoint) as usize, Rc::clone(counts));
                }
            }
            self.assignment = Some(Arc::clone(assignment));
        }
        self.of_endpoints
            .get(&(std::ptr::from_ref(endpoint) as usize))
            .cloned()
    }
}

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

    /// The same, as far as it is counted besides. `is_internal`: the request is taken for one from inside; `zone`: this
    /// proxy's own.
    pub(crate) fn count_besides(
        &self,
        stats: &Stats,
        status: Option<u16>,
        is_internal: bool,
        endpoint: Option<&Endpoint>,
        zone: &str,
    ) -> Besides {
        let state = self.state.borrow();
        let name = &state.cluster.stat_name;
        let counts = |which: &str| stats.counts(&format!("{name}.{which}"));
        let mut besides: SmallVec<[Rc<Counts<AnswerStat>>; 2]> = SmallVec::new();
        let answers = &self.answers;
        if is_internal {
            let internal = answers.internal.get_or_init(|| Rc::new(counts("internal")));
            besides.push(Rc::clone(internal));
        }
        if endpoint.is_some_and(is_canary) {
            let canary = answers.canary.get_or_init(|| Rc::new(counts("canary")));
            besides.push(Rc::clone(canary));
        }
        if let Some(endpoint) = endpoint
            && !zone.is_empty()
            && let Some(assignment) = &state.assignment
        {
            let count = |to: &str| counts(&format!("zone.{zone}.{to}"));
            besides.extend(answers.zones.borrow_mut().of(endpoint, assignment, count));
        }
        besides.iter().for_each(|counts| count_answer(counts, status));
        Besides(besides)
    }

    /// An answer with this status is not passed on: the request is tried again.
    pub(crate) fn count_retried(&self, stats: &Stats, status: u16) {
        let name = || format!("{}.retry", self.state.borrow().cluster.stat_name);
        let counts = self
            .answers
            .retried
            .get_or_init(|| Rc::new(stats.counts(&name())));
        count_answer(counts, Some(status));
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

fn count_answer(counts: &Counts<AnswerStat>, status: Option<u16>) {
    counts.inc(AnswerStat::RqCompleted);
    let Some(status) = status else { return };
    if let Some(class) = AnswerStat::of_status(status) {
        counts.inc(class);
    }
    counts.code(status);
}

fn is_canary(endpoint: &Endpoint) -> bool {
    endpoint.metadata.get("canary") == Some(&Value::Bool(true))
}
