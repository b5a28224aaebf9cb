//! The names of the statistics beside Envoy's: the same bootstraps, the same traffic, and what `/stats/prometheus` has then.
//!
//! Compared are a metric's name, the names of its labels and its type. What Envoy 1.40 has is kept in `statistics.txt`.
//! What only one of both has stands in `statistics-differences.txt`, with the reason, and nothing else differs. `UPDATE=1`
//! writes both files; what is new among the differences has no reason then, and fails until somebody has written one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::config;
use crate::envoy::program;
use crate::xds;

/// Of the differential cases, those that between them have most of what is counted.
const CATEGORIES: [&str; 10] = [
    "circuit-breaking",
    "fault",
    "listeners",
    "local-ratelimit",
    "network-filters",
    "outlier-and-health",
    "statistics",
    "tcp",
    "tls",
    "zones",
];

/// Parts of names that are no names: a listener's path, which is another in each run, and a virtual host's name with a
/// dot, of which Envoy takes the first word for the host's.
const OTHERWISE: [&str; 2] = ["_tmp", "_vhost_h_"];

/// In place of a reason.
const NO_REASON: &str = "(say why)";

/// Names, by the reason for the difference. `-`: only Envoy has it; `+`: only leno.
type Differences = BTreeMap<String, String>;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/envoy")
        .join(name)
}

fn facts() -> BTreeSet<String> {
    let text = std::fs::read_to_string(file("statistics.txt")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn differences() -> Differences {
    let text = std::fs::read_to_string(file("statistics-differences.txt")).unwrap_or_default();
    let mut reason = NO_REASON;
    let mut known = Differences::new();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(why) => reason = why,
            None if line.is_empty() => {}
            None => {
                known.insert(line.to_owned(), reason.to_owned());
            }
        }
    }
    known
}

fn write_differences(known: &Differences, found: &BTreeSet<String>) {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in found {
        let reason = known.get(name).map_or(NO_REASON, String::as_str);
        by_reason.entry(reason).or_default().push(name);
    }
    let sections = by_reason
        .iter()
        .map(|(why, names)| format!("# {why}\n{}\n", names.join("\n")));
    let text = sections.collect::<Vec<_>>().join("\n");
    std::fs::write(file("statistics-differences.txt"), text).unwrap();
}

#[tokio::test]
async fn the_names_of_the_statistics_are_what_envoy_has() {
    let test = "the_names_of_the_statistics_are_what_envoy_has";
    let Some(program) = program(test) else { return };
    let mut names = BTreeSet::new();
    for told in config::told_by_envoy(&program, &CATEGORIES).await {
        collect(&told, &mut names);
    }
    let told = tokio::task::spawn_blocking(move || {
        xds::statistics::told(|bootstrap| xds::proxy::Proxy::envoy(&program, bootstrap))
    });
    collect(&told.await.unwrap(), &mut names);
    if std::env::var_os("UPDATE").is_some() {
        let lines: Vec<&str> = names.iter().map(String::as_str).collect();
        std::fs::write(file("statistics.txt"), lines.join("\n") + "\n").unwrap();
    }
    let known = facts();
    let new: Vec<_> = names.difference(&known).collect();
    let gone: Vec<_> = known.difference(&names).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "Envoy has also {new:#?}, and not {gone:#?}"
    );
}

#[tokio::test]
async fn what_is_otherwise_named_than_envoys_statistics_is_known_with_a_reason() {
    let mut names = BTreeSet::new();
    for told in config::told_by_leno(&CATEGORIES).await {
        collect(&told, &mut names);
    }
    let told = tokio::task::spawn_blocking(|| xds::statistics::told(xds::proxy::Proxy::leno));
    collect(&told.await.unwrap(), &mut names);
    let envoy = facts();
    let only_envoy = envoy.difference(&names).map(|name| format!("- {name}"));
    let only_leno = names.difference(&envoy).map(|name| format!("+ {name}"));
    let found: BTreeSet<String> = only_envoy.chain(only_leno).collect();
    let known = differences();
    if std::env::var_os("UPDATE").is_some() {
        write_differences(&known, &found);
    }
    let without = |name: &&String| known.get(*name).is_none_or(|why| why == NO_REASON);
    let new: Vec<_> = found.iter().filter(without).collect();
    let gone: Vec<_> = known.keys().filter(|name| !found.contains(*name)).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "differences without a reason: {new:#?}\nno differences any more: {gone:#?}"
    );
}

/// `NAME{LABELS} TYPE`, of a text in Prometheus's form.
fn collect(text: &str, names: &mut BTreeSet<String>) {
    static LABEL: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*""#).unwrap());
    let mut family = ("", "");
    for line in text.lines() {
        if let Some(said) = line.strip_prefix("# TYPE ") {
            family = said.split_once(' ').unwrap();
            continue;
        }
        let (name, kind) = family;
        if !name.starts_with("envoy_") || line.is_empty() || OTHERWISE.iter().any(|part| name.contains(part))
        {
            continue;
        }
        let labels = LABEL.captures_iter(line).map(|found| found[1].to_owned());
        let labels: BTreeSet<String> = labels.filter(|label| label != "le").collect();
        let labels: Vec<String> = labels.into_iter().collect();
        names.insert(format!("{name}{{{}}} {kind}", labels.join(",")));
    }
}

#[test]
fn a_name_is_told_with_its_labels_and_its_type() {
    let mut names = BTreeSet::new();
    let text = "# TYPE envoy_a histogram\nenvoy_a_bucket{x=\"1, y=\\\"2\\\"\",le=\"0.5\"} 0\nenvoy_a_sum{x=\"1\"} 0\n\
                # TYPE istio_b counter\nistio_b{} 1\n# TYPE envoy_c gauge\nenvoy_c{} 1\n";
    collect(text, &mut names);
    assert_eq!(Vec::from_iter(names), ["envoy_a{x} histogram", "envoy_c{} gauge"]);
}
