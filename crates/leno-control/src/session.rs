//! One proxy's stream: what it asked, made from the newest snapshot and put into order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use leno_model::Snapshot;
use leno_proto::envoy::service::runtime::v3::Runtime;
use leno_proto::google::protobuf::Struct;
use leno_proto::type_url;
use leno_translate::{Proxy, ResourceType};
use leno_xds::WILDCARD;
use leno_xds::server::{Outcome, Resource, Response, Stream, Update};
use prost::Message;

use crate::push::{Member, Watched};

pub(crate) struct Session {
    pub(crate) proxy: Proxy,
    pub(crate) stream: Stream,
    member: Member,
}

/// What has to be said of one type.
#[derive(Default)]
struct Draft {
    present: Vec<Arc<Resource>>,
    absent: Vec<String>,
    wildcard: bool,
}

impl Session {
    pub(crate) fn new(proxy: Proxy, stream: Stream, member: Member) -> Self {
        Self {
            proxy,
            stream,
            member,
        }
    }

    pub(crate) async fn changed(&self) {
        self.member.changed().await;
    }

    /// Subscriptions that ended need no watching.
    pub(crate) fn settle(&mut self, outcome: &Outcome) {
        let Some(kind) = ResourceType::from_type_url(&outcome.type_url) else {
            return;
        };
        for name in &outcome.ended {
            if name == WILDCARD || !self.stream.subscribed(&outcome.type_url, name) {
                self.member.forget(&(kind, name.clone()));
            }
        }
    }

    /// Everything that the proxy waits for or that changed: additions and changes in the order in which things
    /// refer to each other, then removals in the opposite order.
    pub(crate) fn push(&mut self) -> Vec<Response> {
        let snapshot = self.member.snapshot();
        let mut dirty: HashMap<ResourceType, BTreeSet<String>> = HashMap::new();
        for (kind, name) in self.member.take_dirty() {
            dirty.entry(kind).or_default().insert(name);
        }
        let mut responses = Vec::new();
        let mut removals = Vec::new();
        let types = self.stream.types();
        for type_url in &types {
            let kind = ResourceType::from_type_url(type_url);
            let changed = kind.and_then(|k| dirty.remove(&k)).unwrap_or_default();
            let draft = self.draft(&snapshot, type_url, kind, changed);
            let update = Update {
                present: &draft.present,
                absent: &[],
                wildcard: draft.wildcard,
            };
            responses.extend(self.stream.update(type_url, update));
            if !draft.absent.is_empty() {
                removals.push((type_url, draft.absent));
            }
        }
        for (type_url, absent) in removals.into_iter().rev() {
            let update = Update {
                absent: &absent,
                ..Update::default()
            };
            responses.extend(self.stream.update(type_url, update));
        }
        responses
    }

    fn draft(
        &mut self,
        snapshot: &Snapshot,
        type_url: &str,
        kind: Option<ResourceType>,
        changed: BTreeSet<String>,
    ) -> Draft {
        let wanted = self.stream.wanted(type_url);
        let mut draft = Draft {
            wildcard: wanted.wildcard,
            ..Draft::default()
        };
        if wanted.is_empty() && changed.is_empty() {
            return draft;
        }
        let Some(kind) = kind else {
            if type_url == type_url::RUNTIME {
                draft.present = wanted.names.iter().map(|name| no_override(name)).collect();
                return draft;
            }
            // Nothing of this type is served: its names do not exist, and all of it is nothing.
            draft.absent = wanted.names;
            return draft;
        };
        let mut names: BTreeSet<String> = wanted.names.into_iter().collect();
        let list_changed = changed.contains(WILDCARD);
        names.extend(changed);
        names.remove(WILDCARD);
        if wanted.wildcard || list_changed && self.stream.has_wildcard(type_url) {
            let all: BTreeSet<String> = self
                .member
                .names(snapshot, &self.proxy, kind)
                .into_iter()
                .collect();
            let gone = self.stream.vanished(type_url, |name| all.contains(name));
            let new = all
                .into_iter()
                .filter(|n| wanted.wildcard || !self.member.watches(kind, n));
            names.extend(new);
            names.extend(gone);
        }
        for name in names {
            self.make(snapshot, (kind, name), &mut draft);
        }
        draft
    }

    fn make(&mut self, snapshot: &Snapshot, watched: Watched, draft: &mut Draft) {
        let (kind, name) = &watched;
        let type_url = kind.type_url();
        let resource = self.member.answer(snapshot, &self.proxy, *kind, name);
        match resource {
            Some(made) => draft.present.push(Arc::new(Resource {
                name: name.as_str().into(),
                version: made.version.as_str().into(),
                body: made.body.clone(),
            })),
            None => {
                // By name it may appear; a wildcard's own list says when it does.
                draft.absent.push(name.clone());
                if !self.stream.subscribed(type_url, name) {
                    self.member.forget(&watched);
                }
            }
        }
    }
}

/// Envoy does not become ready until it has been told a layer of its runtime that it asks for: there is nothing in it.
fn no_override(name: &str) -> Arc<Resource> {
    let layer = Runtime {
        name: name.to_owned(),
        layer: Some(Struct::default()),
    };
    Arc::new(Resource {
        name: name.into(),
        version: "empty".into(),
        body: layer.encode_to_vec().into(),
    })
}
