use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LABEL: Size = Size {
    width: 120.0,
    height: 36.0,
};

fn node(key: &str, group: &str, rows: usize) -> Node {
    let ports: Vec<f64> = (0..rows).map(|row| 45.0 + 26.0 * row as f64).collect();
    Node {
        key: key.to_owned(),
        group: group.to_owned(),
        size: Size {
            width: 180.0,
            height: 32.0 + 26.0 * rows as f64,
        },
        ports,
    }
}

fn plan(nodes: Vec<Node>, links: &[(usize, usize)], label: Option<Size>) -> Plan {
    let port = |node: usize, salt: usize| Port {
        node,
        port: salt % nodes[node].ports.len(),
    };
    let links = links.iter().enumerate().map(|(number, (from, to))| Link {
        from: port(*from, 0),
        to: port(*to, number),
    });
    let links = links.collect();
    Plan { nodes, links, label }
}

fn bookinfo() -> Plan {
    let names = [
        ("load", 1),
        ("productpage", 1),
        ("details", 1),
        ("reviews", 3),
        ("ratings", 1),
    ];
    let nodes = names.map(|(name, rows)| node(name, "default", rows)).to_vec();
    let mut links = vec![(0, 0, 1, 0), (1, 0, 2, 0)];
    links.extend([
        (1, 0, 3, 0),
        (1, 0, 3, 1),
        (1, 0, 3, 2),
        (3, 1, 4, 0),
        (3, 2, 4, 0),
    ]);
    let port = |node, port| Port { node, port };
    let links = links.into_iter().map(|(a, p, b, q)| Link {
        from: port(a, p),
        to: port(b, q),
    });
    Plan {
        links: links.collect(),
        nodes,
        label: Some(LABEL),
    }
}

/// Nothing lies over anything else, everything is inside, frames hold their own and nobody else's.
fn check(plan: &Plan, layout: &Layout) {
    let labels = layout.links.iter().filter_map(|link| link.label);
    let solid: Vec<Rect> = layout.nodes.iter().copied().chain(labels).collect();
    for (number, one) in solid.iter().enumerate() {
        assert!(one.x >= 0.0 && one.y >= 0.0 && one.right() <= layout.width && one.bottom() <= layout.height);
        for other in &solid[number + 1..] {
            assert!(!one.overlaps(other), "{one:?} lies over {other:?}");
        }
    }
    for (number, (name, frame)) in layout.groups.iter().enumerate() {
        for (node, rect) in plan.nodes.iter().zip(&layout.nodes) {
            assert_eq!(
                rect.overlaps(frame),
                node.group == *name,
                "{} and {name}",
                node.key
            );
        }
        for (_, other) in &layout.groups[number + 1..] {
            assert!(!frame.overlaps(other));
        }
    }
}

fn crosses_a_node(route: &Route, plan: &Plan, layout: &Layout, link: Link) -> bool {
    let others = (0..plan.nodes.len()).filter(|n| *n != link.from.node && *n != link.to.node);
    let rects: Vec<Rect> = others.map(|n| layout.nodes[n]).collect();
    points(&route.path).windows(2).any(|pair| {
        // Fine steps: curves are short between the points sampled.
        rects.iter().any(|r| {
            let (x, y) = pair[0];
            x > r.x && x < r.right() && y > r.y && y < r.bottom()
        })
    })
}

/// Points along a path of `M`, `H` and `C`.
fn points(path: &str) -> Vec<(f64, f64)> {
    let mut found: Vec<(f64, f64)> = Vec::new();
    let commands = path.split_inclusive(|c: char| c.is_ascii_digit() || ".- ".contains(c));
    let text: String = commands.collect();
    let mut rest = text.as_str();
    while let Some(command) = rest.chars().next() {
        let end = rest[1..]
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(rest.len(), |at| at + 1);
        let numbers: Vec<f64> = rest[1..end].split(' ').map(|n| n.parse().unwrap()).collect();
        let from = found.last().copied().unwrap_or_default();
        let steps = (1..=32).map(|step| f64::from(step) / 32.0);
        match (command, numbers.as_slice()) {
            ('M', [x, y]) => found.push((*x, *y)),
            ('H', [x]) => found.extend(steps.map(|t| (from.0 + (x - from.0) * t, from.1))),
            ('C', [ax, ay, bx, by, x, y]) => found.extend(steps.map(|t| {
                let (u, v) = (1.0 - t, t);
                let mix = |p: f64, a: f64, b: f64, q: f64| {
                    u * u * u * p + 3.0 * u * u * v * a + 3.0 * u * v * v * b + v * v * v * q
                };
                (mix(from.0, *ax, *bx, *x), mix(from.1, *ay, *by, *y))
            })),
            other => panic!("{other:?}"),
        }
        rest = &rest[end..];
    }
    found
}

#[test]
fn callers_stand_left_of_the_called_and_labels_between() {
    let plan = bookinfo();
    let layout = layout(&plan, &Before::default());
    check(&plan, &layout);
    let x: BTreeMap<&str, f64> = plan
        .nodes
        .iter()
        .zip(&layout.nodes)
        .map(|(n, r)| (n.key.as_str(), r.x))
        .collect();
    assert!(x["load"] < x["productpage"] && x["productpage"] < x["reviews"] && x["reviews"] < x["ratings"]);
    assert_eq!(x["reviews"], x["details"]);
    for (link, route) in plan.links.iter().zip(&layout.links) {
        let label = route.label.unwrap();
        assert!(
            layout.nodes[link.from.node].right() < label.x && label.right() < layout.nodes[link.to.node].x
        );
    }
    // The row of an only link is level with it.
    let [(_, start), .., (_, end)] = points(&layout.links[0].path)[..] else {
        panic!()
    };
    assert_eq!(start, end);
}

#[test]
fn the_same_plan_gives_the_same_picture_and_a_newcomer_does_not_turn_it_over() {
    let plan = bookinfo();
    let first = layout(&plan, &Before::default());
    assert_eq!(first, layout(&plan, &Before::default()));
    assert_eq!(first, layout(&plan, &first.order(&plan)));
    let mut more = plan.clone();
    more.nodes.push(node("accounts", "default", 1));
    more.links.push(Link {
        from: Port { node: 1, port: 0 },
        to: Port { node: 5, port: 0 },
    });
    let second = layout(&more, &first.order(&plan));
    check(&more, &second);
    assert_eq!(
        first.nodes[2].y < first.nodes[3].y,
        second.nodes[2].y < second.nodes[3].y
    );
}

#[test]
fn cycles_own_calls_and_links_to_nowhere_are_drawn_or_left_out() {
    let mut plan = plan(
        vec![node("a", "x", 1), node("b", "x", 1), node("c", "y", 1)],
        &[(0, 1), (1, 0), (1, 2), (2, 0), (1, 1)],
        Some(LABEL),
    );
    plan.links.push(Link {
        from: Port { node: 0, port: 7 },
        to: Port { node: 9, port: 0 },
    });
    let layout = layout(&plan, &Before::default());
    check(&plan, &layout);
    let drawn: Vec<bool> = layout.links.iter().map(|l| !l.path.is_empty()).collect();
    assert_eq!(drawn, [true, true, true, true, true, false]);
    // Both directions between a and b: each begins at its caller.
    let begins = |link: usize| points(&layout.links[link].path)[0].0;
    assert_eq!(begins(0), layout.nodes[0].right());
    assert_eq!(begins(1), layout.nodes[1].x);
}

#[test]
fn nothing_at_all_and_nodes_without_links_have_a_picture() {
    assert!(layout(&Plan::default(), &Before::default()).nodes.is_empty());
    let nodes: Vec<Node> = (0..200)
        .map(|n| node(&format!("n{n:03}"), ["a", "b"][n % 2], 1 + n % 3))
        .collect();
    let plan = plan(nodes, &[], Some(LABEL));
    let layout = layout(&plan, &Before::default());
    check(&plan, &layout);
    assert!(layout.width < 3.0 * layout.height && layout.height < 3.0 * layout.width);
}

/// A mesh as they are: a few ways in, several layers, namespaces.
fn large(count: usize) -> Plan {
    let nodes = (0..count).map(|n| node(&format!("service-{n:03}"), &format!("team-{}", n % 6), 1 + n % 3));
    let mut links = Vec::new();
    for callee in 3..count {
        for call in 0..1 + callee % 3 {
            links.push(((callee * 7 + call * 13) % (callee / 2 + 1), callee));
        }
    }
    plan(nodes.collect(), &links, None)
}

#[test]
fn two_hundred_workloads_have_room_and_no_link_runs_under_a_node() {
    for label in [None, Some(LABEL)] {
        let plan = Plan { label, ..large(200) };
        let layout = layout(&plan, &Before::default());
        check(&plan, &layout);
        for (link, route) in plan.links.iter().zip(&layout.links) {
            assert!(!route.path.is_empty() && !crosses_a_node(route, &plan, &layout, *link));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_mesh_nothing_overlaps(
        nodes in prop::collection::vec((0..3_usize, 1..4_usize), 1..24),
        links in prop::collection::vec((0..24_usize, 0..24_usize), 0..60),
        labels in any::<bool>(),
    ) {
        let nodes: Vec<Node> = nodes
            .into_iter()
            .enumerate()
            .map(|(n, (group, rows))| node(&format!("n{n}"), ["", "a", "b"][group], rows))
            .collect();
        let links: Vec<(usize, usize)> = links.into_iter().map(|(a, b)| (a % nodes.len(), b % nodes.len())).collect();
        let plan = plan(nodes, &links, labels.then_some(LABEL));
        let layout = layout(&plan, &Before::default());
        check(&plan, &layout);
        for (link, route) in plan.links.iter().zip(&layout.links) {
            prop_assert!(!crosses_a_node(route, &plan, &layout, *link), "{:?}", route);
        }
        prop_assert_eq!(&layout, &super::layout(&plan, &Before::default()));
    }
}
