//! Borders between crates: who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

/// `crate` must not reach any of these, directly or through others (development dependencies aside).
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "leno-proxy",
        &[
            "leno-api",
            "leno-model",
            "leno-translate",
            "leno-ca",
            "leno-sources",
            "leno-control",
            "leno-proto-text",
        ],
        "the data plane knows no user configuration, cannot sign, and carries no reflection",
    ),
    (
        "leno-control",
        &["leno-proxy", "leno-run", "leno-capture"],
        "the control plane moves no bytes and captures nothing",
    ),
    (
        "leno-translate",
        &["leno-engine", "leno-proxy"],
        "translate and engine meet only in `explain` and in tests",
    ),
    (
        "leno-engine",
        &["leno-translate", "leno-model", "leno-api"],
        "the engine knows xDS only",
    ),
];

/// The same, directly: what an EnvoyFilter says comes to the model as something that it does not look into.
const NOT_DIRECTLY: &[(&str, &[&str], &str)] =
    &[("leno-model", &["leno-proto"], "the model knows no wire format")];

/// Crates that do no IO: none of these may stand below them.
const PURE: &[&str] = &[
    "leno-api",
    "leno-cel",
    "leno-dashboard",
    "leno-model",
    "leno-translate",
    "leno-engine",
    "leno-http1",
    "leno-http2",
    "leno-dns",
    "leno-xds",
];
const IMPURE: &[&str] = &["hyper", "h2", "tokio-rustls", "rustls", "socket2", "rand", "mio"];

type Graph = BTreeMap<String, BTreeSet<String>>;

pub fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let graph = graph(root)?;
    let mut findings = Vec::new();
    for (krate, forbidden, why) in FORBIDDEN {
        let reached = reach(&graph, krate);
        for other in forbidden.iter().filter(|o| reached.contains(**o)) {
            findings.push(format!("crates/{krate}/Cargo.toml: depends on {other} — {why}"));
        }
    }
    for (krate, forbidden, why) in NOT_DIRECTLY {
        let direct = graph.get(*krate).cloned().unwrap_or_default();
        for other in forbidden.iter().filter(|o| direct.contains(**o)) {
            findings.push(format!("crates/{krate}/Cargo.toml: depends on {other} — {why}"));
        }
    }
    for krate in PURE {
        let direct = graph.get(*krate).cloned().unwrap_or_default();
        for other in IMPURE.iter().filter(|o| direct.contains(**o)) {
            findings.push(format!(
                "crates/{krate}/Cargo.toml: depends on {other} — this crate is pure: no IO of its own"
            ));
        }
        if direct.contains("tokio") {
            findings.push(format!(
                "crates/{krate}/Cargo.toml: depends on tokio — this crate is pure: no runtime"
            ));
        }
    }
    if graph.get("leno-run").is_some_and(|d| d.contains("tokio")) {
        findings.push("crates/leno-run/Cargo.toml: depends on tokio — the supervisor has no threads".into());
    }
    Ok(findings)
}

fn reach(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![from.to_owned()];
    while let Some(name) = todo.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                todo.push(next.clone());
            }
        }
    }
    seen
}

fn graph(root: &Path) -> anyhow::Result<Graph> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let mut graph = Graph::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let needs = package["dependencies"].as_array().into_iter().flatten();
        let needs = needs
            .filter(|d| d["kind"].is_null())
            .filter_map(|d| d["name"].as_str())
            .map(str::to_owned);
        graph.insert(name, needs.collect());
    }
    Ok(graph)
}
