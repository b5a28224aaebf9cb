//! Which column a node stands in: right of everybody who calls it, as far as there is no cycle.

use std::collections::BTreeSet;

use super::Plan;

/// Each node's column, from 0; None: it has no links.
pub(super) fn ranks(plan: &Plan) -> Vec<Option<usize>> {
    let mut calls = vec![BTreeSet::new(); plan.nodes.len()];
    for (_, link) in plan.drawn().filter(|(_, l)| l.from.node != l.to.node) {
        calls[link.from.node].insert(link.to.node);
    }
    let order = without_cycles(plan, &mut calls);
    let mut ranks = vec![None; plan.nodes.len()];
    for node in order.iter().copied() {
        if !calls[node].is_empty() && ranks[node].is_none() {
            ranks[node] = Some(0);
        }
        for called in &calls[node] {
            ranks[*called] = ranks[*called].max(ranks[node].map(|rank: usize| rank + 1));
        }
    }
    pull_callers(&calls, &order, &mut ranks);
    ranks
}

/// Turns around the links that close a cycle; the nodes such that every caller comes before those it calls.
///
/// The search begins with those whom nobody calls: what comes from outside flows to the right.
fn without_cycles(plan: &Plan, calls: &mut [BTreeSet<usize>]) -> Vec<usize> {
    let mut is_called = vec![false; calls.len()];
    calls
        .iter()
        .flatten()
        .for_each(|called| is_called[*called] = true);
    let mut roots: Vec<usize> = (0..calls.len()).collect();
    let name = |node: usize| &plan.nodes[node].key;
    roots.sort_by(|a, b| (is_called[*a], name(*a)).cmp(&(is_called[*b], name(*b))));
    let mut search = Search {
        state: vec![State::New; calls.len()],
        done: Vec::new(),
        backward: Vec::new(),
    };
    for root in roots {
        search.from(root, calls);
    }
    for (from, to) in search.backward {
        calls[from].remove(&to);
        calls[to].insert(from);
    }
    search.done.reverse();
    search.done
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

struct Search {
    state: Vec<State>,
    done: Vec<usize>,
    backward: Vec<(usize, usize)>,
}

impl Search {
    /// Depth first, without recursion: a chain of calls may be as long as the mesh is large.
    fn from(&mut self, root: usize, calls: &[BTreeSet<usize>]) {
        if self.state[root] != State::New {
            return;
        }
        self.state[root] = State::Open;
        let mut stack = vec![(root, calls[root].iter())];
        while let Some((node, called)) = stack.last_mut() {
            let node = *node;
            match called.next().map(|next| (*next, self.state[*next])) {
                Some((next, State::New)) => {
                    self.state[next] = State::Open;
                    stack.push((next, calls[next].iter()));
                }
                Some((next, State::Open)) => self.backward.push((node, next)),
                Some((_, State::Done)) => {}
                None => {
                    self.state[node] = State::Done;
                    self.done.push(node);
                    stack.pop();
                }
            }
        }
    }
}

/// Whoever is called by nobody stands directly left of the first that it calls, not at the far left.
fn pull_callers(calls: &[BTreeSet<usize>], order: &[usize], ranks: &mut [Option<usize>]) {
    let mut is_called = vec![false; calls.len()];
    calls
        .iter()
        .flatten()
        .for_each(|called| is_called[*called] = true);
    for node in order.iter().rev().copied().filter(|node| !is_called[*node]) {
        let nearest = calls[node].iter().filter_map(|called| ranks[*called]).min();
        if let Some(nearest) = nearest {
            ranks[node] = Some(nearest.saturating_sub(1));
        }
    }
}
