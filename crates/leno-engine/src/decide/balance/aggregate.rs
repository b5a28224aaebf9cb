//! Clusters in a row: the priorities of each come after those of the one before.
//!
//! Envoy docs: "Aggregate cluster". An aggregate has no endpoints of its own. It chooses the level, by what of all of
//! them is well, and the level's cluster chooses the endpoint by its own policy.

use smallvec::SmallVec;

use super::priority::{self, Left, Place, Standing};
use super::{Balancer, PickContext};
use crate::compile::endpoint::Target;

/// The levels of all members; empty ones are left out.
#[derive(Debug, Default)]
pub struct Row {
    levels: SmallVec<[(usize, usize); 8]>,
    standings: SmallVec<[Standing; 8]>,
    members: usize,
}

/// A member of a row, and the level of its own that it is to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub member: usize,
    pub place: Place,
}

impl Row {
    /// The next member's.
    pub fn add(&mut self, member: &Balancer) {
        for (at, level) in member.levels.iter().enumerate() {
            let standing = level.standing();
            if standing.hosts > 0 {
                self.levels.push((self.members, at));
                self.standings.push(standing);
            }
        }
        self.members += 1;
    }

    /// None: nobody has a host. `level_of`: the member that has an endpoint, and its level there.
    pub fn choose(
        &self,
        panic_threshold: u32,
        cx: &PickContext<'_>,
        level_of: impl Fn(&Target) -> Option<(usize, usize)>,
    ) -> Option<Chosen> {
        let left = match cx.leave_priorities {
            None => Left::new(),
            Some(every) => priority::tried(&self.standings, cx.previous, every, |target| {
                let of = level_of(target)?;
                self.levels.iter().position(|level| *level == of)
            }),
        };
        let Place { level, class } = if left.is_empty() {
            let loads = priority::spread(&self.standings, panic_threshold);
            priority::choose(loads.iter().map(|load| load.percent), (cx.random % 100) as u32)?
        } else {
            priority::choose_among_others(&self.standings, &left, cx.random)?
        };
        let (member, level) = *self.levels.get(level)?;
        Some(Chosen {
            member,
            place: Place { level, class },
        })
    }
}
