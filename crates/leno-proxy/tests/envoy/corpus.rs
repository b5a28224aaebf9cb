//! Bootstraps that others wrote: each is taken, or refused with the field and the extension that is why.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use leno_engine::compile::Files;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;

/// Percent of them, at least.
const TAKEN: usize = 50;

/// What is refused and why, one a line.
const REFUSED: &str = "tests/envoy/corpus.txt";

/// The files, where there are any.
pub(crate) fn files(test: &str) -> Option<Vec<PathBuf>> {
    let cases = std::env::var_os("LENO_CASES").map_or_else(|| "../../../shared/cases".into(), PathBuf::from);
    let directory = cases.join("envoy-bootstraps");
    let Ok(entries) = std::fs::read_dir(&directory) else {
        leno_testkit::skip(test, "LENO_CASES not found");
        return None;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    Some(files)
}

/// The machine's roots, of which not every machine has any: in their place some bytes.
pub(crate) struct Roots;

impl Files for Roots {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "/etc/ssl/certs/ca-certificates.crt" => Ok(b"roots".to_vec()),
            _ => Err("no such file".into()),
        }
    }
}

#[test]
fn each_bootstrap_is_taken_or_refused_by_name() {
    let Some(files) = files("each_bootstrap_is_taken_or_refused_by_name") else {
        return;
    };
    let schema = Schema::load();
    let mut refused = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let bootstrap = schema
            .from_text::<Bootstrap>(&text)
            .map_err(|why| why.to_string());
        let compiled = bootstrap.and_then(|bootstrap| {
            let compiled = leno_proxy::Bootstrap::compile(&bootstrap, &Roots);
            compiled.map_err(|why| why.to_string())
        });
        if let Err(why) = compiled {
            let name = file.file_stem().unwrap().to_string_lossy();
            let _ = writeln!(refused, "{name}: {why}");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REFUSED);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &refused).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (known, refused) = (lines(&known), lines(&refused));
    let changed = known.symmetric_difference(&refused).cloned().collect::<Vec<_>>();
    assert!(changed.is_empty(), "UPDATE=1 writes it:\n{}", changed.join("\n"));
    let taken = files.len() - refused.len();
    assert!(taken * 100 >= files.len() * TAKEN, "{taken} of {}", files.len());
}
