//! Lines for statsd (<https://github.com/statsd/statsd/blob/master/docs/metric_types.md>), with tags for DataDog's.

use std::fmt::Write;

use leno_engine::compile::stats::StatsConfig;

use super::tags::Tagged;
use super::{Distribution, Kind, Snapshot};

/// What has changed from one snapshot to the next, and what is so now; what was never counted is left out.
pub fn statsd(
    before: &Snapshot,
    now: &Snapshot,
    prefix: &str,
    tags: bool,
    config: &StatsConfig,
) -> Vec<String> {
    let told = |name: &&String| config.tells(name);
    let mut lines = Vec::new();
    for (name, sample) in now.samples.iter().filter(|(name, _)| told(name)) {
        if sample.value == 0 && before.value(name).unwrap_or_default() == 0 {
            continue;
        }
        let (value, kind) = match sample.kind {
            Kind::Counter => (since(before.value(name), sample.value), "c"),
            Kind::Gauge => (sample.value, "g"),
        };
        lines.push(line(prefix, name, &format!("{value}|{kind}"), tags, config));
    }
    for (name, distribution) in now.distributions.iter().filter(|(name, _)| told(name)) {
        for (value, count) in new(before.distributions.get(name), distribution) {
            // One line for all that were alike: a sample of so many.
            let rate = if count == 1 {
                String::new()
            } else {
                format!("|@{}", 1.0 / count as f64)
            };
            lines.push(line(prefix, name, &format!("{value}|ms{rate}"), tags, config));
        }
    }
    lines
}

/// Counters may have been set to zero.
fn since(before: Option<u64>, now: u64) -> u64 {
    now.checked_sub(before.unwrap_or_default()).unwrap_or(now)
}

fn new(before: Option<&Distribution>, now: &Distribution) -> Vec<(f64, u64)> {
    let known = |bin| {
        let before = before?.bins();
        let at = before.binary_search_by_key(&bin, |(bin, _)| *bin).ok()?;
        Some(before.get(at)?.1)
    };
    let each = now.bins().iter();
    let each = each.map(|(bin, count)| (bin.lower(), since(known(*bin), *count)));
    each.filter(|(_, count)| *count > 0).collect()
}

fn line(prefix: &str, name: &str, value: &str, tags: bool, config: &StatsConfig) -> String {
    if !tags {
        return format!("{prefix}.{name}:{value}");
    }
    let Tagged { name, tags } = Tagged::of(name, config);
    let mut line = format!("{prefix}.{name}:{value}");
    for (at, (tag, value)) in tags.iter().enumerate() {
        let before = if at == 0 { "|#" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(line, "{before}{tag}:{}", value.replace([',', '|', ':', '#'], "_"));
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{ClusterStat, ClusterTime, Counts, Stats};
    use super::*;

    #[test]
    fn what_has_changed_is_told() {
        let stats = Stats::default();
        let counts: Counts<ClusterStat> = stats.counts("shop");
        counts.add(ClusterStat::RqTotal, 2);
        counts.took(ClusterTime::Rq, Duration::from_millis(7));
        let first = Snapshot::of(&stats);
        counts.inc(ClusterStat::RqTotal);
        counts.inc(ClusterStat::CxActive);
        counts.code(200);
        for millis in [7, 250, 255] {
            counts.took(ClusterTime::Rq, Duration::from_millis(millis));
        }
        let second = Snapshot::of(&stats);
        let config = StatsConfig::default();
        assert_eq!(
            statsd(&Snapshot::default(), &first, "envoy", false, &config),
            [
                "envoy.cluster.shop.upstream_rq_total:2|c",
                "envoy.cluster.shop.external.upstream_rq_time:7|ms",
                "envoy.cluster.shop.upstream_rq_time:7|ms"
            ]
        );
        assert_eq!(
            statsd(&first, &second, "p", true, &config),
            [
                "p.cluster.external.upstream_rq:1|c|#envoy.response_code:200,envoy.cluster_name:shop",
                "p.cluster.upstream_cx_active:1|g|#envoy.cluster_name:shop",
                "p.cluster.upstream_rq:1|c|#envoy.response_code:200,envoy.cluster_name:shop",
                "p.cluster.upstream_rq_total:1|c|#envoy.cluster_name:shop",
                "p.cluster.external.upstream_rq_time:7|ms|#envoy.cluster_name:shop",
                "p.cluster.external.upstream_rq_time:250|ms|@0.5|#envoy.cluster_name:shop",
                "p.cluster.upstream_rq_time:7|ms|#envoy.cluster_name:shop",
                "p.cluster.upstream_rq_time:250|ms|@0.5|#envoy.cluster_name:shop",
            ]
        );
    }
}
