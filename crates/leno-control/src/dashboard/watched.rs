//! The latest requests of the workloads whose pages are open: a tap for each, while somebody looks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leno_proto::control::{TapFilter, TapRecord, TapStart};
use tokio::sync::mpsc;

use crate::attached::Attached;
use crate::roster::Roster;
use crate::tap::Tap;

/// A page that has not been asked for again by then is closed.
const OPEN_FOR: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pages with requests at a time; further ones show none.
const MOST_PAGES: usize = 16;
/// Requests kept for a page.
const MOST_KEPT: usize = 24;
/// Requests a second that the proxies of one workload are asked for.
const MOST_PER_SECOND: u32 = 10;

/// Namespace and name of a workload.
type Key = (String, String);

#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(Arc<Mutex<HashMap<Key, Page>>>);

#[derive(Debug)]
struct Page {
    asked: Instant,
    /// The newest first.
    requests: VecDeque<TapRecord>,
}

// === impl Watched ===

impl Watched {
    /// Somebody looks at this workload's page: from now on its requests are kept. Must be called on a runtime.
    pub(crate) fn ask(&self, attached: &Arc<Attached>, roster: &Roster, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut pages = self.lock();
        if let Some(page) = pages.get_mut(&key) {
            page.asked = Instant::now();
            return;
        }
        let target = format!("workload/{name}.{namespace}");
        let proxies = roster.meant(&target);
        if proxies.is_empty() || pages.len() >= MOST_PAGES {
            return;
        }
        let page = Page {
            asked: Instant::now(),
            requests: VecDeque::new(),
        };
        pages.insert(key.clone(), page);
        drop(pages);
        let start = TapStart {
            filter: Some(TapFilter::default()),
            max_per_second: MOST_PER_SECOND,
        };
        let (tap, records) = Tap::new(attached.number(), target, start);
        let nodes: Vec<String> = proxies.into_iter().map(|proxy| proxy.node_id).collect();
        attached.open_tap(&tap, &nodes);
        let (watched, attached) = (self.clone(), attached.clone());
        tokio::spawn(async move {
            watched.keep(&key, records).await;
            attached.close_tap(&tap);
        });
    }

    /// The newest first.
    pub(crate) fn requests(&self) -> HashMap<Key, Vec<TapRecord>> {
        let pages = self.lock();
        let all = pages
            .iter()
            .map(|(key, page)| (key.clone(), page.requests.iter().cloned().collect()));
        all.collect()
    }

    /// Until nobody looks any more.
    async fn keep(&self, key: &Key, mut records: mpsc::Receiver<TapRecord>) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            let record = tokio::select! {
                record = records.recv() => record,
                _ = tick.tick() => None,
            };
            let mut pages = self.lock();
            let Some(page) = pages.get_mut(key) else {
                return;
            };
            if let Some(record) = record {
                page.requests.truncate(MOST_KEPT - 1);
                page.requests.push_front(record);
            }
            if page.asked.elapsed() >= OPEN_FOR {
                pages.remove(key);
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
