//! The sums at one moment, by name.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::histogram::Distribution;
use super::names::Kind;
use super::{Named, Scope, Stats, lock, names};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub kind: Kind,
    pub value: u64,
}

/// By name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub samples: BTreeMap<String, Sample>,
    pub distributions: BTreeMap<String, Distribution>,
}

impl Snapshot {
    pub fn of(stats: &Stats) -> Self {
        let mut snapshot = Self::default();
        stats.each(|scope, name, block| {
            let prefix = prefix(scope, name);
            for ((stat, kind), counter) in names::of(scope).iter().zip(&block.counters) {
                snapshot.add(format!("{prefix}{stat}"), *kind, counter.load(Relaxed));
            }
            for (time, histogram) in names::times_of(scope).iter().zip(&block.times) {
                let all = snapshot
                    .distributions
                    .entry(format!("{prefix}{time}"))
                    .or_default();
                all.add(&histogram.distribution());
            }
            for (name, named) in lock(&block.named).iter() {
                // As names of scopes: a colon would end it for statsd.
                let name = format!("{prefix}{}", name.replace(':', "_"));
                match &**named {
                    Named::Count(counter) => snapshot.add(name, Kind::Counter, counter.load(Relaxed)),
                    Named::Time(histogram) => {
                        let all = snapshot.distributions.entry(name).or_default();
                        all.add(&histogram.distribution());
                    }
                }
            }
            for (code, counter) in lock(&block.codes).iter() {
                snapshot.add(
                    format!("{prefix}upstream_rq_{code}"),
                    Kind::Counter,
                    counter.load(Relaxed),
                );
            }
        });
        snapshot.tell_external();
        snapshot
    }

    /// What of a cluster's answers is not for requests from inside is for those from outside, which nobody counts.
    fn tell_external(&mut self) {
        let mut external = Vec::new();
        for (name, sample) in &self.samples {
            let Some((whose, stat)) = name
                .strip_prefix("cluster.")
                .and_then(|rest| rest.rsplit_once('.'))
            else {
                continue;
            };
            if whose.ends_with(".internal") || !is_of_answers(stat) {
                continue;
            }
            let inside = self
                .value(&format!("cluster.{whose}.internal.{stat}"))
                .unwrap_or(0);
            let outside = sample.value.saturating_sub(inside);
            if outside > 0 {
                external.push((format!("cluster.{whose}.external.{stat}"), outside));
            }
        }
        for (name, value) in external {
            self.add(name, Kind::Counter, value);
        }
    }

    /// Names of a scope that nobody may have met yet are there with zeros.
    pub fn declare(&mut self, scope: Scope, name: &str) {
        let prefix = prefix(scope, name);
        for (stat, kind) in names::of(scope) {
            self.add(format!("{prefix}{stat}"), *kind, 0);
        }
        for time in names::times_of(scope) {
            self.distributions.entry(format!("{prefix}{time}")).or_default();
        }
    }

    /// A name of a scope that nobody may have counted by yet.
    pub fn name(&mut self, scope: Scope, of: &str, name: &str) {
        self.add(format!("{}{name}", prefix(scope, of)), Kind::Counter, 0);
    }

    pub fn add(&mut self, name: String, kind: Kind, value: u64) {
        let sample = self.samples.entry(name).or_insert(Sample { kind, value: 0 });
        sample.value = sample.value.wrapping_add(value);
    }

    pub fn value(&self, name: &str) -> Option<u64> {
        self.samples.get(name).map(|sample| sample.value)
    }
}

/// `upstream_rq_completed`, `upstream_rq_2xx`, `upstream_rq_200`
fn is_of_answers(stat: &str) -> bool {
    let code = stat.strip_prefix("upstream_rq_").map(str::as_bytes);
    stat == "upstream_rq_completed"
        || matches!(
            code,
            Some([b'1'..=b'9', b'x', b'x'] | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'])
        )
}

fn prefix(scope: Scope, name: &str) -> String {
    let scope = match scope {
        Scope::Cluster => "cluster",
        Scope::VirtualHost => "vhost",
        Scope::Http => "http",
        Scope::Listener => "listener",
        Scope::Tcp => "tcp",
        Scope::OpenTelemetry => return "tracing.opentelemetry.".to_owned(),
        Scope::Zipkin => return "tracing.zipkin.".to_owned(),
        Scope::Internal => return format!("cluster.{}.internal.", name.replace(':', "_")),
        Scope::Alone => return String::new(),
    };
    format!("{scope}.{}.", name.replace(':', "_"))
}
