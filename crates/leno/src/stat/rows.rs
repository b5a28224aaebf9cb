//! Which of the proxies' counters a line of `leno stat` adds up.
//!
//! A workload's figures are its own proxy's, as it serves: where it has none that counts, those of its callers. A
//! service's are its callers': they alone see that nobody answers. A route is decided by the caller's proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leno_proto::control::{Edge, ProxyStatus};

use crate::seeing::show;
use crate::seeing::sums::Sums;
use crate::seeing::target::{Kind, Target};

/// What is asked for.
#[derive(Debug)]
pub struct View {
    pub target: Target,
    pub from: Option<Target>,
    pub to: Option<Target>,
    pub routes: bool,
}

#[derive(Debug)]
pub struct Measured {
    pub rows: BTreeMap<Name, Row>,
    /// None: all since the control plane began.
    pub window: Option<Duration>,
}

/// What a line is about; of a route all of it, else `name` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub name: String,
    pub made_by: String,
    pub rule: u32,
    pub route: String,
    pub to: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// In the window.
    pub grown: Sums,
    /// Since the control plane began.
    pub total: Sums,
    /// Status and flags, in the window.
    pub statuses: BTreeMap<(u32, String), u64>,
    /// Healthy instances, and all.
    pub meshed: Option<(usize, usize)>,
}

// === impl Measured ===

impl Measured {
    pub fn seconds(&self) -> Option<f64> {
        self.window.map(|window| window.as_secs_f64().max(0.001))
    }
}

pub fn rows(view: &View, before: &[Edge], after: &[Edge], proxies: &[ProxyStatus]) -> BTreeMap<Name, Row> {
    let counting = counting(after);
    let mut rows: BTreeMap<Name, Row> = BTreeMap::new();
    if !view.routes {
        for proxy in proxies.iter().filter(|proxy| view.target.is_proxy(proxy)) {
            let name = Name {
                name: view.name_of(proxy),
                ..Name::default()
            };
            let (healthy, instances) = rows.entry(name).or_default().meshed.get_or_insert((0, 0));
            *healthy += usize::from(proxy.healthy);
            *instances += 1;
        }
    }
    let mut earlier: BTreeMap<Name, Row> = BTreeMap::new();
    for (edges, rows) in [(before, &mut earlier), (after, &mut rows)] {
        for edge in edges {
            if let Some(name) = view.name(edge, &counting) {
                let row = rows.entry(name).or_default();
                row.total.add(edge);
                let status = (edge.code, edge.flags.clone());
                *row.statuses.entry(status).or_default() += edge.requests;
            }
        }
    }
    let nothing = Row::default();
    for (name, row) in &mut rows {
        let before = earlier.get(name).unwrap_or(&nothing);
        row.grown = row.total.since(&before.total);
        for (status, count) in &mut row.statuses {
            *count = count.saturating_sub(*before.statuses.get(status).unwrap_or(&0));
        }
        row.statuses.retain(|_, count| *count > 0);
    }
    // What was asked for and had no request stays: a route that nobody takes says something.
    rows
}

/// The workloads whose own proxies count.
fn counting(edges: &[Edge]) -> BTreeSet<String> {
    let told = edges.iter().filter(|edge| edge.reporter == "destination");
    told.map(show::destination).collect()
}

// === impl View ===

impl View {
    /// The line that an edge is added to.
    fn name(&self, edge: &Edge, counting: &BTreeSet<String>) -> Option<Name> {
        let of_source = edge.reporter == "source";
        if let Some(to) = &self.to {
            let meant = of_source && self.target.is_source(edge) && to.is_destination(edge);
            return meant.then(|| self.outbound(edge));
        }
        let meant =
            self.target.is_destination(edge) && self.from.as_ref().is_none_or(|from| from.is_source(edge));
        if !meant {
            return None;
        }
        if self.routes {
            return (of_source && edge.protocol != "tcp").then(|| route(edge));
        }
        match self.target.kind {
            // Callers without a proxy are counted by the called side alone.
            Kind::Service if of_source || show::workload(edge.source.as_ref()).is_none() => {
                Some(Name::of(show::service(&edge.destination_service)))
            }
            Kind::Service => None,
            _ => {
                let own = counting.contains(&show::destination(edge));
                let answered = show::workload(edge.destination.as_ref()).is_some();
                (of_source != own && answered).then(|| self.inbound(edge))
            }
        }
    }

    fn inbound(&self, edge: &Edge) -> Name {
        Name::of(match self.target.kind {
            Kind::Namespace if self.target.name.is_empty() => {
                edge.destination.clone().unwrap_or_default().namespace
            }
            _ => show::destination(edge),
        })
    }

    fn outbound(&self, edge: &Edge) -> Name {
        if self.routes {
            return route(edge);
        }
        Name::of(match self.target.kind {
            Kind::Namespace if self.target.name.is_empty() => {
                edge.source.clone().unwrap_or_default().namespace
            }
            Kind::Service => edge.source.clone().unwrap_or_default().app,
            _ => show::source(edge),
        })
    }

    fn name_of(&self, proxy: &ProxyStatus) -> String {
        let namespace = proxy
            .workload
            .rsplit_once('.')
            .map_or("", |(_, namespace)| namespace);
        match self.target.kind {
            Kind::Namespace if self.target.name.is_empty() => namespace.to_owned(),
            Kind::Service if self.to.is_none() => format!("{}.{namespace}", proxy.service),
            Kind::Service => proxy.service.clone(),
            _ => format!("{}.{namespace}", proxy.workload_name),
        }
    }
}

impl Name {
    fn of(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }
}

fn route(edge: &Edge) -> Name {
    Name {
        name: edge.destination_service.clone(),
        made_by: edge.made_by.clone(),
        rule: edge.rule,
        route: show::route(edge),
        to: show::workload(edge.destination.as_ref()).unwrap_or_else(|| "-".into()),
    }
}

#[cfg(test)]
mod tests {
    use leno_proto::control::Peer;

    use super::*;

    fn peer(workload: &str) -> Option<Peer> {
        let app = workload.split('-').next().unwrap_or_default();
        Some(Peer {
            app: app.into(),
            workload: workload.into(),
            namespace: if workload.is_empty() {
                String::new()
            } else {
                "default".into()
            },
            ..Peer::default()
        })
    }

    fn edge(reporter: &str, source: &str, destination: &str, requests: u64) -> Edge {
        Edge {
            source: peer(source),
            destination: peer(destination),
            destination_service: "reviews.default.svc.cluster.local".into(),
            reporter: reporter.into(),
            protocol: "http".into(),
            code: 200,
            requests,
            ..Edge::default()
        }
    }

    fn view(target: &str) -> View {
        View {
            target: match target {
                "" => Target::all(),
                target => Target::parse(target).unwrap(),
            },
            from: None,
            to: None,
            routes: false,
        }
    }

    /// Name and requests of each line.
    fn lines(view: &View, edges: &[Edge]) -> Vec<(String, u64)> {
        let rows = rows(view, &[], edges, &[]);
        rows.into_iter()
            .map(|(name, row)| (name.name, row.grown.requests))
            .collect()
    }

    #[test]
    fn a_workload_counts_itself_and_only_where_it_cannot_its_callers_do() {
        let edges = [
            edge("source", "web-v1", "reviews-v1", 5),
            edge("destination", "web-v1", "reviews-v1", 4),
            edge("destination", "", "reviews-v1", 2),
            edge("source", "web-v1", "envoy-v1", 3),
            // Nobody has answered.
            edge("source", "web-v1", "", 1),
        ];
        let expected = [("envoy-v1.default".into(), 3), ("reviews-v1.default".into(), 6)];
        assert_eq!(lines(&view(""), &edges), expected);
        assert_eq!(lines(&view("ns"), &edges), [("default".into(), 9)]);
    }

    #[test]
    fn a_service_is_as_its_callers_see_it() {
        let edges = [
            edge("source", "web-v1", "reviews-v1", 5),
            edge("destination", "web-v1", "reviews-v1", 4),
            edge("destination", "", "reviews-v1", 2),
            edge("source", "web-v1", "", 1),
        ];
        assert_eq!(
            lines(&view("svc/reviews"), &edges),
            [("reviews.default".into(), 8)]
        );
    }

    #[test]
    fn from_and_to_choose_the_other_side() {
        let edges = [
            edge("destination", "web-v1", "reviews-v1", 4),
            edge("destination", "cart-v1", "reviews-v1", 3),
            edge("source", "web-v1", "reviews-v1", 4),
        ];
        let from = View {
            from: Some(Target::parse("cart").unwrap()),
            ..view("reviews")
        };
        assert_eq!(lines(&from, &edges), [("reviews-v1.default".into(), 3)]);
        let to = View {
            to: Some(Target::parse("svc/reviews").unwrap()),
            ..view("web-v1")
        };
        assert_eq!(lines(&to, &edges), [("web-v1.default".into(), 4)]);
    }

    #[test]
    fn routes_are_told_apart_and_only_what_is_new_counts() {
        let of = |rule, requests, code| Edge {
            rule,
            route: "default".into(),
            code,
            ..edge("source", "web-v1", "reviews-v1", requests)
        };
        let view = View {
            routes: true,
            ..view("svc/reviews")
        };
        let before = [of(1, 5, 200)];
        let after = [of(1, 9, 200), of(1, 2, 503), of(2, 7, 200)];
        let rows = rows(&view, &before, &after, &[]);
        let counted: Vec<_> = rows
            .iter()
            .map(|(name, row)| (name.route.as_str(), row.grown.requests))
            .collect();
        assert_eq!(counted, [("rule 1", 6), ("rule 2", 7)]);
        let first = rows.values().next().unwrap();
        let statuses: Vec<_> = first
            .statuses
            .iter()
            .map(|((code, _), count)| (*code, *count))
            .collect();
        assert_eq!(statuses, [(200, 4), (503, 2)]);
    }
}
