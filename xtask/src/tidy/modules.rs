//! No module cycle inside a crate: read `crate::…` paths and look for a way back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::Source;

type Graph = BTreeMap<String, BTreeSet<String>>;

pub fn check(dir: &Path, files: &[Source]) -> Vec<String> {
    let names: BTreeMap<String, &Source> = files.iter().map(|f| (module_name(dir, &f.path), f)).collect();
    let mut graph = Graph::new();
    for (name, file) in &names {
        let uses = paths(&file.code).filter_map(|path| deepest(&names, &path));
        let uses = uses.filter(|other| !related(name, other)).collect();
        graph.insert(name.clone(), uses);
    }
    let krate = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    cycles(&graph)
        .into_iter()
        .map(|c| format!("crates/{krate}: module cycle {c} — move what both need below them"))
        .collect()
}

/// `src/decide/filter/mod.rs` → `decide::filter`; `src/lib.rs` → ``.
fn module_name(dir: &Path, path: &Path) -> String {
    let relative = path
        .strip_prefix(dir.join("src"))
        .unwrap_or(path)
        .with_extension("");
    let mut parts: Vec<_> = relative.iter().filter_map(|p| p.to_str()).collect();
    if matches!(parts.last(), Some(&"mod")) || matches!(parts.as_slice(), ["lib"] | ["main"]) {
        parts.pop();
    }
    parts.join("::")
}

/// The `crate::a::b` paths in the code, without `crate::`; a group is read to its opening brace.
fn paths(code: &str) -> impl Iterator<Item = String> {
    code.lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .flat_map(|line| {
            line.match_indices("crate::").map(|(at, found)| {
                let rest = &line[at + found.len()..];
                let end = rest
                    .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                    .unwrap_or(rest.len());
                rest[..end].trim_end_matches(':').to_owned()
            })
        })
}

fn deepest(names: &BTreeMap<String, &Source>, path: &str) -> Option<String> {
    let mut parts: Vec<_> = path.split("::").collect();
    while !parts.is_empty() {
        let name = parts.join("::");
        if names.contains_key(&name) {
            return Some(name);
        }
        parts.pop();
    }
    None
}

/// A module and its own parts may know each other.
fn related(a: &str, b: &str) -> bool {
    let inside = |inner: &str, outer: &str| {
        outer.is_empty() || inner == outer || inner.starts_with(&format!("{outer}::"))
    };
    inside(a, b) || inside(b, a)
}

fn cycles(graph: &Graph) -> Vec<String> {
    let mut found = BTreeSet::new();
    for start in graph.keys() {
        if let Some(way) = way_back(graph, start) {
            let mut members = way.clone();
            members.sort();
            found.insert((members, way.join(" → ")));
        }
    }
    let mut shown = BTreeSet::new();
    found
        .into_iter()
        .filter(|(members, _)| shown.insert(members.clone()))
        .map(|(_, way)| way)
        .collect()
}

/// The shortest way from `start` back to itself.
fn way_back(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut todo = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = todo.pop_front() {
        for next in graph.get(way.last()?).into_iter().flatten() {
            if next == start {
                let mut way = way.clone();
                way.push(start.to_owned());
                return Some(way);
            }
            if seen.insert(next.clone()) {
                let mut longer = way.clone();
                longer.push(next.clone());
                todo.push_back(longer);
            }
        }
    }
    None
}
