//! The topology: cards and links with their measures, and where they stand.

use std::collections::HashMap;
use std::sync::Arc;

use leno_proto::control::ProxyStatus;
use serde::{Deserialize, Serialize};

use crate::cards::{Card, CardId, CardKind, Cards, Level, Row, RowId};
use crate::facts::Facts;
use crate::history::{History, LinkKey, Measures, Security};
use crate::layout::{self, Before, Layout, Link, Plan, Port, Rect, Size};
use crate::status::{Status, row_status, share_status};

const CARD_WIDTH: f64 = 188.0;
const HEAD: f64 = 38.0;
const ROW: f64 = 26.0;
const FOOT: f64 = 6.0;
/// A card that is its only row.
const COMPACT: f64 = 40.0;
const LABEL: Size = Size {
    width: 158.0,
    height: 40.0,
};
/// With more links than this, labels would be all there is to see: they are shown for the chosen link only.
const MOST_LABELS: usize = 48;
/// With more cards than this, versions are put together, and with more than the other, whole namespaces.
const MOST_WITH_VERSIONS: usize = 60;
const MOST_CARDS: usize = 300;
/// With more cards than this, those of one row have no head of their own.
const MOST_WITH_HEADS: usize = 40;

/// What somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// `versions`, `services` or `namespaces`; anything else: as fits.
    pub level: String,
    /// Namespaces, separated by commas; empty: all.
    pub namespaces: String,
    /// `NAMESPACE/NAME` of a card: it alone, with who calls it and whom it calls.
    pub focus: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Graph {
    pub level: Level,
    /// The level was not asked for but chosen by how much there is.
    pub automatic: bool,
    /// More than can be shown; what is missing.
    pub truncated: usize,
    pub width: f64,
    pub height: f64,
    pub groups: Vec<Group>,
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    /// All of them, whatever is shown.
    pub namespaces: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Group {
    pub namespace: String,
    #[serde(flatten)]
    pub rect: Rect,
}

#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// `NAMESPACE/NAME`
    pub id: String,
    pub namespace: String,
    pub name: String,
    pub kind: CardKind,
    #[serde(flatten)]
    pub rect: Rect,
    pub status: Status,
    /// Why it is not well.
    pub reasons: Vec<String>,
    pub rows: Vec<NodeRow>,
    /// Its only row is the card itself.
    pub compact: bool,
    pub inbound: Measures,
}

#[derive(Clone, Debug, Serialize)]
pub struct NodeRow {
    pub version: String,
    pub workloads: Vec<String>,
    pub instances: usize,
    pub healthy: usize,
    pub status: Status,
    /// Its upper edge below the card's.
    pub y: f64,
    pub height: f64,
    pub inbound: Measures,
}

#[derive(Clone, Debug, Serialize)]
pub struct Edge {
    /// `FROM→TO`
    pub id: String,
    /// `NAMESPACE/NAME/VERSION`
    pub from: String,
    pub to: String,
    /// SVG.
    pub path: String,
    pub label: Option<Rect>,
    pub protocol: String,
    pub status: Status,
    pub reasons: Vec<String>,
    #[serde(flatten)]
    pub measures: Measures,
    /// Whom the handshake proved to be called.
    pub principal: String,
    pub services: Vec<String>,
}

/// Earlier pictures, so that a new one resembles them.
#[derive(Debug, Default)]
pub struct Pictures {
    by_view: HashMap<View, Picture>,
}

#[derive(Debug)]
struct Picture {
    keys: Vec<String>,
    links: Vec<Link>,
    heights: Vec<f64>,
    before: Before,
    layout: Arc<Layout>,
}

/// Views whose pictures are kept; with more, all begin anew.
const MOST_VIEWS: usize = 32;

impl Graph {
    pub fn new(facts: &Facts, history: &History, view: &View, pictures: &mut Pictures) -> Self {
        let (level, cards, truncated) = chosen(facts, history, view);
        let rows: Vec<(&CardId, &Card)> = cards.cards.iter().collect();
        let (plan, links) = plan(&rows, &cards);
        let layout = pictures.layout(view, &plan);
        let rejecting = rejecting(&facts.proxies);
        let nodes = rows
            .iter()
            .zip(&layout.nodes)
            .map(|((_, card), rect)| node(card, *rect, level, history, &cards, &rejecting));
        let edges = links.iter().zip(&layout.links);
        let edges = edges.map(|((ends, keys), route)| edge(ends, keys, route, &cards, history));
        let mut namespaces: Vec<String> = facts
            .snapshot
            .workloads
            .values()
            .map(|w| w.namespace.clone())
            .collect();
        namespaces.sort();
        namespaces.dedup();
        Self {
            level,
            automatic: requested(view).is_none(),
            truncated,
            width: layout.width,
            height: layout.height,
            groups: layout
                .groups
                .iter()
                .map(|(namespace, rect)| Group {
                    namespace: namespace.clone(),
                    rect: *rect,
                })
                .collect(),
            nodes: nodes.collect(),
            edges: edges.collect(),
            namespaces,
        }
    }
}

fn requested(view: &View) -> Option<Level> {
    match view.level.as_str() {
        "versions" => Some(Level::Versions),
        "services" => Some(Level::Services),
        "namespaces" => Some(Level::Namespaces),
        _ => None,
    }
}

/// The cards of a view, at the level that was asked for or that fits, and how many were left out.
fn chosen(facts: &Facts, history: &History, view: &View) -> (Level, Cards, usize) {
    let at = |level| {
        let mut cards = Cards::new(facts, history, level);
        let wanted: Vec<&str> = view.namespaces.split(',').filter(|n| !n.is_empty()).collect();
        if !wanted.is_empty() && level != Level::Namespaces {
            cards.keep(|(namespace, _)| wanted.contains(&namespace.as_str()));
        }
        if let Some((namespace, name)) = view.focus.split_once('/') {
            let on = (namespace.to_owned(), name.to_owned());
            if cards.cards.contains_key(&on) {
                cards.focus(&on);
            }
        }
        cards
    };
    let mut level = requested(view).unwrap_or_default();
    let mut cards = at(level);
    if requested(view).is_none() {
        if cards.cards.len() > MOST_WITH_VERSIONS {
            (level, cards) = (Level::Services, at(Level::Services));
        }
        if cards.cards.len() > MOST_CARDS {
            (level, cards) = (Level::Namespaces, at(Level::Namespaces));
        }
    }
    let truncated = cards.cards.len().saturating_sub(MOST_CARDS);
    if truncated > 0 {
        let last = cards.cards.keys().nth(MOST_CARDS).cloned().unwrap_or_default();
        cards.keep(|id| *id < last);
    }
    (level, cards, truncated)
}

type Ends<'a> = (&'a (RowId, RowId), &'a Vec<Arc<LinkKey>>);

/// What the layout needs to know, and the links in its order.
fn plan<'a>(rows: &[(&CardId, &Card)], cards: &'a Cards) -> (Plan, Vec<Ends<'a>>) {
    let is_compact = is_compact(cards);
    let nodes = rows.iter().map(|((namespace, name), card)| layout::Node {
        key: format!("{namespace}/{name}"),
        group: namespace.clone(),
        size: Size {
            width: CARD_WIDTH,
            height: height(card, is_compact),
        },
        ports: (0..card.rows.len()).map(|row| middle(row, is_compact)).collect(),
    });
    let port = |(card, version): &RowId| {
        let node = rows.binary_search_by(|(id, _)| (*id).cmp(card)).ok()?;
        let port = rows.get(node)?.1.rows.keys().position(|v| v == version)?;
        Some(Port { node, port })
    };
    let there = cards.links.iter().filter_map(|ends| {
        let (from, to) = (port(&ends.0.0)?, port(&ends.0.1)?);
        Some((Link { from, to }, ends))
    });
    let (links, ends): (Vec<Link>, Vec<Ends<'a>>) = there.unzip();
    let label = (links.len() <= MOST_LABELS).then_some(LABEL);
    let plan = Plan {
        nodes: nodes.collect(),
        links,
        label,
    };
    (plan, ends)
}

fn is_compact(cards: &Cards) -> bool {
    cards.cards.len() > MOST_WITH_HEADS && cards.cards.values().all(|card| card.rows.len() == 1)
}

fn height(card: &Card, is_compact: bool) -> f64 {
    if is_compact {
        return COMPACT;
    }
    HEAD + ROW * card.rows.len() as f64 + FOOT
}

/// Where the links of a row meet the card.
fn middle(row: usize, is_compact: bool) -> f64 {
    if is_compact {
        return COMPACT / 2.0;
    }
    HEAD + ROW * (row as f64 + 0.5)
}

/// Workloads, as `NAMESPACE/NAME`, whose proxies reject something, and what.
fn rejecting(proxies: &[ProxyStatus]) -> HashMap<&str, Vec<String>> {
    let mut rejecting: HashMap<&str, Vec<String>> = HashMap::new();
    for proxy in proxies {
        for of_type in proxy.types.iter().filter(|t| t.state == "REJECTED") {
            let said = format!("{} rejects {}: {}", proxy.workload, of_type.r#type, of_type.error);
            rejecting.entry(&proxy.workload).or_default().push(said);
        }
    }
    rejecting
}

fn node(
    card: &Card,
    rect: Rect,
    level: Level,
    history: &History,
    cards: &Cards,
    rejecting: &HashMap<&str, Vec<String>>,
) -> Node {
    let card_id = (card.namespace.clone(), card.name.clone());
    let into = |version: Option<&String>| {
        let of = cards.links.iter().filter(|((_, to), _)| to.0 == card_id);
        let of = of.filter(|((_, to), _)| version.is_none_or(|v| to.1 == *v));
        history.measures(of.flat_map(|(_, keys)| keys))
    };
    let mut reasons = Vec::new();
    let mut worst = Status::Idle;
    let mut rows = Vec::new();
    for (number, (version, row)) in card.rows.iter().enumerate() {
        let inbound = into(Some(version));
        let (status, why) = row_status(card, row, &inbound, rejecting);
        worst = worst.max(status);
        reasons.extend(why);
        let y = if is_compact(cards) {
            COMPACT / 2.0 - ROW / 2.0
        } else {
            HEAD + ROW * number as f64
        };
        rows.push(node_row(version, row, status, y, inbound));
    }
    reasons.dedup();
    Node {
        id: format!("{}/{}", card.namespace, card.name),
        namespace: card.namespace.clone(),
        name: card.name.clone(),
        kind: if level == Level::Namespaces && card.kind == CardKind::Workloads {
            CardKind::Namespace
        } else {
            card.kind
        },
        rect,
        status: worst,
        reasons,
        compact: is_compact(cards),
        inbound: if rows.len() == 1 {
            rows.first().map(|row| row.inbound.clone()).unwrap_or_default()
        } else {
            into(None)
        },
        rows,
    }
}

fn node_row(version: &str, row: &Row, status: Status, y: f64, inbound: Measures) -> NodeRow {
    NodeRow {
        version: version.to_owned(),
        workloads: row.workloads.iter().take(20).cloned().collect(),
        instances: row.instances.len(),
        healthy: row.instances.iter().filter(|w| w.healthy).count(),
        status,
        y,
        height: ROW,
        inbound,
    }
}

fn edge(
    (from, to): &(RowId, RowId),
    keys: &[Arc<LinkKey>],
    route: &layout::Route,
    cards: &Cards,
    history: &History,
) -> Edge {
    let measures = history.measures(keys);
    let (mut status, mut reasons) = share_status(&measures);
    let is_external = cards
        .cards
        .get(&to.0)
        .is_some_and(|card| card.kind == CardKind::External);
    if measures.security == Security::Plaintext && !is_external {
        status = status.max(Status::Warning);
        reasons.push("plaintext: requests are answered without mTLS".to_owned());
    }
    if measures.success.is_none() {
        status = Status::Idle;
    }
    let name = |(card, version): &RowId| format!("{}/{}/{version}", card.0, card.1);
    let mut services: Vec<String> = keys.iter().map(|key| key.service.clone()).collect();
    services.sort();
    services.dedup();
    let principal = keys.iter().map(|key| &key.to.principal).find(|p| !p.is_empty());
    Edge {
        id: format!("{}→{}", name(from), name(to)),
        from: name(from),
        to: name(to),
        path: route.path.clone(),
        label: route.label,
        protocol: keys.first().map(|key| key.protocol.clone()).unwrap_or_default(),
        status,
        reasons,
        measures,
        principal: principal.cloned().unwrap_or_default(),
        services,
    }
}

// === impl Pictures ===

impl Pictures {
    /// As before, if nothing that it depends on has changed.
    fn layout(&mut self, view: &View, plan: &Plan) -> Arc<Layout> {
        let keys: Vec<String> = plan.nodes.iter().map(|node| node.key.clone()).collect();
        let heights: Vec<f64> = plan.nodes.iter().map(|node| node.size.height).collect();
        let before = self.by_view.get(view);
        if let Some(known) = before
            && (&known.keys, &known.links, &known.heights) == (&keys, &plan.links, &heights)
        {
            return known.layout.clone();
        }
        let earlier = before.map(|known| known.before.clone()).unwrap_or_default();
        let layout = Arc::new(layout::layout(plan, &earlier));
        if self.by_view.len() >= MOST_VIEWS && !self.by_view.contains_key(view) {
            self.by_view.clear();
        }
        let picture = Picture {
            keys,
            links: plan.links.clone(),
            heights,
            before: layout.order(plan),
            layout: layout.clone(),
        };
        self.by_view.insert(view.clone(), picture);
        layout
    }
}
