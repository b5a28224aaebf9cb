//! The keys of tokens' issuers: fetched here, once for the whole mesh, and handed to proxies with their configuration.
//!
//! Each source has a task of its own, so that a server that is slow, down or lying concerns nobody else. What was good last
//! stays until something better comes, also through a restart: it is in the state directory.

mod client;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use leno_model::{Change, KeyNews, KeySource};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::state::{RememberedKeys, State};
use client::Client;

/// How long a configuration with a new issuer waits for the issuer's keys, so that no request is held to a rule whose keys
/// are only on their way.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// Before the first attempt after a failure; each further failure doubles it, up to the usual time between fetches.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// What has been asked for stays at least so long, as the configuration that needs it may not be in force yet.
const GRACE: Duration = Duration::from_secs(30);
/// Keys that nobody needs any more are remembered so long: the file that names them may be broken for a while.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How keys are fetched.
#[derive(Clone, Debug)]
pub struct KeyOptions {
    /// How often each server is asked.
    pub refresh: Duration,
    /// Certificates that key servers may have besides what the machine trusts, PEM.
    pub roots: Option<PathBuf>,
}

pub(crate) struct KeyKeeper {
    client: Client,
    refresh: Duration,
    changes: mpsc::UnboundedSender<Change>,
    state: Arc<State>,
    runtime: Handle,
    known: Mutex<Known>,
    /// A source has had its first answer.
    answered: Condvar,
}

#[derive(Default)]
struct Known {
    sources: BTreeMap<KeySource, Entry>,
    /// Last good keys of all sources, also of those that are not asked now.
    good: BTreeMap<KeySource, Good>,
}

struct Entry {
    /// Of one attempt.
    timeout: Duration,
    wanted: Instant,
    news: KeyNews,
    /// It is known whether there are keys.
    answered: bool,
    failures: u32,
    task: Option<AbortHandle>,
}

struct Good {
    keys: Arc<str>,
    /// When somebody needed them last, in seconds from 1970.
    needed: u64,
}

// === impl KeyKeeper ===

impl KeyKeeper {
    /// Begins with the keys of former lives. Called within a runtime.
    pub(crate) fn new(
        options: &KeyOptions,
        changes: mpsc::UnboundedSender<Change>,
        state: Arc<State>,
        remembered: Vec<RememberedKeys>,
    ) -> Arc<Self> {
        let good = remembered.into_iter().filter_map(good);
        Arc::new(Self {
            client: Client::new(options.roots.as_deref()),
            refresh: options.refresh.max(Duration::from_millis(1)),
            changes,
            state,
            runtime: Handle::current(),
            known: Mutex::new(Known {
                sources: BTreeMap::new(),
                good: good.collect(),
            }),
            answered: Condvar::new(),
        })
    }

    /// Fetches these from now on, and waits a little for those that were not known before.
    pub(crate) fn want(self: &Arc<Self>, sources: &BTreeMap<KeySource, Duration>) {
        if sources.is_empty() {
            return;
        }
        let mut known = self.lock();
        for (source, timeout) in sources {
            self.add(&mut known, source, *timeout);
        }
        let waits = |known: &mut Known| {
            let mut all = sources.keys().filter_map(|source| known.sources.get(source));
            all.any(|entry| !entry.answered)
        };
        let waited = self.answered.wait_timeout_while(known, FIRST_ANSWER, waits);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// What the configuration in force needs; whatever else was fetched is not any more.
    pub(crate) fn only(self: &Arc<Self>, sources: &BTreeMap<KeySource, Duration>) {
        let mut known = self.lock();
        for (source, timeout) in sources {
            self.add(&mut known, source, *timeout);
        }
        let is_over = |(source, entry): &(&KeySource, &Entry)| {
            !sources.contains_key(*source) && entry.wanted.elapsed() > GRACE
        };
        let over: Vec<KeySource> = known
            .sources
            .iter()
            .filter(is_over)
            .map(|(source, _)| source.clone())
            .collect();
        for source in over {
            if let Some(Entry { task: Some(task), .. }) = known.sources.remove(&source) {
                task.abort();
            }
            let _ = self.changes.send(Change::Keys(source, None));
        }
    }

    fn add(self: &Arc<Self>, known: &mut Known, source: &KeySource, timeout: Duration) {
        if let Some(entry) = known.sources.get_mut(source) {
            entry.wanted = Instant::now();
            entry.timeout = entry.timeout.max(timeout);
            return;
        }
        let keys = known.good.get(source).map(|good| good.keys.clone());
        let news = KeyNews { keys, trouble: None };
        if news.keys.is_some() {
            let _ = self
                .changes
                .send(Change::Keys(source.clone(), Some(news.clone())));
        }
        let keeper = Arc::downgrade(self);
        let task = self.runtime.spawn({
            let source = source.clone();
            async move {
                while let Some(keeper) = keeper.upgrade() {
                    let Some(pause) = keeper.refresh(&source).await else {
                        return;
                    };
                    drop(keeper);
                    tokio::time::sleep(pause).await;
                }
            }
        });
        let entry = Entry {
            timeout,
            wanted: Instant::now(),
            answered: news.keys.is_some(),
            news,
            failures: 0,
            task: Some(task.abort_handle()),
        };
        known.sources.insert(source.clone(), entry);
    }

    /// Asks once. Returns when to ask again; None: nobody wants to know.
    async fn refresh(&self, source: &KeySource) -> Option<Duration> {
        let timeout = self.lock().sources.get(source)?.timeout;
        let found = match tokio::time::timeout(timeout, self.client.fetch(source)).await {
            Ok(found) => found,
            Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
        };
        self.note(source, found)
    }

    fn note(&self, source: &KeySource, found: Result<String, String>) -> Option<Duration> {
        let mut known = self.lock();
        let Known { sources, good } = &mut *known;
        let entry = sources.get_mut(source)?;
        let before = entry.news.clone();
        let pause = match found {
            Ok(keys) => {
                entry.failures = 0;
                if entry.news.keys.as_deref() != Some(&keys) {
                    entry.news.keys = Some(keys.into());
                }
                entry.news.trouble = None;
                self.refresh
            }
            Err(why) => {
                entry.failures = entry.failures.saturating_add(1);
                if entry.news.trouble.as_deref() != Some(&why) {
                    entry.news.trouble = Some(why.into());
                }
                let doubled = FIRST_RETRY.saturating_mul(1 << entry.failures.min(16).saturating_sub(1));
                doubled.min(self.refresh)
            }
        };
        let now = since_epoch();
        let fresh = entry.news.keys != before.keys;
        if let Some(keys) = &entry.news.keys {
            let keys = keys.clone();
            good.insert(source.clone(), Good { keys, needed: now });
        }
        if entry.news != before {
            if before.trouble.is_some() && entry.news.trouble.is_none() {
                tracing::info!(%source, "an issuer's keys can be fetched again");
            }
            let news = Some(entry.news.clone());
            let _ = self.changes.send(Change::Keys(source.clone(), news));
        }
        // After the change is on its way: whoever waits sends the configuration behind it.
        entry.answered = true;
        if fresh {
            good.retain(|source, good| {
                sources.contains_key(source) || now.saturating_sub(good.needed) < REMEMBERED.as_secs()
            });
            let all: Vec<RememberedKeys> = good.iter().map(self::remembered).collect();
            self.state.save_keys(&all);
        }
        self.answered.notify_all();
        Some(pause)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remembered((source, good): (&KeySource, &Good)) -> RememberedKeys {
    let (uri, issuer) = match source {
        KeySource::Uri(uri) => (Some(uri.to_string()), None),
        KeySource::Issuer(issuer) => (None, Some(issuer.to_string())),
    };
    RememberedKeys {
        uri,
        issuer,
        keys: good.keys.to_string(),
        needed: good.needed,
    }
}

/// None: it says of no source that it is of it, or holds no keys.
fn good(remembered: RememberedKeys) -> Option<(KeySource, Good)> {
    let source = match (remembered.uri, remembered.issuer) {
        (Some(uri), None) => KeySource::Uri(uri.into()),
        (None, Some(issuer)) => KeySource::Issuer(issuer.into()),
        _ => return None,
    };
    let keys = leno_api::key_set::reduce(remembered.keys.as_bytes()).ok()?;
    let good = Good {
        keys: keys.into(),
        needed: remembered.needed,
    };
    Some((source, good))
}

fn since_epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
