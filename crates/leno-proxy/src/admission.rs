//! Whether a connection that has come may stay: the limits of all connections and of the listener's, and overload.

use leno_engine::compile::listener::Listener;
use leno_engine::compile::overload::What;
use leno_engine::decide::places::Place;
use leno_telemetry::stats::ListenerStat;

use crate::overload::Overload;
use crate::worker::Worker;

/// The places that it takes. None: it goes. It has been counted as its worker's load.
pub(crate) fn admit(worker: &Worker, listener: &Listener) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    match admitted(worker, listener, &mut places) {
        Ok(()) => Some(places),
        Err(stat) => {
            worker.listener_counts(&listener.stat_name).inc(stat);
            None
        }
    }
}

/// Err: as what it is counted that goes.
fn admitted(worker: &Worker, listener: &Listener, places: &mut Vec<Place>) -> Result<(), ListenerStat> {
    let overload = worker.shared.overload.as_deref();
    let overload = overload.filter(|_| !listener.bypasses_overload);
    if !listener.ignores_global_limit {
        match overload.filter(|overload| overload.limits_connections()) {
            Some(overload) => {
                let place = overload
                    .take_place()
                    .map_err(|()| ListenerStat::GlobalCxOverflow)?;
                places.extend(place);
            }
            None => by_runtime(worker)?,
        }
    }
    if overload.is_some_and(|overload| rejects(overload, worker)) {
        return Err(ListenerStat::CxOverloadReject);
    }
    if listener.places.are_limited() {
        places.push(listener.places.take().ok_or(ListenerStat::CxOverflow)?);
    }
    Ok(())
}

fn rejects(overload: &Overload, worker: &Worker) -> bool {
    let acts = |what| overload.acts(what, &worker.random);
    acts(What::ShedConnections) || acts(What::RejectConnections)
}

/// `overload.global_downstream_max_connections`.
fn by_runtime(worker: &Worker) -> Result<(), ListenerStat> {
    let most = worker.shared.max_connections.now();
    match most != u64::MAX && worker.shared.loads.total() as u64 > most {
        true => Err(ListenerStat::GlobalCxOverflow),
        false => Ok(()),
    }
}
