//! The columns with everything that needs room in them: nodes, labels, and bends of links that pass.

use super::{Plan, Port, Size};

/// A bend's height: room for the line and nothing else.
const BEND: f64 = 10.0;

pub(super) struct Chart {
    pub(super) items: Vec<Item>,
    /// Items by column, from above.
    pub(super) columns: Vec<Vec<usize>>,
    pub(super) wires: Vec<Wire>,
    /// By link: its items from left to right, without both ends; None: it is not drawn through columns.
    pub(super) chains: Vec<Option<Chain>>,
    /// Nodes without links, by group.
    pub(super) single: Vec<Vec<usize>>,
    /// The groups' names in order.
    pub(super) groups: Vec<String>,
}

pub(super) struct Item {
    pub(super) group: usize,
    pub(super) size: Size,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By its number in the plan.
    Node(usize),
    Label,
    Bend,
}

/// A part of a link, between items of neighbouring columns.
#[derive(Clone, Copy)]
pub(super) struct Wire {
    pub(super) left: usize,
    /// Below the left item's upper edge.
    pub(super) left_at: f64,
    pub(super) right: usize,
    pub(super) right_at: f64,
}

pub(super) struct Chain {
    pub(super) left: Port,
    pub(super) right: Port,
    pub(super) between: Vec<usize>,
    /// The called one is on the left.
    pub(super) backward: bool,
}

// === impl Chart ===

impl Chart {
    pub(super) fn new(plan: &Plan, ranks: &[Option<usize>]) -> Self {
        let mut groups: Vec<String> = plan.nodes.iter().map(|node| node.group.clone()).collect();
        groups.sort();
        groups.dedup();
        let step = if plan.label.is_some() { 2 } else { 1 };
        let last = ranks.iter().flatten().max().map_or(0, |rank| rank * step + 1);
        let mut chart = Self {
            items: Vec::new(),
            columns: vec![Vec::new(); last],
            wires: Vec::new(),
            chains: (0..plan.links.len()).map(|_| None).collect(),
            single: vec![Vec::new(); groups.len()],
            groups,
        };
        let mut of_node = vec![usize::MAX; plan.nodes.len()];
        for (number, node) in plan.nodes.iter().enumerate() {
            let group = chart.groups.binary_search(&node.group).unwrap_or(0);
            match ranks.get(number).copied().flatten() {
                Some(rank) => {
                    of_node[number] = chart.add(rank * step, group, node.size, Kind::Node(number));
                }
                None => chart.single[group].push(number),
            }
        }
        for node in &mut chart.single {
            node.sort_by(|a, b| plan.nodes[*a].key.cmp(&plan.nodes[*b].key));
        }
        for (number, link) in plan.drawn().filter(|(_, l)| l.from.node != l.to.node) {
            let column = |port: Port| ranks[port.node].unwrap_or(0) * step;
            let backward = column(link.from) > column(link.to);
            let (left, right) = if backward {
                (link.to, link.from)
            } else {
                (link.from, link.to)
            };
            let ends = (column(left), column(right));
            let between = chart.string(plan, (left, right), ends, &of_node);
            chart.chains[number] = Some(Chain {
                left,
                right,
                between,
                backward,
            });
        }
        chart
    }

    fn add(&mut self, column: usize, group: usize, size: Size, kind: Kind) -> usize {
        let number = self.items.len();
        self.items.push(Item { group, size, kind });
        self.columns[column].push(number);
        number
    }

    /// Bends, a label and the wires of one link.
    fn string(
        &mut self,
        plan: &Plan,
        (left, right): (Port, Port),
        (first, last): (usize, usize),
        of_node: &[usize],
    ) -> Vec<usize> {
        let group = self.items[of_node[right.node]].group;
        let bend = Size {
            width: 0.0,
            height: BEND,
        };
        let between: Vec<usize> = (first + 1..last)
            .map(|column| match plan.label {
                // Directly before the one it leads to, where links that came from one place are apart again.
                Some(size) if column + 1 == last => self.add(column, group, size, Kind::Label),
                _ => self.add(column, group, bend, Kind::Bend),
            })
            .collect();
        let port = |port: Port| (of_node[port.node], plan.nodes[port.node].ports[port.port]);
        let middle = |item: &usize| (*item, self.items[*item].size.height / 2.0);
        let stops: Vec<(usize, f64)> = std::iter::once(port(left))
            .chain(between.iter().map(middle))
            .chain([port(right)])
            .collect();
        let wires = stops.windows(2).filter_map(|pair| match pair {
            [(left, left_at), (right, right_at)] => Some(Wire {
                left: *left,
                left_at: *left_at,
                right: *right,
                right_at: *right_at,
            }),
            _ => None,
        });
        self.wires.extend(wires);
        between
    }
}
