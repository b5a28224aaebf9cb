//! Cases: the user's YAML in, what calls then do out. One directory each below `cases/`:
//!
//! - `input.yaml`: objects as a user writes them;
//! - `calls.yaml`: the workloads that registered, and calls with what becomes of them. A call is answered as leno's
//!   proxy answers it: the name by the name table, the address by its listener, the request by its route, each
//!   compiled and decided by the proxy's own engine. A call from a gateway proxy is one that comes in there;
//! - `want.yaml`: the route configurations and clusters that the calls went through, as they go over the wire.
//!   `UPDATE_GOLDEN=1` writes it anew.

mod call;
mod mesh;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use leno_proto_text::Schema;
use serde::Deserialize;

use mesh::Mesh;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Calls {
    workloads: Vec<mesh::Registration>,
    /// Gateway proxies; calls from them come from outside.
    #[serde(default)]
    gateways: Vec<mesh::GatewayProxy>,
    calls: Vec<call::Call>,
}

/// Resources by type and name.
type Seen = BTreeMap<&'static str, BTreeMap<String, serde_json::Value>>;

#[test]
fn every_case_is_answered_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 10, "the cases have gone: {cases:?}");
    let schema = Schema::load();
    let wrong: Vec<String> = cases.iter().flat_map(|case| run(&schema, case)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with a case.
fn run(schema: &Schema, case: &Path) -> Vec<String> {
    let name = case.file_name().unwrap().to_string_lossy();
    let calls = std::fs::read_to_string(case.join("calls.yaml")).unwrap();
    let calls: Calls = match serde_saphyr::from_str(&calls) {
        Ok(calls) => calls,
        Err(error) => return vec![format!("{name}/calls.yaml: {error}")],
    };
    let mesh = Mesh::new(&case.join("input.yaml"), calls.workloads, calls.gateways);
    let mut seen = Seen::new();
    let mut wrong = Vec::new();
    for call in &calls.calls {
        let got = call::answer(&mesh, call, schema, &mut seen);
        if let Some(difference) = call.differs(&got) {
            wrong.push(format!("{name}: {call}: {difference}"));
        }
    }
    wrong.extend(golden(&case.join("want.yaml"), &seen));
    wrong
}

fn golden(file: &Path, seen: &Seen) -> Option<String> {
    let got = serde_saphyr::to_string(seen).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &got).unwrap();
    }
    let want = std::fs::read_to_string(file).unwrap_or_default();
    if want == got {
        return None;
    }
    let line = want.lines().zip(got.lines()).position(|(want, got)| want != got);
    let at = line.unwrap_or_else(|| want.lines().count().min(got.lines().count()));
    Some(format!(
        "{}:{}: wanted {:?}, got {:?} (UPDATE_GOLDEN=1 accepts)",
        file.display(),
        at + 1,
        want.lines().nth(at).unwrap_or_default(),
        got.lines().nth(at).unwrap_or_default()
    ))
}
