//! Requests that are dropped because a control plane wants endpoints to have less to do.

use crate::compile::endpoint::DropOverload;
use crate::runtime::Share;

/// As Envoy, which tells it apart where every request is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    ByChance,
    Always,
}

impl DropOverload {
    /// Whether this request is dropped.
    pub fn takes(&self, random: u64) -> Option<Dropped> {
        let limit = self.limit.now().min(100) * 10_000;
        match Share(self.share.0.min(limit)) {
            Share::ALL => Some(Dropped::Always),
            share => share.takes(random).then_some(Dropped::ByChance),
        }
    }
}
