//! No module cycle inside a crate: read `crate::…` and `super::…` paths and look for a way back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::Source;

type Graph = BTreeMap<String, BTreeSet<String>>;

pub fn check(dir: &Path, files: &[Source]) -> Vec<String> {
    let names: BTreeMap<String, &Source> = files.iter().map(|f| (module_name(dir, &f.path), f)).collect();
    let mut graph = Graph::new();
    for (name, file) in &names {
        let uses = paths(name, &file.code).into_iter();
        let uses = uses.filter_map(|path| deepest(&names, &path));
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

/// What the code of `module` names by a path, from the crate's root: `crate::a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(module: &str, code: &str) -> BTreeSet<String> {
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(line));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (root, up) in [("crate::", usize::MAX), ("super::", 1)] {
        for (at, _) in code.match_indices(root) {
            let (before, rest) = (&code[..at], &code[at + root.len()..]);
            // The middle of a longer path is read with its beginning; `pub(in crate::a)` uses nothing.
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                || before.ends_with("in ")
            {
                continue;
            }
            let (more, rest) = climb(rest);
            let base: Vec<_> = module.split("::").filter(|part| !part.is_empty()).collect();
            let kept = base.len().saturating_sub(up.saturating_add(more));
            expand(&base[..kept].join("::"), rest, &mut found);
        }
    }
    found
}

/// How many `super::` come first.
fn climb(mut rest: &str) -> (usize, &str) {
    let mut steps = 0;
    while let Some(above) = rest.strip_prefix("super::") {
        (steps, rest) = (steps + 1, above);
    }
    (steps, rest)
}

/// One path, or all of a group's.
fn expand(base: &str, text: &str, found: &mut BTreeSet<String>) {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let mut path: Vec<_> = base.split("::").chain(name.split("::")).collect();
    path.retain(|part| !part.is_empty() && *part != "self");
    let path = path.join("::");
    match rest.strip_prefix('{') {
        Some(group) => {
            for member in members(group) {
                expand(&path, member, found);
            }
        }
        None => {
            found.insert(path);
        }
    }
}

/// The members of a group, whose opening brace has been read.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                found.push(&group[from..at]);
                from = at + 1;
            }
            '}' if depth == 0 => {
                found.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found.retain(|member| !member.trim().is_empty());
    found
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
            let members: BTreeSet<_> = way.iter().cloned().collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let dir = Path::new("crates/leno-x");
        let files: Vec<_> = files
            .iter()
            .map(|(path, code)| Source::new(dir.join("src").join(path), code))
            .collect();
        check(dir, &files)
    }

    #[test]
    fn a_cycle_is_found_once() {
        let found = findings(&[
            ("pool.rs", "use crate::connect::Io;"),
            ("connect.rs", "fn make() -> crate::worker::Worker {}"),
            ("worker.rs", "use crate::{io, pool::Pool};"),
            ("io.rs", ""),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("connect → worker → pool → connect"),
            "{found:?}"
        );
    }

    #[test]
    fn siblings_may_not_know_each_other_both_ways() {
        let found = findings(&[
            ("route/mod.rs", "mod action;\nmod forward;"),
            ("route/action.rs", "use super::forward::forward;"),
            ("route/forward.rs", "use super::{Rule, action::respond};"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn parts_know_their_whole_and_tests_know_all() {
        let found = findings(&[
            ("read.rs", "use crate::read::well_known::Form;"),
            ("read/well_known.rs", "use super::Reader; // crate::write"),
            (
                "write.rs",
                "use crate::read;\n#[cfg(test)]\nmod tests { use crate::lib; }",
            ),
            ("lib.rs", "use crate::write;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn groups_are_read_to_their_last_member() {
        let code = "use crate::{a, b::{self, c as d, e::f},\n    g::*};\nfn x() { crate::h::i(1) }";
        let found: Vec<_> = paths("m", code).into_iter().collect();
        assert_eq!(found, ["a", "b", "b::c", "b::e::f", "g", "h::i"]);
    }

    #[test]
    fn super_counts_from_the_module() {
        let found: Vec<_> = paths(
            "a::b::c",
            "use super::d;\nuse super::super::e;\npub(in crate::a) fn x() {}",
        )
        .into_iter()
        .collect();
        assert_eq!(found, ["a::b::d", "a::e"]);
    }
}
