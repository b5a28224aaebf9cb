//! Data that the project did not write: Istio's and the Gateway API's own valid and invalid objects.
//!
//! What leno refuses although it is valid, or accepts although it is not, is listed in `exceptions.txt` with
//! the reason; an entry that is no longer needed fails as well, so the list stays honest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use leno_api::{Code, read};

/// `FILE[#DOCUMENT] REASON`
const EXCEPTIONS: &str = include_str!("exceptions.txt");

fn cases() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = std::env::var_os("LENO_CASES").map_or_else(|| root.join("../shared/cases"), PathBuf::from);
    if !path.is_dir() {
        leno_testkit::skip("public cases of leno-api", "LENO_CASES not found");
        return None;
    }
    Some(path)
}

fn yaml_files(directory: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            yaml_files(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
            into.push(path);
        }
    }
}

/// Every document by itself: name, text without the `_err` key.
fn documents(root: &Path, below: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    yaml_files(&root.join(below), &mut files);
    let mut all = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        for (i, document) in text.split("\n---").enumerate() {
            let document: Vec<&str> = document
                .lines()
                .filter(|line| !line.starts_with("_err:"))
                .collect();
            all.push((format!("{name}#{i}"), document.join("\n")));
        }
    }
    all
}

#[derive(PartialEq)]
enum Answer {
    Accepted,
    Rejected,
    /// A kind that leno does not serve.
    OtherKind,
}

fn answer(text: &str) -> (Answer, String) {
    let parsed = read("case.yaml", text.as_bytes());
    let errors: Vec<String> = parsed
        .diagnostics
        .iter()
        .filter(|d| d.is_error())
        .map(ToString::to_string)
        .collect();
    let kind_only = parsed.diagnostics.iter().all(|d| {
        matches!(d.code, Code::SkippedKind | Code::UnknownKind)
            || (d.code == Code::NotServed && d.object.is_none())
    });
    let answer = match (parsed.objects.is_empty(), errors.is_empty()) {
        (true, _) if kind_only => Answer::OtherKind,
        (_, true) => Answer::Accepted,
        (_, false) => Answer::Rejected,
    };
    (answer, errors.join("\n  "))
}

fn exceptions(prefix: &str) -> BTreeMap<String, String> {
    EXCEPTIONS
        .lines()
        .filter(|line| !line.starts_with('#') && line.starts_with(prefix))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
        .collect()
}

fn check(below: &str, want_accepted: impl Fn(&str) -> bool) {
    let Some(root) = cases() else { return };
    let mut exceptions = exceptions(below);
    let (mut wrong, mut checked) = (Vec::new(), 0);
    let mut other_kinds = BTreeSet::new();
    for (name, text) in documents(&root, below) {
        let want = if want_accepted(&name) {
            Answer::Accepted
        } else {
            Answer::Rejected
        };
        let (answer, errors) = answer(&text);
        if answer == Answer::OtherKind {
            other_kinds.insert(name);
            continue;
        }
        checked += 1;
        let excepted = exceptions.remove(&name).is_some();
        if (answer == want) == excepted {
            wrong.push(format!(
                "{name}{}\n  {errors}",
                if excepted {
                    " (exception no longer needed)"
                } else {
                    ""
                }
            ));
        }
    }
    println!(
        "{below}: {checked} documents checked, {} of other kinds",
        other_kinds.len()
    );
    assert!(checked > 0, "nothing checked below {below}");
    assert!(
        wrong.is_empty(),
        "{} unexpected answers:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        exceptions.is_empty(),
        "exceptions for what is not there: {exceptions:?}"
    );
}

#[test]
fn istios_crd_cases_are_accepted_and_rejected_as_given() {
    check("istio-crds", |name| name.contains("-valid.yaml"));
}

#[test]
fn gateway_api_valid_objects_are_accepted() {
    check("gateway-api/valid", |_| true);
}

#[test]
fn gateway_api_invalid_objects_are_rejected() {
    check("gateway-api/invalid", |_| false);
}

#[test]
fn gateway_api_conformance_manifests_are_accepted() {
    check("gateway-api/conformance", |_| true);
}

#[test]
fn istios_samples_are_accepted() {
    check("istio-samples", |_| true);
}
