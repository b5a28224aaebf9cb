//! Peers by what they say of themselves. Everybody says the same with every message, and decoding it costs more than
//! all else that is done for a request.

use std::collections::HashMap;
use std::rc::Rc;

use xxhash_rust::xxh64::xxh64;

use super::PeerMetadata;

/// With more than these all are forgotten: a mesh whose workloads talk to so many pays for decoding.
const MOST: usize = 1024;

/// What one worker has decoded.
#[derive(Debug, Default)]
pub struct KnownPeers(HashMap<u64, Known>);

#[derive(Debug)]
struct Known {
    told: Box<[u8]>,
    peer: Rc<PeerMetadata>,
}

// === impl KnownPeers ===

impl KnownPeers {
    /// What `told` means; `decode` finds it out, where it can, when it is not known.
    pub fn get(
        &mut self,
        told: &[u8],
        decode: impl FnOnce(&[u8]) -> Option<PeerMetadata>,
    ) -> Option<Rc<PeerMetadata>> {
        let hash = xxh64(told, 0);
        // Another with the same hash is replaced.
        if let Some(known) = self.0.get(&hash).filter(|known| *known.told == *told) {
            return Some(Rc::clone(&known.peer));
        }
        let peer = Rc::new(decode(told)?);
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let known = Known {
            told: told.into(),
            peer: Rc::clone(&peer),
        };
        self.0.insert(hash, known);
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_decoded_again() {
        let mut peers = KnownPeers::default();
        let decoded = |_: &[u8]| {
            Some(PeerMetadata {
                workload: "reviews-v1".into(),
                ..PeerMetadata::default()
            })
        };
        let first = peers.get(b"told", decoded).expect("decoded");
        let again = peers.get(b"told", |_| unreachable!()).expect("known");
        assert!(Rc::ptr_eq(&first, &again));
        assert_eq!(peers.get(b"nonsense", |_| None), None);
        assert!(peers.get(b"nonsense", decoded).is_some());
    }

    #[test]
    fn strangers_do_not_make_it_grow() {
        let mut peers = KnownPeers::default();
        for told in 0..3 * MOST {
            peers.get(&told.to_le_bytes(), |_| Some(PeerMetadata::default()));
            assert!(peers.0.len() <= MOST);
        }
    }
}
