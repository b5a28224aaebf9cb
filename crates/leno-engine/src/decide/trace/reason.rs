//! Why a request is traced: somebody wants it, or it is one of those that are drawn by the number in its id. The reason
//! is written into the id (its version's digit), so that the proxies behind this one know it.

use crate::compile::tracing::{RequestIds, Sampling};
use crate::message::RequestHead;

const ID: &str = "x-request-id";
/// Where a UUID has its version.
const VERSION: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NotTraceable,
    Sampling,
    ServiceForced,
    ClientForced,
}

impl Reason {
    pub fn is_traced(self) -> bool {
        self != Self::NotTraceable
    }

    /// Decides, and writes it down. `random` is a fresh number.
    pub fn decide(ids: RequestIds, sampling: &Sampling, head: &mut RequestHead, random: u64) -> Self {
        if !ids.sample {
            return Self::Sampling;
        }
        let id = head.headers.get_str(ID);
        let Some(number) = id.and_then(number) else {
            return Self::NotTraceable;
        };
        let number = number % 10_000;
        let said = id.map_or(Self::NotTraceable, Self::said);
        let wanted = match said {
            Self::NotTraceable => Self::wanted(sampling, head, number, random),
            said => said,
        };
        let reason = match wanted.is_traced() && !sampling.overall.takes(number) {
            true => Self::NotTraceable,
            false => wanted,
        };
        if ids.pack_reason && wanted.is_traced() && reason != said {
            reason.write(head);
        }
        reason
    }

    fn wanted(sampling: &Sampling, head: &RequestHead, number: u64, random: u64) -> Self {
        if head.headers.contains("x-client-trace-id") && sampling.client.takes(random) {
            return Self::ClientForced;
        }
        if head.headers.contains("x-envoy-force-trace") {
            return Self::ServiceForced;
        }
        match sampling.random.takes(number) {
            true => Self::Sampling,
            false => Self::NotTraceable,
        }
    }

    /// What an id says.
    fn said(id: &str) -> Self {
        match id.as_bytes().get(VERSION).filter(|_| id.len() == 36) {
            Some(b'9') => Self::Sampling,
            Some(b'a') => Self::ServiceForced,
            Some(b'b') => Self::ClientForced,
            _ => Self::NotTraceable,
        }
    }

    fn write(self, head: &mut RequestHead) {
        let Some(id) = head.headers.get(ID).filter(|id| id.len() == 36) else {
            return;
        };
        let mut id = id.to_vec();
        if let Some(digit) = id.get_mut(VERSION) {
            *digit = match self {
                Self::NotTraceable => b'4',
                Self::Sampling => b'9',
                Self::ServiceForced => b'a',
                Self::ClientForced => b'b',
            };
        }
        head.headers.set(ID, id);
    }
}

/// The first eight digits.
fn number(id: &str) -> Option<u64> {
    u64::from_str_radix(id.get(..8)?, 16).ok()
}
