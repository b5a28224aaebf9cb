//! What a peer may not do too often, each of it legal by itself: counted as Envoy counts it.

use crate::error::ConnectionError;
use crate::settings::Limits;

/// A stream that lived longer was not opened only to be reset.
const PREMATURE: u64 = 1;

#[derive(Debug)]
pub(super) struct Guard {
    limits: Limits,
    /// Frames without payload, one after the other.
    empty: u32,
    /// Streams that were opened, by either side.
    opened: u64,
    priorities: u64,
    window_updates: u64,
    data_frames: u64,
    /// Streams of the peer that have ended, and those that it reset before they were answered.
    closed: u64,
    premature: u64,
}

impl Guard {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            empty: 0,
            opened: 0,
            priorities: 0,
            window_updates: 0,
            data_frames: 0,
            closed: 0,
            premature: 0,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn opened(&mut self) {
        self.opened += 1;
    }

    pub(super) fn sent_data(&mut self) {
        self.data_frames += 1;
    }

    /// A HEADERS, CONTINUATION or DATA frame (CVE-2019-9518).
    pub(super) fn frame(&mut self, is_empty: bool, ends_stream: bool) -> Result<(), ConnectionError> {
        if !is_empty || ends_stream {
            self.empty = 0;
            return Ok(());
        }
        self.empty += 1;
        within(
            self.empty.into(),
            self.limits.empty_frames.into(),
            "too many empty frames",
        )
    }

    /// CVE-2019-9513.
    pub(super) fn priority(&mut self) -> Result<(), ConnectionError> {
        self.priorities += 1;
        let most = u64::from(self.limits.priority_frames) * (1 + self.opened);
        within(self.priorities, most, "too many PRIORITY frames")
    }

    pub(super) fn window_update(&mut self) -> Result<(), ConnectionError> {
        self.window_updates += 1;
        let frames = u64::from(self.limits.window_updates) * self.data_frames;
        let most = 5 + 2 * (self.opened + frames);
        within(self.window_updates, most, "too many WINDOW_UPDATE frames")
    }

    /// CVE-2019-9512, CVE-2019-9515.
    pub(super) fn queued(&self, control: usize) -> Result<(), ConnectionError> {
        let most = self.limits.queued_control_frames as u64;
        within(control as u64, most, "too many frames that want an answer")
    }

    pub(super) fn closed(&mut self) {
        self.closed += 1;
    }

    /// A stream was reset by the peer, or by us because of what the peer did on it (CVE-2023-44487, CVE-2025-8671).
    /// As Envoy: half of the streams, but not before so many that half of them would be over the limit.
    pub(super) fn reset(&mut self, answered: bool, lived: u64) -> Result<(), ConnectionError> {
        if answered || lived > PREMATURE {
            return Ok(());
        }
        self.premature += 1;
        let limit = u64::from(self.limits.premature_resets);
        let of = self.closed.max(limit);
        within(self.premature * 2, of, "too many streams reset")
    }
}

fn within(count: u64, most: u64, what: &'static str) -> Result<(), ConnectionError> {
    if count > most {
        return Err(ConnectionError::calm(what));
    }
    Ok(())
}
