//! Cases: the user's YAML in, what calls then do out. One directory each below `cases/`:
//!
//! - `input.yaml`: objects as a user writes them;
//! - `calls.yaml` (`leno_testkit::case`): the workloads that registered, and calls with what becomes of them. A call is
//!   answered as leno's proxy answers it: the name by the name table, the address by its listener, the request by its
//!   route and its filters, each compiled and decided by the proxy's own engine. A call from a gateway proxy is one that
//!   comes in there. With `live: true` the case runs for real as well, through leno's proxy and through Envoy
//!   (`crates/leno/tests/it/live.rs`);
//! - `want.yaml`, where there is one: the route configurations and clusters that the calls went through, as they go over
//!   the wire. `UPDATE_GOLDEN=1` writes it anew.
//!
//! Or several in one file below `cases/fields/`, with what they have in common below `cases/shared/`.

mod call;
mod filters;
mod mesh;

use std::collections::BTreeMap;
use std::path::Path;

use leno_proto_text::Schema;
use leno_testkit::case::Case;

use mesh::Mesh;

/// Percent: four standard deviations of the middle share.
const TOLERANCE: f64 = 4.5;

/// Resources by type and name.
type Seen = BTreeMap<&'static str, BTreeMap<String, serde_json::Value>>;

#[test]
fn every_case_is_answered_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases");
    let cases = leno_testkit::case::all(&root);
    assert!(cases.len() >= 60, "the cases have gone: {}", cases.len());
    let schema = Schema::load();
    let wrong: Vec<String> = cases.iter().flat_map(|case| run(&schema, case)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with a case.
fn run(schema: &Schema, case: &Case) -> Vec<String> {
    let name = &case.name;
    let mesh = match Mesh::new(case) {
        Ok(mesh) => mesh,
        Err(errors) => return vec![format!("{name}: {errors}")],
    };
    let mut seen = Seen::new();
    let mut wrong = Vec::new();
    for call in &case.calls {
        let (got, told) = call::answer(&mesh, call, schema, &mut seen);
        let differences = [
            call.differs(&got, TOLERANCE),
            call.told_otherwise(&told),
            call.forwarded_otherwise(&told),
        ];
        for difference in differences.into_iter().flatten() {
            wrong.push(format!("{name}: {call}: {difference}"));
        }
    }
    let want = case.directory.iter().map(|directory| directory.join("want.yaml"));
    wrong.extend(
        want.filter(|file| file.exists())
            .filter_map(|file| golden(&file, &seen)),
    );
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
