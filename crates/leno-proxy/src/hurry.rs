//! Timers that are shorter while there is too much to do.

use std::time::Duration;

use leno_engine::compile::overload::Least;
use leno_engine::decide::overload::shortened;

/// How much shorter they are at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hurry {
    pub(crate) connection_idle: Shorter,
    pub(crate) stream_idle: Shorter,
}

/// Of one kind of timer: what is left at the most, and how far it has come to that. None: it is as configured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shorter(pub(crate) Option<(Least, f64)>);

impl Shorter {
    pub(crate) fn of(self, time: Duration) -> Duration {
        match self.0 {
            None => time,
            Some((least, state)) => shortened(time, least, state),
        }
    }
}
