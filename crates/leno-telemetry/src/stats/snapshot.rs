//! The sums at one moment, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use super::histogram::Distribution;
use super::names::Kind;
use super::{Named, Registered, Scope, Stats, lock, names};

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
        let mut clusters = BTreeSet::new();
        stats.each(|known, block| {
            let Registered {
                scope,
                name,
                listener,
                ..
            } = known;
            let scope = *scope;
            let prefix = prefix(scope, name);
            for ((stat, kind), counter) in names::of(scope).iter().zip(&block.counters) {
                let value = counter.load(Relaxed);
                snapshot.add(format!("{prefix}{stat}"), *kind, value);
                if let Some(listener) = listener
                    && is_told_by_listener(stat)
                {
                    snapshot.add(by_listener(listener, name, stat), *kind, value);
                }
            }
            if scope == Scope::Cluster {
                clusters.insert(prefix.clone());
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
        clusters.iter().for_each(|prefix| snapshot.tell_external(prefix));
        snapshot
    }

    /// What of a cluster's answers is not for requests from inside is for those from outside, which nobody counts.
    fn tell_external(&mut self, cluster: &str) {
        let answers = format!("{cluster}upstream_rq_");
        let of_cluster = self.samples.range(answers.clone()..);
        let of_cluster = of_cluster.take_while(|(name, _)| name.starts_with(&answers));
        let external: Vec<(String, u64)> = of_cluster
            .filter_map(|(name, sample)| {
                let stat = name.strip_prefix(cluster).filter(|stat| is_of_answers(stat))?;
                let inside = self.value(&format!("{cluster}internal.{stat}")).unwrap_or(0);
                let outside = sample.value.saturating_sub(inside);
                (outside > 0).then(|| (format!("{cluster}external.{stat}"), outside))
            })
            .collect();
        for (name, value) in external {
            self.add(name, Kind::Counter, value);
        }
        let Some(all) = self.distributions.get(&format!("{cluster}upstream_rq_time")) else {
            return;
        };
        let outside = match self
            .distributions
            .get(&format!("{cluster}internal.upstream_rq_time"))
        {
            Some(inside) => all.without(inside),
            None => all.clone(),
        };
        if outside.count() > 0 {
            self.distributions
                .insert(format!("{cluster}external.upstream_rq_time"), outside);
        }
    }

    /// What a connection manager counts by its listener too.
    pub fn declare_by_listener(&mut self, listener: &str, prefix: &str) {
        for (stat, kind) in names::of(Scope::Http) {
            if is_told_by_listener(stat) {
                self.add(by_listener(listener, prefix, stat), *kind, 0);
            }
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

/// `downstream_rq_completed`, `downstream_rq_2xx`
fn is_told_by_listener(stat: &str) -> bool {
    let answers = stat.strip_prefix("downstream_rq_");
    answers.is_some_and(|what| what == "completed" || what.ends_with("xx"))
}

fn by_listener(listener: &str, prefix: &str, stat: &str) -> String {
    let plain = |name: &str| name.replace(':', "_");
    format!("listener.{}.http.{}.{stat}", plain(listener), plain(prefix))
}

fn prefix(scope: Scope, name: &str) -> String {
    let scope = match scope {
        Scope::Cluster | Scope::Answers => "cluster",
        Scope::VirtualHost => "vhost",
        Scope::Http => "http",
        Scope::Listener => "listener",
        Scope::Tcp => "tcp",
        Scope::OpenTelemetry => return "tracing.opentelemetry.".to_owned(),
        Scope::Zipkin => return "tracing.zipkin.".to_owned(),
        Scope::Alone => return String::new(),
    };
    format!("{scope}.{}.", name.replace(':', "_"))
}
