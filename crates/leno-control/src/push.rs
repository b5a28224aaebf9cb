//! Who is concerned by a change: the index from what answers depend on to the streams that have these answers.
//!
//! A change costs what it affects, not the size of the mesh: each changed key leads to the streams and names that
//! depend on it, which are put into the streams' mailboxes. A mailbox is a set, and an answer is always made from
//! the newest snapshot, so a client that reads slowly costs no queue: it gets the newest when it is ready.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leno_model::delta::Key;
use leno_model::{Delta, Snapshot};
use leno_translate::{Answer, Cache, Proxy, ResourceType};
use tokio::sync::{Notify, watch};

use crate::work::Work;

/// One answer of one stream: a resource's name, or [`leno_xds::WILDCARD`].
pub(crate) type Watched = (ResourceType, String);
type StreamId = u64;

#[derive(Debug)]
pub(crate) struct Push {
    snapshot: watch::Sender<Arc<Snapshot>>,
    index: Mutex<Index>,
    cache: Mutex<Cache>,
    next: AtomicU64,
    pub(crate) work: Work,
}

#[derive(Debug, Default)]
struct Index {
    /// The newest version whose delta has been put into the mailboxes.
    version: u64,
    by_key: HashMap<Key, HashMap<StreamId, HashSet<Watched>>>,
    mailboxes: HashMap<StreamId, Arc<Mailbox>>,
}

#[derive(Debug, Default)]
struct Mailbox {
    dirty: Mutex<HashSet<Watched>>,
    arrived: Notify,
}

/// A stream's place in the index. It leaves when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    push: Arc<Push>,
    id: StreamId,
    mailbox: Arc<Mailbox>,
    deps: HashMap<Watched, BTreeSet<Key>>,
}

// === impl Push ===

impl Push {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            index: Mutex::new(Index {
                version: snapshot.version,
                ..Index::default()
            }),
            snapshot: watch::Sender::new(snapshot),
            cache: Mutex::default(),
            next: AtomicU64::new(0),
            work: Work::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// A resource as a proxy would be sent it now, for whoever asks once.
    pub(crate) fn look(
        &self,
        proxy: &Proxy,
        kind: ResourceType,
        name: &str,
    ) -> Option<Arc<leno_translate::Resource>> {
        let snapshot = self.snapshot();
        leno_translate::answer(&mut lock(&self.cache), &snapshot, proxy, kind, name).resource
    }

    /// The single writer has made a new snapshot.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>, delta: &Delta) {
        let version = snapshot.version;
        // The snapshot first: whoever is told of a change must find it.
        self.snapshot.send_replace(snapshot);
        let mut index = lock(&self.index);
        index.version = version;
        for key in &delta.changed {
            let Some(streams) = index.by_key.get(key) else {
                continue;
            };
            for (stream, watched) in streams {
                if let Some(mailbox) = index.mailboxes.get(stream) {
                    mailbox.put(watched.iter().cloned());
                }
            }
        }
    }

    pub(crate) fn join(self: &Arc<Self>) -> Member {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mailbox = Arc::new(Mailbox::default());
        lock(&self.index).mailboxes.insert(id, mailbox.clone());
        Member {
            push: self.clone(),
            id,
            mailbox,
            deps: HashMap::new(),
        }
    }

    pub(crate) fn streams(&self) -> usize {
        lock(&self.index).mailboxes.len()
    }

    pub(crate) fn cached(&self) -> usize {
        lock(&self.cache).len()
    }

    /// How many resources have been made, by kind.
    pub(crate) fn made(&self) -> BTreeMap<ResourceType, u64> {
        lock(&self.cache).made().clone()
    }
}

// === impl Mailbox ===

impl Mailbox {
    fn put(&self, watched: impl Iterator<Item = Watched>) {
        lock(&self.dirty).extend(watched);
        self.arrived.notify_one();
    }
}

// === impl Member ===

impl Member {
    /// Until something that this stream was told of may have changed.
    pub(crate) async fn changed(&self) {
        self.mailbox.arrived.notified().await;
    }

    /// What may have changed since the last call.
    pub(crate) fn take_dirty(&self) -> HashSet<Watched> {
        std::mem::take(&mut lock(&self.mailbox.dirty))
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.push.snapshot()
    }

    /// The resource as it is in the snapshot, from now on watched.
    pub(crate) fn answer(
        &mut self,
        snapshot: &Snapshot,
        proxy: &Proxy,
        kind: ResourceType,
        name: &str,
    ) -> Option<Arc<leno_translate::Resource>> {
        let Answer { resource, deps } =
            leno_translate::answer(&mut lock(&self.push.cache), snapshot, proxy, kind, name);
        self.depend((kind, name.to_owned()), deps, snapshot.version);
        resource
    }

    /// What the wildcard means in the snapshot, from now on watched.
    pub(crate) fn names(&mut self, snapshot: &Snapshot, proxy: &Proxy, kind: ResourceType) -> Vec<String> {
        let (names, deps) = leno_translate::names(snapshot, proxy, kind);
        self.depend((kind, leno_xds::WILDCARD.to_owned()), deps, snapshot.version);
        names
    }

    /// Whether the name has been answered and not forgotten.
    pub(crate) fn watches(&self, kind: ResourceType, name: &str) -> bool {
        self.deps.contains_key(&(kind, name.to_owned()))
    }

    pub(crate) fn forget(&mut self, watched: &Watched) {
        if let Some(deps) = self.deps.remove(watched) {
            let mut index = lock(&self.push.index);
            for key in &deps {
                index.remove(key, self.id, watched);
            }
        }
    }

    fn depend(&mut self, watched: Watched, deps: BTreeSet<Key>, version: u64) {
        let before = self.deps.get(&watched);
        let mut index = lock(&self.push.index);
        if before != Some(&deps) {
            let none = BTreeSet::new();
            let before = before.unwrap_or(&none);
            for key in before.difference(&deps) {
                index.remove(key, self.id, &watched);
            }
            for key in deps.difference(before) {
                let streams = index.by_key.entry(key.clone()).or_default();
                streams.entry(self.id).or_default().insert(watched.clone());
            }
        }
        if index.version > version {
            // The change was indexed before these dependencies were: look again.
            self.mailbox.put(std::iter::once(watched.clone()));
        }
        drop(index);
        self.deps.insert(watched, deps);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut index = lock(&self.push.index);
        index.mailboxes.remove(&self.id);
        for (watched, deps) in &self.deps {
            for key in deps {
                index.remove(key, self.id, watched);
            }
        }
    }
}

// === impl Index ===

impl Index {
    fn remove(&mut self, key: &Key, stream: StreamId, watched: &Watched) {
        let Some(streams) = self.by_key.get_mut(key) else {
            return;
        };
        if let Some(all) = streams.get_mut(&stream) {
            all.remove(watched);
            if all.is_empty() {
                streams.remove(&stream);
            }
        }
        if streams.is_empty() {
            self.by_key.remove(key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
