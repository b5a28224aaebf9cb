//! What is counted of one connection: its bytes, and how it ends.

use std::cell::Cell;
use std::sync::Arc;

use super::{Block, ClusterStat, Counts, HttpStat, Stat, add};

/// Of a scope that connections are counted in.
pub trait Metering: Stat {
    /// In the order of [`Place`].
    const METERED: [Self; 7];
}

/// A connection's. When it is dropped, the connection has ended.
#[derive(Debug, Default)]
pub struct Meter {
    /// None: nobody counts.
    of: Option<Of>,
    busy: Cell<bool>,
    /// Whether by its peer; None: that is not known.
    ended_by_peer: Cell<Option<bool>>,
}

#[derive(Debug)]
struct Of {
    block: Arc<Block>,
    /// Of the block's counters.
    places: [u16; 7],
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Received,
    Sent,
    Remote,
    Local,
    /// With a request that had not ended.
    Active,
    RemoteActive,
    LocalActive,
}

impl Metering for ClusterStat {
    const METERED: [Self; 7] = [
        Self::CxRxBytesTotal,
        Self::CxTxBytesTotal,
        Self::CxDestroyRemote,
        Self::CxDestroyLocal,
        Self::CxDestroyWithActiveRq,
        Self::CxDestroyRemoteWithActiveRq,
        Self::CxDestroyLocalWithActiveRq,
    ];
}

impl Metering for HttpStat {
    const METERED: [Self; 7] = [
        Self::CxRxBytesTotal,
        Self::CxTxBytesTotal,
        Self::CxDestroyRemote,
        Self::CxDestroyLocal,
        Self::CxDestroyActiveRq,
        Self::CxDestroyRemoteActiveRq,
        Self::CxDestroyLocalActiveRq,
    ];
}

// === impl Counts ===

impl<S: Metering> Counts<S> {
    /// Of a connection that begins.
    pub fn meter(&self) -> Meter {
        Meter {
            of: Some(Of {
                block: Arc::clone(&self.block),
                places: S::METERED.map(|stat| stat.index() as u16),
            }),
            busy: Cell::default(),
            ended_by_peer: Cell::default(),
        }
    }
}

// === impl Meter ===

impl Meter {
    #[inline]
    pub fn received(&self, bytes: u64) {
        self.add(Place::Received, bytes);
    }

    #[inline]
    pub fn sent(&self, bytes: u64) {
        self.add(Place::Sent, bytes);
    }

    /// Whether a request is under way.
    #[inline]
    pub fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    /// Who has ended it; the first to be said counts, and nobody said is this proxy.
    pub fn ended(&self, by_peer: bool) {
        if self.ended_by_peer.get().is_none() {
            self.ended_by_peer.set(Some(by_peer));
        }
    }

    pub fn is_ended_by_peer(&self) -> bool {
        self.ended_by_peer.get() == Some(true)
    }

    #[inline]
    fn add(&self, place: Place, amount: u64) {
        let Some(of) = &self.of else { return };
        let at = of.places.get(place as usize);
        if let Some(counter) = at.and_then(|at| of.block.counters.get(usize::from(*at))) {
            add(counter, amount);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let (end, active) = match self.ended_by_peer.get() {
            Some(true) => (Place::Remote, Place::RemoteActive),
            Some(false) | None => (Place::Local, Place::LocalActive),
        };
        self.add(end, 1);
        if self.busy.get() {
            self.add(Place::Active, 1);
            self.add(active, 1);
        }
    }
}
