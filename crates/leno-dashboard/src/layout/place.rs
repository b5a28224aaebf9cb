//! Coordinates: each column keeps its order and its distances, and everything stands as level with what it is linked to
//! as that allows.

use super::chart::{Chart, Item, Kind, Wire};
use super::{Plan, Rect, Size};

/// Around the whole picture.
const MARGIN: f64 = 24.0;
/// Around a group's nodes, inside of its frame.
const PADDING: f64 = 18.0;
/// For a group's name.
const TITLE: f64 = 26.0;
const BETWEEN_GROUPS: f64 = 28.0;
/// Between nodes one above the other.
const BETWEEN_NODES: f64 = 20.0;
/// Between labels or bends.
const BETWEEN_LINES: f64 = 6.0;
const BETWEEN_SINGLES: f64 = 22.0;
/// Between columns; steep links get more room.
const NARROWEST_GAP: f64 = 44.0;
const WIDEST_GAP: f64 = 120.0;
const STEEPNESS: f64 = 0.22;
const PASSES: usize = 16;
/// A picture of nodes without links is this much wider than high.
const PROPORTION: f64 = 1.7;

pub(super) struct Places {
    pub(super) width: f64,
    pub(super) height: f64,
    /// By node of the plan.
    pub(super) nodes: Vec<Rect>,
    /// By item of the chart.
    pub(super) items: Vec<Rect>,
    pub(super) groups: Vec<(String, Rect)>,
}

pub(super) fn place(chart: &Chart, plan: &Plan) -> Places {
    let mut tops = vec![0.0; chart.items.len()];
    for group in 0..chart.groups.len() {
        settle(chart, group, &mut tops);
    }
    let lefts = columns(chart, &tops);
    let mut places = Places {
        width: 0.0,
        height: 0.0,
        nodes: vec![Rect::default(); plan.nodes.len()],
        items: vec![Rect::default(); chart.items.len()],
        groups: Vec::new(),
    };
    for (column, items) in chart.columns.iter().enumerate() {
        let width = widest(chart, column);
        for item in items {
            places.items[*item] = Rect {
                x: lefts[column],
                y: tops[*item],
                width: if let Kind::Node(_) = chart.items[*item].kind {
                    chart.items[*item].size.width
                } else {
                    width
                },
                height: chart.items[*item].size.height,
            };
        }
    }
    let mut y = MARGIN;
    for group in 0..chart.groups.len() {
        y = stack(chart, plan, group, y, &mut places);
    }
    let frames = places.groups.iter().map(|(_, frame)| frame);
    let all = frames.chain(&places.nodes).chain(&places.items);
    let (width, height) = all.fold((0.0, 0.0), |(w, h): (f64, f64), r| {
        (w.max(r.right()), h.max(r.bottom()))
    });
    (places.width, places.height) = (width + MARGIN, height + MARGIN);
    places
}

/// The left edge of each column.
fn columns(chart: &Chart, tops: &[f64]) -> Vec<f64> {
    let mut steepest = vec![0.0_f64; chart.columns.len()];
    let mut column_of = vec![0; chart.items.len()];
    for (column, items) in chart.columns.iter().enumerate() {
        items.iter().for_each(|item| column_of[*item] = column);
    }
    for wire in &chart.wires {
        // How far groups are apart says nothing of how crowded the gap is.
        if chart.items[wire.left].group == chart.items[wire.right].group {
            let rise = tops[wire.left] + wire.left_at - tops[wire.right] - wire.right_at;
            let column = column_of[wire.left];
            steepest[column] = steepest[column].max(rise.abs());
        }
    }
    let mut x = MARGIN + PADDING;
    let mut lefts = Vec::with_capacity(chart.columns.len());
    for (column, steepest) in steepest.iter().enumerate() {
        lefts.push(x.round());
        x += widest(chart, column) + (steepest * STEEPNESS).clamp(NARROWEST_GAP, WIDEST_GAP);
    }
    lefts
}

fn widest(chart: &Chart, column: usize) -> f64 {
    let widths = chart.columns[column]
        .iter()
        .map(|item| chart.items[*item].size.width);
    widths.fold(0.0, f64::max)
}

/// Gives a group its band below `y`; where the next one begins.
fn stack(chart: &Chart, plan: &Plan, group: usize, y: f64, places: &mut Places) -> f64 {
    let is_framed = !chart.groups[group].is_empty();
    let content = if is_framed { y + TITLE + PADDING } else { y };
    let members: Vec<usize> = (0..chart.items.len())
        .filter(|item| chart.items[*item].group == group)
        .collect();
    let highest = members
        .iter()
        .map(|item| places.items[*item].y)
        .fold(f64::MAX, f64::min);
    let mut bottom = content;
    for item in &members {
        let rect = &mut places.items[*item];
        rect.y = (rect.y - highest + content).round();
        bottom = bottom.max(rect.bottom());
        if let Kind::Node(node) = chart.items[*item].kind {
            places.nodes[node] = *rect;
        }
    }
    let above = if members.is_empty() {
        content
    } else {
        bottom + BETWEEN_SINGLES
    };
    if let Some(lowest) = singles(chart, plan, group, above, places) {
        bottom = lowest;
    }
    let of_group = plan.nodes.iter().zip(&places.nodes);
    let of_group = of_group.filter(|(node, _)| node.group == chart.groups[group]);
    let (left, right) = of_group.fold((f64::MAX, 0.0_f64), |(left, right), (_, rect)| {
        (left.min(rect.x), right.max(rect.right()))
    });
    if is_framed {
        bottom += PADDING;
        let frame = Rect {
            x: left - PADDING,
            y,
            width: right - left + 2.0 * PADDING,
            height: bottom - y,
        };
        places.groups.push((chart.groups[group].clone(), frame));
    }
    bottom + BETWEEN_GROUPS
}

/// Nodes without links, in rows by name; the lowest edge.
fn singles(chart: &Chart, plan: &Plan, group: usize, y: f64, places: &mut Places) -> Option<f64> {
    let single = &chart.single[group];
    let sizes = single.iter().map(|node| plan.nodes[*node].size);
    let cell = sizes.reduce(|a, b| Size {
        width: a.width.max(b.width),
        height: a.height.max(b.height),
    })?;
    let high = cell.height + BETWEEN_SINGLES;
    let square = (single.len() as f64 * high * PROPORTION / (cell.width + BETWEEN_SINGLES)).sqrt();
    let slots = slots(chart, places, cell.width, square.ceil() as usize);
    for (number, node) in single.iter().enumerate() {
        let size = plan.nodes[*node].size;
        places.nodes[*node] = Rect {
            x: slots[number % slots.len()],
            y: (y + (number / slots.len()) as f64 * high).round(),
            width: size.width,
            height: size.height,
        };
    }
    let last = (single.len() - 1) / slots.len();
    Some((y + last as f64 * high + cell.height).round())
}

/// Where nodes without links may stand: in the columns of other nodes, for links of other groups pass between these, and
/// right of all columns.
fn slots(chart: &Chart, places: &Places, width: f64, at_least: usize) -> Vec<f64> {
    let columns = (0..chart.columns.len()).filter(|column| widest(chart, *column) >= width);
    let nodes = columns.filter_map(|column| {
        let is_node = |item: &&usize| matches!(chart.items[**item].kind, Kind::Node(_));
        chart.columns[column].iter().find(is_node)
    });
    let mut slots: Vec<f64> = nodes.map(|item| places.items[*item].x).collect();
    let right = places
        .items
        .iter()
        .map(Rect::right)
        .fold(None, |most: Option<f64>, right| {
            Some(most.map_or(right, |most| most.max(right)))
        });
    let mut next = right.map_or(MARGIN + PADDING, |right| right + NARROWEST_GAP);
    while slots.len() < at_least.max(1) {
        slots.push(next);
        next += width + BETWEEN_SINGLES;
    }
    slots
}

/// The upper edges of a group's items, from wherever they come out.
fn settle(chart: &Chart, group: usize, tops: &mut [f64]) {
    let is_member = |item: &&usize| chart.items[**item].group == group;
    let columns: Vec<Vec<usize>> = chart
        .columns
        .iter()
        .map(|column| column.iter().filter(is_member).copied().collect())
        .collect();
    let (mut lefts, mut rights) = (
        vec![Vec::new(); chart.items.len()],
        vec![Vec::new(); chart.items.len()],
    );
    let inside =
        |wire: &&Wire| chart.items[wire.left].group == group && chart.items[wire.right].group == group;
    for wire in chart.wires.iter().filter(inside) {
        let weight = weight(&chart.items[wire.left], &chart.items[wire.right]);
        rights[wire.left].push((wire.right, wire.right_at - wire.left_at, weight));
        lefts[wire.right].push((wire.left, wire.left_at - wire.right_at, weight));
    }
    for column in &columns {
        spread(chart, column, &vec![(0.0, 1.0); column.len()], tops);
    }
    for pass in 0..PASSES {
        let is_last = pass + 2 >= PASSES;
        let rightwards = pass % 2 == 0;
        for step in 0..columns.len() {
            let at = if rightwards {
                step
            } else {
                columns.len() - 1 - step
            };
            let Some(column) = columns.get(at) else { continue };
            let wishes: Vec<(f64, f64)> = column
                .iter()
                .map(|item| {
                    let (left, right) = (&lefts[*item], &rights[*item]);
                    let heard = match (is_last, rightwards) {
                        (true, _) => [left.as_slice(), right.as_slice()],
                        (false, true) => [left.as_slice(), &[]],
                        (false, false) => [right.as_slice(), &[]],
                    };
                    wish(heard, tops).unwrap_or((tops[*item], 0.05))
                })
                .collect();
            spread(chart, column, &wishes, tops);
        }
    }
}

/// Long links are to be straight.
fn weight(left: &Item, right: &Item) -> f64 {
    match (left.kind, right.kind) {
        (Kind::Node(_), Kind::Node(_)) => 1.0,
        (Kind::Node(_), _) | (_, Kind::Node(_)) => 2.0,
        _ => 8.0,
    }
}

/// Where an item would be level with what it is linked to, and how much that matters.
fn wish(wires: [&[(usize, f64, f64)]; 2], tops: &[f64]) -> Option<(f64, f64)> {
    let mut sum = (0.0, 0.0);
    for (other, offset, weight) in wires.into_iter().flatten() {
        sum = (sum.0 + weight * (tops[*other] + offset), sum.1 + weight);
    }
    (sum.1 > 0.0).then(|| (sum.0 / sum.1, sum.1))
}

/// The least squares of all wishes, given order and distances: isotonic regression, by pooling what stands in its own way.
fn spread(chart: &Chart, column: &[usize], wishes: &[(f64, f64)], tops: &mut [f64]) {
    // Sum of weighted wishes, sum of weights, members.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    let mut offsets = Vec::with_capacity(column.len());
    let mut offset = 0.0;
    for (at, item) in column.iter().enumerate() {
        if let Some(above) = at.checked_sub(1).and_then(|above| column.get(above)) {
            offset += chart.items[*above].size.height + distance(&chart.items[*above], &chart.items[*item]);
        }
        offsets.push(offset);
        let (wish, weight) = wishes.get(at).copied().unwrap_or((0.0, 1.0));
        let mut pool = ((wish - offset) * weight, weight, 1);
        while let Some(above) = pools.pop_if(|above| above.0 / above.1 >= pool.0 / pool.1) {
            pool = (pool.0 + above.0, pool.1 + above.1, pool.2 + above.2);
        }
        pools.push(pool);
    }
    let levels = pools
        .into_iter()
        .flat_map(|(sum, weight, count)| std::iter::repeat_n(sum / weight, count));
    for ((item, offset), level) in column.iter().zip(offsets).zip(levels) {
        tops[*item] = level + offset;
    }
}

fn distance(above: &Item, below: &Item) -> f64 {
    match (above.kind, below.kind) {
        (Kind::Node(_), _) | (_, Kind::Node(_)) => BETWEEN_NODES,
        _ => BETWEEN_LINES,
    }
}
