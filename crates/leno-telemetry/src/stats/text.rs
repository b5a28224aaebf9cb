//! The forms in which statistics are told.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use leno_engine::compile::stats::StatsConfig;

use super::tags::Tagged;
use super::{BOUNDS, Distribution, Kind, QUANTILES, Sample, Snapshot};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `NAME: VALUE`
    Text,
    Json,
    /// With what Envoy takes out of the names as labels.
    Prometheus,
}

/// What of a distribution is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buckets {
    /// Quantiles; of Prometheus's form its histogram.
    #[default]
    Unsaid,
    Summary,
    Cumulative,
    Disjoint,
    Detailed,
}

/// What is told of a snapshot.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub form: Form,
    pub buckets: Buckets,
    /// None: of every kind.
    pub kind: Option<Shown>,
    /// Only what has been counted.
    pub used: bool,
    pub takes: &'a dyn Fn(&str) -> bool,
    pub config: &'a StatsConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Counters,
    Gauges,
    Histograms,
    /// Of which there are none.
    TextReadouts,
}

type Samples<'s> = Vec<(&'s String, &'s Sample)>;
type Distributions<'s> = Vec<(&'s String, &'s Distribution)>;

pub fn text(snapshot: &Snapshot, asked: &Asked<'_>) -> String {
    let takes = |name: &String| (asked.takes)(name) && asked.config.tells(name);
    let samples = snapshot.samples.iter().filter(|(name, sample)| {
        let shown = match sample.kind {
            Kind::Counter => Shown::Counters,
            Kind::Gauge => Shown::Gauges,
        };
        asked.kind.is_none_or(|kind| kind == shown) && (!asked.used || sample.value > 0) && takes(name)
    });
    let samples: Samples<'_> = samples.collect();
    let distributions = snapshot.distributions.iter().filter(|(name, distribution)| {
        asked.kind.is_none_or(|kind| kind == Shown::Histograms)
            && (!asked.used || distribution.count() > 0)
            && takes(name)
    });
    let distributions: Distributions<'_> = distributions.collect();
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = match asked.form {
        Form::Text => lines(&mut out, &samples, &distributions, asked),
        Form::Json => json(&mut out, &samples, &distributions, asked),
        Form::Prometheus => prometheus(&mut out, &samples, &distributions, asked),
    };
    out
}

/// In a bucket: below a bound, or only between it and the one before.
fn buckets(distribution: &Distribution, name: &str, asked: &Asked<'_>) -> Vec<(f64, u64)> {
    let bounds = asked.config.bounds(name).unwrap_or(&BOUNDS);
    let mut before = 0;
    let each = bounds.iter().map(|bound| {
        let below = distribution.below(*bound);
        let within = below - before;
        match asked.buckets {
            Buckets::Disjoint => {
                before = below;
                (*bound, within)
            }
            _ => (*bound, below),
        }
    });
    each.collect()
}

// === text ===

fn lines(
    out: &mut String,
    samples: &Samples<'_>,
    distributions: &Distributions<'_>,
    asked: &Asked<'_>,
) -> fmt::Result {
    for (name, sample) in samples {
        writeln!(out, "{name}: {}", sample.value)?;
    }
    for (name, distribution) in distributions {
        write!(out, "{name}:")?;
        if distribution.count() == 0 {
            writeln!(out, " No recorded values")?;
            continue;
        }
        match asked.buckets {
            Buckets::Unsaid | Buckets::Summary => {
                out.push(' ');
                summary(out, distribution)?;
            }
            Buckets::Cumulative | Buckets::Disjoint => {
                for (bound, count) in buckets(distribution, name, asked) {
                    write!(out, " B{}(0,{count})", Short(bound))?;
                }
            }
            Buckets::Detailed => {
                write!(out, "\n  totals=")?;
                for (at, (bin, count)) in distribution.bins().iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(
                        out,
                        "{comma}{},{}:{count}",
                        Short(bin.lower()),
                        Short(bin.width())
                    )?;
                }
                write!(out, "\n  intervals=\n  summary=")?;
                summary(out, distribution)?;
            }
        }
        out.push('\n');
    }
    Ok(())
}

/// What was observed since the last flush is not kept: it is no number.
fn summary(out: &mut String, distribution: &Distribution) -> fmt::Result {
    for (at, share) in QUANTILES.iter().enumerate() {
        let space = if at == 0 { "" } else { " " };
        let value = distribution.quantile(*share).unwrap_or_default();
        write!(out, "{space}P{}(nan,{value})", percent(*share))?;
    }
    Ok(())
}

/// Without what computing it has left behind the third digit.
fn percent(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

/// As C's `%g`: six digits, and large ones with an exponent.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = *self;
        if value < 1e6 {
            return write!(f, "{value}");
        }
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) => write!(f, "{digits}e+{exponent:0>2}"),
            None => f.write_str(&text),
        }
    }
}

// === JSON ===

fn json(
    out: &mut String,
    samples: &Samples<'_>,
    distributions: &Distributions<'_>,
    asked: &Asked<'_>,
) -> fmt::Result {
    out.push_str("{\"stats\":[");
    let mut comma = "";
    for (name, sample) in samples {
        write!(
            out,
            "{comma}{{\"name\":\"{}\",\"value\":{}}}",
            escaped(name),
            sample.value
        )?;
        comma = ",";
    }
    if !distributions.is_empty() {
        write!(out, "{comma}{{\"histograms\":")?;
        match asked.buckets {
            Buckets::Unsaid | Buckets::Summary => {
                write!(
                    out,
                    "{{\"supported_quantiles\":{},\"computed_quantiles\":[",
                    percents()
                )?;
                list(out, distributions, |out, _, distribution| {
                    write!(out, "\"values\":")?;
                    quantiles(out, distribution)
                })?;
                out.push_str("]}");
            }
            Buckets::Cumulative | Buckets::Disjoint => {
                out.push('[');
                list(out, distributions, |out, name, distribution| {
                    write!(out, "\"buckets\":[")?;
                    for (at, (bound, count)) in buckets(distribution, name, asked).iter().enumerate() {
                        let comma = if at == 0 { "" } else { "," };
                        write!(
                            out,
                            "{comma}{{\"upper_bound\":{bound},\"interval\":0,\"cumulative\":{count}}}"
                        )?;
                    }
                    out.push(']');
                    Ok(())
                })?;
                out.push(']');
            }
            Buckets::Detailed => {
                write!(out, "{{\"supported_percentiles\":{},\"details\":[", percents())?;
                list(out, distributions, |out, _, distribution| {
                    write!(out, "\"totals\":[")?;
                    for (at, (bin, count)) in distribution.bins().iter().enumerate() {
                        let comma = if at == 0 { "" } else { "," };
                        let (lower, width) = (bin.lower(), bin.width());
                        write!(
                            out,
                            "{comma}{{\"lower_bound\":{lower},\"width\":{width},\"count\":{count}}}"
                        )?;
                    }
                    write!(out, "],\"intervals\":[],\"percentiles\":")?;
                    quantiles(out, distribution)
                })?;
                out.push_str("]}");
            }
        }
        out.push('}');
    }
    out.push_str("]}");
    Ok(())
}

fn list(
    out: &mut String,
    distributions: &Distributions<'_>,
    mut tell: impl FnMut(&mut String, &str, &Distribution) -> fmt::Result,
) -> fmt::Result {
    for (at, (name, distribution)) in distributions.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(out, "{comma}{{\"name\":\"{}\",", escaped(name))?;
        tell(out, name, distribution)?;
        out.push('}');
    }
    Ok(())
}

fn percents() -> String {
    let each: Vec<String> = QUANTILES
        .iter()
        .map(|share| percent(*share).to_string())
        .collect();
    format!("[{}]", each.join(","))
}

fn quantiles(out: &mut String, distribution: &Distribution) -> fmt::Result {
    let each = QUANTILES.iter().map(|share| match distribution.quantile(*share) {
        Some(value) => format!("{{\"cumulative\":{value},\"interval\":null}}"),
        None => "{\"cumulative\":null,\"interval\":null}".to_owned(),
    });
    write!(out, "[{}]", each.collect::<Vec<_>>().join(","))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

// === Prometheus ===

enum Row<'s> {
    Sample(&'s Sample),
    Distribution(&'s str, &'s Distribution),
}

fn prometheus(
    out: &mut String,
    samples: &Samples<'_>,
    distributions: &Distributions<'_>,
    asked: &Asked<'_>,
) -> fmt::Result {
    let mut families: BTreeMap<String, Vec<(String, Row<'_>)>> = BTreeMap::new();
    let mut add = |name: &str, row| {
        let (family, labels) = labelled(name, asked.config);
        families.entry(family).or_default().push((labels, row));
    };
    for (name, sample) in samples {
        add(name, Row::Sample(sample));
    }
    for (name, distribution) in distributions {
        add(name, Row::Distribution(name, distribution));
    }
    for (family, rows) in families {
        let kind = match rows.first() {
            Some((_, Row::Sample(sample))) => match sample.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            },
            _ if asked.buckets == Buckets::Summary => "summary",
            _ => "histogram",
        };
        writeln!(out, "# TYPE {family} {kind}")?;
        for (labels, row) in rows {
            match row {
                Row::Sample(sample) => writeln!(out, "{family}{{{labels}}} {}", sample.value)?,
                Row::Distribution(name, distribution) => {
                    histogram(out, &family, &labels, name, distribution, asked)?;
                }
            }
        }
    }
    Ok(())
}

fn histogram(
    out: &mut String,
    family: &str,
    labels: &str,
    name: &str,
    distribution: &Distribution,
    asked: &Asked<'_>,
) -> fmt::Result {
    let comma = if labels.is_empty() { "" } else { "," };
    if asked.buckets == Buckets::Summary {
        for share in QUANTILES {
            let value = distribution
                .quantile(share)
                .map_or("nan".to_owned(), |value| value.to_string());
            writeln!(out, "{family}{{{labels}{comma}quantile=\"{share}\"}} {value}")?;
        }
    } else {
        let asked = Asked {
            buckets: Buckets::Cumulative,
            ..*asked
        };
        for (bound, count) in buckets(distribution, name, &asked) {
            writeln!(out, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}")?;
        }
        let all = distribution.count();
        writeln!(out, "{family}_bucket{{{labels}{comma}le=\"+Inf\"}} {all}")?;
    }
    writeln!(out, "{family}_sum{{{labels}}} {}", distribution.sum())?;
    writeln!(out, "{family}_count{{{labels}}} {}", distribution.count())
}

/// The metric's name and its labels.
fn labelled(name: &str, config: &StatsConfig) -> (String, String) {
    let Tagged { name, tags } = Tagged::of(name, config);
    let labels = tags
        .iter()
        .map(|(tag, value)| format!("{}=\"{}\"", plain(tag), escaped(value)));
    (
        format!("envoy_{}", plain(&name)),
        labels.collect::<Vec<_>>().join(","),
    )
}

fn plain(name: &str) -> String {
    let each = name.chars();
    each.map(|c| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    })
    .collect()
}

#[cfg(test)]
mod tests;
