//! The pages on security name tests. A name that leads nowhere would be a promise that nobody keeps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All that is written in the crate's sources and tests.
fn sources(directory: &Path, text: &mut String) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_tests_and_cases_that_the_pages_on_security_name_are_there() {
    let pages = root().join("docs/security");
    let mut crates: BTreeMap<String, String> = BTreeMap::new();
    let mut missing = Vec::new();
    let mut found = 0;
    for page in ["advisories.md", "threat-model.md"] {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        for line in text.lines() {
            for name in quoted(line).filter(|name| name.starts_with("leno") && name.contains("::")) {
                let crate_name = name.split("::").next().unwrap_or_default();
                let function = name.rsplit("::").next().unwrap_or_default();
                let text = crates.entry(crate_name.to_owned()).or_insert_with(|| {
                    let mut text = String::new();
                    sources(&root().join("crates").join(crate_name), &mut text);
                    text
                });
                match text.contains(&format!("fn {function}(")) {
                    true => found += 1,
                    false => missing.push(name.to_owned()),
                }
            }
            for (at, _) in line.match_indices("case `") {
                let case = quoted(&line[at..]).next().unwrap_or_default();
                let path = format!("crates/leno-proxy/tests/envoy/cases/{case}.yaml");
                if !root().join(&path).exists() {
                    missing.push(path);
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(found > 100, "{found}");
}
