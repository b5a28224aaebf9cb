//! RANDOM: any host, whatever its weight.

use super::{Host, PickContext, Policy};

#[derive(Debug)]
pub(super) struct Random;

impl Policy for Random {
    fn pick(&mut self, hosts: &[Host], cx: &PickContext<'_>, _attempt: u32) -> Option<usize> {
        (cx.random / 100)
            .checked_rem(hosts.len() as u64)
            .map(|at| at as usize)
    }
}
