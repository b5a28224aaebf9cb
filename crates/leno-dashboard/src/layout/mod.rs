//! Where things stand in the picture of the mesh: a layered layout, from callers on the left to the called on the right.
//!
//! After Sugiyama: [`rank`] breaks cycles and gives each node a column, [`chart`] fills links that pass columns with
//! bends and gives labels a column of their own, [`order`] sorts each column such that few links cross, [`place`]
//! gives everything its coordinates and [`path`] draws the links. Groups are bands one below the other. A bend and a
//! label have room like a node, therefore nothing ever lies over anything else.
//!
//! Pure and deterministic: the same plan and the same earlier order give the same picture. Rates are no part of it, so
//! that nothing moves while only they change.

mod chart;
mod order;
mod path;
mod place;
mod rank;

use std::collections::HashMap;

use serde::Serialize;

/// What is to be laid out. Lengths are in units of the picture, which are pixels at zoom 1.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
    /// Room for the label of each link; None: links have no labels.
    pub label: Option<Size>,
}

#[derive(Clone, Debug)]
pub struct Node {
    /// What tells it from other nodes, also in later plans.
    pub key: String,
    /// Nodes of the same group stand together, groups in the order of their names; an empty name draws no frame.
    pub group: String,
    pub size: Size,
    /// Where links meet it: distances from its upper edge.
    pub ports: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub from: Port,
    pub to: Port,
}

/// A node of the plan and one of its ports, both by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    pub node: usize,
    pub port: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    pub width: f64,
    pub height: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// The picture. Nodes and links are in the order of the plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    pub width: f64,
    pub height: f64,
    pub nodes: Vec<Rect>,
    pub links: Vec<Route>,
    /// By name.
    pub groups: Vec<(String, Rect)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// An SVG path from the caller to the called.
    pub path: String,
    pub label: Option<Rect>,
}

/// The place of each node in its column, to begin the next layout with: who was above stays above.
#[derive(Clone, Debug, Default)]
pub struct Before(HashMap<String, f64>);

/// The most links that are drawn; the others have an empty path. It bounds the time that a layout takes.
pub const MOST_LINKS: usize = 4000;

/// Lays out. Links from or to what is not in the plan have an empty path.
pub fn layout(plan: &Plan, before: &Before) -> Layout {
    let ranks = rank::ranks(plan);
    let mut chart = chart::Chart::new(plan, &ranks);
    let keys: Vec<&str> = plan.nodes.iter().map(|node| node.key.as_str()).collect();
    order::sort(&mut chart, before, &keys);
    let places = place::place(&chart, plan);
    Layout {
        width: places.width,
        height: places.height,
        links: path::routes(plan, &chart, &places),
        nodes: places.nodes,
        groups: places.groups,
    }
}

// === impl Plan ===

impl Plan {
    /// Links between two nodes that exist, with their number.
    fn drawn(&self) -> impl Iterator<Item = (usize, Link)> {
        let is_there = |port: Port| {
            self.nodes
                .get(port.node)
                .is_some_and(|n| port.port < n.ports.len())
        };
        let links = self.links.iter().copied().enumerate();
        let there = links.filter(move |(_, link)| is_there(link.from) && is_there(link.to));
        there.take(MOST_LINKS)
    }
}

// === impl Layout ===

impl Layout {
    pub fn order(&self, plan: &Plan) -> Before {
        let keys = plan.nodes.iter().map(|node| node.key.clone());
        Before(keys.zip(self.nodes.iter().map(|rect| rect.y)).collect())
    }
}

// === impl Before ===

impl Before {
    fn of(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }
}

// === impl Rect ===

impl Rect {
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub fn overlaps(&self, other: &Rect) -> bool {
        self.x < other.right() && other.x < self.right() && self.y < other.bottom() && other.y < self.bottom()
    }
}

#[cfg(test)]
mod tests;
