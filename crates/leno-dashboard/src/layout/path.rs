//! Links as SVG paths: level through columns, curved between them.

use std::fmt::Write;

use super::chart::{Chart, Kind};
use super::place::Places;
use super::{Link, Plan, Port, Route};

/// How far a node's call of itself goes out.
const LOOP: f64 = 26.0;

/// By link of the plan.
pub(super) fn routes(plan: &Plan, chart: &Chart, places: &Places) -> Vec<Route> {
    let mut routes: Vec<Route> = chart
        .chains
        .iter()
        .map(|chain| match chain {
            Some(chain) => {
                let (left, right) = (places.nodes[chain.left.node], places.nodes[chain.right.node]);
                let at = |port: Port| plan.nodes[port.node].ports[port.port];
                let mut points = vec![(left.right(), left.y + at(chain.left))];
                for item in &chain.between {
                    let rect = places.items[*item];
                    let middle = rect.y + rect.height / 2.0;
                    points.extend([(rect.x, middle), (rect.right(), middle)]);
                }
                points.push((right.x, right.y + at(chain.right)));
                if chain.backward {
                    points.reverse();
                }
                let label = chain
                    .between
                    .iter()
                    .find(|i| chart.items[**i].kind == Kind::Label);
                Route {
                    path: path(&points),
                    label: label.map(|item| places.items[*item]),
                }
            }
            None => Route::default(),
        })
        .collect();
    for (number, link) in plan.drawn().filter(|(_, l)| l.from.node == l.to.node) {
        routes[number].path = own(plan, places, link);
    }
    routes
}

/// Curves between columns, lines through them: points come in pairs after the first.
fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let mut from: Option<(f64, f64)> = None;
    for (number, (x, y)) in points.iter().enumerate() {
        let _ = match from {
            None => write!(path, "M{x} {y}"),
            Some((before, _)) if number % 2 == 0 && before != *x => write!(path, "H{x}"),
            Some(_) if number % 2 == 0 => Ok(()),
            Some((before_x, before_y)) => {
                let middle = (before_x + x) / 2.0;
                write!(path, "C{middle} {before_y} {middle} {y} {x} {y}")
            }
        };
        from = Some((*x, *y));
    }
    path
}

fn own(plan: &Plan, places: &Places, link: Link) -> String {
    let rect = places.nodes[link.from.node];
    let at = |port: Port| rect.y + plan.nodes[port.node].ports[port.port];
    let (from, to) = (at(link.from), at(link.to));
    let (from, to) = if link.from == link.to {
        (from - 6.0, to + 6.0)
    } else {
        (from, to)
    };
    let (edge, out) = (rect.right(), rect.right() + LOOP);
    format!("M{edge} {from}C{out} {from} {out} {to} {edge} {to}")
}
