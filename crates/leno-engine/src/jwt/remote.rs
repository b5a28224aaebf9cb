//! A key set that is fetched: kept for its time, the last good one for longer where no other is to be had.
//!
//! All workers share it. Whoever needs it while nobody fetches it takes the turn ([`Remote::poll_turn`]); the others wait
//! until that one has come to an end, or take the turn where it was given up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::keys::KeySet;

/// Where a key set is, and how it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub cluster: String,
    pub secure: bool,
    pub authority: String,
    /// With the query.
    pub path: String,
    /// Of each try.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: u32,
    /// Between tries: this, doubled each time, up to the second.
    pub pause: (Duration, Duration),
    /// How long a key set is taken without another question.
    pub keep: Duration,
    /// How long after a failure nobody asks again.
    pub back_off: Duration,
}

#[derive(Debug)]
pub struct Remote {
    pub place: Place,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    fetched: Option<Instant>,
    failed: Option<Instant>,
    /// Somebody has the turn.
    fetching: bool,
    /// How many turns have come to an end.
    ended: u64,
    waiting: Vec<Waker>,
}

/// What there is.
#[derive(Debug)]
pub enum Found {
    Keys(Arc<KeySet>),
    /// They have to be fetched first.
    Fetch,
    /// They could not be fetched, a moment ago.
    Failed,
}

/// The right and the duty to fetch. Given up by dropping it.
#[derive(Debug)]
pub struct Turn<'r>(&'r Remote);

/// The key sets that configurations of this process name: a new configuration finds what an older one has fetched.
#[derive(Clone, Debug, Default)]
pub struct Remotes(Arc<Mutex<HashMap<Place, Weak<Remote>>>>);

/// A key that is not in a set may be in the next one, but nobody asks for that more often.
const SEEK_AGAIN: Duration = Duration::from_secs(10);

// === impl Remote ===

impl Remote {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            state: Mutex::default(),
        }
    }

    /// `waited`: this request has waited for it once.
    pub fn find(&self, now: Instant, waited: bool) -> Found {
        let state = self.lock();
        let within = |since: Option<Instant>, time: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) < time)
        };
        let is_fresh = within(state.fetched, self.place.keep);
        let failed = within(state.failed, self.place.back_off);
        match &state.keys {
            // While one request fetches new ones, or nobody can, the others take those that are there.
            Some(keys) if is_fresh || failed || waited || state.fetching => Found::Keys(Arc::clone(keys)),
            None if failed || waited => Found::Failed,
            Some(_) | None => Found::Fetch,
        }
    }

    /// Whether to fetch it once more for a key that is not in it.
    pub fn may_have_changed(&self, now: Instant) -> bool {
        let state = self.lock();
        let long_ago = |since: Option<Instant>| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= SEEK_AGAIN)
        };
        long_ago(state.fetched) && long_ago(state.failed)
    }

    /// Waits for the turn. None: another has fetched it meanwhile, or failed. `seen` is the caller's own between polls.
    pub fn poll_turn(&self, seen: &mut Option<u64>, cx: &mut Context<'_>) -> Poll<Option<Turn<'_>>> {
        let mut state = self.lock();
        let ended = state.ended;
        if *seen.get_or_insert(ended) != ended {
            return Poll::Ready(None);
        }
        if state.fetching {
            if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        state.fetching = true;
        Poll::Ready(Some(Turn(self)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Turn ===

impl Turn<'_> {
    /// What the answer said; what is no key set counts as none, and never takes the place of one. True: it is one.
    pub fn answered(self, answer: Option<&[u8]>, now: Instant) -> bool {
        let keys = answer.and_then(KeySet::parse);
        let mut state = self.0.lock();
        state.ended += 1;
        let is_good = keys.is_some();
        match keys {
            Some(keys) => {
                state.keys = Some(Arc::new(keys));
                state.fetched = Some(now);
                state.failed = None;
            }
            None => state.failed = Some(now),
        }
        is_good
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.fetching = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

// === impl Remotes ===

impl Remotes {
    /// The one at this place.
    pub(crate) fn at(&self, place: Place) -> Arc<Remote> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(remote) = known.get(&place).and_then(Weak::upgrade) {
            return remote;
        }
        known.retain(|_, remote| remote.strong_count() > 0);
        let remote = Arc::new(Remote::new(place.clone()));
        known.insert(place, Arc::downgrade(&remote));
        remote
    }
}
