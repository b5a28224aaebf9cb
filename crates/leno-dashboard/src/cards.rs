//! The mesh as cards: a card for each application, with a row for each of its versions, and who calls whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leno_model::{Host, Workload};
use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::history::{End, History, LinkKey};

/// How much is put together into one card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A card an application, a row a version.
    #[default]
    Versions,
    Services,
    Namespaces,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CardKind {
    Workloads,
    /// A service of the mesh without any workload.
    Service,
    /// A host outside of the mesh.
    External,
    /// Callers that the mesh does not know.
    Outside,
    Namespace,
}

#[derive(Clone, Debug)]
pub struct Card {
    pub namespace: String,
    pub name: String,
    pub kind: CardKind,
    pub rows: BTreeMap<String, Row>,
}

/// A version.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub workloads: BTreeSet<String>,
    pub instances: Vec<Arc<Workload>>,
}

/// Namespace and name; in the order of the cards.
pub type CardId = (String, String);
/// A card and the version of its row.
pub type RowId = (CardId, String);

#[derive(Clone, Debug, Default)]
pub struct Cards {
    pub cards: BTreeMap<CardId, Card>,
    pub links: BTreeMap<(RowId, RowId), Vec<Arc<LinkKey>>>,
}

/// What stands in place of a namespace for what has none.
pub const OUTSIDE: &str = "";
const UNKNOWN_CALLERS: &str = "callers outside";
const UNKNOWN_CALLED: &str = "other destinations";

// === impl Cards ===

impl Cards {
    pub fn new(facts: &Facts, history: &History, level: Level) -> Self {
        let mut all = Self::default();
        for workload in facts.snapshot.workloads.values() {
            all.add_workload(workload);
        }
        let rows = all.rows_by_workload();
        // What answered is known before what did not: a failure then goes to the workload that is no longer there.
        let (unknown, known): (Vec<_>, Vec<_>) = history.links().partition(|key| key.to.workload.is_empty());
        for key in known.into_iter().chain(unknown) {
            let from = all.caller(&rows, &key.from);
            let to = all.called(facts, &rows, key);
            all.links.entry((from, to)).or_default().push(key.clone());
        }
        for service in facts.snapshot.services.values() {
            let has_card = all
                .cards
                .contains_key(&(service.namespace.clone(), service.name.clone()));
            let has_endpoints = !facts.snapshot.endpoints(&service.host).is_empty();
            if !service.external && !has_card && !has_endpoints && !service.is_wildcard() {
                all.card(&service.namespace, &service.name, CardKind::Service, "");
            }
        }
        all.at(level)
    }

    fn add_workload(&mut self, workload: &Arc<Workload>) {
        let (app, version) = app_and_version(workload);
        let row = self.card(&workload.namespace, &app, CardKind::Workloads, &version);
        row.workloads.insert(workload.name.clone());
        row.instances.push(workload.clone());
    }

    fn card(&mut self, namespace: &str, name: &str, kind: CardKind, version: &str) -> &mut Row {
        let id = (namespace.to_owned(), name.to_owned());
        let card = self.cards.entry(id).or_insert_with(|| Card {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            kind,
            rows: BTreeMap::new(),
        });
        card.rows.entry(version.to_owned()).or_default()
    }

    fn rows_by_workload(&self) -> BTreeMap<(String, String), RowId> {
        let cards = self.cards.iter().flat_map(|(id, card)| {
            card.rows.iter().flat_map(move |(version, row)| {
                let names = row
                    .workloads
                    .iter()
                    .map(|name| (card.namespace.clone(), name.clone()));
                names.map(move |name| (name, (id.clone(), version.clone())))
            })
        });
        cards.collect()
    }

    fn caller(&mut self, rows: &BTreeMap<(String, String), RowId>, end: &End) -> RowId {
        if let Some(row) = self.end(rows, end) {
            return row;
        }
        match account(&end.principal) {
            Some((namespace, account)) => self.row(namespace, account, CardKind::Workloads, ""),
            None => self.row(OUTSIDE, UNKNOWN_CALLERS, CardKind::Outside, ""),
        }
    }

    fn called(&mut self, facts: &Facts, rows: &BTreeMap<(String, String), RowId>, key: &LinkKey) -> RowId {
        if let Some(row) = self.end(rows, &key.to) {
            return row;
        }
        let service = facts.snapshot.service(&Host::new(&key.service));
        match service {
            // Nobody was there to answer.
            Some(service) if !service.external => {
                let id = (service.namespace.clone(), service.name.clone());
                let version = self.cards.get(&id).and_then(|card| match card.rows.len() {
                    1 => card.rows.keys().next().cloned(),
                    _ => None,
                });
                self.row(&id.0, &id.1, CardKind::Service, &version.unwrap_or_default())
            }
            Some(service) => self.row(OUTSIDE, service.host.as_str(), CardKind::External, ""),
            None if key.service.is_empty() => self.row(OUTSIDE, UNKNOWN_CALLED, CardKind::External, ""),
            None => self.row(OUTSIDE, &key.service, CardKind::External, ""),
        }
    }

    /// A workload that is there, or one that was.
    fn end(&mut self, rows: &BTreeMap<(String, String), RowId>, end: &End) -> Option<RowId> {
        if let Some(row) = rows.get(&(end.namespace.clone(), end.workload.clone())) {
            return Some(row.clone());
        }
        let name = if end.app.is_empty() {
            &end.workload
        } else {
            &end.app
        };
        if name.is_empty() || end.namespace.is_empty() {
            return None;
        }
        let id = self.row(&end.namespace, name, CardKind::Workloads, &end.version);
        let card = self.cards.get_mut(&id.0);
        if let Some(row) = card.and_then(|card| card.rows.get_mut(&id.1)) {
            row.workloads.insert(end.workload.clone());
        }
        Some(id)
    }

    fn row(&mut self, namespace: &str, name: &str, kind: CardKind, version: &str) -> RowId {
        self.card(namespace, name, kind, version);
        ((namespace.to_owned(), name.to_owned()), version.to_owned())
    }

    /// The same, with more put together.
    fn at(self, level: Level) -> Self {
        let together = |(id, version): &RowId| match level {
            Level::Versions => (id.clone(), version.clone()),
            Level::Services => (id.clone(), String::new()),
            Level::Namespaces if id.0 == OUTSIDE => (id.clone(), String::new()),
            Level::Namespaces => ((OUTSIDE.to_owned(), id.0.clone()), String::new()),
        };
        if level == Level::Versions {
            return self;
        }
        let mut all = Self::default();
        for (id, card) in self.cards {
            for (version, row) in card.rows {
                let ((namespace, name), version) = together(&(id.clone(), version));
                let kind = if level == Level::Namespaces && id.0 != OUTSIDE {
                    CardKind::Namespace
                } else {
                    card.kind
                };
                let into = all.card(&namespace, &name, kind, &version);
                into.workloads.extend(row.workloads);
                into.instances.extend(row.instances);
            }
        }
        for ((from, to), keys) in self.links {
            let ends = (together(&from), together(&to));
            // What stays inside of a namespace is none of its links.
            if level != Level::Namespaces || ends.0 != ends.1 {
                all.links.entry(ends).or_default().extend(keys);
            }
        }
        all
    }

    /// Keeps a card, those who call it and those that it calls.
    pub fn focus(&mut self, on: &CardId) {
        let mut kept = BTreeSet::from([on.clone()]);
        for (from, to) in self
            .links
            .keys()
            .filter(|(from, to)| from.0 == *on || to.0 == *on)
        {
            kept.extend([from.0.clone(), to.0.clone()]);
        }
        self.keep(|id| kept.contains(id));
        self.links.retain(|(from, to), _| from.0 == *on || to.0 == *on);
    }

    pub fn keep(&mut self, is_kept: impl Fn(&CardId) -> bool) {
        self.cards.retain(|id, _| is_kept(id));
        self.links
            .retain(|(from, to), _| is_kept(&from.0) && is_kept(&to.0));
    }
}

/// As Istio names a workload's application and version.
pub fn app_and_version(workload: &Workload) -> (String, String) {
    let label = |names: &[&str]| names.iter().find_map(|name| workload.labels.get(*name)).cloned();
    let app = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let version = label(&[
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]);
    let app = app.or_else(|| workload.service.clone());
    (
        app.unwrap_or_else(|| workload.name.clone()),
        version.unwrap_or_default(),
    )
}

/// `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT`
fn account(principal: &str) -> Option<(&str, &str)> {
    let (_, path) = principal.strip_prefix("spiffe://")?.split_once("/ns/")?;
    path.split_once("/sa/")
}
