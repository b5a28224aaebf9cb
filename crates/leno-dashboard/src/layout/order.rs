//! Who stands above whom in a column: such that few links cross, and that neighbours of before stay neighbours.

use super::Before;
use super::chart::{Chart, Kind};

/// Passes over all columns; more of them hardly ever find anything.
const PASSES: usize = 12;

pub(super) fn sort(chart: &mut Chart, before: &Before, keys: &[&str]) {
    let mut sorter = Sorter::new(chart);
    sorter.begin(chart, before, keys);
    let mut best = (sorter.crossings(chart), chart.columns.clone());
    for pass in 0..PASSES {
        if best.0 == 0 {
            break;
        }
        sorter.pass(chart, pass % 2 == 0);
        let crossings = sorter.crossings(chart);
        if crossings < best.0 {
            best = (crossings, chart.columns.clone());
        }
    }
    chart.columns = best.1;
}

struct Sorter {
    /// By item: its place in the column.
    at: Vec<f64>,
    /// By item: the wires at its left and right, as (other item, where there, where here), the latter as shares of one
    /// place.
    left: Vec<Vec<(usize, f64, f64)>>,
    right: Vec<Vec<(usize, f64, f64)>>,
}

impl Sorter {
    fn new(chart: &Chart) -> Self {
        let count = chart.items.len();
        let (mut left, mut right) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        let share = |item: usize, at: f64| at / chart.items[item].size.height.max(1.0);
        for wire in &chart.wires {
            let (l, r) = (share(wire.left, wire.left_at), share(wire.right, wire.right_at));
            right[wire.left].push((wire.right, r, l));
            left[wire.right].push((wire.left, l, r));
        }
        Self {
            at: vec![0.0; count],
            left,
            right,
        }
    }

    /// By group; then those that were there before as they were, the others by name; bends where their link comes from.
    fn begin(&mut self, chart: &mut Chart, before: &Before, keys: &[&str]) {
        for column in 0..chart.columns.len() {
            let mut known: Vec<(usize, f64, &str, usize)> = chart.columns[column]
                .iter()
                .map(|item| {
                    let (place, key) = match chart.items[*item].kind {
                        Kind::Node(node) => {
                            let key = keys.get(node).copied().unwrap_or_default();
                            (before.of(key), key)
                        }
                        Kind::Label | Kind::Bend => (None, ""),
                    };
                    let place = place.unwrap_or_else(|| self.mean(&self.left[*item]).unwrap_or(0.0));
                    (chart.items[*item].group, place, key, *item)
                })
                .collect();
            known.sort_by(|a, b| {
                let by_place = a.1.total_cmp(&b.1);
                a.0.cmp(&b.0)
                    .then(by_place)
                    .then(a.2.cmp(b.2))
                    .then(a.3.cmp(&b.3))
            });
            self.set(chart, column, known.into_iter().map(|k| k.3).collect());
        }
    }

    fn pass(&mut self, chart: &mut Chart, rightwards: bool) {
        let count = chart.columns.len();
        for step in 1..count {
            let column = if rightwards { step } else { count - 1 - step };
            let neighbours = if rightwards { &self.left } else { &self.right };
            let mut items: Vec<(usize, f64, usize)> = chart.columns[column]
                .iter()
                .map(|item| {
                    let mean = self.mean(&neighbours[*item]).unwrap_or(self.at[*item]);
                    (chart.items[*item].group, mean, *item)
                })
                .collect();
            // Stable: what is equal stays in order.
            items.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            self.set(chart, column, items.into_iter().map(|i| i.2).collect());
        }
    }

    fn set(&mut self, chart: &mut Chart, column: usize, items: Vec<usize>) {
        for (place, item) in items.iter().enumerate() {
            self.at[*item] = place as f64;
        }
        chart.columns[column] = items;
    }

    fn mean(&self, wires: &[(usize, f64, f64)]) -> Option<f64> {
        let sum: f64 = wires
            .iter()
            .map(|(other, there, _)| self.at[*other] + there)
            .sum();
        (!wires.is_empty()).then(|| sum / wires.len() as f64)
    }

    /// Pairs of wires that cross, over all gaps between columns.
    fn crossings(&self, chart: &Chart) -> usize {
        let gaps = chart.columns.iter().map(|column| {
            let mut wires: Vec<(f64, f64)> = Vec::new();
            for item in column {
                let here = self.at[*item];
                let of_item = self.right[*item].iter();
                wires.extend(of_item.map(|(other, there, at)| (here + at, self.at[*other] + there)));
            }
            wires.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            inversions(wires.into_iter().map(|wire| wire.1).collect())
        });
        gaps.sum()
    }
}

/// How many pairs are in the wrong order, by merging.
fn inversions(mut values: Vec<f64>) -> usize {
    let count = values.len();
    let (mut width, mut found) = (1, 0);
    while width < count {
        for start in (0..count).step_by(2 * width) {
            let (middle, end) = ((start + width).min(count), (start + 2 * width).min(count));
            let (left, right) = (values[start..middle].to_vec(), values[middle..end].to_vec());
            let (mut l, mut r) = (0, 0);
            for slot in &mut values[start..end] {
                let takes_left = match (left.get(l), right.get(r)) {
                    (Some(left), Some(right)) => left <= right,
                    (left, _) => left.is_some(),
                };
                if takes_left {
                    *slot = left[l];
                    l += 1;
                } else {
                    *slot = right[r];
                    r += 1;
                    found += left.len() - l;
                }
            }
        }
        width *= 2;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inversions_are_counted() {
        assert_eq!(inversions(vec![]), 0);
        assert_eq!(inversions(vec![1.0, 1.0, 2.0]), 0);
        assert_eq!(inversions(vec![3.0, 2.0, 1.0]), 3);
        assert_eq!(inversions(vec![2.0, 4.0, 1.0, 3.0, 0.0]), 7);
    }
}
