//! Overload: a task measures the pressures on resources, and workers ask before they take on something new.
//!
//! What workers read is a number for each kind of action: none of them waits for a measurement. Without an
//! `overload_manager` there is nothing to ask.

mod measure;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use leno_engine::compile::overload::{self as compiled, Timer, What};
use leno_engine::decide::overload::state;
use leno_engine::decide::places::{Place, Places};
use leno_engine::message::{Headers, LocalReply};
use tokio::sync::watch;

use crate::Handle;
use crate::hurry::{Hurry, Shorter};
use crate::random::Random;
use measure::Gauges;

/// All of it.
const WHOLE: u32 = 1_000_000;

/// What is in force of an `overload_manager`.
#[derive(Debug)]
pub(crate) struct Overload {
    config: compiled::Overload,
    /// By kind of action, in parts in a million.
    states: [AtomicU32; What::COUNT],
    /// By kind of load-shed point: how often it has.
    shed: [AtomicU64; What::COUNT],
    measured: Vec<Measured>,
    connections: Option<Places>,
    /// Nothing is accepted for the time being.
    stopped: watch::Sender<bool>,
}

/// Of one monitor.
#[derive(Debug, Default)]
struct Measured {
    percent: AtomicU64,
    failed: AtomicU64,
}

/// A statistic's name behind `overload.`, whether it is a count, and its value.
pub(crate) type Told = (String, bool, u64);

// === impl Overload ===

impl Overload {
    pub(crate) fn new(config: compiled::Overload) -> Self {
        Self {
            states: [const { AtomicU32::new(0) }; What::COUNT],
            shed: [const { AtomicU64::new(0) }; What::COUNT],
            measured: config.monitors.iter().map(|_| Measured::default()).collect(),
            connections: config.max_connections.map(Places::new),
            stopped: watch::Sender::new(false),
            config,
        }
    }

    /// Whether it is to be done this time.
    pub(crate) fn acts(&self, what: What, random: &Random) -> bool {
        let acts = match self.states[what as usize].load(Relaxed) {
            0 => false,
            WHOLE.. => true,
            share => random.next() % u64::from(WHOLE) < u64::from(share),
        };
        if acts && what.is_point() {
            self.shed[what as usize].fetch_add(1, Relaxed);
        }
        acts
    }

    fn shorter(&self, timer: Timer) -> Shorter {
        let state = self.states[What::ReduceTimeouts as usize].load(Relaxed);
        let mut timers = self.config.timers.iter();
        let found = timers.find(|(of, _)| *of == timer && state > 0);
        Shorter(found.map(|(_, least)| (*least, f64::from(state) / f64::from(WHOLE))))
    }

    /// How much shorter timers are that the worker looks after.
    pub(crate) fn hurry(&self) -> Hurry {
        Hurry {
            connection_idle: self.shorter(Timer::ConnectionIdle),
            stream_idle: self.shorter(Timer::StreamIdle),
        }
    }

    /// How long a handshake may take.
    pub(crate) fn handshake_timeout(&self, configured: Duration) -> Duration {
        self.shorter(Timer::Handshake).of(configured)
    }

    /// Whether nothing is accepted; it is told when that changes. None: that never happens.
    pub(crate) fn stopped(&self) -> Option<watch::Receiver<bool>> {
        let mut actions = self.config.actions.iter();
        actions
            .any(|action| action.what == What::StopConnections)
            .then(|| self.stopped.subscribe())
    }

    fn look(&self, gauges: &mut Gauges) {
        let pressures: Vec<Option<f64>> = gauges.read(&self.config.monitors);
        for ((monitor, measured), pressure) in self.config.monitors.iter().zip(&self.measured).zip(&pressures)
        {
            match pressure {
                Some(pressure) => measured.percent.store((pressure * 100.0) as u64, Relaxed),
                None if monitor.resource == compiled::Resource::Connections => {}
                None => {
                    measured.failed.fetch_add(1, Relaxed);
                }
            }
        }
        for action in &self.config.actions {
            let state = (state(action, &pressures) * f64::from(WHOLE)) as u32;
            let before = self.states[action.what as usize].swap(state, Relaxed);
            if (before == WHOLE) != (state == WHOLE) {
                tracing::info!(action = action.name, active = state == WHOLE, "overload");
            }
            if action.what == What::StopConnections {
                self.stopped.send_if_modified(|stopped| {
                    let changes = *stopped != (state == WHOLE);
                    *stopped = state == WHOLE;
                    changes
                });
            }
        }
    }

    /// The limit of all connections, where there is one here.
    pub(crate) fn limits_connections(&self) -> bool {
        self.connections.is_some()
    }

    /// A place among all connections, where they are limited here. Err: there is none.
    pub(crate) fn take_place(&self) -> Result<Option<Place>, ()> {
        let Some(connections) = &self.connections else {
            return Ok(None);
        };
        let place = connections.take();
        if place.is_none() {
            let is_of_connections = |(monitor, _): &(&compiled::Monitor, &Measured)| {
                monitor.resource == compiled::Resource::Connections
            };
            let mut all = self.config.monitors.iter().zip(&self.measured);
            if let Some((_, measured)) = all.find(is_of_connections) {
                measured.failed.fetch_add(1, Relaxed);
            }
        }
        place.map(Some).ok_or(())
    }

    /// For `/stats`.
    pub(crate) fn told(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for (monitor, measured) in self.config.monitors.iter().zip(&self.measured) {
            let percent = match (&monitor.resource, &self.connections) {
                (compiled::Resource::Connections, Some(places)) => {
                    let (taken, most) = places.taken();
                    taken * 100 / most.max(1)
                }
                _ => measured.percent.load(Relaxed),
            };
            told.push((format!("{}.pressure", monitor.name), false, percent));
            let failed = measured.failed.load(Relaxed);
            told.push((format!("{}.failed_updates", monitor.name), true, failed));
        }
        for action in &self.config.actions {
            let state = self.states[action.what as usize].load(Relaxed);
            let percent = u64::from(state / (WHOLE / 100));
            told.push((format!("{}.scale_percent", action.name), false, percent));
            if action.what.is_point() {
                let shed = self.shed[action.what as usize].load(Relaxed);
                told.push((format!("{}.shed_load_count", action.name), true, shed));
            } else {
                told.push((
                    format!("{}.active", action.name),
                    false,
                    u64::from(state == WHOLE),
                ));
            }
        }
        told
    }
}

/// Looks at the monitors again and again. Never returns.
pub async fn keep_watched(proxy: &Handle) {
    let Some(overload) = proxy.overload() else {
        return std::future::pending().await;
    };
    let mut gauges = Gauges::default();
    loop {
        overload.look(&mut gauges);
        tokio::time::sleep(overload.config.interval).await;
    }
}

/// What a request is answered that is not taken on. `told`: why, in a header of its own.
pub(crate) fn overloaded(told: bool) -> LocalReply {
    let mut headers = Headers::default();
    if told {
        headers.set("x-envoy-local-overloaded", "true");
    }
    LocalReply {
        status: 503,
        headers,
        body: bytes::Bytes::from_static(b"envoy overloaded"),
        details: "overload".into(),
        flags: Default::default(),
        grpc_status: None,
    }
}
