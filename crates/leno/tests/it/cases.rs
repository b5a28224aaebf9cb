//! The public test data, which are not in the repository.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use leno_testkit::skip;

/// `samples` of Istio: `LENO_CASES`, else `../shared/cases` beside the project. None, with a word about it, on a machine
/// that has neither; what `LENO_CASES` names must be there.
pub fn istio_samples(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases");
    let named = env::var_os("LENO_CASES").map(PathBuf::from);
    let samples = named.as_ref().unwrap_or(&beside).join("istio-samples");
    if samples.is_dir() {
        return Some(samples);
    }
    assert!(named.is_none(), "LENO_CASES has no istio-samples: {named:?}");
    skip(test, "LENO_CASES not found");
    None
}

/// The YAML files below a directory, by their path in it, sorted.
pub fn yaml_files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "yaml") {
                found.push(entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
