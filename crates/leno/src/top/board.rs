//! Requests added up by caller, called, method and path.

use std::collections::HashMap;
use std::time::Duration;

use leno_proto::control::{TapRecord, TapResponse};

use crate::seeing::show;

/// Lines that are told apart; a mesh whose paths are all different would fill memory.
const MOST: usize = 2000;

#[derive(Debug, Default)]
pub struct Board {
    called: HashMap<Key, Called>,
    pub count: u64,
    pub proxies: u32,
    unseen: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub source: String,
    pub destination: String,
    pub method: String,
    /// Without the query.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    pub count: u64,
    pub failures: u64,
    pub best: Duration,
    pub worst: Duration,
    pub last: Duration,
}

// === impl Board ===

impl Board {
    pub fn add(&mut self, response: TapResponse) {
        self.proxies = response.proxies;
        self.unseen += response.lost + response.over_limit;
        for record in &response.records {
            self.count += 1;
            self.record(record);
        }
    }

    fn record(&mut self, record: &TapRecord) {
        let edge = record.edge.clone().unwrap_or_default();
        let path = record.path.split('?').next().unwrap_or_default();
        let mut key = Key {
            source: show::source(&edge),
            destination: show::destination(&edge),
            method: show::harmless(&record.method),
            path: show::harmless(path),
        };
        if self.called.len() >= MOST && !self.called.contains_key(&key) {
            key.path = "(other paths)".into();
        }
        let took = Duration::from_micros(record.duration_us);
        let called = self.called.entry(key).or_insert(Called {
            count: 0,
            failures: 0,
            best: took,
            worst: took,
            last: took,
        });
        called.count += 1;
        called.failures += edge.failures.min(1);
        called.best = called.best.min(took);
        called.worst = called.worst.max(took);
        called.last = took;
    }

    pub fn is_empty(&self) -> bool {
        self.called.is_empty()
    }

    /// Requests that nobody looked at.
    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The most frequent first; equals stand still.
    pub fn sorted(&self) -> Vec<(&Key, &Called)> {
        let mut all: Vec<_> = self.called.iter().collect();
        all.sort_by(|(a, one), (b, other)| other.count.cmp(&one.count).then_with(|| a.cmp(b)));
        all
    }
}

impl Called {
    pub fn success(&self) -> f64 {
        self.count.saturating_sub(self.failures) as f64 / self.count.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use leno_proto::control::Edge;

    use super::*;

    fn response(path: &str, duration_us: u64, failures: u64) -> TapResponse {
        TapResponse {
            records: vec![TapRecord {
                edge: Some(Edge {
                    failures,
                    ..Edge::default()
                }),
                path: path.into(),
                duration_us,
                ..TapRecord::default()
            }],
            ..TapResponse::default()
        }
    }

    #[test]
    fn a_path_is_counted_without_its_query() {
        let mut board = Board::default();
        for (path, us, failures) in [
            ("/b", 1, 0),
            ("/a?x", 3000, 0),
            ("/a?y", 1000, 1),
            ("/a", 2000, 0),
        ] {
            board.add(response(path, us, failures));
        }
        let sorted = board.sorted();
        let (key, called) = sorted[0];
        assert_eq!((key.path.as_str(), called.count, called.failures), ("/a", 3, 1));
        let ms = |value: Duration| value.as_millis();
        assert_eq!((ms(called.best), ms(called.worst), ms(called.last)), (1, 3, 2));
        assert_eq!(sorted.len(), 2);
    }

    #[test]
    fn paths_that_are_all_different_do_not_fill_memory() {
        let mut board = Board::default();
        for number in 0..MOST + 10 {
            board.add(response(&format!("/{number}"), 1, 0));
        }
        assert_eq!(board.called.len(), MOST + 1);
        assert_eq!(board.sorted()[0].1.count, 10);
    }
}
