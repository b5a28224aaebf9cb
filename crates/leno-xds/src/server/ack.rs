//! What the client says of what it was sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Responses that await their acknowledgement. A client that never acknowledges costs no more than this many.
const MOST_IN_FLIGHT: usize = 64;
/// Of what a client says of a response, so many bytes are searched for the names of resources, and so many are kept.
const LONGEST_SEARCHED: usize = 64 * 1024;
const LONGEST_KEPT: usize = 2 * 1024;
/// So many different complaints are told one by one.
const MOST_COMPLAINTS: usize = 8;

/// Whether a client follows what it is sent, for `leno status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All that was sent is acknowledged.
    Synced,
    /// Something sent is not acknowledged yet.
    Stale,
    /// The client rejected what it was sent last of some resource; what it said.
    Rejected(String),
    /// Something asked for has not been answered yet.
    NotSent,
}

#[derive(Debug, Default)]
pub(super) struct Acks {
    in_flight: VecDeque<InFlight>,
    /// By resource, why it was not taken.
    rejected: BTreeMap<Arc<str>, Arc<Rejection>>,
    /// What was sent and will never be acknowledged, for too much was in flight.
    overdue: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct InFlight {
    nonce: u64,
    names: Vec<Arc<str>>,
}

#[derive(Debug, PartialEq)]
struct Rejection {
    message: String,
    /// The message names no resource, so that all of the response are suspect, and any of them mends it.
    vague: bool,
}

// === impl Acks ===

impl Acks {
    /// `is_known` says what the client still has: nobody asks whether it took anything else.
    pub(super) fn sent(&mut self, nonce: u64, names: Vec<Arc<str>>, is_known: impl Fn(&Arc<str>) -> bool) {
        if self.in_flight.len() == MOST_IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            let names = oldest.into_iter().flat_map(|response| response.names);
            self.overdue.extend(names.filter(is_known));
        }
        self.in_flight.push_back(InFlight { nonce, names });
    }

    /// The resources that the client may not have received yet.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Arc<str>> {
        self.in_flight.iter().flat_map(|response| &response.names)
    }

    /// Whether the client has said that it took what it was sent last of this resource.
    pub(super) fn has_taken(&self, name: &str) -> bool {
        !self.in_flight().any(|sent| **sent == *name)
            && !self.rejected.contains_key(name)
            && !self.overdue.contains(name)
    }

    /// A request carries a nonce: of a response that it accepts, or rejects. Unknown ones are stale.
    pub(super) fn answered(&mut self, nonce: &str, error: Option<String>) {
        let Ok(nonce) = nonce.parse::<u64>() else {
            return;
        };
        let Some(at) = self.in_flight.iter().position(|r| r.nonce == nonce) else {
            return;
        };
        let names = self.in_flight.remove(at).map(|r| r.names).unwrap_or_default();
        for name in &names {
            self.overdue.remove(name);
        }
        let Some(message) = error else {
            return self.settled(names.iter().map(|n| &**n));
        };
        // What is beyond is not searched: all of these may be bad.
        let searched = cut(&message, LONGEST_SEARCHED);
        let (bad, good): (Vec<_>, Vec<_>) = match searched.len() < message.len() {
            true => (names, Vec::new()),
            false => names.into_iter().partition(|name| searched.contains(&**name)),
        };
        let vague = bad.is_empty();
        let bad = if vague {
            good
        } else {
            self.settled(good.iter().map(|n| &**n));
            bad
        };
        let rejection = Arc::new(Rejection {
            message: bounded(message),
            vague,
        });
        self.rejected
            .extend(bad.into_iter().map(|name| (name, rejection.clone())));
    }

    /// The client has it no more, whatever it was sent of it.
    pub(super) fn forget(&mut self, name: &str) {
        self.overdue.remove(name);
        self.settled([name].into_iter());
    }

    /// These were accepted, or exist no more: they are no reason to call the client rejecting.
    pub(super) fn settled<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if let Some(mended) = self.rejected.remove(name).filter(|r| r.vague) {
                self.rejected.retain(|_, other| !Arc::ptr_eq(other, &mended));
            }
        }
    }

    pub(super) fn state(&self, told: bool) -> State {
        if !self.rejected.is_empty() {
            State::Rejected(self.complaint())
        } else if !self.in_flight.is_empty() {
            State::Stale
        } else if told {
            State::Synced
        } else {
            State::NotSent
        }
    }

    fn complaint(&self) -> String {
        let mut messages: Vec<&str> = self.rejected.values().map(|r| r.message.as_str()).collect();
        messages.sort_unstable();
        messages.dedup();
        let more = messages.len().saturating_sub(MOST_COMPLAINTS);
        messages.truncate(MOST_COMPLAINTS);
        let told = messages.join("; ");
        match more {
            0 => told,
            more => format!("{told}; and {more} more"),
        }
    }
}

/// What a client says, as much of it as is kept and told.
pub(super) fn bounded(message: String) -> String {
    match cut(&message, LONGEST_KEPT) {
        short if short.len() < message.len() => format!("{short}…"),
        _ => message,
    }
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
